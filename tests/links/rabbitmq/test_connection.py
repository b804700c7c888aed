"""Facts about one AMQP connection: how it begins, what ends it, and what it leaves behind."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from rtmpump.config import Broker as BrokerConfig
from rtmpump.config import Secret
from rtmpump.errors import ConfigError, LinkError
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.rabbitmq.topology import Exchange, Queue
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.support.broker import Broker
from tests.support.waiting import wait_until


class Listener:
    """Keeps what the connection calls back; `on_ready` runs on its thread."""

    def __init__(self, on_ready: Callable[[BrokerConnection], None]) -> None:
        self.on_ready = on_ready
        self.rabbit: BrokerConnection
        self.got: list[Any] = []
        self.thread = 0

    def ready(self) -> None:
        """Note that the channel is open."""
        self.thread = threading.get_ident()
        self.on_ready(self.rabbit)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Note a confirm."""
        self.got.append((tag, multiple, ok))

    def returned(self, properties: Properties) -> None:
        """Note a return."""
        self.got.append(properties)

    def delivered(self, delivery: Delivery) -> None:
        """Note a message."""
        self.got.append(delivery)

    def blocked(self, is_blocked: bool) -> None:
        """Note an alarm, or its end."""
        self.got.append(is_blocked)


def made(
    *urls: str,
    on_ready: Callable[[BrokerConnection], None] = BrokerConnection.close,
    **options: Any,
) -> tuple[BrokerConnection, Listener]:
    """Make a connection that has not begun; without `on_ready` it closes as soon as it is ready."""
    secrets = tuple(map(Secret, urls))
    listener = Listener(on_ready)
    listener.rabbit = BrokerConnection(
        "broker_events", BrokerConfig(url=secrets[0], urls=secrets, **options), listener
    )
    return listener.rabbit, listener


def ended(*urls: str, **options: Any) -> LinkError:
    """How a run ended that had to fail."""
    rabbit, _ = made(*urls, **options)
    with pytest.raises(LinkError) as caught:
        rabbit.run()
    return caught.value


@contextmanager
def running(rabbit: BrokerConnection) -> Iterator[threading.Thread]:
    """Run it on a thread of its own; whatever ends it."""

    def run() -> None:
        with suppress(LinkError):
            rabbit.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread
    rabbit.call(rabbit.close)
    thread.join(100)
    assert not thread.is_alive()


@pytest.fixture
def peer() -> Iterator[Callable[[bytes], str]]:
    """Run a peer that answers each connection with these bytes and ends it; yield its URL."""
    servers: list[socket.socket] = []

    def serve(server: socket.socket, answer: bytes) -> None:
        with suppress(OSError):
            while True:
                one, _ = server.accept()
                with one:
                    one.recv(8)
                    one.sendall(answer)

    def start(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=serve, args=(server, answer), daemon=True).start()
        return f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/"

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def dead_url() -> str:
    """Return the URL of a node that does not exist."""
    return f"amqp://guest:guest@127.0.0.1:{free_port()}/"


# How it begins.


def test_it_runs_until_it_is_closed(broker_url: str) -> None:
    """`ready` comes on the thread of `run`; a close in order is no error."""
    rabbit, listener = made(broker_url)
    rabbit.run()
    assert listener.thread == threading.get_ident()
    assert not rabbit.is_open


def test_nodes_are_tried_in_order(broker_url: str, peer: Callable[[bytes], str]) -> None:
    """The first that answers is taken; a dead one, and one that talks nonsense, are passed over."""
    rabbit, _ = made(dead_url(), peer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), broker_url, dead_url())
    rabbit.run()
    assert rabbit.node in broker_url


def test_no_node_answers() -> None:
    """The error names each node and why, and no password."""
    first, second = dead_url(), dead_url()
    error = ended(first, second)
    assert error.reason == "refused"
    for url in (first, second):
        assert url.rpartition("@")[2].rstrip("/") in error.detail
    assert "guest" not in str(error)
    assert not error.at_once


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0", b"AMQP\0\0\x09\x01", b"\x01\0\0\xff\xff\xff\xff" + b"x" * 99, b"\xff" * 64],
)
def test_a_peer_that_is_no_broker(peer: Callable[[bytes], str], answer: bytes) -> None:
    """Whatever it answers, the run ends with a LinkError."""
    assert ended(peer(answer)).reason


