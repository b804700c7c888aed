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
from rtmpump.links.rabbitmq.batch_publish import BatchPublisher
from rtmpump.links.rabbitmq.errors import closed_by_broker, translated
from rtmpump.links.rabbitmq.tolerant_reading import TolerantConnection
from rtmpump.links.rabbitmq.topology import Binding, Exchange, Item, Queue
from rtmpump.links.tls import client_context

Properties = pika.BasicProperties

CONNECT_TIMEOUT: Final = 10.0
FRAME_MAX: Final = 131_072
"""The largest frame where neither side was configured otherwise, in bytes."""
_CLOSE_TIMEOUT: Final = 2.0


class Delivery(NamedTuple):
    """One message for a consumer; `redelivered` says that it was delivered before."""

    tag: int
    redelivered: bool
    properties: Properties
    body: bytes


class ConnectionListener(Protocol):
    """What a connection calls back, always on the thread of `run`."""

    def ready(self) -> None:
        """Begin: the channel is open and confirms are on."""

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Take the broker's `basic.ack` (`ok`) or `basic.nack` for `tag`, or for all up to it."""

    def returned(self, properties: Properties) -> None:
        """Take back a mandatory message that no queue took; its ack comes after this."""

    def delivered(self, delivery: Delivery) -> None:
        """Take a message for our consumer."""

    def blocked(self, is_blocked: bool) -> None:
        """Learn whether the broker has an alarm and takes no publishes (`connection.blocked`)."""


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
        self._fast: dict[tuple[str, bool], BatchPublisher] = {}
        self._closing = False
        self._end: LinkError | None = None
        self._crash: BaseException | None = None
        self._ready_at: float | None = None
        self.node = ""

    def run(self) -> None:
        """Connect and serve until `close` is called.

        Raises:
            LinkError: the link ended; its `held` says for how long it had been up.
        """
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
        loop = self._running()
        handle = loop.call_later(delay, self._guarded(function))
        return lambda: loop.remove_timeout(handle)

    def close(self) -> None:
        """End the run in good order, within two seconds; a second call does nothing.

        Only on the thread of `run`.
        """
        if self._closing or self._end is not None:
            return
        self._closing = True
        if self._connection is None:
            # pika can't abort a handshake: one of its assertions fails.
            self._stop_loop()
            return
        self._running().call_later(_CLOSE_TIMEOUT, self._stop_loop)
        if self._connection.is_open:
            self._connection.close()

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
            _declare(channel, item, passive, lambda _frame: None)
        if asked:
            _declare(channel, asked[-1], passive, self._guarded(lambda _frame: done()))
        else:
            done()

    def consume(self, queue: str, prefetch: int) -> None:
        """Consume with manual acks; a cancel by the broker ends the run."""
        channel = self._open_channel()
        channel.add_on_cancel_callback(
            self._guarded(lambda _frame: self.fail("cancelled", _cancelled(queue), at_once=True))
        )
        channel.basic_qos(prefetch_count=prefetch, global_qos=False)
        channel.basic_consume(queue, self._guarded(self._delivered), consumer_tag=_consumer(queue))

    def cancel(self, queue: str, done: Callable[[], None]) -> None:
        """Stop consuming; deliveries under way still come before `done`."""
        self._open_channel().basic_cancel(_consumer(queue), self._guarded(lambda _frame: done()))

    def ack(self, tag: int) -> None:
        """Acknowledge one delivery."""
        self._open_channel().basic_ack(tag)

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

        def guarded(*args: Any) -> None:
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
        # pika's own deadline ends here, but a broker can also fall silent from now on.
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
        """Say why no node could be reached: the nodes, and what each one answered."""
        causes = getattr(error, "exceptions", None) or (error,)
        lost = [translated(self._link, getattr(cause, "exception", cause)) for cause in causes]
        nodes = [f"{url.host}:{url.port}" for url in map(_plain_parameters, self._broker.urls)]
        details = list(dict.fromkeys(one.detail for one in lost))
        detail = f"{', '.join(nodes)}: {'; '.join(details)}"
        return LinkError(self._link, lost[-1].reason, detail)

    def _close_socket(self) -> None:
        """Close the socket of a peer that never answered our close; pika has no public way."""
        connection = self._connection
        if connection is None or connection.is_closed:
            return
        transport = getattr(connection, "_transport", None)
        sock = getattr(transport, "_sock", None)
        if isinstance(sock, socket.socket):
            sock.close()


def parameters(url: Secret, broker: Broker, name: str) -> pika.URLParameters:
    """Make pika's parameters for one node.

    Raises:
        ConfigError: something that only pika or TLS can check is wrong.
    """
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
        # pika's own text may quote the URL, and with it the password.
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


def _cancelled(queue: str) -> str:
    # RabbitMQ 4 cancels the consumer of a quorum queue where 3 closed the channel.
    late = "or a message waited longer than RabbitMQ's consumer_timeout"
    return f"the queue {queue} went away, {late}"


def _consumer(queue: str) -> str:
    return f"rtmpump.{queue}"
