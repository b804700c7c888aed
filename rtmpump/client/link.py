"""The one connection of a client, on a thread of its own, made again until the client is closed.

So heartbeats go on while the service works for minutes, and any number of threads may ask.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from rtmpump import config
from rtmpump.client.commands import Commands
from rtmpump.client.errors import BrokerUnavailable, ClientError, in_words, unavailable
from rtmpump.client.stream import EventStream
from rtmpump.config import Broker
from rtmpump.errors import ConfigError, LinkError
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.rabbitmq.connection import Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.rabbitmq.queue_depths import Depth
from rtmpump.links.rabbitmq.subscription import SubscribingConnection
from rtmpump.links.retry import keep_trying

POLICY: Final = config.Retry(initial=0.2, max=5.0, healthy_after=10.0)
_HOPELESS: Final = ("auth", "not_allowed", "tls")
_JOIN_SECONDS: Final = 5.0
_LEAVE_SECONDS: Final = 2.0

LOGGER: Final = "rtmpump.client"
"""The logger that says when RabbitMQ comes and goes."""

_log = logging.getLogger(LOGGER)


class Link:
    """The connection; any thread may call what is not said to be the connection's."""

    def __init__(self, name: str, broker: Broker) -> None:
        self.name = name
        self.node = self.vhost = ""
        self._broker = broker
        self._lifecycle = Lifecycle()
        self._connection = SubscribingConnection(name, broker, self)
        self._thread = threading.Thread(target=self._run, name=f"rtmpump-{name}", daemon=True)
        self._changed = threading.Condition()
        self._has_started = False
        self._is_up = False
        self._was_up = False
        self._problem: LinkError | None = None
        self._crash: BaseException | None = None
        self._down_since = time.monotonic()
        self._streams: list[EventStream] = []
        # Each is ended by who takes it out.
        self._counts: set[Future[Depth]] = set()
        self.commands = Commands(self.call)

    def start(self) -> bool:
        """Begin to connect; return False if it has begun already."""
        with self._changed:
            if self._has_started:
                return False
            self._has_started = True
            self._down_since = time.monotonic()
            self._thread.start()
            return True

    def wait_up(self, timeout: float | None) -> None:
        """Return when RabbitMQ is connected.

        Raises:
            BrokerUnavailable: it is not within `timeout` seconds, or it refuses the login; with
                None, each node was tried once.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_decided(timeout is None), timeout)
            problem, is_up = self._problem, self._is_up
        self.check()
        if is_up:
            return
        if problem is None:
            raise BrokerUnavailable("timeout", f"RabbitMQ did not answer within {timeout:g} s")
        raise unavailable(problem)

    def down_for(self) -> float:
        """Return for how many seconds RabbitMQ has been away; 0.0 if it is not."""
        with self._changed:
            return 0.0 if self._is_up else time.monotonic() - self._down_since

    def check(self) -> None:
        """Raise what ended the connection for good.

        Raises:
            BrokerUnavailable: the client was closed.
            ConfigError: its TLS files can't be used.
        """
        if self._crash is not None:
            raise self._crash
        if self._lifecycle.stop.is_set():
            raise closed()

    def call(self, function: Callable[[], None]) -> None:
        """Call a function soon on the thread of the connection, if there is one."""
        self._connection.call(function)

    def count(self, queue: str) -> Future[Depth]:
        """Ask how full a queue is."""
        asked: Future[Depth] = Future()
        with self._changed:
            self._counts.add(asked)

        def told(answer: Depth | LinkError) -> None:
            with self._changed:
                if asked not in self._counts:
                    return
                self._counts.remove(asked)
            if isinstance(answer, Depth):
                asked.set_result(answer)
            else:
                asked.set_exception(unavailable(answer))

        self.call(lambda: self._connection.count(queue, told))
        return asked

    def add(self, stream: EventStream) -> None:
        """Subscribe a stream now and on each further connection."""
        with self._changed:
            self._streams.append(stream)
        self.call(lambda: self._subscribe(stream))

    def leave(self, stream: EventStream) -> None:
        """End the subscription of a stream, and wait until what it gave back is in the queue."""
        with self._changed:
            if stream not in self._streams:
                return
            self._streams.remove(stream)
            is_up = self._is_up
        ended = threading.Event()
        self.call(lambda: stream.end(ended.set))
        # A generator may be closed by the garbage collector, on any thread.
        if is_up and threading.current_thread() is not self._thread:
            ended.wait(_LEAVE_SECONDS)

    def wake(self) -> None:
        """Have all streams look whether they are over; safe in a signal handler."""
        for stream in list(self._streams):
            stream.wake()

    def close(self) -> None:
        """End the connection in good order."""
        self._lifecycle.stop.set()
        self.call(self._connection.close)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)
        self.commands.close(closed())
        self._end_counts(closed())
        self._wake_for_good()

    # What the connection calls back, on its own thread.

    def ready(self) -> None:
        """Subscribe all streams, and send what waits."""
        with self._changed:
            self._is_up = self._was_up = True
            self.node, self.vhost = self._connection.node, self._connection.vhost
            self._problem = None
            streams = list(self._streams)
            self._changed.notify_all()
        _log.info("connected to RabbitMQ at %s", self.node)
        self.commands.begin(self._connection)
        for stream in streams:
            self._subscribe(stream)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Pass on."""
        self.commands.settled(tag, multiple, ok)

    def returned(self, properties: Properties) -> None:
        """Pass on."""
        self.commands.returned(properties)

    def delivered(self, delivery: Delivery) -> None:
        """Pass on."""
        self.commands.delivered(delivery)

    def blocked(self, is_blocked: bool) -> None:
        """Pass on."""
        if is_blocked:
            _log.warning("RabbitMQ has an alarm and takes nothing")
        self.commands.blocked(is_blocked)

    def _end_counts(self, error: ClientError) -> None:
        with self._changed:
            counts, self._counts = self._counts, set()
        for asked in counts:
            asked.set_exception(error)

    def _wake_for_good(self) -> None:
        for stream in list(self._streams):
            stream.give_up()
            stream.wake()

    def _subscribe(self, stream: EventStream) -> None:
        is_wanted = self._is_up and stream in self._streams
        if is_wanted and not stream.is_subscribed_on(self._connection):
            stream.use(self._connection.subscribe(stream.wanted, stream))

    def _is_decided(self, tries_once: bool) -> bool:
        is_refused = self._problem is not None and (
            tries_once or (not self._was_up and self._problem.reason in _HOPELESS)
        )
        is_over = self._crash is not None or self._lifecycle.stop.is_set()
        return self._is_up or is_refused or is_over

    def _run(self) -> None:
        try:
            keep_trying(
                self._session, policy=POLICY, lifecycle=self._lifecycle, report=self._report
            )
        except BaseException as error:
            self._crash = error
            problem = str(error) if isinstance(error, ConfigError) else repr(error)
            self.commands.close(ClientError("failed", problem))
            self._wake_for_good()
        with self._changed:
            self._changed.notify_all()

    def _session(self) -> None:
        self._connection = SubscribingConnection(self.name, self._broker, self)
        error: LinkError | None = None
        try:
            if not self._lifecycle.stop.is_set():
                self._connection.run()
        except LinkError as end:
            error = end
            raise
        finally:
            self._note_end(error)

    def _note_end(self, error: LinkError | None) -> None:
        with self._changed:
            if self._is_up:
                self._down_since = time.monotonic()
            self._is_up = False
            self._problem = error
            streams = list(self._streams)
            self._changed.notify_all()
        for stream in streams:
            stream.connection_ended(error)
        self._end_counts(closed() if error is None else unavailable(error))
        self.commands.ended(error)

    def _report(self, retry: RetryDetails) -> None:
        problem = in_words(LinkError(retry.link, retry.reason, retry.detail))
        words = "RabbitMQ is away (%s: %s); trying again in %.1f s"
        _log.warning(words, retry.reason, problem, retry.wait)
        for stream in list(self._streams):
            stream.link_down(retry)


def closed() -> BrokerUnavailable:
    """Return the error for what is asked of a client that was closed."""
    return BrokerUnavailable("closed", "the client was closed")
