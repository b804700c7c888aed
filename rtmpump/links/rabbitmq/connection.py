"""One AMQP connection with one channel in confirm mode, on the thread that calls `run`.

Laws:

- All of pika is here. What it raises is translated here, and above this file nobody sees it.
- Only `call` may be used from another thread; it brings a function to the thread of `run`.
- A channel that the broker closes ends the whole run, with the reason: both pumps then begin
  again from what is certain (the spool, the queue), which is the path they know best.
- An exception in a callback of ours is a fault of ours: it comes out of `run` as it is, and is
  never taken for a broken connection.

What must not live here: what is published, when, and what a confirm means.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

import pika
from pika import exceptions as amqp
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.spec import Basic

from rtmpump.config import Broker, Secret
from rtmpump.core.routes import Route
from rtmpump.errors import ConfigError, LinkError
from rtmpump.links.rabbitmq.batch_publish import FastPublish
from rtmpump.links.rabbitmq.errors import closed_by_broker, translated
from rtmpump.links.rabbitmq.tolerant_reading import TolerantConnection
from rtmpump.links.rabbitmq.topology import Binding, Exchange, Item, Queue
from rtmpump.links.tls import client_context

Properties = pika.BasicProperties

CONNECT_TIMEOUT: Final = 10.0
_CLOSE_TIMEOUT: Final = 2.0


class Delivery(NamedTuple):
    """One message that a consumer was given; `redelivered` says that it was delivered before."""

    tag: int
    redelivered: bool
    properties: Properties
    body: bytes


class ConnectionListener(Protocol):
    """What a pump does with its connection; all of it is called on the thread of `run`."""

    def ready(self) -> None:
        """The channel is open and confirms are on."""

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """The broker's `basic.ack` (`ok`) or `basic.nack` for publishes up to, or just, `tag`."""

    def returned(self, properties: Properties) -> None:
        """No queue took a mandatory message; this comes before its ack."""

    def delivered(self, delivery: Delivery) -> None:
        """A message for our consumer."""

    def blocked(self, is_blocked: bool) -> None:
        """The broker has an alarm and takes no publishes (`connection.blocked`), or is well."""


