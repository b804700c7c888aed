"""An AMQP client for commands of the program that look at queues: `check` and `dead`.

Laws:

- The connection runs in a thread of its own. So Ctrl-C interrupts only the main thread, and a
  stopped terminal does not stop the heartbeats.
- The main thread asks one thing at a time and waits for the answer. The error that ends the
  connection is raised there, as a LinkError.
- Deliveries are bounded by the prefetch.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

from rtmpump.config import Broker
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.rabbitmq.queue_depths import Depth, depth_of
from rtmpump.links.rabbitmq.topology import Item

_JOIN: Final = 5.0


PublishOutcome: TypeAlias = Literal["taken", "refused", "unroutable"]


class _Done(NamedTuple):
    """The broker did what was asked."""


class _Settled(NamedTuple):
    """The broker's ack or nack for the publish `tag`, or for all up to it."""

    tag: int
    multiple: bool
    ok: bool


_Answer: TypeAlias = Depth | _Done | _Settled
_Kind = TypeVar("_Kind", Depth, _Done, _Settled)


class BrokerClient:
    """One connection, used by one thread as a context manager; the broker shows its `name`."""

    def __init__(self, name: str, broker: Broker) -> None:
        self._name = name
        self._connection = _ClientConnection(name, broker, self)
        self._answers: queue.Queue[_Answer | None] = queue.Queue()
        self._received: queue.Queue[Delivery | None] = queue.Queue()
        self._error: BaseException | None = None
        self._was_returned = False
        self._published = 0
        self._takes = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> BrokerClient:
        """Connect.

        Raises:
            LinkError: no node could be reached.
        """
        self._thread.start()
        self._answer(_Done)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.call(self._connection.close)
        self._thread.join(_JOIN)

    @property
    def node(self) -> str:
        """The node that answered, as `host:port`."""
        return self._connection.node

    @property
    def vhost(self) -> str:
        """The virtual host of the connection."""
        return self._connection.vhost

    @property
    def where(self) -> str:
        """The node that answered and the virtual host, in words."""
        return f"{self.node}, vhost {self.vhost}"

    def passive(self, item: Item) -> None:
        """Check that an exchange or queue exists.

        Raises:
            LinkError: with the reason `not_found`, it does not exist. The client has ended.
        """
        self._connection.call(
            lambda: self._connection.declare([item], passive=True, done=self._done)
        )
        self._answer(_Done)

    def publish_all(
        self, to_queue: str, messages: Sequence[tuple[Properties, bytes]], *, timeout: float
    ) -> list[PublishOutcome | None]:
        """Publish mandatory messages to one queue and wait for the confirm of each.

        Returns:
            One outcome for each message; None: no confirm came for `timeout` seconds. If a message
            was returned, all are "unroutable": the queue does not exist, and an ack says nothing.
        """
        first = self._published + 1
        self._published += len(messages)
        self._was_returned = False
        self._connection.call(lambda: self._connection.publish_each(to_queue, messages))
        outcomes: list[PublishOutcome | None] = [None] * len(messages)
        waiting = set(range(first, self._published + 1))
        while waiting:
            try:
                settled = self._answer(_Settled, timeout)
            except queue.Empty:
                break
            tags = range(first, settled.tag + 1) if settled.multiple else [settled.tag]
            for tag in waiting.intersection(tags):
                waiting.discard(tag)
                outcomes[tag - first] = "taken" if settled.ok else "refused"
        return ["unroutable"] * len(messages) if self._was_returned else outcomes

    def count(self, queue: str) -> Depth:
        """Ask a queue how much is in it.

        Raises:
            LinkError: with the reason `not_found`, it does not exist. The client has ended.
        """
        self._connection.call(lambda: self._connection.count(queue, self._answers.put))
        return self._answer(Depth)

    def take(self, queue: str, limit: int, quiet: float) -> list[Delivery]:
        """Return up to `limit` messages from the head of a queue.

        There are fewer if none comes for `quiet` seconds. The messages, and those of earlier calls,
        are hidden from other consumers until `ack_each`, `give_back` or the end of the client.
        """
        self._takes += 1
        tag = f"rtmpump.{self._name}.{self._takes:08}"
        self._connection.call(lambda: self._connection.take(queue, tag, limit, self._done))
        self._answer(_Done)
        taken: list[Delivery] = []
        while len(taken) < limit and (received := self.receive(quiet)) is not None:
            taken.append(received)
        self._connection.call(lambda: self._connection.take_no_more(tag, self._done))
        self._answer(_Done)
        return taken

    def receive(self, timeout: float | None = None) -> Delivery | None:
        """Wait for the next message; return None after `timeout` seconds.

        Raises:
            LinkError: the connection ended.
        """
        try:
            received = self._received.get(timeout=timeout)
        except queue.Empty:
            return None
        if received is None:
            self._received.put(None)
            self._raise()
        return received

    def ack_each(self, tags: Sequence[int]) -> None:
        """Acknowledge these messages."""
        self._connection.call(lambda: self._connection.ack_each(tags))

    def give_back(self, tag: int) -> None:
        """Put back into the queue all unacknowledged messages up to and with `tag`."""
        self._connection.call(lambda: self._connection.give_back(tag))

    # What the connection calls, on its own thread.

    def ready(self) -> None:
        """Take in that the channel is open."""
        self._done()

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Take the broker's ack or nack."""
        self._answers.put(_Settled(tag, multiple, ok))

    def returned(self, properties: Properties) -> None:
        """Note that the queue does not exist; the ack comes after this."""
        self._was_returned = True

    def delivered(self, delivery: Delivery) -> None:
        """Take a message for our consumer."""
        self._received.put(delivery)

    def blocked(self, is_blocked: bool) -> None:
        """Do nothing: a confirm that does not come is missed in time."""

    def _run(self) -> None:
        try:
            self._connection.run()
        except BaseException as error:
            self._error = error
        self._answers.put(None)
        self._received.put(None)

    def _done(self) -> None:
        self._answers.put(_Done())

    def _answer(self, kind: type[_Kind], timeout: float | None = None) -> _Kind:
        """Wait for an answer of this kind; drop answers to earlier questions that timed out.

        Raises:
            queue.Empty: none came within `timeout` seconds.
        """
        while True:
            answer = self._answers.get(timeout=timeout)
            if answer is None:
                self._answers.put(None)
                self._raise()
            if isinstance(answer, kind):
                return answer

    def _raise(self) -> NoReturn:
        raise self._error or LinkError(self._name, "closed", "the connection was closed")


