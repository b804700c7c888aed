"""The HTTP port, over real sockets."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from rtmpump import config
from rtmpump.errors import EXIT_FAILED, PortRefused
from rtmpump.http import rate_history, server
from rtmpump.http.server import Port
from tests.support.http import SECONDS, Service, read_all
from tests.support.waiting import wait_until


@pytest.fixture
def service() -> Iterator[Service]:
    """Give a port on 127.0.0.1."""
    service = Service()
    yield service
    service.port.stop()


def test_livez(service: Service) -> None:
    """200 while every loop makes progress, else 503 with the names of those that do not."""
    assert service.ask("/livez").status == 200
    service.stalled = ["reader", "sender"]
    answer = service.ask("/livez")
    assert (answer.status, answer.body) == (503, b"no progress: reader, sender\n")


def test_a_standby_is_ready_without_slack(service: Service) -> None:
    """200, so that an update of two pods ends and a node can be drained; it must be able to win."""
    service.role = "standby"
    service.up |= {"slack": False, "broker_commands": False, "broker_lock": True}
    answer = service.ask("/readyz")
    assert (answer.status, answer.body) == (200, b"standby\n")
    service.up["broker_lock"] = False
    answer = service.ask("/readyz")
    assert answer.status == 503
    assert answer.body.startswith(b"not connected: broker_lock\n")


def test_readyz(service: Service) -> None:
    """200 when all links are up, else 503 with those that are not, why, and what to do."""
    answer = service.ask("/readyz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    service.up["broker_events"] = service.up["web_api"] = False
    service.last_error = "token_revoked: why"
    answer = service.ask("/readyz")
    assert answer.status == 503
    first, *told = answer.body.decode().splitlines()
    assert first == "not connected: broker_events, web_api"
    assert told[0].startswith("Not connected: RabbitMQ (events), Slack (Web API)")
    assert "(token_revoked: why); put a new token into slack.token_file" in told[1]


def test_not_ready_before_anything_is_known(service: Service) -> None:
    """A link before its first try is not up."""
    service.up.clear()
    assert service.ask("/readyz").status == 503


def test_status(service: Service) -> None:
    """JSON with version, process, uptime, links and counters."""
    service.metrics.received("message", 3)
    answer = service.ask("/status?x=1")
    status = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert status["metrics"]["events"]["received"] == 3
    assert status["links"]["slack"]["up"] is True
    assert status["pid"] > 0
    assert status["uptime_seconds"] >= 0
    assert status["version"]


def test_metrics(service: Service) -> None:
    """The exposition that Prometheus reads."""
    service.metrics.received("message", 3)
    answer = service.ask("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'rtmpump_events_received_total{type="message"} 3.0' in answer.body


def test_index(service: Service) -> None:
    """`/` is the page, and leads to the other pages."""
    answer = service.ask("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path in ("livez", "readyz", "status", "metrics"):
        assert f'<a href="{path}">'.encode() in answer.body


def test_policy_of_the_page(service: Service) -> None:
    """The page may use its own script and style, by hash, and ask us; other answers run nothing."""
    policy = service.ask("/").headers["content-security-policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == "'self'"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", directives[kind])
    assert "unsafe" not in policy
    for path in ("/status", "/livez", "/nothing"):
        assert "-src '" not in service.ask(path).headers["content-security-policy"][20:]


def test_status_has_the_history(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port itself continues the history, also without any request."""
    monkeypatch.setattr(rate_history, "STEP", 0.1)
    service.metrics.received("message", 3)
    service.metrics.confirm_latency(0.002)

    def received() -> list[int]:
        status = json.loads(service.ask("/status").body)
        assert status["recent"]["confirm_latency"]["count"] == 1
        bars: list[int] = status["history"]["received"].get("message", [])
        return bars

    wait_until(lambda: sum(received()) == 3)