class BrokerConnection:
    """A connection to the first of the nodes that answers; made for one `run`."""

    def __init__(self, link: str, broker: Broker, listener: ConnectionListener) -> None:
        self._link = link
        self._broker = broker
        self._listener = listener
        self._lock = threading.Lock()
        self._loop: IOLoop | None = None
        self._early: list[Callable[[], None]] = []
        self._ended = False
        self._connection: TolerantConnection | None = None
        self._channel: Channel | None = None
        self._fast: dict[tuple[str, bool], FastPublish] = {}
        self._closing = False
        self._end: LinkError | None = None
        self._crash: BaseException | None = None
        self._ready_at: float | None = None
        self.node = ""

    def run(self) -> None:
        """Connect and serve until `close` was called (returns) or the link ended (LinkError)."""
        nodes = [parameters(url, self._broker, self._link) for url in self._broker.urls]
        loop = IOLoop()
        try:
            TolerantConnection.create_connection(
                nodes, self._guarded(self._connected), custom_ioloop=loop
            )
            with self._lock:
                self._loop = loop
                for function in self._early:
                    loop.add_callback_threadsafe(self._guarded(function))
            loop.start()
        except amqp.AMQPError as error:
            self._finish(translated(self._link, error))
        finally:
            with self._lock:
                self._loop, self._ended = None, True
            self._close_socket()
            loop.close()
        if self._crash is not None:
            raise self._crash
        if self._end is not None and not self._closing:
            self._end.held = 0.0 if self._ready_at is None else time.monotonic() - self._ready_at
            raise self._end

    def call(self, function: Callable[[], None]) -> None:
        """Have `function` called soon on the thread of `run`; from any thread.

        Before the run it is kept, once, until the loop turns: a stop must also end a connection
        that is still being made. After the run nothing happens.
        """
        with self._lock:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(self._guarded(function))
            elif not self._ended and function not in self._early:
                self._early.append(function)

    def later(self, delay: float, function: Callable[[], None]) -> Callable[[], None]:
        """Have `function` called in `delay` seconds; gives a function that takes this back."""
        loop = self._running()
        handle = loop.call_later(delay, self._guarded(function))
        return lambda: loop.remove_timeout(handle)

    def close(self) -> None:
        """End the run in order, within two seconds; a second call does nothing.

        On the thread of `run`.
        """
        if self._closing or self._end is not None:
            return
        self._closing = True
        if self._connection is None:
            # pika can't break off a handshake (an assertion of its own fails).
            self._stop_loop()
            return
        self._running().call_later(_CLOSE_TIMEOUT, self._stop_loop)
        if self._connection.is_open:
            self._connection.close()

    def fail(self, reason: str, detail: str, *, at_once: bool = False) -> None:
        """End the run with this reason, as if the connection had broken. On the thread of `run`."""
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
            fast = FastPublish(self._open_channel(), exchange, mandatory)
            self._fast[exchange, mandatory] = fast
        fast.publish(events)

    def declare(self, items: Iterable[Item], *, passive: bool, done: Callable[[], None]) -> None:
        """Declare all in order, then call `done`; the broker's refusal ends the run.

        `passive` only asks whether exchanges and queues are there; bindings can't be asked for.
        """
        channel = self._open_channel()
        asked = [item for item in items if not (passive and isinstance(item, Binding))]
        for item in asked[:-1]:
            _declare(channel, item, passive, lambda _frame: None)
        if asked:
            _declare(channel, asked[-1], passive, self._guarded(lambda _frame: done()))
        else:
            done()

    def consume(self, queue: str, prefetch: int) -> None:
        """Begin to consume with manual acks; a cancel by the broker ends the run."""
        channel = self._open_channel()
        channel.add_on_cancel_callback(
            self._guarded(
                lambda _frame: self.fail("cancelled", f"the queue {queue} went away", at_once=True)
            )
        )
        channel.basic_qos(prefetch_count=prefetch, global_qos=False)
        channel.basic_consume(queue, self._guarded(self._delivered), consumer_tag=_consumer(queue))

    def cancel(self, queue: str, done: Callable[[], None]) -> None:
        """Take no more deliveries; those under way still come before `done`."""
        self._open_channel().basic_cancel(_consumer(queue), self._guarded(lambda _frame: done()))

    def ack(self, tag: int) -> None:
        """Acknowledge one delivery."""
        self._open_channel().basic_ack(tag)

    @property
    def is_open(self) -> bool:
        """Whether publishes and acks can be written now."""
        return self._channel is not None and self._channel.is_open

    @property
    def received(self) -> int:
        """How many bytes the broker has sent on this connection."""
        return int(getattr(self._connection, "bytes_received", 0))

    def _running(self) -> IOLoop:
        if self._loop is None:
            raise RuntimeError("no connection runs")
        return self._loop

    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise RuntimeError("no channel is open")
        return self._channel

    def _guarded(self, function: Callable[..., None]) -> Callable[..., None]:
        """Keep what a callback raises from pika, which would take it for a broken connection."""

        def guarded(*args: Any) -> None:
            if self._crash is not None:
                return
            try:
                function(*args)
            except (amqp.ChannelWrongStateError, amqp.ConnectionWrongStateError) as error:
                # The close came first; its own callback is on the way, with the reason.
                self._finish(LinkError(self._link, "closed", str(error), at_once=True))
            except LinkError as error:
                self._finish(error)
            except BaseException as error:
                self._crash = error
                self._stop_loop()

        return guarded

    def _finish(self, error: LinkError) -> None:
        if self._end is None:
            self._end = error
        self._stop_loop()

    def _stop_loop(self) -> None:
        if self._loop is not None:
            self._loop.stop()

    def _connected(self, result: Any) -> None:
        if not isinstance(result, TolerantConnection):
            self._finish(self._refused(result))
            return
        self._connection = connection = result
        self.node = f"{connection.params.host}:{connection.params.port}"
        connection.add_on_close_callback(self._guarded(self._connection_closed))
        connection.add_on_connection_blocked_callback(
            self._guarded(lambda *_: self._listener.blocked(True))
        )
        connection.add_on_connection_unblocked_callback(
            self._guarded(lambda *_: self._listener.blocked(False))
        )
        # pika's own deadline is over now, and a broker can also fall silent here.
        self.later(CONNECT_TIMEOUT, self._expect_channel)
        connection.channel(on_open_callback=self._guarded(self._channel_open))

    def _expect_channel(self) -> None:
        if self._ready_at is None:
            self.fail("timeout", "the broker opened no channel in time")

    def _channel_open(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._guarded(self._channel_closed))
        channel.add_on_return_callback(
            self._guarded(lambda _channel, _method, properties, _body: self._returned(properties))
        )
        channel.confirm_delivery(self._guarded(self._settled), self._guarded(self._confirming))

    def _confirming(self, _frame: Any) -> None:
        self._ready_at = time.monotonic()
        self._listener.ready()

    def _returned(self, properties: Properties) -> None:
        self._listener.returned(properties)

    def _settled(self, frame: Any) -> None:
        method = frame.method
        self._listener.settled(method.delivery_tag, method.multiple, isinstance(method, Basic.Ack))

    def _delivered(self, _channel: Any, method: Any, properties: Properties, body: bytes) -> None:
        self._listener.delivered(
            Delivery(method.delivery_tag, method.redelivered, properties, body)
        )

    def _channel_closed(self, _channel: Channel, error: BaseException) -> None:
        if self._closing or isinstance(error, amqp.ChannelClosedByClient):
            return
        if isinstance(error, amqp.ChannelClosedByBroker):
            self._finish(closed_by_broker(self._link, error.reply_code, error.reply_text))

    def _connection_closed(self, _connection: Any, error: BaseException) -> None:
        self._finish(translated(self._link, error))

    def _refused(self, error: BaseException) -> LinkError:
        """Say why no node could be reached, each node in a few words."""
        causes = getattr(error, "exceptions", None) or (error,)
        lost = [translated(self._link, getattr(cause, "exception", cause)) for cause in causes]
        nodes = [f"{url.host}:{url.port}" for url in map(_plain_parameters, self._broker.urls)]
        details = list(dict.fromkeys(one.detail for one in lost))
        told = f"{', '.join(nodes)}: {'; '.join(details)}"
        return LinkError(self._link, lost[-1].reason, told)

    def _close_socket(self) -> None:
        """Free the socket of a peer that never answered our close; pika has no public way."""
        connection = self._connection
        if connection is None or connection.is_closed:
            return
        transport = getattr(connection, "_transport", None)
        sock = getattr(transport, "_sock", None)
        if isinstance(sock, socket.socket):
            sock.close()


