"""The HTTP port: health, readiness, status, metrics and the page, for this machine and its tools.

Laws:

- Clients can only read: GET and HEAD. No answer holds a token or the text of a message.
- A request is answered only if its `Host` is ours. Otherwise a web page in a browser on this
  machine could read the answer (DNS rebinding). The address that the connection came in on cannot
  be rebound, so it counts as ours.
- Only the page runs anything: its own script. Its policy allows just that script.
- A client may be slow or hostile: a request has one deadline and one limit of bytes, and the number
  of clients at once is limited. The pumps never wait for any of them.
"""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final, NamedTuple

from rtmpump import log
from rtmpump.core.host_field import is_ours
from rtmpump.core.pump_events import rfc3339
from rtmpump.core.standstill import Halt
from rtmpump.errors import PortRefused
from rtmpump.http import page
from rtmpump.http.exposition import exposition
from rtmpump.http.forecast import Forecast
from rtmpump.http.rate_history import RateHistory
from rtmpump.http.status import (
    CommandQueues,
    Links,
    SlackSide,
    Status,
    down_links,
    encode,
    sentence,
)
from rtmpump.http.verdict import BAD, NO_TURN, Evidence, judge
from rtmpump.metrics import Metrics

_SECONDS: Final = 5.0
_REQUEST_BYTES: Final = 16_384
_AT_ONCE: Final = 16
_POLL: Final = 0.2
_TEXT: Final = "text/plain; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = "application/json"
_EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Connection": "close",
}
_BUSY: Final = b"HTTP/1.0 503 Service Unavailable\r\nConnection: close\r\n\r\n"

_log = log.get("health")


class Sources(NamedTuple):
    """Where the answers come from; any thread may call them.

    Attributes:
        links: Returns the states of the links.
        stalled: Returns the names of loops that make no progress.
        metrics: The counters.
        halts: Returns by trip what stands still (see `core.standstill`).
        look: Called a few times a second, to find that out.
        slack: Returns what is known of Slack's side.
        queues: Returns what is known of the queues of commands.
        spool_bytes: Returns how many bytes of the spool are in use; it waits for nothing.
    """

    links: Callable[[], Links]
    stalled: Callable[[], list[str]]
    metrics: Metrics
    halts: Callable[[], dict[str, list[Halt]]]
    look: Callable[[], None]
    slack: Callable[[], SlackSide]
    queues: Callable[[], CommandQueues]
    spool_bytes: Callable[[], int]


class Page(NamedTuple):
    """One answer; its `headers` replace those that every answer has."""

    status: int
    type: str
    body: bytes
    headers: Mapping[str, str] = {}