def test_a_history_that_fails(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the history doesn't end the port."""
    failed = threading.Event()

    def fail(_self: rate_history.RateHistory) -> None:
        failed.set()
        raise ZeroDivisionError

    monkeypatch.setattr(rate_history.RateHistory, "tick", fail)
    assert failed.wait(SECONDS)
    assert service.ask("/livez").status == 200


def test_only_loopback_by_default() -> None:
    """By default only this machine reaches the port."""
    assert config.Http().listen == "127.0.0.1:9464"


def test_clients_that_read_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks and never reads is let go of at the deadline, and its place is free."""
    monkeypatch.setattr(server, "_SECONDS", 8.0)
    # So small that a page doesn't fit into what the kernel keeps for them.
    service.port._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    for place in range(500):
        service.metrics.received(f"{place:0100}")
    threads = threading.active_count()
    silent = [socket.socket() for _ in range(16)]
    for client in silent:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(service.port.address)
        client.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: threading.active_count() > threads)
    wait_until(lambda: threading.active_count() <= threads)
    for client in silent:
        client.close()
    assert service.ask("/livez").status == 200


@pytest.mark.parametrize("target", [b"http://evil.example/status", b"/../status", b"*"])
def test_odd_targets(service: Service, target: bytes) -> None:
    """A target is a path of ours, letter by letter, or nothing; nothing of it is quoted."""
    answer = service.raw(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 404 ")
    assert b"evil" not in answer


@pytest.mark.parametrize("path", ["/", "/livez", "/status", "/nothing", "//livez/../x"])
def test_headers(service: Service, path: str) -> None:
    """No answer is stored or runs anything, and each is what its type says."""
    headers = service.ask(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["server"] == "rtmpump"


def test_unknown_page(service: Service) -> None:
    """404, and the path is not quoted."""
    answer = service.ask("/<script>")
    assert answer.status == 404
    assert b"script" not in answer.body


def test_head(service: Service) -> None:
    """HEAD is GET without the body."""
    answer = service.ask("/livez", "HEAD")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "3")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods(service: Service, method: str) -> None:
    """Whatever would change something is 405, and says what is allowed."""
    answer = service.ask("/livez", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:9464", "[::1]"]
)
def test_hosts_that_are_ours(service: Service, host: str) -> None:
    """Names and addresses of loopback are answered, with any port (it may be forwarded)."""
    assert service.ask("/livez", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "10.1.2.3",
        "",
        "a@localhost",
        "localhost:x",
        "[::2]",
    ],
)
def test_hosts_that_are_not(service: Service, host: str) -> None:
    """A name that a stranger's DNS could point here gets 421 and nothing else."""
    answer = service.ask("/status", Host=host)
    assert answer.status == 421
    assert b"pid" not in answer.body


def test_host_of_the_listener() -> None:
    """The address that a request came in on is ours, so a port on all addresses can be scraped."""
    service = Service("0.0.0.0")  # noqa: S104 - what a container does
    try:
        assert service.ask("/livez", Host="0.0.0.0:9464").status == 200
        assert service.ask("/livez", Host="127.0.0.1:9464").status == 200
        assert service.ask("/livez", Host="evil.example").status == 421
    finally:
        service.port.stop()


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n"])
def test_one_host(service: Service, hosts: bytes) -> None:
    """A request must name one host, once (RFC 9112 §3.2)."""
    assert service.raw(b"GET /livez HTTP/1.1\r\n" + hosts + b"\r\n").startswith(b"HTTP/1.0 400 ")


def test_too_large(service: Service) -> None:
    """A request of more than 16 KiB is refused as soon as that is known."""
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 3000
    answer = service.raw(request)
    assert b" 200 " not in answer
    assert answer.startswith(b"HTTP/1.0 431 ")


@pytest.mark.parametrize("request_line", [b"GET\r\n", b"\x16\x03\x01\x02\r\n", b"GET / HTTP/9\r\n"])
def test_garbage(service: Service, request_line: bytes) -> None:
    """What is no HTTP is refused, nothing of it is quoted, and the next is answered."""
    answer = service.raw(request_line + b"\r\n")
    assert b" 200 " not in answer
    assert b"\x16\x03" not in answer
    assert service.ask("/livez").status == 200


def test_a_slow_client(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends byte after byte is cut off at its deadline, however lively it is."""
    monkeypatch.setattr(server, "_SECONDS", 0.5)
    with service.connect() as client:
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(0.05):
                try:
                    client.send(b"G")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert b" 200 " not in read_all(client)
        finally:
            ended.set()
            dripping.join()


def test_many_slow_clients(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only 16 are served at once; the others get 503, and places become free again."""
    # All must have come before the first is let go of.
    monkeypatch.setattr(server, "_SECONDS", 20.0)
    threads = threading.active_count()
    idle = [service.connect() for _ in range(40)]
    answers = [read_all(client) for client in idle]
    assert sum(answer.startswith(b"HTTP/1.0 503") for answer in answers) == 40 - 16
    for client in idle:
        client.close()
    wait_until(lambda: threading.active_count() <= threads)
    assert service.ask("/livez").status == 200


def test_clients_that_leave(service: Service) -> None:
    """A client that goes away without reading does no harm."""
    threads = threading.active_count()
    for _ in range(20):
        with service.connect() as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    # They take all places until they are answered, and the first scrape takes its time.
    wait_until(lambda: service.ask("/livez").status == 200)
    wait_until(lambda: threading.active_count() <= threads)


def test_a_page_that_fails(service: Service) -> None:
    """A bug behind one page is a 500 with no details; the other pages stay."""
    service.broken = True
    answer = service.ask("/status")
    assert answer.status == 500
    assert b"ZeroDivision" not in answer.body
    assert service.ask("/livez").status == 200


def test_ipv6() -> None:
    """It can listen on ::1."""
    try:
        service = Service("::1")
    except PortRefused:
        pytest.skip("this machine has no IPv6")
    try:
        assert service.ask("/livez").status == 200
    finally:
        service.port.stop()


def test_a_taken_port(service: Service) -> None:
    """A taken port is an error with the key, the address, the reason and the fix."""
    with pytest.raises(PortRefused) as caught:
        Port(service.port.address)
    text = str(caught.value)
    assert text.startswith("http.listen: ")
    assert str(service.port.address[1]) in text
    assert 'http.listen = ""' in text
    assert caught.value.exit_code == EXIT_FAILED


def test_a_host_that_is_not_there() -> None:
    """An address of another machine is such an error too."""
    with pytest.raises(PortRefused, match=r"^http\.listen"):
        Port(("192.0.2.1", 0))


def test_stop() -> None:
    """After the stop the port is closed, and can be bound again at once."""
    service = Service()
    service.ask("/livez")
    address = service.port.address
    service.port.stop()
    service.port.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, SECONDS)
    again = Port(address)
    again.stop()
