"""A short-lived AMQP client for commands of the program: `tail`, `send`, `check`.

Laws:

- The connection runs in a thread of its own, so that a person's Ctrl-C meets only the main thread,
  and a terminal that is held does not stop the heartbeats.
- The main thread asks one thing at a time and waits for it; what ends the connection is raised
  there, as the LinkError that it is.
- Deliveries are bounded: by the prefetch here, by the length of the queue in the broker.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from rtmpump.config import Broker
from rtmpump.errors import LinkError
from rtmpump.links.rabbit import Delivery, Properties, Rabbit
from rtmpump.links.topology import Item

_PREFETCH: Final = 200
_KEPT_FOR_US: Final = 10_000
_JOIN: Final = 5.0
_REPLY_TO: Final = "amq.rabbitmq.reply-to"


class Received(NamedTuple):
    """One message; `tag` is for `Client.ack`."""

    tag: int
    routing_key: str
    properties: Properties
    body: bytes


class Unanswered(Exception):
    """The broker did not answer in time; `blocked` says that it takes no publishes just now."""

    def __init__(self, blocked: bool) -> None:
        super().__init__(blocked)
        self.blocked = blocked


Fate: TypeAlias = Literal["taken", "refused", "unroutable"]


class Client:
    """One connection, used by one thread as a context manager; `name` is told to the broker."""

    def __init__(self, name: str, broker: Broker) -> None:
        self._name = name
        self._rabbit = _ClientRabbit(name, broker, self)
        self._answers: queue.Queue[str] = queue.Queue()
        self._received: queue.Queue[Received | None] = queue.Queue()
        self._error: BaseException | None = None
        self._blocked = False
        self._was_returned = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Client:
        """Connect; raises LinkError where no node can be reached."""
        self._thread.start()
        self._answer(None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rabbit.call(self._rabbit.close)
        self._thread.join(_JOIN)

    @property
    def node(self) -> str:
        """The node that answered, as `host:port`."""
        return self._rabbit.node

    @property
    def vhost(self) -> str:
        """The virtual host that we are in."""
        return self._rabbit.vhost

    def listen(self, exchange: str, patterns: Sequence[str]) -> None:
        """Have a queue of our own bound to `exchange` with each pattern, and consume from it.

        What comes while it already holds 10,000 messages pushes out the oldest. Raises LinkError,
        with the reason `not_found` where the exchange is not there.
        """
        self._rabbit.call(lambda: self._rabbit.listen(exchange, patterns, self._done))
        self._answer(None)

    def expect_replies(self) -> None:
        """Consume what is sent to `request` messages (https://www.rabbitmq.com/docs/direct-reply-to)."""
        self._rabbit.call(lambda: self._rabbit.expect_replies(self._done))
        self._answer(None)

    def passive(self, item: Item) -> None:
        """Ask whether an exchange or queue is there; LinkError `not_found` ends the client."""
        self._rabbit.call(lambda: self._rabbit.declare([item], passive=True, done=self._done))
        self._answer(None)

    def publish(
        self, to_queue: str, body: bytes, correlation_id: str, *, timeout: float, reply: bool
    ) -> Fate:
        """Publish a persistent, mandatory message to a queue and wait for the broker's confirm.

        With `reply` it asks for an answer, which `receive` gives. Raises Unanswered.
        """
        properties = Properties(
            content_type="application/json",
            delivery_mode=2,
            correlation_id=correlation_id,
            message_id=uuid.uuid4().hex,
            reply_to=_REPLY_TO if reply else None,
            timestamp=int(time.time()),
            app_id="rtmpump",
        )
        self._was_returned = False
        self._rabbit.call(lambda: self._rabbit.publish("", to_queue, body, properties, True))
        if self._answer(timeout) == "nack":
            return "refused"
        return "unroutable" if self._was_returned else "taken"

    def receive(self, timeout: float | None = None) -> Received | None:
        """Wait for the next message; None when `timeout` seconds passed. Raises LinkError."""
        try:
            received = self._received.get(timeout=timeout)
        except queue.Empty:
            return None
        if received is None:
            self._received.put(None)
            self._raise()
        return received

    def ack(self, tag: int) -> None:
        """Acknowledge all that came up to and with `tag`."""
        self._rabbit.call(lambda: self._rabbit.ack_upto(tag))

    # What the connection tells us, on its own thread.

    def ready(self) -> None:
        """The channel is open."""
        self._done()

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """The broker confirmed or refused the one message that is under way."""
        self._answers.put("ack" if ok else "nack")

    def returned(self, properties: Properties) -> None:
        """There is no such queue; the ack comes after this."""
        self._was_returned = True

    def delivered(self, delivery: Delivery) -> None:
        """Not used: our consumers want the routing key as well."""

    def received(self, message: Received) -> None:
        """A message for our consumer."""
        self._received.put(message)

    def blocked(self, is_blocked: bool) -> None:
        """The broker has an alarm, or is well again."""
        self._blocked = is_blocked

    def _run(self) -> None:
        try:
            self._rabbit.run()
        except BaseException as error:
            self._error = error
        self._answers.put("end")
        self._received.put(None)

    def _done(self) -> None:
        self._answers.put("done")

    def _answer(self, timeout: float | None) -> str:
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise Unanswered(self._blocked) from None
        if answer == "end":
            self._answers.put(answer)
            self._raise()
        return answer

    def _raise(self) -> None:
        raise self._error or LinkError(self._name, "closed", "the connection was closed")


class _ClientRabbit(Rabbit):
    """What only these clients need of a channel: queues of one's own, and direct replies."""

    def __init__(self, name: str, broker: Broker, client: Client) -> None:
        super().__init__(name, broker, client)
        self._client = client

    @property
    def vhost(self) -> str:
        return str(self._connection.params.virtual_host) if self._connection else ""

    def listen(self, exchange: str, patterns: Sequence[str], done: Callable[[], None]) -> None:
        channel = self._open_channel()

        def declared(frame: Any) -> None:
            name = frame.method.queue
            for pattern in patterns:
                channel.queue_bind(name, exchange, pattern, callback=lambda _frame: None)
            channel.basic_qos(prefetch_count=_PREFETCH, callback=lambda _frame: None)
            self._consume(name, False, done)

        channel.queue_declare(
            "",
            exclusive=True,
            auto_delete=True,
            arguments={"x-max-length": _KEPT_FOR_US},
            callback=self._guarded(declared),
        )

    def expect_replies(self, done: Callable[[], None]) -> None:
        self._consume(_REPLY_TO, True, done)

    def ack_upto(self, tag: int) -> None:
        self._open_channel().basic_ack(tag, multiple=True)

    def _consume(self, name: str, auto_ack: bool, done: Callable[[], None]) -> None:
        channel = self._open_channel()
        cancelled = self._guarded(lambda _frame: self.fail("cancelled", f"{name} went away"))
        channel.add_on_cancel_callback(cancelled)
        channel.basic_consume(
            name,
            self._guarded(self._message),
            auto_ack=auto_ack,
            exclusive=not auto_ack,
            callback=self._guarded(lambda _frame: done()),
        )

    def _message(self, _channel: Any, method: Any, properties: Properties, body: bytes) -> None:
        received = Received(method.delivery_tag, method.routing_key, properties, body)
        self._client.received(received)