class Pages:
    """The answer at each path."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._began = time.monotonic()
        self._history = RateHistory(sources.metrics.sample)
        self._forecast = Forecast(sources.spool_bytes)
        self._paths: dict[str, Callable[[], Page]] = {
            "/": self._index,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/status": self._status,
            "/metrics": self._metrics,
            "/runbook": self._runbook,
        }

    def at(self, path: str) -> Page:
        """Make the answer for a path; 404 for an unknown one."""
        make = self._paths.get(path)
        return _text("there is no such page", HTTPStatus.NOT_FOUND) if make is None else make()

    def tick(self) -> None:
        """Look whether all moves, and continue the history; one thread calls this often."""
        self._sources.look()
        self._history.tick()
        self._forecast.tick()

    def _index(self) -> Page:
        return _html(page.render(self._document()), page.POLICY)

    def _runbook(self) -> Page:
        return _html(page.runbook(), page.STYLE_POLICY)

    def _livez(self) -> Page:
        stalled = self._sources.stalled()
        if not stalled:
            return _text("ok")
        return _text(f"no progress: {', '.join(stalled)}", HTTPStatus.SERVICE_UNAVAILABLE)

    def _readyz(self) -> Page:
        evidence = self._evidence()
        found, links = judge(evidence), evidence.links
        if found.ready:
            # A standby is ready when it can take over. Otherwise an update of two pumps would wait
            # for both to be active, and the drain of the active one's node would never end.
            notes = [_lower(one.what) for one in found.more if one.reason == NO_TURN]
            return _text("; ".join(["standby" if links.role == "standby" else "ok", *notes]))
        failures = [sentence(found), *(sentence(one) for one in found.more if one.level == BAD)]
        down = down_links(links.wanted, links.states)
        names = [f"not connected: {', '.join(down)}"] if down else []
        return _text("\n".join([*names, *failures]), HTTPStatus.SERVICE_UNAVAILABLE)

    def _status(self) -> Page:
        return Page(HTTPStatus.OK, _JSON, encode(self._document()))

    def _evidence(self) -> Evidence:
        """Return what is known without a wait for the spool."""
        sources = self._sources
        return Evidence(
            links=sources.links(),
            stalled=sources.stalled(),
            halts=sources.halts(),
            now=time.monotonic(),
            at=rfc3339(time.time_ns() // 1_000_000),
            slack=sources.slack(),
            queues=sources.queues(),
            is_blocked=sources.metrics.is_blocked,
            dead_letters=sources.metrics.dead_letters_waiting,
        )

    def _document(self) -> Status:
        metrics, seen, recent = (
            self._sources.metrics.snapshot(),
            self._evidence(),
            self._history.recent(),
        )
        full_in = self._forecast.full_in(metrics.spool)
        seen = seen._replace(
            spool=metrics.spool,
            full_in=full_in,
            returned=recent.returned,
            confirmed=recent.confirm_latency.count,
            spool_dropped=metrics.events.dropped.get("spool_full", 0),
        )
        links = seen.links
        return Status(
            version=metrics.version,
            now=seen.at,
            pid=os.getpid(),
            uptime_seconds=round(time.monotonic() - self._began, 3),
            stalled=seen.stalled,
            role=links.role,
            wanted=links.wanted,
            links=links.states,
            changes=links.changes,
            metrics=metrics,
            recent=recent,
            history=self._history.snapshot(),
            verdict=judge(seen),
            full_in_seconds=full_in,
            slack=seen.slack,
            queues=seen.queues,
        )

    def _metrics(self) -> Page:
        return Page(HTTPStatus.OK, _EXPOSITION, exposition(self._sources.metrics.snapshot))


class Port:
    """The listening port: it listens once it is made, and answers from `start` until `stop`."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Bind to host and port (0 for any free one).

        Raises:
            PortRefused: The port is taken, or the host is not of this machine.
        """
        host, port = address
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._server = _Server(host, found[0][0], found[0][4])
        except OSError as error:
            raise PortRefused(f"{host}:{port}", error.strerror or str(error)) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="http", daemon=True
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it is bound to."""
        host, port = self._server.socket.getsockname()[:2]
        return host, port

    def start(self, sources: Sources) -> None:
        """Begin to answer, on threads of its own."""
        self._server.pages = Pages(sources)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; answers under way go on to their deadline. A second call does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingMixIn, TCPServer):
    """One thread for each connection, and only a few at once."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    pages: Pages

    def __init__(self, host: str, family: socket.AddressFamily, address: Any) -> None:
        self.address_family = family
        self.host = host
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the request if there is a place, else answer 503 at once."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(0)
        with suppress(OSError):
            request.send(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the request and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def service_actions(self) -> None:
        """Continue the history: called between requests, and several times a second without any."""
        try:
            self.pages.tick()
        except Exception:
            _log.exception("history.failed")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an answer that failed; all others go on."""
        _log.exception("http.failed")


class _TooLarge(Exception):
    """A request has more bytes than the limit."""


class _Incoming(io.RawIOBase):
    """The bytes of one request, with one deadline and one limit for all of them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = time.monotonic() + _SECONDS
        self._room = _REQUEST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._room <= 0:
            raise _TooLarge
        self._connection.settimeout(left)
        count = self._connection.recv_into(memoryview(buffer)[: self._room])
        self._room -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer, then the connection is closed."""

    server: _Server
    timeout = _SECONDS
    request_version = "HTTP/1.0"
    command = ""

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Incoming(self.connection), 1024)

    def handle(self) -> None:
        try:
            self.handle_one_request()
        except _TooLarge:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except OSError:
            return  # The client is gone.

    def do_GET(self) -> None:
        named = self.headers.get_all("Host", [])
        if len(named) != 1:
            self.send_error(HTTPStatus.BAD_REQUEST)
        elif not is_ours(named[0], (self.server.host,), self.connection.getsockname()[0]):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        else:
            self._send(self._page())

    do_HEAD = do_GET

    def _page(self) -> Page:
        try:
            return self.server.pages.at(self.path.partition("?")[0])
        except Exception:
            _log.exception("http.failed", path=self.path)
            return _text("this page can't be made now", HTTPStatus.INTERNAL_SERVER_ERROR)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer in a few words of our own that quote nothing; an unknown method gets 405."""
        unknown_method = code == HTTPStatus.NOT_IMPLEMENTED
        status = HTTPStatus.METHOD_NOT_ALLOWED if unknown_method else HTTPStatus(code)
        headers = {"Allow": "GET, HEAD"} if unknown_method else {}
        self._send(_text(status.phrase, status)._replace(headers=headers))

    def _send(self, page: Page) -> None:
        self.connection.settimeout(_SECONDS)
        self.send_response(page.status)
        self.send_header("Content-Type", page.type)
        self.send_header("Content-Length", str(len(page.body)))
        for name, value in {**_HEADERS, **page.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def version_string(self) -> str:
        return "rtmpump"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a line for each scrape would hide the others."""


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _text(line: str, status: int = HTTPStatus.OK) -> Page:
    return Page(status, _TEXT, f"{line}\n".encode())


def _html(body: bytes, policy: str) -> Page:
    headers = {"Content-Security-Policy": f"{_POLICY}; {policy}"}
    return Page(HTTPStatus.OK, _HTML, body, headers)
