"""Facts about connections to RabbitMQ that do not come about: how long it takes, the words."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator

import pytest

from rtmpump.config import Broker as BrokerConfig
from rtmpump.config import Secret
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq import connection
from rtmpump.links.rabbitmq.connection import BrokerConnection
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.links.rabbitmq.test_connection import Listener, ended, made
from tests.support.broker_node import add_user, add_vhost, delete_user, delete_vhost
from tests.support.peer import peer
from tests.support.silence import Silence, resolve_to

NAME = "many.example"
PASSWORD = "s3cret-of-mine"
ME = '<<"test">>'


def binary(text: str) -> str:
    """A text as an Erlang binary."""
    return f"<<{','.join(map(str, text.encode()))}>>"


# How long.


def test_a_name_with_many_silent_addresses_has_one_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is a timeout, and progress is told meanwhile: only the network is away."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 6.0)
    told: list[float] = []
    with Silence(8) as silence:
        resolve_to(monkeypatch, NAME, silence.hosts)
        url = Secret(f"amqp://guest:guest@{NAME}:{silence.port}/")
        listener = Listener(BrokerConnection.close)
        rabbit = BrokerConnection(
            "broker_events",
            BrokerConfig(url=url, urls=(url,)),
            listener,
            lambda: told.append(time.monotonic()),
        )
        with pytest.raises(LinkError) as caught:
            rabbit.run()
    assert caught.value.reason == "timeout"
    assert len(told) >= 4


def test_the_node_that_answers_is_found_behind_silent_addresses(
    node: RabbitNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name has eight addresses; only the last is the broker's, and no silence is waited for."""
    with Silence(7, node.port) as silence:
        resolve_to(monkeypatch, NAME, [*silence.hosts, "127.0.0.1"])
        rabbit, _ = made(node.url.replace("127.0.0.1", NAME))
        rabbit.run()
    assert rabbit.node == f"{NAME}:{node.port}"


def test_progress_is_told_while_a_peer_is_mute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stands, but nothing answers: one deadline too."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 6.0)
    told: list[float] = []
    with peer() as port:
        url = Secret(f"amqp://guest:guest@127.0.0.1:{port}/")
        rabbit = BrokerConnection(
            "broker_events",
            BrokerConfig(url=url, urls=(url,)),
            Listener(BrokerConnection.close),
            lambda: told.append(time.monotonic()),
        )
        with pytest.raises(LinkError):
            rabbit.run()
    assert len(told) >= 4


def test_without_a_free_file_descriptor_it_is_a_link_error(node: RabbitNode) -> None:
    """It says so and what to do; with one the next try works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first, second = made(node.url)[0], made(node.url)[0]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        with pytest.raises(LinkError) as caught:
            first.run()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.reason == "scarce"
    assert "too many open files" in caught.value.detail
    assert "LimitNOFILE" in caught.value.detail
    second.run()


def test_without_a_thread_it_is_a_link_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that asks for the addresses of a name; Python says it with a RuntimeError."""

    def none(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    error = ended(f"amqp://guest:guest@localhost:{free_port()}/")
    assert (error.reason, "TasksMax" in error.detail) == ("scarce", True)


# Which refusal.


@pytest.fixture
def stranger(node: RabbitNode) -> Iterator[str]:
    """A user that may do nothing."""
    name = "pump's"
    add_user(node, name, PASSWORD)
    yield name
    delete_user(node, name)


def refused(url: str, *words: str) -> LinkError:
    """The error of a URL; its line has these words, and never the password."""
    error = ended(url)
    for word in words:
        assert word in error.detail, error.detail
    assert PASSWORD not in f"{error!r} {error} {error.__cause__!r} {error.__context__!r}"
    assert str(error).isprintable()
    return error


def test_a_wrong_password_names_the_user(node: RabbitNode) -> None:
    """And not the password."""
    url = f"amqp://guest:{PASSWORD}@127.0.0.1:{node.port}/%2F"
    assert refused(url, "'guest' or its password", "broker.url").reason == "auth"


def test_a_vhost_that_is_not_there_is_named(node: RabbitNode) -> None:
    """With what to do."""
    url = f"amqp://guest:guest@127.0.0.1:{node.port}/no%2Fwhere"
    assert refused(url, "there is no vhost 'no/where'", "add_vhost").reason == "not_allowed"


def test_a_user_without_permission_is_named(node: RabbitNode, stranger: str) -> None:
    """And the vhost on which it has none."""
    url = f"amqp://pump%27s:{PASSWORD}@127.0.0.1:{node.port}/%2F"
    error = refused(url, stranger, "has no permission on the vhost '/'", "set_permissions")
    assert error.reason == "not_allowed"


def test_a_limit_of_connections_is_told(node: RabbitNode) -> None:
    """It is no matter of permissions."""
    vhost = "full-of-connections"
    url = add_vhost(node, vhost)
    try:
        limits = binary('{"max-connections": 0}')
        node.evaluate(f"ok = rabbit_vhost_limit:parse_set({binary(vhost)}, {limits}, {ME})")
        error = refused(url, "limit of connections is reached", vhost)
    finally:
        delete_vhost(node, vhost)
    assert error.reason == "not_allowed"
    assert "permission" not in error.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not AMQP there, but HTTP"),
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            "not AMQP there, but TLS; for TLS write amqps:// and 5671",
        ),
        (b"AMQP\x00\x01\x00\x00", "not AMQP 0-9-1 there, but AMQP 1.0"),
        (b"220 mail.example ESMTP\r\n", "not AMQP there (it answered something else)"),
        (b"", "not AMQP there (it answered nothing); for TLS write amqps:// and 5671"),
    ],
    ids=["http", "tls", "amqp 1.0", "smtp", "nothing"],
)
def test_a_port_that_speaks_something_else(answer: bytes, words: str) -> None:
    """What it is, as far as it says so, and what to write."""
    with peer(answer) as port:
        assert refused(f"amqp://guest:guest@127.0.0.1:{port}/", words).reason == "no_amqp"


def test_a_port_that_is_mute(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for TLS."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.5)
    with peer() as port:
        url = f"amqp://guest:guest@127.0.0.1:{port}/"
        refused(url, "not AMQP there (it answered nothing in time)", "amqps:// and 5671")


def test_tls_to_a_port_without_tls(node: RabbitNode) -> None:
    """The broker's plain port."""
    url = f"amqps://guest:guest@127.0.0.1:{node.port}/"
    assert refused(url, "no TLS there", "amqp:// and 5672").reason == "tls"


def test_each_node_has_its_own_words(node: RabbitNode) -> None:
    """Of two nodes, one is away and one refuses the login."""
    away = free_port()
    urls = (
        f"amqp://guest:guest@127.0.0.1:{away}/",
        f"amqp://guest:{PASSWORD}@127.0.0.1:{node.port}/%2F",
    )
    detail = ended(*urls).detail
    assert f"127.0.0.1:{away}: connection refused" in detail
    assert f"127.0.0.1:{node.port}: RabbitMQ refused the user 'guest'" in detail