def parameters(url: Secret, broker: Broker, name: str) -> pika.URLParameters:
    """Make pika's parameters for one node; ConfigError for what only pika and TLS can check."""
    node = _plain_parameters(url)
    node.heartbeat = broker.heartbeat
    node.socket_timeout = CONNECT_TIMEOUT
    node.stack_timeout = CONNECT_TIMEOUT + 5
    node.blocked_connection_timeout = None
    node.connection_attempts = 1
    node.client_properties = {"connection_name": f"rtmpump {name}", "product": "rtmpump"}
    if node.ssl_options is not None:
        node.ssl_options = pika.SSLOptions(_tls(broker), node.host)
    if broker.auth == "external":
        node.credentials = pika.credentials.ExternalCredentials()
    return node


def _plain_parameters(url: Secret) -> pika.URLParameters:
    try:
        return pika.URLParameters(url.reveal())
    except Exception:
        # What pika says may quote the URL, and with it the password.
        raise ConfigError(
            "is no AMQP URL", key="broker.url", fix="write amqp://user:password@host:5672/vhost"
        ) from None


def _tls(broker: Broker) -> ssl.SSLContext:
    try:
        context = client_context(broker.ca_file)
        if broker.client_cert:
            context.load_cert_chain(broker.client_cert, broker.client_key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"can't be loaded: {error}",
            key="broker.ca_file, client_cert or client_key",
            fix="give PEM files that belong together",
        ) from error
    return context


def _declare(channel: Channel, item: Item, passive: bool, done: Callable[..., None]) -> None:
    match item:
        case Exchange(name, kind, arguments):
            channel.exchange_declare(
                name,
                kind,
                passive=passive,
                durable=True,
                arguments=dict(arguments),
                callback=done,
            )
        case Queue(name, arguments):
            channel.queue_declare(
                name, passive=passive, durable=True, arguments=dict(arguments), callback=done
            )
        case Binding(source, destination, "exchange", key):
            channel.exchange_bind(destination, source, key, callback=done)
        case Binding(source, destination, _, key):
            channel.queue_bind(destination, source, key, callback=done)


def _consumer(queue: str) -> str:
    return f"rtmpump.{queue}"