class _ClientConnection(BrokerConnection):
    """What only these clients need: counting, taking and giving back."""

    def publish_each(self, queue: str, messages: Sequence[tuple[Properties, bytes]]) -> None:
        for properties, body in messages:
            self.publish("", queue, body, properties, True)

    def count(self, queue: str, answered: Callable[[Depth], None]) -> None:
        def counted(frame: Any) -> None:
            answered(depth_of(frame.method))

        self._open_channel().queue_declare(queue, passive=True, callback=self._guarded(counted))

    def take(self, queue: str, tag: str, limit: int, done: Callable[[], None]) -> None:
        channel = self._open_channel()
        channel.basic_qos(prefetch_count=limit, callback=lambda _frame: None)
        channel.basic_consume(
            queue,
            self._guarded(self._delivered),
            consumer_tag=tag,
            callback=self._guarded(lambda _frame: done()),
        )

    def take_no_more(self, tag: str, done: Callable[[], None]) -> None:
        self._open_channel().basic_cancel(tag, self._guarded(lambda _frame: done()))

    def ack_each(self, tags: Sequence[int]) -> None:
        for tag in tags:
            self.ack(tag)

    def give_back(self, tag: int) -> None:
        self._open_channel().basic_nack(tag, multiple=True, requeue=True)
