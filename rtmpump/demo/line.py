"""One connection to RabbitMQ on its own thread, made again until `stop`.

It declares, consumes one queue, and publishes commands until they are confirmed. Commands that are
not confirmed when the connection ends are published again, as every producer should do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from rtmpump import config
from rtmpump.config import Broker
from rtmpump.errors import RtmpumpError, ServiceUnreachable
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.retry import keep_trying

_PREFETCH: Final = 500
_POLICY: Final = config.Retry(initial=0.1, max=1.0, healthy_after=1.0)
_TRIES: Final = 4
_JOIN_SECONDS: Final = 5.0


class _Letter(NamedTuple):
    queue: str
    body: bytes
    properties: Properties


class Line:
    """A consumer of `queue` that also publishes; it calls `arrived` on its own thread."""

    def __init__(
        self,
        name: str,
        broker: Broker,
        items: Iterable[topology.Item],
        queue: str,
        arrived: Callable[[Delivery], None],
    ) -> None:
        self._name = name
        self._broker = broker
        self._items = list(items)
        self._queue = queue
        self._arrived = arrived
        self._connection = BrokerConnection(name, broker, self)
        self._lifecycle = Lifecycle()
        self._stop = self._lifecycle.stop
        self._settled_start = threading.Event()
        self._lock = threading.Lock()
        self._outbox: dict[int, _Letter] = {}
        self._next_letter = 1
        self._written: dict[int, int] = {}
        self._next_tag = 1
        self._declared = False
        self._problem = ""
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"demo-{name}", daemon=True)

    def start(self, timeout: float = 20.0) -> None:
        """Return when all is declared and consumed.

        Raises:
            ServiceUnreachable: the broker is not reachable, or it refuses.
        """
        self._thread.start()
        self._settled_start.wait(timeout)
        if isinstance(self.error, RtmpumpError):
            raise self.error
        if not self._declared:
            why = str(self.error) if self.error else self._problem or "no answer in time"
            raise ServiceUnreachable("RabbitMQ", why)

    def stop(self) -> None:
        """End the connection and the thread; any thread may call it, also before the start."""
        self._stop.set()
        self._connection.call(self._connection.close)
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def publish(self, queue: str, body: bytes, properties: Properties) -> None:
        """Publish a message until the broker confirms it; any thread may call it."""
        with self._lock:
            self._outbox[self._next_letter] = _Letter(queue, body, properties)
            self._next_letter += 1
        self._connection.call(self._flush)

    # What the connection calls back.

    def ready(self) -> None:
        """Declare, then consume."""
        if self._stop.is_set():
            self._connection.close()
        else:
            self._connection.declare(self._items, passive=False, done=self._begin)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Forget messages that are confirmed; publish the refused ones again."""
        tags = [one for one in self._written if one <= tag] if multiple else [tag]
        with self._lock:
            for one in tags:
                number = self._written.pop(one, 0)
                if ok:
                    self._outbox.pop(number, None)
        if not ok:
            self._connection.later(_POLICY.initial, self._flush)

    def returned(self, properties: Properties) -> None:
        """Do nothing: no message here is mandatory."""

    def delivered(self, delivery: Delivery) -> None:
        """Pass a message on, then acknowledge it."""
        self._arrived(delivery)
        self._connection.ack(delivery.tag)

    def blocked(self, is_blocked: bool) -> None:
        """Do nothing: one message a second needs no brake."""

    def _run(self) -> None:
        try:
            keep_trying(
                self._session, policy=_POLICY, lifecycle=self._lifecycle, report=self._failed
            )
        except Exception as error:
            self.error = error
        finally:
            self._settled_start.set()

    def _session(self) -> None:
        self._written.clear()
        self._next_tag = 1
        connection = BrokerConnection(self._name, self._broker, self)
        self._connection = connection
        if not self._stop.is_set():
            connection.run()

    def _failed(self, retry: RetryDetails) -> None:
        self._problem = f"{retry.reason}: {retry.detail}"
        if not self._declared and retry.attempt >= _TRIES:
            self._settled_start.set()

    def _begin(self) -> None:
        self._connection.consume(self._queue, _PREFETCH)
        self._declared = True
        self._settled_start.set()
        self._flush()

    def _flush(self) -> None:
        if not self._declared or not self._connection.is_open:
            return
        with self._lock:
            under_way = set(self._written.values())
            due = [(n, letter) for n, letter in self._outbox.items() if n not in under_way]
        for number, (queue, body, properties) in due:
            self._connection.publish("", queue, body, properties, False)
            self._written[self._next_tag] = number
            self._next_tag += 1


def remove(broker: Broker, items: Iterable[topology.Item], timeout: float = 15.0) -> str:
    """Delete exchanges and queues, if they exist; return "" or what went wrong."""
    remover = _Remover(broker, list(items))
    until = time.monotonic() + timeout
    thread = threading.Thread(target=remover.run, name="demo-remover", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    return remover.problem if not thread.is_alive() else "no answer in time"


class _DeletingConnection(BrokerConnection):
    """A connection that can also delete; no pump ever needs that."""

    def delete(self, items: Sequence[topology.Item], done: Callable[[], None]) -> None:
        """Delete in the given order, then call `done`; a missing item counts as deleted."""
        channel = self._open_channel()
        left = len(items)

        def deleted(_frame: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                self._guarded(done)()

        for item in items:
            if isinstance(item, topology.Exchange):
                channel.exchange_delete(item.name, callback=deleted)
            elif isinstance(item, topology.Queue):
                channel.queue_delete(item.name, callback=deleted)


class _Remover:
    def __init__(self, broker: Broker, items: list[topology.Item]) -> None:
        self._items = [item for item in items if not isinstance(item, topology.Binding)]
        self._connection = _DeletingConnection("remover", broker, self)
        self.problem = ""

    def run(self) -> None:
        try:
            self._connection.run()
        except Exception as error:
            self.problem = str(error)

    def ready(self) -> None:
        self._connection.delete(self._items, self._connection.close)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Do nothing: nothing is published."""

    def returned(self, properties: Properties) -> None:
        """Do nothing: nothing is published."""

    def delivered(self, delivery: Delivery) -> None:
        """Do nothing: nothing is consumed."""

    def blocked(self, is_blocked: bool) -> None:
        """Do nothing: nothing is published."""
