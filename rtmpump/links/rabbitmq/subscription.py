"""One queue of events on a channel of its own: declared, bound, consumed, acknowledged in batches.

Laws:

- A queue that exists is used as it is: only where the broker refuses our declaration is it asked
  whether the queue is there. An exchange is declared only where a binding finds none: a user that
  may only consume has no right to declare it. One that must be there is asked for before the queue
  is made, so that no queue stays behind.
- Until `began` a refusal ends the subscription and nothing else. After that the end of its channel
  ends the connection, as that of any other channel does, and all begins anew. So does a broker that
  answers nothing for half a minute.
- `done` may be called from one other thread; all else happens on the thread of the connection.
- What is done is acknowledged with all that was done before, soon and in one write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from pika.channel import Channel

from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.declaring import declare
from rtmpump.links.rabbitmq.errors import cancelled
from rtmpump.links.rabbitmq.queue_depths import Depth, depth_of
from rtmpump.links.rabbitmq.topology import (
    NO_DELIVERY_LIMIT,
    Arguments,
    Binding,
    Exchange,
    Item,
    Queue,
)

ACKS_WITHIN: Final = 0.02
"""For how long an ack may wait for others (seconds)."""
_ACKS_AT_ONCE: Final = 50
_BEGINS_WITHIN: Final = 30.0
_KEPT_FOR_US: Final = 10_000
# RabbitMQ drops a message of a quorum queue after so many redeliveries, 20 by default since 4.0. It
# also counts those that only waited in the prefetch window of a consumer that was restarted.
_DURABLE: Final[Arguments] = {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}
_TEMPORARY: Final = {"x-max-length": _KEPT_FOR_US}
_NOT_OURS_TO_DECLARE: Final = ("access_refused", "precondition_failed")


class Wanted(NamedTuple):
    """Which events: those of `exchange` with a key that one of the topic `patterns` takes.

    `queue` is the durable queue that keeps them; "" is a temporary one of the connection, in which
    a new one pushes out the oldest at 10,000. At most `prefetch` are unacknowledged. With `passive`
    the exchange must be there.

    With `start` the queue is a stream, which must be there and is read from an offset, or from an
    interval before now, such as "3600s". By an interval some that are older come first: RabbitMQ
    finds a chunk of messages, not a message (https://www.rabbitmq.com/docs/streams#consuming).
    """

    exchange: str
    patterns: Sequence[str]
    queue: str
    prefetch: int
    passive: bool = False
    start: int | str | None = None


class Arrival(NamedTuple):
    """One message; `tag` is for `Subscription.done`."""

    subscription: Subscription
    tag: int
    redelivered: bool
    key: str
    properties: Properties
    body: bytes


class SubscriptionListener(Protocol):
    """What a subscription calls back, always on the thread of the connection."""

    def began(self, subscription: Subscription) -> None:
        """Learn that the queue has us as a consumer."""

    def refused(self, subscription: Subscription, error: LinkError) -> None:
        """Learn that the broker refuses it; it is over."""

    def arrived(self, arrival: Arrival) -> None:
        """Take a message."""


class SubscribingConnection(BrokerConnection):
    """A connection with any number of subscriptions."""

    def subscribe(self, wanted: Wanted, listener: SubscriptionListener) -> Subscription:
        """Begin a subscription; the listener learns the rest."""
        subscription = Subscription(self, wanted, listener)
        self.open_beside(subscription.opened, subscription.closed)
        self.later(_BEGINS_WITHIN, subscription.expect_begin)
        return subscription

    def count(self, queue: str, told: Callable[[Depth | LinkError], None]) -> None:
        """Ask how full a queue is; `told` gets that, or why the broker does not say it."""

        def opened(channel: Channel) -> None:
            def answered(frame: Any) -> None:
                channel.close()
                told(depth_of(frame.method))

            channel.queue_declare(queue, passive=True, callback=self.guarded(answered))

        self.open_beside(opened, told)

    def cancelled(self, queue: str) -> None:
        """End the run: the broker ended our consumer of this queue."""
        self._finish(cancelled(self._link, queue))

    def end_with(self, error: LinkError) -> None:
        """End the run with this error."""
        self._finish(error)

    def ack_upto(self, channel: Channel, tag: int) -> None:
        """Acknowledge all deliveries of a channel up to and with `tag`, if it is still open."""
        if channel.is_open:
            channel.basic_ack(tag, multiple=True)
            self._acked_at = time.monotonic()


class Subscription:
    """Consumes one queue; made by `SubscribingConnection.subscribe`."""

    def __init__(
        self, connection: SubscribingConnection, wanted: Wanted, listener: SubscriptionListener
    ) -> None:
        self.connection = connection
        self._wanted = wanted
        self._listener = listener
        self._channel: Channel | None = None
        self._queue = wanted.queue
        self._tag = ""
        self._refusal: LinkError | None = None
        self._is_passive = False
        self._is_declared = False
        self._exchange_needed = False
        self._has_begun = False
        self._is_over = False
        self._batch = max(1, min(_ACKS_AT_ONCE, wanted.prefetch // 4))
        # Written by the thread that calls `done`.
        self._done = 0
        self._asked = 0
        # Written by both: set before a timer is asked for, cleared before `_done` is read.
        self._has_timer = False
        # Written by the thread of the connection.
        self._acked = 0

    def done(self, tag: int, *, is_last: bool) -> None:
        """Acknowledge all up to `tag` soon; at once if it `is_last` of those that are here."""
        self._done = tag
        if is_last or tag - self._asked >= self._batch:
            self._asked = tag
            self.connection.call(self._acknowledge)
        elif not self._has_timer:
            self._has_timer = True
            self.connection.call(self._acknowledge_soon)

    def end(self, ended: Callable[[], None]) -> None:
        """Acknowledge what is done, give back the rest, then call `ended`."""
        self._acknowledge()
        self._is_over = True
        channel = self._channel
        if channel is None or not channel.is_open:
            ended()
            return
        channel.add_on_close_callback(self.connection.guarded(lambda *_: ended()))
        # RabbitMQ discards acks of a quorum queue that a close follows too soon.
        self.connection.later(2 * ACKS_WITHIN, partial(_close, channel, self._tag))

    def expect_begin(self) -> None:
        """End the connection if the broker has not begun to deliver, nor refused to."""
        if not (self._has_begun or self._is_over):
            detail = f"the broker has not answered for the queue {self._queue or 'of the events'}"
            self.connection.fail("timeout", detail)

    # What the broker answers, step by step.

    def opened(self, channel: Channel) -> None:
        """Declare, on the first channel or on the next one after a refusal."""
        self._channel = channel
        is_asked = self._wanted.passive and self._wanted.start is None
        if self._exchange_needed or is_asked:
            exchange = Exchange(self._wanted.exchange, "topic", {})
            self._declare(exchange, lambda _frame: self._declare_queue(), passive=is_asked)
        else:
            self._declare_queue()

    def closed(self, error: LinkError) -> None:
        """Try the other way after a refusal; if there is none, it is over."""
        if self._is_over:
            return
        if self._has_begun:
            self._is_over = True
            self.connection.end_with(error)
        elif self._can_try_otherwise(error.reason):
            self._refusal = error
            self._is_declared = False
            self.connection.open_beside(self.opened, self.closed)
        else:
            self._is_over = True
            self._listener.refused(self, self._refusal or error)

    def _can_try_otherwise(self, reason: str) -> bool:
        if self._is_declared and reason == "not_found" and not self._exchange_needed:
            self._exchange_needed = not self._wanted.passive
            return self._exchange_needed
        if self._is_declared or self._refusal or not self._wanted.queue:
            return False
        self._is_passive = reason in _NOT_OURS_TO_DECLARE
        return self._is_passive

    def _declare(self, item: Item, done: Callable[[Any], None], passive: bool = False) -> None:
        declare(self._open(), item, passive=passive, done=self.connection.guarded(done))

    def _declare_queue(self) -> None:
        if self._wanted.start is not None:
            self._is_declared = True
            self._consume()
            return
        if self._wanted.queue:
            queue = Queue(self._wanted.queue, _DURABLE)
            self._declare(queue, lambda _frame: self._bind(), self._is_passive)
            return
        self._open().queue_declare(
            "",
            exclusive=True,
            auto_delete=True,
            arguments=_TEMPORARY,
            callback=self.connection.guarded(self._named),
        )

    def _named(self, frame: Any) -> None:
        self._queue = frame.method.queue
        self._bind()

    def _bind(self) -> None:
        self._refusal, self._is_declared = None, True
        *others, last = self._wanted.patterns
        for pattern in others:
            self._declare(self._binding(pattern), lambda _frame: None)
        self._declare(self._binding(last), lambda _frame: self._consume())

    def _binding(self, pattern: str) -> Binding:
        return Binding(self._wanted.exchange, self._queue, "queue", pattern)

    def _open(self) -> Channel:
        if self._channel is None:
            raise RuntimeError("no channel is open")
        return self._channel

    def _consume(self) -> None:
        channel, guarded, start = self._open(), self.connection.guarded, self._wanted.start
        channel.add_on_cancel_callback(guarded(lambda _frame: self._cancelled()))
        channel.basic_qos(prefetch_count=self._wanted.prefetch)
        self._tag = channel.basic_consume(
            self._queue,
            guarded(self._arrived),
            exclusive=not self._wanted.queue,
            arguments=None if start is None else {"x-stream-offset": start},
            callback=guarded(lambda _frame: self._begin()),
        )

    def _begin(self) -> None:
        self._has_begun = True
        self._listener.began(self)

    def _cancelled(self) -> None:
        if not self._is_over:
            self._is_over = True
            self.connection.cancelled(self._queue)

    def _arrived(self, _channel: Any, method: Any, properties: Properties, body: bytes) -> None:
        if not self._is_over:
            tag, key = method.delivery_tag, method.routing_key
            arrival = Arrival(self, tag, method.redelivered, key, properties, body)
            self._listener.arrived(arrival)

    def _acknowledge_soon(self) -> None:
        self.connection.later(ACKS_WITHIN, self._acknowledge)

    def _acknowledge(self) -> None:
        self._has_timer = False
        tag, channel = self._done, self._channel
        if not self._is_over and channel is not None and tag > self._acked:
            self._acked = tag
            self.connection.ack_upto(channel, tag)


def _close(channel: Channel, tag: str) -> None:
    """Close a channel with its consumer, so that all goes back at once and so in its order.

    pika would cancel the consumer first, and reject one by one what is still on its way.
    """
    if channel.is_open:
        # Private to pika, and not in its types; a test holds that the order stays.
        channel._cancelled.add(tag)  # type: ignore[attr-defined]
        channel.close()
