"""`Client`: events of Slack, and messages to it, for a service beside rtmpump."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Literal, TypedDict, Unpack

from rtmpump.client import commands
from rtmpump.client.commands import Answer, Asked, Outgoing
from rtmpump.client.errors import BrokerUnavailable, ResultMissing
from rtmpump.client.link import Link
from rtmpump.client.replay import Replay
from rtmpump.client.result import Result, read_result
from rtmpump.client.stream import EventStream
from rtmpump.config import Broker, Secret
from rtmpump.config.secrets import AmqpUrl
from rtmpump.errors import ConfigError
from rtmpump.links.lifecycle import LinkListener
from rtmpump.links.rabbitmq.queue_depths import Depth
from rtmpump.links.rabbitmq.subscription import Wanted

URL_VARIABLE: Final = "RTMPUMP_BROKER_URL"
"""Where the URL is looked for, if none is given."""
_LOCAL: Final = "amqp://guest:guest@localhost:5672/%2F"
_PREFETCH: Final = 200
# An expiration ends the wait in RabbitMQ or in the pump; what it says needs a moment to come back.
_GRACE: Final = 5.0


class Connecting(TypedDict, total=False):
    """How to connect, beside the URL; each means what it means in `[broker]` of the pump."""

    ca_file: str
    client_cert: str
    client_key: str
    auth: Literal["plain", "external"]
    heartbeat: int


class Client:
    """A connection to RabbitMQ that looks after itself; any number of threads may use it.

    Nothing connects before the first call that needs it. It is a context manager: at its end the
    events that were not finished go back to their queue.
    """

    def __init__(
        self,
        url: str | Sequence[str] | Broker = "",
        *,
        name: str = "client",
        exchange: str = "rtm.events",
        commands_queue: str = "rtm.outbound",
        timeout: float = 30.0,
        **connecting: Unpack[Connecting],
    ) -> None:
        """Take the URL of RabbitMQ, or those of several nodes in the order to try them.

        Args:
            url: `$RTMPUMP_BROKER_URL` if empty, or else a RabbitMQ on this machine.
            name: What RabbitMQ's own tools show this connection as, behind "rtmpump".
            exchange: `events.exchange` of the pump.
            commands_queue: `outbound.queue` of the pump.
            timeout: How long a call may wait, in seconds, unless it says otherwise.
            connecting: As in `Connecting`.

        Raises:
            ConfigError: a URL is none.
        """
        self._link = Link(name, _broker(url, connecting))
        self._exchange = exchange
        self._commands_queue = commands_queue
        self._timeout = timeout
        self._is_stopped = False
        self._closed = False

    def connect(self, timeout: float | None = None) -> None:
        """Return when RabbitMQ is connected; all other calls do this too.

        Raises:
            BrokerUnavailable: it is not within `timeout` seconds, or it refuses the login.
            ConfigError: the files for TLS can't be used.
        """
        self._start()
        self._link.wait_up(self._timeout if timeout is None else timeout)

    def connect_once(self) -> None:
        """Connect, and try each node once only; later the client is as patient as ever.

        Raises:
            BrokerUnavailable: no node can be used now.
            ConfigError: the files for TLS can't be used.
        """
        self._start()
        self._link.wait_up(None)

    def events(
        self,
        *patterns: str,
        queue: str = "",
        prefetch: int = _PREFETCH,
        signals: bool = True,
        repeats: bool = False,
        passive: bool = False,
        listener: LinkListener | None = None,
    ) -> EventStream:
        """Return the events whose routing key one of the topic `patterns` takes; all by default.

        The queue is there and bound when this returns. Iterate over what it returns: an event is
        acknowledged when the next one is asked for, and comes again if the program dies before.
        Acks are written in batches, some 20 ms later: a crash may repeat those of that time too.
        `break`, or an exception in the loop, gives the present event back; `stop` finishes it.

        Args:
            patterns: `*` is one word, `#` any number of them: "message.#", "reaction_added".
            queue: The durable queue that keeps the events while the service is away; services that
                name the same one share its events. It is a quorum queue, unless one of that name
                exists. Patterns that it was once bound with stay until somebody unbinds them.
                Without a name the queue is temporary, and what happens while RabbitMQ is away is
                missed.
            prefetch: How many events may wait here. RabbitMQ takes them back after half an hour,
                so for work that takes more than a few seconds each, choose a smaller one.
            signals: Whether SIGINT and SIGTERM end the loop after the present event, if it runs in
                the main thread and the program has no handlers of its own.
            repeats: Whether repeats of an event come too; by default they are passed over.
            passive: Whether the exchange must be there; by default it is made.
            listener: Its `link_up` is called when the delivery begins, its `link_down` when
                RabbitMQ goes away and at each failed try, by the thread that takes the events.

        Raises:
            BrokerUnavailable: RabbitMQ is away, or refuses.
        """
        wanted = Wanted(self._exchange, patterns or ("#",), queue, prefetch, passive)
        return self._begun(
            EventStream(self, wanted, signals=signals, repeats=repeats, listener=listener)
        )

    def replay(
        self,
        stream: str,
        since: float,
        *patterns: str,
        signals: bool = True,
        repeats: bool = False,
        listener: LinkListener | None = None,
    ) -> EventStream:
        """Return the events of the last `since` seconds that a RabbitMQ stream kept, then new ones.

        `stream` is `events.stream` of the pump. Nothing is missed while RabbitMQ is away, and
        nothing is taken from other readers. What else is said for `events` holds here too.

        Raises:
            BrokerUnavailable: RabbitMQ is away, or refuses; with the code `not_found` there is no
                such stream, with `precondition_failed` the queue is none.
        """
        chosen = patterns or ("#",)
        wanted = Wanted(self._exchange, chosen, stream, _PREFETCH, passive=True)
        return self._begun(
            EventStream(
                self,
                wanted,
                signals=signals,
                repeats=repeats,
                listener=listener,
                replay=Replay(since, chosen),
            )
        )

    def _begun(self, stream: EventStream) -> EventStream:
        self.connect()
        self._link.add(stream)
        try:
            stream.wait_until_begun(self._timeout)
        except BaseException:
            stream.close()
            raise
        return stream

    def send(
        self,
        channel: str,
        text: str = "",
        *,
        thread_ts: str | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> Result:
        """Send a message to a channel (an id or a name), and wait until Slack has it.

        Args:
            channel: `C024BE91L`, `general` or `#general`.
            text: In Slack's markup; docs/send.md says what to escape.
            thread_ts: The `ts` of the message to answer.
            timeout: Seconds; what is not begun by then is not sent at all.
            fields: `reply_broadcast`, and in Socket Mode `blocks` and the like.

        Raises:
            CommandFailed: the pump or Slack refused it.
            ResultMissing: it may have been sent, or not.
            BrokerUnavailable: it was not sent.
        """
        return read_result(self._answered(_message(channel, text, thread_ts, fields), timeout))

    def call(self, method: str, /, *, timeout: float | None = None, **arguments: Any) -> Answer:
        """Call a method of Slack's Web API that `outbound.api_methods` of the pump names.

        Returns:
            Slack's response.

        Raises:
            CommandFailed: the pump or Slack refused it; Slack's codes begin with `slack_`.
            ResultMissing: it may have been carried out, or not.
            BrokerUnavailable: it was not carried out.
        """
        fields = {"type": "api", "method": method, "arguments": arguments}
        response = read_result(self._answered(fields, timeout)).response
        return {} if response is None else dict(response)

    def enqueue(self, channel: str, text: str = "", **fields: Any) -> str:
        """Leave a message in RabbitMQ, to be sent also when rtmpump or Slack is away.

        Returns:
            The `message_id` of the command.

        Raises:
            ResultMissing: it may be there, or not.
            BrokerUnavailable: it is not there.
        """
        outgoing = commands.command(
            self._commands_queue, _message(channel, text, None, fields), reply=False, expires=None
        )
        self._settle(outgoing, self._timeout)
        return str(outgoing.properties.message_id)

    def submit(self, fields: Answer, *, reply: bool = True) -> Asked:
        """Send any command; return a future of its result, as docs/send.md describes both.

        The future fails with ResultMissing or BrokerUnavailable. Its callbacks must be short: they
        run on the thread that also sends the heartbeats. Without `reply` it is done, with {}, when
        RabbitMQ has the command.

        Raises:
            BrokerUnavailable: RabbitMQ is away.
        """
        self.connect()
        return self._link.commands.ask(
            commands.command(self._commands_queue, fields, reply=reply, expires=None)
        )

    def depth(self, queue: str) -> Depth:
        """Ask how many messages wait in a queue, and how many consumers it has.

        Raises:
            BrokerUnavailable: there is no such queue, or RabbitMQ does not say it.
        """
        self.connect()
        try:
            return self._link.count(queue).result(self._timeout)
        except TimeoutError:
            raise BrokerUnavailable("timeout", f"no answer about the queue {queue}") from None

    def stop(self) -> None:
        """End all loops over events after the present event; safe in a signal handler."""
        self._is_stopped = True
        self._link.wake()

    def close(self) -> None:
        """End the loops and the connection; what was not finished goes back to its queue."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self.stop()
        self._link.close()

    @property
    def name(self) -> str:
        """What RabbitMQ's own tools show this connection as, behind "rtmpump"."""
        return self._link.name

    @property
    def node(self) -> str:
        """The node that answered last, as `host:port`; "" before."""
        return self._link.node

    @property
    def vhost(self) -> str:
        """The virtual host of the connection; "" before there was one."""
        return self._link.vhost

    @property
    def where(self) -> str:
        """The node that answered last and the virtual host, in words."""
        return f"{self.node}, vhost {self.vhost}"

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called, or a signal came."""
        return self._is_stopped

    @property
    def is_blocked(self) -> bool:
        """Whether RabbitMQ has an alarm and takes nothing."""
        return self._link.commands.is_blocked

    def down_for(self) -> float:
        """Return for how many seconds RabbitMQ has been away; 0.0 if it is not."""
        return self._link.down_for()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What streams and events need.

    def answer(self, to: str, correlation_id: str, body: bytes) -> bool:
        """Publish the answer to an event; return whether a queue took it."""
        try:
            self._settle(commands.answer(to, correlation_id, body), self._timeout)
        except BrokerUnavailable as error:
            if error.code != "no_queue":
                raise
            return False
        return True

    def check(self) -> None:
        """Raise what ended the connection for good."""
        self._link.check()

    def leave(self, stream: EventStream) -> None:
        """Let go of a stream that ended."""
        self._link.leave(stream)

    def _start(self) -> None:
        if self._link.start():
            atexit.register(self.close)

    def _answered(self, fields: Answer, timeout: float | None) -> Answer:
        wait = self._timeout if timeout is None else timeout
        outgoing = commands.command(self._commands_queue, fields, reply=True, expires=wait)
        return self._settle(outgoing, wait, min(_GRACE, wait))

    def _settle(self, outgoing: Outgoing, timeout: float, grace: float = 0.0) -> Answer:
        """Publish, and wait for the end of it."""
        until = time.monotonic() + timeout
        self.connect(timeout)
        asked = self._link.commands.ask(outgoing)
        try:
            return asked.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            if asked.cancel():
                raise self._not_taken() from None
        try:
            return asked.result(grace)
        except TimeoutError:
            self._link.commands.forget(outgoing)
            problem = f"no result within {timeout:g} s: does rtmpump run? it may still be sent"
            raise ResultMissing("timeout", problem, uncertain=True) from None

    def _not_taken(self) -> BrokerUnavailable:
        if self._link.commands.is_blocked:
            return BrokerUnavailable("blocked", "RabbitMQ has a memory or disk alarm")
        return BrokerUnavailable("timeout", "RabbitMQ went away, and nothing was sent")


def _message(channel: str, text: str, thread_ts: str | None, fields: dict[str, Any]) -> Answer:
    given = {"type": "message", "channel": channel, "text": text or None, "thread_ts": thread_ts}
    return {name: value for name, value in (given | fields).items() if value is not None}


def _broker(url: str | Sequence[str] | Broker, connecting: Connecting) -> Broker:
    if isinstance(url, Broker):
        return url
    given = (
        [url or os.environ.get(URL_VARIABLE, "") or _LOCAL]
        if isinstance(url, str)
        else url or [_LOCAL]
    )
    try:
        urls: tuple[Secret, ...] = tuple(AmqpUrl().read(one) for one in given)
    except ConfigError as error:
        error.key = "url"
        raise
    return Broker(url=urls[0], urls=urls, **connecting)
