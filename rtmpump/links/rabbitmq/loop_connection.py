"""AMQP connections on an asyncio loop, for a program that serves many sockets on one thread.

Laws:

- All of it runs on the thread of the loop. No callback of pika leaves this file.
- What ends a connection or a channel is a LinkError: for whoever waits, and in `ended`.
- A channel that the broker closes ends alone; whoever opened it opens another one.
- A message that meets a bug of ours is logged and acknowledged: delivered again, it would meet it
  again, and in a callback of pika it would end the connection.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import pika
from pika import exceptions as amqp
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils import connection_workflow as workflow
from pika.channel import MAX_CHANNELS, Channel

from rtmpump import log
from rtmpump.config import Broker
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq import refusals as words
from rtmpump.links.rabbitmq.client import PublishOutcome
from rtmpump.links.rabbitmq.connection import REPLIES
from rtmpump.links.rabbitmq.errors import cancelled, translated
from rtmpump.links.rabbitmq.listener import Delivery, Properties, delivery
from rtmpump.links.rabbitmq.nodes import parameters
from rtmpump.links.rabbitmq.tolerant_reading import TolerantConnection
from rtmpump.links.rabbitmq.topology import Arguments
from rtmpump.links.rabbitmq.urls import read_again, urls_of

Deliver: TypeAlias = Callable[[str, Delivery], None]
"""Takes the routing key of a message, and the message."""
_CLOSE_TIMEOUT: Final = 2.0
_AMQP_HEARD: Final = b"\x01\x00\x00"
_Phase: Final[Any] = workflow.AMQPConnectorPhaseErrorBase

_log = log.get("gateway")


class _Connection(AsyncioConnection):
    _read_frame = TolerantConnection._read_frame


class LoopConnection:
    """One connection; made by `open`. `where` names the node."""

    def __init__(self, link: str, where: str, connection: AsyncioConnection) -> None:
        self.where = where
        self.ended: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()
        """Has the reason when the connection is over."""
        self._link = link
        self._connection = connection
        self._channels: set[LoopChannel] = set()
        self._closing = False
        self._opened_at = asyncio.get_running_loop().time()
        # Not `add_on_close_callback` alone: pika calls it once for each that was added.
        connection.add_on_close_callback(self._closed)

    @classmethod
    async def open(cls, link: str, broker: Broker) -> LoopConnection:
        """Connect to the first node that answers.

        Raises:
            LinkError: none did.
        """
        refusals: list[tuple[words.BrokerAddress, LinkError]] = []
        for url in urls_of(broker):
            node = parameters(url, broker, link)
            peer = words.peer_of(node)
            try:
                connection = await _opened(link, node, peer)
            except LinkError as error:
                refusals.append((peer, error))
            else:
                return cls(link, f"{peer.host}:{peer.port}", connection)
        refusal = words.none_opened(refusals)
        if refusal.reason in words.REFUSED:
            read_again(broker)
        raise refusal

    @property
    def channels_max(self) -> int:
        """How many channels RabbitMQ and our URL allow it."""
        return int(self._connection.params.channel_max or MAX_CHANNELS)

    async def channel(self) -> LoopChannel:
        """Open a channel.

        Raises:
            LinkError: the connection ended, or it may have no more.
        """
        future: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._require_open()

        def opened(channel: Channel) -> None:
            if future.cancelled():
                channel.close()
            _resolve(future, channel)

        try:
            self._connection.channel(on_open_callback=opened)
        except amqp.NoFreeChannels as error:
            told = "RabbitMQ allows this connection no more channels; raise its channel_max"
            raise LinkError(self._link, "not_allowed", told) from error
        either: list[asyncio.Future[Any]] = [future, self.ended]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not future.cancel():
                future.result().close()
            raise
        self._require_open()
        channel = LoopChannel(self._link, future.result())
        self._channels.add(channel)
        channel.ended.add_done_callback(lambda _: self._channels.discard(channel))
        return channel

    async def close(self) -> None:
        """End it in good order, within two seconds; it may be over already."""
        self._closing = True
        if self._connection.is_open:
            self._connection.close()
        await asyncio.wait([self.ended], timeout=_CLOSE_TIMEOUT)

    def _require_open(self) -> None:
        if self.ended.done():
            raise self.ended.result()
        if not self._connection.is_open:
            raise LinkError(self._link, "lost", "the connection is being closed", at_once=True)

    def _closed(self, _connection: object, error: BaseException) -> None:
        reason = translated(self._link, error)
        reason.held = asyncio.get_running_loop().time() - self._opened_at
        _resolve(self.ended, reason)
        for channel in list(self._channels):
            channel.end(reason)


class LoopChannel:
    """One channel of a connection."""

    def __init__(self, link: str, channel: Channel) -> None:
        self.ended: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()
        """Has the reason when the channel is over."""
        self._link = link
        self._channel = channel
        self._waiting: set[asyncio.Future[Any]] = set()
        self._published = 0
        self._unconfirmed: dict[int, asyncio.Future[bool]] = {}
        self._returned: set[str] = set()
        channel.add_on_close_callback(lambda _, error: self.end(translated(link, error)))

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self.ended.done() and bool(self._channel.is_open)

    def end(self, reason: LinkError) -> None:
        """Take the channel as over."""
        _resolve(self.ended, reason)
        for future in [*self._waiting, *self._unconfirmed.values()]:
            if not future.done():
                future.set_exception(reason)
        self._unconfirmed.clear()

    async def declare_exchange(self, name: str) -> None:
        """Declare a durable topic exchange.

        Raises:
            LinkError: the broker refuses it; the channel is over.
        """
        channel = self._channel
        await self._ask(
            lambda done: channel.exchange_declare(name, "topic", durable=True, callback=done)
        )

    async def declare_queue(
        self, name: str, arguments: Arguments, *, passive: bool = False, exclusive: bool = False
    ) -> int:
        """Declare a queue: a durable one, or an exclusive one that ends with the connection.

        Return how many messages wait in it.

        Raises:
            LinkError: the broker refuses it, as `not_found` with `passive`; the channel is over.
        """
        given = dict(arguments)
        channel = self._channel
        declared = await self._ask(
            lambda done: channel.queue_declare(
                name,
                passive=passive,
                durable=not exclusive,
                exclusive=exclusive,
                auto_delete=exclusive,
                arguments=given,
                callback=done,
            )
        )
        waiting: int = declared.method.message_count
        return waiting

    async def bind(self, queue: str, exchange: str, pattern: str) -> None:
        """Bind a queue to an exchange.

        Raises:
            LinkError: the broker refuses it; the channel is over.
        """
        channel = self._channel
        await self._ask(lambda done: channel.queue_bind(queue, exchange, pattern, callback=done))

    async def unbind(self, queue: str, exchange: str, pattern: str) -> None:
        """Take a binding away; there need be none.

        Raises:
            LinkError: the broker refuses it; the channel is over.
        """
        channel = self._channel
        await self._ask(lambda done: channel.queue_unbind(queue, exchange, pattern, callback=done))

    async def take_one(self, queue: str) -> tuple[int, bytes] | None:
        """Return tag and body of the first message of a queue; None if it is empty.

        Raises:
            LinkError: the broker refuses it; the channel is over.
        """
        channel = self._channel

        def begin(done: Callable[..., None]) -> None:
            channel.add_callback(lambda _: done(None), [pika.spec.Basic.GetEmpty])
            channel.basic_get(queue, lambda _, method, __, body: done((method.delivery_tag, body)))

        taken: tuple[int, bytes] | None = await self._ask(begin)
        return taken

    async def consume(self, queue: str, prefetch: int, deliver: Deliver) -> str:
        """Have the messages of a queue delivered; return the tag of the consumer.

        At most `prefetch` are unacknowledged. The end of the queue ends the channel.

        Raises:
            LinkError: the broker refuses it; the channel is over.
        """
        channel = self._channel
        await self._ask(lambda done: channel.basic_qos(prefetch_count=prefetch, callback=done))
        channel.add_on_cancel_callback(lambda _: self._cancelled(queue))

        def delivered(_channel: object, method: Any, properties: Properties, body: bytes) -> None:
            if not _is_taken(deliver, method, properties, body):
                self.ack(method.delivery_tag)

        tag = ""

        def begin(done: Callable[..., None]) -> None:
            nonlocal tag
            tag = channel.basic_consume(queue, delivered, callback=done)

        await self._ask(begin)
        return tag

    async def expect_replies(self, deliver: Deliver) -> None:
        """Have the replies delivered to what is published here, and publishes confirmed.

        See https://www.rabbitmq.com/docs/direct-reply-to.

        Raises:
            LinkError: the channel is over.
        """
        channel = self._channel
        await self.confirm_publishes()

        def delivered(_channel: object, method: Any, properties: Properties, body: bytes) -> None:
            _is_taken(deliver, method, properties, body)

        await self._ask(
            lambda done: channel.basic_consume(REPLIES, delivered, auto_ack=True, callback=done)
        )

    async def confirm_publishes(self) -> None:
        """Have what is published here confirmed.

        Raises:
            LinkError: the channel is over.
        """
        channel = self._channel
        await self._ask(lambda done: channel.confirm_delivery(self._confirmed, callback=done))
        channel.add_on_return_callback(lambda _, __, given, ___: self._came_back(given))

    def stop_consuming(self, tag: str) -> None:
        """Have no more messages delivered; those that were stay unacknowledged."""
        if self.is_open:
            self._channel.basic_cancel(tag)

    def ack(self, tag: int) -> None:
        """Acknowledge a message, if the channel is still there."""
        if self.is_open:
            self._channel.basic_ack(tag)

    def send(self, queue: str, body: bytes, properties: Properties) -> None:
        """Publish a message to a queue, if the channel is still there; nothing more is learned."""
        if self.is_open:
            self._published += 1
            self._channel.basic_publish("", queue, body, properties)

    async def publish(self, queue: str, body: bytes, properties: Properties) -> PublishOutcome:
        """Publish a message to a queue, and wait for the broker's confirm.

        Raises:
            LinkError: the channel is over; the broker may have the message.
        """
        self._require_open()
        self._published += 1
        future = self._unconfirmed[self._published] = asyncio.get_running_loop().create_future()
        self._channel.basic_publish("", queue, body, properties, mandatory=True)
        is_taken = await future
        id = properties.message_id or ""
        if id in self._returned:
            self._returned.discard(id)
            return "unroutable"
        return "taken" if is_taken else "refused"

    def close(self) -> None:
        """Close it: the broker puts back what is unacknowledged."""
        if self._channel.is_open:
            self._channel.close()

    async def _ask(self, begin: Callable[[Callable[..., None]], object]) -> Any:
        """Begin something that calls back, and wait for that."""
        self._require_open()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            begin(lambda *given: _resolve(future, given[0] if given else None))
            return await future
        except amqp.AMQPError as error:
            raise translated(self._link, error) from error
        finally:
            self._waiting.discard(future)

    def _require_open(self) -> None:
        if self.ended.done():
            raise self.ended.result()
        if not self._channel.is_open:
            raise LinkError(self._link, "lost", "the channel is being closed", at_once=True)

    def _cancelled(self, queue: str) -> None:
        self.end(cancelled(self._link, queue))
        self.close()

    def _came_back(self, properties: Properties) -> None:
        self._returned.add(properties.message_id or "")

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        is_taken = isinstance(method, pika.spec.Basic.Ack)
        upto = method.delivery_tag
        tags = [tag for tag in self._unconfirmed if tag <= upto] if method.multiple else [upto]
        for tag in tags:
            if (future := self._unconfirmed.pop(tag, None)) is not None:
                _resolve(future, is_taken)


def _is_taken(deliver: Deliver, method: Any, properties: Properties, body: bytes) -> bool:
    """Deliver a message; log a bug that it meets by its place alone, not with the content."""
    try:
        deliver(method.routing_key, delivery(method, properties, body))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        what = "a message is left out"
        _log.error("gateway.bug", what=what, error=type(error).__name__, where=where)
        return False
    return True


async def _opened(
    link: str, node: pika.URLParameters, peer: words.BrokerAddress
) -> AsyncioConnection:
    future: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    connection = _Connection(
        node,
        on_open_callback=lambda _: _resolve(future, None),
        on_open_error_callback=lambda _, error: _resolve(future, error),
    )
    try:
        error = await future
    except asyncio.CancelledError:
        if not (connection.is_closed or connection.is_closing):
            connection.close()
        raise
    if error is None:
        return connection
    raise _refusal(link, peer, _cause(error)) from error


def _cause(error: BaseException) -> BaseException:
    """Return what is at the bottom of pika's errors about errors."""
    while True:
        if isinstance(error, workflow.AMQPConnectionWorkflowFailed) and error.exceptions:
            error = error.exceptions[-1]
        elif isinstance(error, _Phase):
            error = error.exception
        elif isinstance(error, amqp.AMQPConnectionError) and error.args:
            below = error.args[-1]
            if not isinstance(below, BaseException):
                return error
            error = below
        else:
            return error


def _refusal(link: str, peer: words.BrokerAddress, cause: BaseException) -> LinkError:
    match cause:
        case amqp.ProbableAuthenticationError():
            cause = amqp.ConnectionClosedByBroker(403, "ACCESS_REFUSED")
        case amqp.ProbableAccessDeniedError():
            cause = amqp.ConnectionClosedByBroker(530, "NOT_ALLOWED")
        case OSError():
            return words.not_reached(link, cause)
    return words.not_opened(link, peer, cause, _AMQP_HEARD)


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)
