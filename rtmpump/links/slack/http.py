"""slack_sdk's client, with a safer transport: no redirects, and no answer without end.

Laws:

- urllib would follow a redirect to any host, also without TLS, and send the token there: here a
  redirect is an answer like any other.
- An answer is read whole, up to 16 MiB, and within `WHOLE` seconds, however slowly it comes.
- A name with many silent addresses takes no longer than one with a single one.
- To connect can take seconds. `MAY_ASK` is asked once more before a request is written.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from slack_sdk import WebClient

from rtmpump.links.dial import Deadline, dial

WHOLE: Final = 30.0
"""For how long an answer may take from its first byte to its last (seconds)."""
MAY_ASK: Final[ContextVar[Callable[[], bool]]] = ContextVar("may_ask", default=lambda: True)
"""Says for the calls of this thread whether a request may still be written."""
_LARGEST: Final = 16 << 20


class TooLarge(OSError):
    """An answer with more bytes than any of Slack's has."""


class SlackClient(WebClient):
    """Reads answers whole, up to 16 MiB; a redirect is an answer like any other."""

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        try:
            answer = self._opener().open(req, timeout=self.timeout)
        except HTTPError as error:
            # slack_sdk reads the body of an error itself, however long it is.
            said = io.BytesIO(_read(error))
            raise HTTPError(url, error.code, error.msg, error.headers, said) from None
        with answer:
            charset = answer.headers.get_content_charset() or "utf-8"
            body = _read(answer).decode(charset)
            return {"status": answer.status, "headers": answer.headers, "body": body}

    def _opener(self) -> OpenerDirector:
        proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else None
        return build_opener(ProxyHandler(proxies), _Http(), _Https(self.ssl), _NoRedirects())


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Go nowhere: then the answer is an HTTPError."""


class _TimedAnswer(HTTPResponse):
    """An answer that must be there in time, its head and its body."""

    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        file: Any = self.fp
        self.fp = io.BufferedReader(_TimedReader(file.detach(), sock))


class _TimedReader(io.RawIOBase):
    """Reads from a socket until the deadline; each wait has the socket's own timeout too."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._socket = sock
        self._each = sock.gettimeout() or WHOLE
        self._deadline = Deadline.after(WHOLE + self._each)

    def readable(self) -> bool:
        return True

    def readinto(self, space: Any) -> int | None:
        self._socket.settimeout(min(self._each, self._deadline.left))
        count: int | None = self._raw.readinto(space)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _dial(
    address: tuple[str, int], timeout: float | None = None, source_address: Any = None
) -> socket.socket:
    """Connect as `socket.create_connection` does; `timeout` is for all addresses together."""
    sock = dial(*address, Deadline.after(WHOLE if timeout is None else timeout))
    if not MAY_ASK.get()():
        sock.close()
        raise ConnectionAbortedError("this pump is not the active one any more")
    sock.settimeout(timeout)
    return sock


class _Connection(HTTPConnection):
    response_class = _TimedAnswer

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._create_connection = _dial


class _SecureConnection(HTTPSConnection):
    response_class = _TimedAnswer

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._create_connection = _dial


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(HTTPSHandler):
    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(context=context)
        self._tls = context

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_SecureConnection, req, context=self._tls)


def _read(answer: Any) -> bytes:
    body: bytes = answer.read(_LARGEST + 1)
    if len(body) > _LARGEST:
        raise TooLarge(f"an answer over {_LARGEST >> 20} MiB")
    if missing := getattr(answer, "length", None):
        raise IncompleteRead(body, missing)
    return body
