"""What tests of the HTTP port need: a port whose sources they can change, and a client."""

from __future__ import annotations

import http.client
import socket
from typing import NamedTuple

from rtmpump.core.standstill import Halt
from rtmpump.http.server import Port, Sources
from rtmpump.http.status import BLANK, LinkChange, Links, LinkState
from rtmpump.metrics import LINKS, STANDBY_LINKS, Metrics

SECONDS = 100.0
AT = "2026-11-24T13:00:00.000Z"


class Answer(NamedTuple):
    """One answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Service:
    """A port whose sources can be changed."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.up = dict.fromkeys(LINKS, True)
        self.stalled: list[str] = []
        self.last_error = ""
        self.changes: list[LinkChange] = []
        self.broken = False
        self.role = "active"
        self.halts: dict[str, list[Halt]] = {}
        self.slack = BLANK.slack
        self.queues = BLANK.queues
        self.metrics = Metrics()
        self.port = Port((host, port))
        self.port.start(
            Sources(
                links=self._links,
                stalled=lambda: self.stalled,
                metrics=self.metrics,
                halts=lambda: self.halts,
                look=lambda: None,
                slack=lambda: self.slack,
                queues=lambda: self.queues,
                spool_bytes=lambda: 0,
            )
        )

    def _links(self) -> Links:
        if self.broken:
            raise ZeroDivisionError
        states = {
            link: LinkState(up=up, since=AT, last_error=self.last_error, last_error_at=AT)
            for link, up in self.up.items()
        }
        wanted = STANDBY_LINKS if self.role == "standby" else LINKS
        return Links(self.role, list(wanted), states, self.changes)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Send one request with a client of the standard library."""
        client = http.client.HTTPConnection(*self.port.address, timeout=SECONDS)
        try:
            client.request(method, path, headers=headers)
            answer = client.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            client.close()

    @property
    def url(self) -> str:
        """Return where the page is."""
        host, port = self.port.address
        return f"http://{host}:{port}/"

    def connect(self) -> socket.socket:
        """Open a connection and send nothing."""
        return socket.create_connection(self.port.address, SECONDS)

    def raw(self, request: bytes) -> bytes:
        """Return all that is answered to these bytes."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    """Read until the end."""
    parts = []
    try:
        while part := client.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def ask(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body; (0, b"") while the port is closed."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        client.close()
