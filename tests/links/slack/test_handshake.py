"""Facts about how the WebSocket comes about: upgrade, TLS, proxies."""

from __future__ import annotations

import base64
import json
import resource
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rtmpump.config import Slack
from rtmpump.config.secrets import Secret
from rtmpump.errors import LinkError
from rtmpump.links.slack.rtm import RtmSource
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.faults import Hang, HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.peer import peer
from tests.support.rtm import (
    SECONDS,
    collect,
    live,
    rtm_source,
    running,
    url_of,
)
from tests.support.silence import Silence, resolve_to
from tests.support.tls import Pair, make_pair

PASSWORD = "hunter2 & co"


def refused(rtm: RtmSource, url: str) -> LinkError:
    """The error of a connection that does not come about."""
    with pytest.raises(LinkError) as caught:
        rtm.open(url)
    assert rtm.current is None
    assert "ticket" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"
    assert caught.value.__suppress_context__
    return caught.value


def connected(slack: Slack, workspace: Workspace) -> str:
    """Connects with these settings and says what the first frame is."""
    rtm = rtm_source(slack)
    try:
        rtm.open(url_of(workspace))
        return str(json.loads(collect(rtm, 1)[0])["type"])
    finally:
        rtm.close()


# Connecting


class Refusal(NamedTuple):
    """What the upgrade meets, and the error that it leads to."""

    fault: HttpAnswer | Hang | Reset
    reason: str
    at_once: bool
    retry_after: float | None


REFUSALS = [
    Refusal(HttpAnswer(403, body="no: ticket"), "expired_url", True, None),
    Refusal(HttpAnswer(404), "expired_url", True, None),
    Refusal(HttpAnswer(429, {"Retry-After": "7"}), "ratelimited", False, 7.0),
    Refusal(HttpAnswer(503), "handshake", False, None),
    Refusal(HttpAnswer(200), "handshake", False, None),
    Refusal(HttpAnswer(302, {"Location": "ws://127.0.0.1:1/?ticket"}), "handshake", False, None),
    Refusal(HttpAnswer(101, {"Upgrade": "ticket"}), "handshake", False, None),
    Refusal(Reset(), "reset", False, None),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: f"{r.reason} {r.fault}"[:40])
def test_a_refused_upgrade_has_its_reason(
    rtm: RtmSource, workspace: Workspace, refusal: Refusal
) -> None:
    """An expired URL wants a new one at once; no text has the ticket."""
    workspace.faults.handshakes.append(refusal.fault)
    error = refused(rtm, url_of(workspace))
    assert (error.reason, error.at_once) == (refusal.reason, refusal.at_once)
    assert error.retry_after == refusal.retry_after


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ws://127.0.0.1:{free}/link/?ticket=1", "unreachable"),
        ("ws://nobody.invalid/link/?ticket=1", "unreachable"),
        ("http://127.0.0.1/link/?ticket=1", "bad_url"),
        ("ws://127.0.0.1:ticket/", "bad_url"),
        ("ticket", "bad_url"),
        ("", "bad_url"),
    ],
)
def test_what_can_not_be_reached_says_so(rtm: RtmSource, url: str, reason: str) -> None:
    """Refused ports, names that do not exist, and URLs that are none."""
    error = refused(rtm, url.replace("{free}", str(free_port())))
    assert (error.reason, error.at_once) == (reason, False)