def test_a_wrong_password(node: RabbitNode) -> None:
    """It is reported as such, without the password."""
    error = ended(node.url.replace("guest:guest", "guest:s3cret"))
    assert error.reason == "auth"
    assert "s3cret" not in repr(error)


def test_a_vhost_that_is_not_there(node: RabbitNode) -> None:
    """The error says that the broker refused it."""
    error = ended(node.url.replace("%2F", "nowhere"))
    assert error.reason == "not_allowed"
    assert "vhost" in error.detail or "virtual host" in error.detail


def test_a_url_that_pika_cannot_read() -> None:
    """It is a fault of the configuration, and the URL is not quoted."""
    rabbit, _ = made("amqp://u:s3cret@host:port/")
    with pytest.raises(ConfigError) as caught:
        rabbit.run()
    assert "s3cret" not in str(caught.value)


def test_a_host_that_has_no_address() -> None:
    """A name that can't be resolved is reported as unreachable."""
    assert ended("amqp://guest:guest@no-such-host.invalid:5672/").reason == "unreachable"


# How it ends.


def test_a_close_while_it_connects() -> None:
    """A peer that accepts the connection and sends nothing blocks nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        rabbit, _ = made(f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/")
        with running(rabbit) as thread:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(8) == b"AMQP\0\0\x09\x01"
                rabbit.call(rabbit.close)
                thread.join(5)
                assert not thread.is_alive()


def test_a_close_before_the_run() -> None:
    """What is called before the run is done when it begins: then it does not even connect."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        rabbit, _ = made(f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/")
        rabbit.call(rabbit.close)
        began = time.monotonic()
        rabbit.run()
        assert time.monotonic() - began < 8


def test_a_call_after_the_run_does_nothing(broker_url: str) -> None:
    """And a second close does not either."""

    def twice(rabbit: BrokerConnection) -> None:
        rabbit.close()
        rabbit.close()

    rabbit, listener = made(broker_url, on_ready=twice)
    rabbit.run()
    rabbit.call(lambda: listener.got.append("late"))
    assert listener.got == []


def test_a_close_that_is_never_answered(node: RabbitNode, broker_url: str) -> None:
    """A broker that froze: the run ends all the same."""
    rabbit, _ = made(broker_url, on_ready=lambda _rabbit: None)
    with running(rabbit) as thread:
        wait_until(lambda: rabbit.is_open and rabbit._ready_at)
        os.kill(node.pid, signal.SIGSTOP)
        try:
            rabbit.call(rabbit.close)
            thread.join(10)
            assert not thread.is_alive()
        finally:
            os.kill(node.pid, signal.SIGCONT)


def test_a_frozen_broker_is_found_by_its_heartbeat(node: RabbitNode, broker_url: str) -> None:
    """The reason says so, and the next try is at once."""
    rabbit, _ = made(
        broker_url, heartbeat=2, on_ready=lambda _rabbit: os.kill(node.pid, signal.SIGSTOP)
    )
    try:
        with pytest.raises(LinkError) as caught:
            rabbit.run()
    finally:
        os.kill(node.pid, signal.SIGCONT)
    assert (caught.value.reason, caught.value.at_once) == ("heartbeat", True)
    assert caught.value.held > 0


def test_a_fault_of_ours_comes_out_as_it_is(broker_url: str) -> None:
    """It is not taken for a broken connection."""
    rabbit, _ = made(broker_url, on_ready=lambda _rabbit: [][1])
    with pytest.raises(IndexError):
        rabbit.run()


