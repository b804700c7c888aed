"""One AMQP connection with one channel in confirm mode, on the thread that calls `run`.

Laws:

- pika's exceptions are translated here; no file above this one sees them.
- Only `call` may be used from another thread. It runs a function on the thread of `run`.
- A channel that the broker closes ends the whole run, with the reason. Both pumps then begin again
  from what is certain (the spool, the queue). That is the path of every restart.
- An exception in one of our callbacks is a bug of ours. `run` raises it as it is; it is never taken
  for a broken connection.

What must not live here: what is published, when, and what a confirm means.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import pika
from pika import exceptions as amqp
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.spec import Basic
from pika.spec import Queue as AmqpQueue

from rtmpump.config import Broker
from rtmpump.core.routes import Route
from rtmpump.errors import LinkError
from rtmpump.links.dial import Deadline, dial
from rtmpump.links.rabbitmq import refusals as words
from rtmpump.links.rabbitmq.batch_publish import BatchPublisher
from rtmpump.links.rabbitmq.declaring import (
    GroupDeclaration,
    Groups,
    Refusal,
    declare,
    open_channel,
)
from rtmpump.links.rabbitmq.errors import cancelled, closed_by_broker, translated
from rtmpump.links.rabbitmq.failover import GivenUp, serve_first_of
from rtmpump.links.rabbitmq.large_bodies import drop_large_bodies
from rtmpump.links.rabbitmq.listener import ConnectionListener, delivery
from rtmpump.links.rabbitmq.opening import Answer, HandshakeFailed, Opening, close_socket
from rtmpump.links.rabbitmq.queue_depths import DepthListener, QueueDepths
from rtmpump.links.rabbitmq.signs_of_life import SignsOfLife
from rtmpump.links.rabbitmq.tolerant_reading import TolerantConnection
from rtmpump.links.rabbitmq.topology import Binding, Item
from rtmpump.links.rabbitmq.urls import read_again, urls_of

Properties = pika.BasicProperties

CONNECT_TIMEOUT: Final = 15.0
"""For how long one node may take until its channel is open (seconds), whatever it does."""
FRAME_MAX: Final = 131_072
"""The largest frame where neither side was configured otherwise, in bytes."""
REPLIES: Final = "amq.rabbitmq.reply-to"
"""The `reply_to` of a publish whose answers `consume_replies` gets."""
_CLOSE_TIMEOUT: Final = 3.0
_TICK: Final = 0.5
# RabbitMQ takes 32 acks for a quorum queue at once and keeps the next ones until the queue has
# these. A close that comes right behind them discards the kept ones: with 100 acks 67 were lost.
_ACKS_ARRIVE: Final = 1.0


class BrokerConnection:
    """A connection to the first of the nodes that answers; made for one `run`."""

    def __init__(
        self,
        link: str,
        broker: Broker,
        listener: ConnectionListener,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Take `progress`, which is called now and then while a connection is being made."""
        self._link = link
        self._broker = broker
        self._listener = listener
        self._progress = progress
        self._lock = threading.Lock()
        self._loop: IOLoop | None = None
        self._early: list[Callable[[], None]] = []
        self._ended = False
        self._connection: TolerantConnection | None = None
        self._channel: Channel | None = None
        self._fast: dict[tuple[str, bool], BatchPublisher] = {}
        self._signs = SignsOfLife()
        self._depths: QueueDepths | None = None
        self._closing = False
        self._open_by = Deadline(0.0)
        self._not_opened: HandshakeFailed | None = None
        self._end: LinkError | None = None
        self._crash: BaseException | None = None
        self._ready_at: float | None = None
        self._acked_at = 0.0
        self.node = self.vhost = ""
        self.publish_refused = False
        """Whether RabbitMQ closed the channel that publishes because the user may not publish."""
        self.consumers: dict[str, int] = {}
        """How many consumers each queue had when it was declared, by its name."""

    def run(self) -> None:
        """Connect and serve until `close` is called.

        Raises:
            LinkError: the link ended; its `held` says for how long it had been up.
        """
        try:
            urls = urls_of(self._broker)
            refusal = serve_first_of(urls, self._broker, self._link, self._try)
            if refusal is not None and refusal.reason in words.REFUSED:
                read_again(self._broker)
                # Another connection may have read the new ones before us.
                if (newest := urls_of(self._broker)) != urls:
                    refusal = serve_first_of(newest, self._broker, self._link, self._try)
            if refusal is not None:
                self._finish(refusal)
        finally:
            with self._lock:
                self._ended = True
        if self._crash is not None:
            raise self._crash
        if self._end is not None and not self._closing:
            self._end.held = 0.0 if self._ready_at is None else time.monotonic() - self._ready_at
            raise self._end

    def _try(self, node: pika.URLParameters) -> None:
        """Connect to one node, and serve until the connection ends; raise as `failover` says."""
        self._open_by = deadline = Deadline.after(CONNECT_TIMEOUT)
        sock = dial(node.host, node.port, deadline, self._tick)
        with ExitStack() as undo:
            undo.callback(sock.close)
            loop = IOLoop()
            undo.callback(loop.close)
            opening = Opening(loop, node, self._guarded(self._answered))
            opening.begin(sock, deadline)
            undo.callback(opening.abandon)
            with self._lock:
                self._loop = loop
                for function in self._early:
                    loop.add_callback_threadsafe(self._guarded(function))
                self._early = []
            self._tick_in_loop()
            self._run_loop(loop)
        if self._not_opened is not None:
            failed, self._not_opened = self._not_opened, None
            raise failed

    def _run_loop(self, loop: IOLoop) -> None:
        try:
            loop.start()
        except amqp.AMQPError as error:
            self._finish(translated(self._link, error))
        finally:
            with self._lock:
                self._loop = None
            if self._connection is not None and not self._connection.is_closed:
                close_socket(self._connection)

    def _tick(self) -> None:
        """Take in what happened while no loop runs yet; raise GivenUp if that is the end."""
        self._progress()
        with self._lock:
            early, self._early = self._early, []
        for function in early:
            self._guarded(function)()
        if self._closing or self._end is not None or self._crash is not None:
            raise GivenUp

    def _tick_in_loop(self) -> None:
        """Report progress until the channel is open; a deadline holds that it ends."""
        self._progress()
        if self._ready_at is None:
            self.later(_TICK, self._tick_in_loop)

    def call(self, function: Callable[[], None]) -> None:
        """Call `function` soon on the thread of `run`; may be used from any thread.

        Before the run it is kept, once, until the loop starts: a stop must also end a connection
        that is still being made. After the run nothing happens.
        """
        with self._lock:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(self._guarded(function))
            elif not self._ended and function not in self._early:
                self._early.append(function)

    def later(self, delay: float, function: Callable[[], None]) -> Callable[[], None]:
        """Call `function` in `delay` seconds; return a function that cancels this."""
        handle = (loop := self._running()).call_later(delay, self._guarded(function))
        return lambda: loop.remove_timeout(handle)

    def close(self) -> None:
        """End the run in good order, within three seconds; a second call does nothing.

        What is not acknowledged goes back to its queue, all at once and so in its order. Only on
        the thread of `run`.
        """
        if self._closing or self._end is not None:
            return
        self._closing = True
        if self._connection is None:
            # pika can't abort a handshake: one of its assertions fails.
            self._stop_loop()
            return
        self._running().call_later(_CLOSE_TIMEOUT, self._stop_loop)
        wait = self._acked_at + _ACKS_ARRIVE - time.monotonic()
        if wait > 0:
            self.later(wait, self._close_now)
        else:
            self._close_now()

    def _close_now(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.end()

    def fail(self, reason: str, detail: str, *, at_once: bool = False) -> None:
        """End the run with this reason, as if the connection had broken; on the thread of `run`."""
        self._finish(LinkError(self._link, reason, detail, at_once=at_once))

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, mandatory: bool
    ) -> None:
        """Publish one message; its delivery tag is one higher than that of the one before."""
        self._open_channel().basic_publish(exchange, key, body, properties, mandatory)

    def publish_events(
        self, exchange: str, events: Iterable[tuple[Route, bytes]], mandatory: bool
    ) -> None:
        """Publish events (each with its body) in order, as `publish` would, in one write."""
        fast = self._fast.get((exchange, mandatory))
        if fast is None:
            fast = BatchPublisher(self._open_channel(), exchange, mandatory)
            self._fast[exchange, mandatory] = fast
        fast.publish(events)

    def declare(self, items: Iterable[Item], *, passive: bool, done: Callable[[], None]) -> None:
        """Declare all in order, then call `done`; a refusal of the broker ends the run.

        With `passive` it only asks whether exchanges and queues exist; AMQP can't ask for bindings.
        """
        channel = self._open_channel()
        asked = [item for item in items if not (passive and isinstance(item, Binding))]
        for item in asked[:-1]:
            declare(channel, item, passive=passive, done=self._guarded(self._declared))
        if asked:
            last_done = self._guarded(partial(self._declared, done=done))
            declare(channel, asked[-1], passive=passive, done=last_done)
        else:
            done()

    def _declared(self, frame: Any, done: Callable[[], None] | None = None) -> None:
        self._signs.answered(frame)
        if isinstance(frame.method, AmqpQueue.DeclareOk):
            self.consumers[frame.method.queue] = frame.method.consumer_count
        if done is not None:
            done()

    def declare_groups(self, groups: Groups, done: Callable[[list[Refusal]], None]) -> None:
        """Declare all, then call `done` with what the broker refused; that ends nothing."""
        GroupDeclaration(
            groups,
            done,
            open_channel=self.open_beside,
            guarded=self._guarded,
            answered=self._signs.answered,
            end=self._finish,
        ).begin()

    def open_beside(
        self, opened: Callable[[Channel], None], closed: Callable[[LinkError], None]
    ) -> None:
        """Open one more channel; if the broker closes it, only `closed` is called."""
        open_channel(self._connection, self._link, self._guarded, opened, closed)

    def consume(
        self,
        queue: str,
        prefetch: int,
        body_max: int | None = None,
        began: Callable[[], None] = lambda: None,
    ) -> None:
        """Consume with manual acks; a cancel by the broker ends the run.

        A body of more than `body_max` bytes is dropped while it arrives. `began` is called when the
        queue has us as a consumer.
        """
        channel = self._open_channel()
        if body_max is not None:
            drop_large_bodies(channel, body_max)
        channel.add_on_cancel_callback(
            self._guarded(lambda _frame: self._finish(cancelled(self._link, queue)))
        )
        channel.basic_qos(prefetch_count=prefetch)
        self._consume_as(queue, "", self._delivered, began)

    def consume_beside(
        self, queue: str, given: Callable[[], None], began: Callable[[], None]
    ) -> Callable[[], None]:
        """Be a second consumer, with `given` for each message; return a function that ends it."""
        tag = self._consume_as(queue, ".second", lambda *_: given(), began)
        return lambda: self._open_channel().basic_cancel(tag)

    def consume_replies(self) -> None:
        """Have delivered, without acks, what comes to the direct reply address of our publishes."""
        self._open_channel().basic_consume(REPLIES, self._guarded(self._delivered), auto_ack=True)

    def after_deliveries(self, prefetch: int, done: Callable[[], None]) -> None:
        """Call `done` when all that was on its way to our consumers has been delivered."""
        self._open_channel().basic_qos(0, prefetch, callback=self._guarded(lambda _frame: done()))

    def _consume_as(
        self, queue: str, suffix: str, given: Callable[..., None], began: Callable[[], None]
    ) -> str:
        tag, began_at = f"rtmpump.{queue}{suffix}", self._guarded(lambda _frame: began())
        channel, given_to = self._open_channel(), self._guarded(given)
        return channel.basic_consume(queue, given_to, consumer_tag=tag, callback=began_at)

    def put_back(self, tag: int) -> None:
        """Give one delivery back to its queue, behind those that were given back before."""
        self._open_channel().basic_nack(tag, requeue=True)

    def refuse(self, tag: int, *, requeue: bool = False) -> None:
        """Have RabbitMQ dead-letter one delivery, or deliver it again and count that."""
        self._open_channel().basic_reject(tag, requeue)

    def ask_depths(self, queues: Sequence[str], told: DepthListener) -> None:
        """Ask how full queues are, and call `told` for each; this disturbs nothing else."""
        if self._depths is None and self._connection is not None:
            self._depths = QueueDepths(self._connection, self._guarded, told)
        if self._depths is not None:
            self._depths.ask(queues)

    def ack(self, tag: int) -> None:
        """Acknowledge one delivery."""
        self._open_channel().basic_ack(tag)
        self._acked_at = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether publishes and acks can be written now."""
        return self._channel is not None and self._channel.is_open

    @property
    def frame_max(self) -> int:
        """The size in bytes of the largest frame that this broker takes."""
        return FRAME_MAX if self._connection is None else int(self._connection.params.frame_max)

    @property
    def received(self) -> int:
        """How many bytes the broker has sent on this connection."""
        return int(getattr(self._connection, "bytes_received", 0))

    def shows_life(self) -> bool:
        """Return whether bytes that wait have left since the last call, or a declare was done."""
        return self._signs.seen(self._connection)

    def _running(self) -> IOLoop:
        if self._loop is None:
            raise RuntimeError("no connection runs")
        return self._loop

    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise RuntimeError("no channel is open")
        return self._channel

    def _guarded(self, function: Callable[..., None]) -> Callable[..., None]:
        """Keep a callback's exception from pika, which would take it for a broken connection."""

        def guard(*args: Any) -> None:
            if self._crash is not None:
                return
            try:
                function(*args)
            except (amqp.ChannelWrongStateError, amqp.ConnectionWrongStateError) as error:
                # The channel closed first; the callback that knows the reason comes next.
                self._finish(LinkError(self._link, "closed", str(error), at_once=True))
            except LinkError as error:
                self._finish(error)
            except BaseException as error:
                self._crash = error
                self._stop_loop()

        return guard

    guarded = _guarded

    def _finish(self, error: LinkError) -> None:
        if self._end is None:
            self._end = error
        self._stop_loop()

    def _stop_loop(self) -> None:
        if self._loop is not None:
            self._loop.stop()

    def _answered(self, answer: Answer) -> None:
        if isinstance(answer, HandshakeFailed):
            self._not_opened = answer
            self._stop_loop()
            return
        self._connection, at = answer, answer.params
        self.node, self.vhost = f"{at.host}:{at.port}", str(at.virtual_host)
        answer.add_on_close_callback(self._guarded(self._connection_closed))
        blocked = self._listener.blocked
        answer.add_on_connection_blocked_callback(self._guarded(lambda *_: blocked(True)))
        answer.add_on_connection_unblocked_callback(self._guarded(lambda *_: blocked(False)))
        # pika's own deadline ends here, but a broker can also fall silent from now on.
        self.later(max(0.0, self._open_by.at - time.monotonic()), self._expect_channel)
        answer.channel(on_open_callback=self._guarded(self._channel_open))

    def _expect_channel(self) -> None:
        if self._ready_at is None:
            self.fail("timeout", "the broker opened no channel in time")

    def _channel_open(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._guarded(self._channel_closed))
        channel.add_on_return_callback(
            self._guarded(lambda _c, _m, properties, _b: self._listener.returned(properties))
        )
        channel.confirm_delivery(self._guarded(self._settled), self._guarded(self._confirming))

    def _confirming(self, _frame: Any) -> None:
        self._ready_at = time.monotonic()
        self._listener.ready()

    def _settled(self, frame: Any) -> None:
        method = frame.method
        self._listener.settled(method.delivery_tag, method.multiple, isinstance(method, Basic.Ack))

    def _delivered(self, _channel: Any, method: Any, properties: Properties, body: bytes) -> None:
        if not self._closing:
            self._listener.delivered(delivery(method, properties, body))

    def _channel_closed(self, _channel: Channel, error: BaseException) -> None:
        if not self._closing and isinstance(error, amqp.ChannelClosedByBroker):
            self.publish_refused = error.reply_code == 403
            self._finish(closed_by_broker(self._link, error.reply_code, error.reply_text))

    def _connection_closed(self, _connection: Any, error: BaseException) -> None:
        self._finish(translated(self._link, error))