def test_an_upgrade_without_an_answer_times_out(
    rtm: RtmSource, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is bounded."""
    monkeypatch.setattr("rtmpump.links.slack.handshake._SECONDS", 0.2)
    workspace.faults.handshakes.append(Hang(SECONDS * 2))
    assert refused(rtm, url_of(workspace)).reason == "timeout"


ODD_HEADS = [
    b"\r\n\r\n",
    b"\n\n",
    b" \r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 \r\n\r\n",
    b"HTTP/1.1 abc no\r\n\r\n",
    b"HTTP/1.1 99999999999 much\r\n\r\n",
    "HTTP/1.1 \u0661\u0660\u0661 x\r\n\r\n".encode(),
    b"HTTP/1.1 101 x\r\nUpgrade\r\nConnection: Upgrade\r\n\r\n",
    b"\xff\xfe\x00\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1_000_000,
    b"x" * (1 << 20),
]


@pytest.mark.parametrize("head", ODD_HEADS, ids=lambda head: repr(head[:24]))
def test_an_odd_answer_to_the_upgrade_is_a_link_error(rtm: RtmSource, head: bytes) -> None:
    """Whatever it is, and no more than its head is read."""
    with peer(head) as port:
        error = refused(rtm, f"ws://127.0.0.1:{port}/link/?ticket=1")
    assert error.reason in ("handshake", "reset")


def test_the_body_of_a_refusal_is_not_read(rtm: RtmSource) -> None:
    """It may be of any size, and come for ever."""
    head = b"HTTP/1.1 503 x\r\nContent-Length: 60000000\r\n\r\n"
    with peer(head, b"x" * 65_536, every=0.001) as port:
        error = refused(rtm, f"ws://127.0.0.1:{port}/link/?ticket=1")
    assert (error.reason, error.detail.endswith("HTTP 503")) == ("handshake", True)


def test_a_head_that_comes_for_ever_times_out(
    rtm: RtmSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is no answer."""
    monkeypatch.setattr("rtmpump.links.slack.handshake._SECONDS", 0.5)
    with peer(b"x", every=0.05) as port:
        assert refused(rtm, f"ws://127.0.0.1:{port}/?ticket=1").reason == "timeout"


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("86400", 86_400.0), ("99999999999", 30.0), ("999999999", 30.0), ("soon", 30.0), ("", 30.0)],
)
def test_a_limit_is_obeyed_for_a_day_at_most(
    rtm: RtmSource, workspace: Workspace, word: str, seconds: float
) -> None:
    """What is no time, or longer than a day, counts as none."""
    workspace.faults.handshakes.append(HttpAnswer(429, {"Retry-After": word}))
    assert refused(rtm, url_of(workspace)).retry_after == seconds