def test_nothing_is_left_after_many_connections(
    broker_url: str, peer: Callable[[bytes], str]
) -> None:
    """A hundred connections, good, refused, ended by the broker: no file stays open."""
    strange = peer(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def one_of_each() -> None:
        made(broker_url)[0].run()
        for url, on_ready in (
            (dead_url(), BrokerConnection.close),
            (strange, BrokerConnection.close),
            (broker_url, lambda r: r.publish("gone", "", b"", Properties(), True)),
            (broker_url, lambda r: r.fail("tired", "")),
        ):
            ended(url, on_ready=on_ready)

    one_of_each()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(20):
        one_of_each()
    # Without a collection: what pika leaves to the garbage collector may never be met by it.
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert threading.active_count() <= threads + 1


# What the broker says no to.


def test_an_exchange_that_is_not_there(broker_url: str) -> None:
    """The channel is closed with 404, and the next try is at once: it may be declared again."""
    error = ended(
        broker_url, on_ready=lambda rabbit: rabbit.publish("gone", "", b"", Properties(), True)
    )
    assert (error.reason, error.at_once) == ("not_found", True)
    assert "gone" in error.detail
    assert 'broker.declare = "active"' in error.detail


def test_a_queue_with_another_argument(broker_url: str, broker: Broker) -> None:
    """The error names the queue, the argument and what to do."""
    broker.queue(name="mine", x_max_length=5)
    error = ended(
        broker_url,
        on_ready=lambda rabbit: rabbit.declare(
            [Queue("mine", {"x-max-length": 6})], passive=False, done=rabbit.close
        ),
    )
    assert error.reason == "precondition_failed"
    for word in ("mine", "x-max-length", "delete it", 'broker.declare = "passive"'):
        assert word in error.detail


def test_a_permission_that_is_missing(broker_url: str) -> None:
    """RabbitMQ reserves names with "amq.": refused, and reported as a permission."""
    error = ended(
        broker_url,
        on_ready=lambda rabbit: rabbit.declare(
            [Exchange("amq.mine", "topic", {})], passive=False, done=rabbit.close
        ),
    )
    assert error.reason == "access_refused"
    assert "permission" in error.detail


def test_passive_only_asks(broker_url: str, broker: Broker) -> None:
    """What is missing ends the run, and is not made."""
    error = ended(
        broker_url,
        on_ready=lambda rabbit: rabbit.declare(
            [Exchange("mine", "topic", {})], passive=True, done=rabbit.close
        ),
    )
    assert error.reason == "not_found"
    assert not broker.exists(exchange="mine")


def test_a_queue_that_is_deleted_cancels_its_consumer(broker_url: str, broker: Broker) -> None:
    """The run ends, to begin again at once."""
    queue = broker.queue()
    rabbit, _ = made(broker_url, on_ready=lambda rabbit: rabbit.consume(queue, 10))
    thread = threading.Thread(target=delete_when_consumed, args=(broker, queue))
    thread.start()
    with pytest.raises(LinkError) as caught:
        rabbit.run()
    thread.join()
    assert (caught.value.reason, caught.value.at_once) == ("cancelled", True)


def delete_when_consumed(broker: Broker, queue: str) -> None:
    """As an operator would do after reading it."""
    declare = broker.channel.queue_declare
    wait_until(lambda: declare(queue, passive=True).method.consumer_count)
    broker.channel.queue_delete(queue)


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs for the node and for a client."""
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Run a node that wants a certificate of each client; yield its TLS URL, and the files."""
    folder = tmp_path_factory.mktemp("tls")
    files = {name: str(folder / f"{name}.pem") for name in ("ca", "other", "node", "client")}
    authority.cert_pem.write_to_path(files["ca"])
    trustme.CA().cert_pem.write_to_path(files["other"])
    for name, host in (("node", "127.0.0.1"), ("client", "client.example")):
        authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(files[name])
    port = free_port()
    settings = {
        "listeners.ssl.1": f"127.0.0.1:{port}",
        "ssl_options.cacertfile": files["ca"],
        "ssl_options.certfile": files["node"],
        "ssl_options.keyfile": files["node"],
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
    }
    with RabbitNode(config=settings):
        yield files | {"url": f"amqps://guest:guest@127.0.0.1:{port}/%2F", "port": str(port)}


def test_tls_with_a_client_certificate(tls: dict[str, str]) -> None:
    """The node's certificate is checked, ours is shown."""
    made(tls["url"], ca_file=tls["ca"], client_cert=tls["client"])[0].run()


def test_tls_with_a_certificate_of_a_stranger(tls: dict[str, str]) -> None:
    """It is refused, and the error says that it is the certificate."""
    error = ended(tls["url"], ca_file=tls["other"], client_cert=tls["client"])
    assert error.reason == "tls"
    assert "certificate" in error.detail


def test_tls_without_a_client_certificate(tls: dict[str, str]) -> None:
    """The node refuses; a LinkError says so."""
    assert ended(tls["url"], ca_file=tls["ca"]).reason in ("tls", "lost", "auth")


def test_tls_files_that_cannot_be_read(tls: dict[str, str], tmp_path: Path) -> None:
    """It is a fault of the configuration, and says which keys."""
    rabbit, _ = made(tls["url"], ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError) as caught:
        rabbit.run()
    assert "broker.ca_file" in str(caught.value)
