"""Connects a WebSocket to Slack (proxy, TLS, upgrade), and says why it failed.

Its law: the URL has a ticket, and the proxy's URL a password. So an error has words of our own and
is not chained to its cause: websocket-client's texts may quote the peer.
"""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import websocket

from rtmpump.config import Slack
from rtmpump.errors import LinkError
from rtmpump.links.slack.socket_io import story
from rtmpump.links.tls import client_context

_LINK = "slack"
_SECONDS = 10.0
# For websocket-client, "*" is every host, and the other is none: no name ends in it.
_ANY_HOST, _NO_HOST = ["*"], ["-.invalid"]


def connect(url: str, slack: Slack) -> websocket.WebSocket:
    """Connect with the proxy and the certificate authorities of the settings.

    Raises:
        LinkError: with the reasons of `SlackConnection.open`.
    """
    with _translated(url):
        return _connect(url, slack)


def _connect(url: str, slack: Slack) -> websocket.WebSocket:
    parts = urlsplit(url)
    tls = {"context": _tls_context(slack.ca_file)} if parts.scheme == "wss" else {}
    client = websocket.WebSocket(sslopt=tls, skip_utf8_validation=True, enable_multithread=True)
    client.connect(  # type: ignore[no-untyped-call]
        url,
        timeout=_SECONDS,
        suppress_origin=True,
        redirect_limit=0,
        **_proxy_options(slack.proxy.reveal(), parts.hostname or ""),
    )
    return client


def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Make a context that checks certificates and host names, with `ca_file` if it is given."""
    try:
        return client_context(ca_file)
    except OSError as error:
        raise LinkError(_LINK, "tls", f"{ca_file} can't be used: {story(error)}") from None


def _proxy_options(proxy: str, host: str) -> dict[str, Any]:
    """Take the proxy of the settings for any host, else the environment's, never for loopback."""
    if proxy:
        parts = urlsplit(proxy)
        auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        return {
            "http_proxy_host": parts.hostname,
            "http_proxy_port": parts.port or 80,
            "http_proxy_auth": auth,
            "http_no_proxy": _NO_HOST,
        }
    return {"http_proxy_host": host, "http_no_proxy": _ANY_HOST} if _is_loopback(host) else {}


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Translate the exceptions of connecting."""
    try:
        yield
    except websocket.WebSocketBadStatusException as error:
        raise _refusal(error) from None
    except (websocket.WebSocketException, OSError, ValueError) as error:
        reason, detail = _trouble(error)
        raise LinkError(_LINK, reason, f"{_host(url)}: {detail}") from None


def _refusal(error: websocket.WebSocketBadStatusException) -> LinkError:
    status, after = error.status_code, (error.resp_headers or {}).get("retry-after", "")
    detail = f"the upgrade was answered with HTTP {status}"
    if status == 429:
        wait = float(after) if after.isascii() and after.isdigit() else None
        return LinkError(_LINK, "ratelimited", detail, retry_after=wait)
    if 400 <= status < 500:
        return LinkError(_LINK, "expired_url", detail, at_once=True)
    return LinkError(_LINK, "handshake", detail)


def _trouble(error: Exception) -> tuple[str, str]:
    """Return reason and detail of a connection that failed."""
    match error:
        case websocket.WebSocketProxyException():
            status = str(error).rpartition("status: ")[2]
            return "proxy", f"the proxy answered {status}" if status.isdigit() else "no proxy there"
        case websocket.WebSocketAddressException():
            return "unreachable", "the name can't be resolved"
        case websocket.WebSocketTimeoutException() | TimeoutError():
            return "timeout", f"no answer within {_SECONDS:.0f} s"
        case websocket.WebSocketException():
            return "handshake", "the upgrade was not answered as RFC 6455 §4.2.2 asks"
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