def test_silent_addresses_have_one_deadline(
    rtm: RtmSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many the name has."""
    monkeypatch.setattr("rtmpump.links.slack.handshake._SECONDS", 1.0)
    with Silence(8) as silence:
        resolve_to(monkeypatch, "many.example", silence.hosts)
        error = refused(rtm, f"ws://many.example:{silence.port}/?ticket=1")
    assert error.reason == "timeout"


def test_the_address_that_answers_is_found(
    rtm: RtmSource, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind five that are silent."""
    with Silence(5, workspace.port) as silence:
        resolve_to(monkeypatch, "many.example", [*silence.hosts, "127.0.0.1"])
        rtm.open(url_of(workspace).replace("127.0.0.1", "many.example"))
        assert json.loads(collect(rtm, 1)[0])["type"] == "hello"
        rtm.close()


def test_without_a_free_file_descriptor_it_is_tried_again(
    rtm: RtmSource, workspace: Workspace
) -> None:
    """The error says what is missing, and then it works."""
    url = url_of(workspace)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        error = refused(rtm, url)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (error.reason, "LimitNOFILE" in error.detail) == ("scarce", True)
    assert rtm.open(url) == 1
    rtm.close()


@pytest.fixture(scope="session")
def right(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate for 127.0.0.1."""
    return make_pair(tmp_path_factory.mktemp("right"), "127.0.0.1")


@pytest.fixture(scope="session")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate for another host."""
    return make_pair(tmp_path_factory.mktemp("wrong"), "elsewhere.example")


# TLS


def tls_url(workspace: Workspace) -> str:
    """A URL as the Web API gives it out; it is not asked, since its certificate may be wrong."""
    return f"wss://127.0.0.1:{workspace.port}/link/?ticket=1"


def test_a_certificate_of_a_stranger_is_refused(right: Pair, wrong: Pair) -> None:
    """Neither the system's authorities nor another one will do."""
    with Workspace(tls=right.server) as workspace:
        for ca_file in ("", wrong.ca_file):
            error = refused(rtm_source(Slack(ca_file=ca_file)), tls_url(workspace))
            assert (error.reason, "issuer" in error.detail) == ("tls", True)


def test_a_certificate_for_another_host_is_refused(wrong: Pair) -> None:
    """Though its authority is trusted."""
    with Workspace(tls=wrong.server) as workspace:
        error = refused(rtm_source(Slack(ca_file=wrong.ca_file)), tls_url(workspace))
    assert (error.reason, "mismatch" in error.detail) == ("tls", True)


def test_tls_where_there_is_none_is_refused(rtm: RtmSource) -> None:
    """An answer in plain text is no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()

        with running(answer):
            error = refused(rtm, f"wss://127.0.0.1:{listener.getsockname()[1]}/?ticket=1")
    assert (error.reason, error.detail.endswith("WRONG_VERSION_NUMBER")) == ("tls", True)


def test_a_file_without_authorities_is_told(tmp_path: Path) -> None:
    """Its name is in the text."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("nothing")
    error = refused(rtm_source(Slack(ca_file=str(ca_file))), "wss://127.0.0.1:1/?ticket=1")
    assert (error.reason, str(ca_file) in error.detail) == ("tls", True)


class Proxy:
    """An HTTP proxy that knows CONNECT and nothing else; `asked` are the requests that it got."""

    def __init__(self, auth: str = "") -> None:
        self.asked: list[str] = []
        self._auth = auth
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: Any) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(SECONDS)

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += client.recv(4096)
        self.asked.append(request.decode())
        wanted = base64.b64encode(self._auth.encode()).decode()
        if self._auth and f"Proxy-Authorization: Basic {wanted}\r\n" not in request.decode():
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            client.close()
            return
        host, _, port = request.split()[1].decode().rpartition(":")
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._spawn(_pump, client, server)
        self._spawn(_pump, server, client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            end.close()


# Proxies


def through(port: int, user: str = "") -> Slack:
    """Settings with a proxy."""
    return Slack(proxy=Secret(f"http://{user}127.0.0.1:{port}"))


def test_a_proxy_is_used(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the settings, whatever no_proxy says."""
    monkeypatch.setenv("no_proxy", "*")
    with Proxy() as proxy:
        assert connected(through(proxy.port), workspace) == "hello"
    (request,) = proxy.asked
    assert request.startswith(f"CONNECT 127.0.0.1:{workspace.port} HTTP/1.1\r\n")
    assert "Authorization" not in request


def test_a_proxy_gets_its_password(workspace: Workspace) -> None:
    """It may hold any character, percent-encoded in the URL."""
    with Proxy(f"us@er:{PASSWORD}") as proxy:
        slack = through(proxy.port, "us%40er:hunter2%20%26%20co@")
        assert connected(slack, workspace) == "hello"


def test_a_proxy_that_refuses_is_told_without_the_password(workspace: Workspace) -> None:
    """The reason is `proxy`, and the detail has its status."""
    with Proxy("somebody:else") as proxy:
        rtm = rtm_source(through(proxy.port, "user:hunter2@"))
        error = refused(rtm, url_of(workspace))
    assert (error.reason, error.detail.endswith("407")) == ("proxy", True)
    assert "hunter2" not in f"{error!r} {error}"


def test_a_proxy_that_is_not_there_is_unreachable(workspace: Workspace) -> None:
    """As Slack itself would be, and nothing is tried without the proxy."""
    rtm = rtm_source(through(free_port(), "user:hunter2@"))
    error = refused(rtm, url_of(workspace))
    assert (error.reason, "hunter2" in str(error), workspace.connections) == (
        "unreachable",
        False,
        0,
    )


def test_tls_goes_through_a_proxy(right: Pair) -> None:
    """The certificate is the workspace's, not the proxy's."""
    client = ssl.create_default_context(cafile=right.ca_file)
    with Workspace(tls=right.server) as workspace, Proxy() as proxy:
        slack = through(proxy.port)
        rtm = rtm_source(Slack(proxy=slack.proxy, ca_file=right.ca_file))
        live(rtm, workspace, client)
        rtm.close()


def test_a_proxy_of_the_environment_is_not_for_loopback(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A demo on 127.0.0.1 works behind a company's proxy; other hosts go through it."""
    url = url_of(workspace)
    with Proxy("nobody:x") as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:hunter2@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        rtm = rtm_source(Slack())
        assert rtm.open(url) == 1
        assert proxy.asked == []
        rtm.close()
        error = refused(rtm, "ws://slack.invalid/?ticket=1")
        assert (error.reason, "hunter2" in str(error)) == ("proxy", False)
        assert proxy.asked[0].startswith("CONNECT slack.invalid:80 ")
