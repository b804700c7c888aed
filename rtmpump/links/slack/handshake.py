"""Connects a WebSocket to Slack (TCP, proxy, TLS, upgrade), and says why it failed.

Laws:

- One deadline for all of it, however many addresses there are, and however slowly a peer answers.
- Of an answer only its head is read, and of that 16 KiB at most.
- The URL has a ticket, and the proxy's URL a password. So an error has words of our own and is not
  chained to its cause: a foreign text may quote the peer.

websocket-client's own way to connect is not used: it reads the body of a refusal, however large.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ipaddress
import secrets
import socket
import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import websocket

from rtmpump.config import Slack
from rtmpump.errors import LinkError
from rtmpump.links.dial import Deadline, dial
from rtmpump.links.scarcity import scarce
from rtmpump.links.slack.api_errors import RATE_LIMIT_SECONDS, retry_after
from rtmpump.links.slack.socket_io import story
from rtmpump.links.tls import client_context

_LINK: Final = "slack"
_SECONDS: Final = 20.0
_LARGEST_HEAD: Final = 16 << 10
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PORTS: Final = {"ws": 80, "wss": 443}


def connect(url: str, slack: Slack) -> websocket.WebSocket:
    """Connect with the proxy and the certificate authorities of the settings.

    Raises:
        LinkError: with the reasons of `SlackConnection.open`.
    """
    with _translated(url), scarce(_LINK):
        return _connect(url, slack)


def _connect(url: str, slack: Slack) -> websocket.WebSocket:
    parts = urlsplit(url)
    target = _Target.of(parts)
    tls = _tls_context(slack.ca_file) if target.tls else None
    deadline = Deadline.after(_SECONDS)
    sock = _reach(target, _proxy(slack.proxy.reveal(), target), deadline)
    try:
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=target.host)
        _upgrade(sock, target, parts, deadline)
    except BaseException:
        sock.close()
        raise
    client = _Client(skip_utf8_validation=True, enable_multithread=True)
    client.sock, client.connected = sock, True
    return client


class _Client(websocket.WebSocket):
    """Answers the peer's close with the peer's own code (RFC 6455 §5.5.1)."""

    def recv_frame(self) -> websocket.ABNF:
        frame: websocket.ABNF = super().recv_frame()  # type: ignore[no-untyped-call]
        if frame.opcode == websocket.ABNF.OPCODE_CLOSE:
            # websocket-client would answer with 1000. It tries to, and nothing follows a close.
            self.send(frame.data[:2], websocket.ABNF.OPCODE_CLOSE)
        return frame


class _Target(NamedTuple):
    """Where a URL leads."""

    host: str
    port: int
    tls: bool

    @classmethod
    def of(cls, parts: SplitResult) -> _Target:
        """Return the target of a URL; raise ValueError if it is none of a WebSocket."""
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("not the URL of a WebSocket")
        return cls(parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "wss")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# What a step of connecting meets.


class _ProxyRefused(Exception):
    """The proxy did not do what was asked; the text is of ours."""


class _UpgradeRefused(Exception):
    """The peer answered with another status than 101."""

    def __init__(self, head: _Head) -> None:
        super().__init__(head)
        self.head = head


class _NoHttp(Exception):
    """The answer is not what HTTP and RFC 6455 ask for."""


class _Head(NamedTuple):
    """The head of an HTTP answer; the names of `fields` are in lower case."""

    status: int
    fields: dict[str, str]


def _reach(target: _Target, proxy: SplitResult | None, deadline: Deadline) -> socket.socket:
    """Return a socket that leads to the target, through the proxy if there is one."""
    if proxy is None:
        return dial(target.host, target.port, deadline)
    sock = dial(proxy.hostname or "", proxy.port or 80, deadline)
    try:
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.username:
            login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(login).decode()}")
        head = _ask(sock, lines, deadline)
    except _NoHttp:
        sock.close()
        raise _ProxyRefused("no proxy there") from None
    except BaseException:
        sock.close()
        raise
    if head.status != 200:
        sock.close()
        raise _ProxyRefused(f"the proxy answered {head.status}")
    return sock


def _upgrade(sock: socket.socket, target: _Target, parts: SplitResult, deadline: Deadline) -> None:
    """Make a WebSocket of a connection (RFC 6455 §4)."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    is_usual = target.port == _PORTS[parts.scheme]
    host = str(target).rpartition(":")[0] if is_usual else str(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    head = _ask(sock, lines, deadline)
    if head.status != 101:
        raise _UpgradeRefused(head)
    digest = hashlib.sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest()
    accepts = base64.b64encode(digest).decode()
    words = [word.strip().lower() for word in head.fields.get("connection", "").split(",")]
    if (
        head.fields.get("upgrade", "").lower() != "websocket"
        or "upgrade" not in words
        or head.fields.get("sec-websocket-accept") != accepts
        or "sec-websocket-extensions" in head.fields
    ):
        raise _NoHttp


def _ask(sock: socket.socket, lines: list[str], deadline: Deadline) -> _Head:
    """Send the head of a request, and read that of the answer."""
    sock.settimeout(deadline.left)
    sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    said = b""
    # Byte by byte: what follows the head are frames, and they stay in the socket.
    while not said.endswith((b"\r\n\r\n", b"\n\n")):
        sock.settimeout(deadline.left)
        one = sock.recv(1)
        if not one:
            raise _NoHttp if said else ConnectionResetError("the peer ended the connection")
        said += one
        if len(said) > _LARGEST_HEAD:
            raise _NoHttp
    return _head(said)


def _head(said: bytes) -> _Head:
    first, *rest = said.decode("latin-1").splitlines()
    version, _, status = first.partition(" ")
    code = status[:3]
    if not (version.startswith("HTTP/1.") and len(code) == 3 and code.isascii() and code.isdigit()):
        raise _NoHttp
    fields = (line.partition(":") for line in rest if line)
    return _Head(int(code), {name.strip().lower(): value.strip() for name, _, value in fields})


def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Make a context that checks certificates and host names, with `ca_file` if it is given."""
    try:
        with scarce(_LINK):
            return client_context(ca_file)
    except OSError as error:
        raise LinkError(_LINK, "tls", f"{ca_file} can't be used: {story(error)}") from None


def _proxy(of_settings: str, target: _Target) -> SplitResult | None:
    """Return the proxy of the settings for any host, else the environment's, never for loopback."""
    if of_settings:
        return urlsplit(of_settings)
    if _is_loopback(target.host) or proxy_bypass(target.host):
        return None
    url = getproxies().get("https" if target.tls else "http", "")
    parts = urlsplit(url if "//" in url else f"http://{url}") if url else None
    return parts if parts and parts.hostname else None


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Translate the exceptions of connecting."""
    try:
        yield
    except LinkError:
        raise
    except _UpgradeRefused as refused:
        raise _refusal(refused.head) from None
    except (_ProxyRefused, _NoHttp, OSError, ValueError) as error:
        reason, detail = _trouble(error)
        raise LinkError(_LINK, reason, f"{_host(url)}: {detail}") from None


def _refusal(head: _Head) -> LinkError:
    detail = f"the upgrade was answered with HTTP {head.status}"
    if 400 <= head.status < 500 and head.status != 429:
        return LinkError(_LINK, "expired_url", detail, at_once=True)
    wait = retry_after(head.fields)
    if head.status == 429:
        wait = RATE_LIMIT_SECONDS if wait is None else wait
        return LinkError(_LINK, "ratelimited", detail, retry_after=wait)
    return LinkError(_LINK, "handshake", detail, retry_after=wait)


def _trouble(error: Exception) -> tuple[str, str]:
    """Return reason and detail of a connection that failed."""
    match error:
        case _ProxyRefused():
            return "proxy", str(error)
        case _NoHttp():
            return "handshake", "the upgrade was not answered as RFC 6455 §4.2.2 asks"
        case socket.gaierror():
            return "unreachable", "the name can't be resolved"
        case TimeoutError():
            return "timeout", f"no answer within {_SECONDS:.0f} s"
        case ssl.SSLCertVerificationError():
            return "tls", error.verify_message
        case ssl.SSLError():
            return "tls", story(error)
        case ConnectionResetError() | BrokenPipeError():
            return "reset", story(error)
        case OSError():
            return "unreachable", story(error)
    return "bad_url", "the URL of rtm.connect, or of a proxy, can't be used"


def _host(url: str) -> str:
    """Return host and port of a URL: the part of it that may be shown."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return "?"
