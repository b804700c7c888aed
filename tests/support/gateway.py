"""The gateway as a real process, and small programs that use it as Slack's libraries do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rtmpump.sandbox.ports import free_port
from tests.support.programs import OFTEN
from tests.support.pump import PumpProcess

TOKEN = "Gateway-Token-0123456789abcdef"
OTHER = "Another-Token-0123456789abcdef"
# The few seconds that it waits for RabbitMQ are short for a busy machine.
_PATIENT = (
    "from rtmpump import cli\n"
    "from rtmpump.gateway import commands, dropped, frame_writer, routes, rtm_face, server\n"
    "from rtmpump.gateway import socket_face as face, web_api\n"
    "commands._CHANNEL_WITHIN = rtm_face._BROKER_WITHIN = web_api._IDENTITY_WITHIN = 30.0\n"
    "server._DRAINED_WITHIN = 30.0\n"
)


def _with(changes: str) -> tuple[str, ...]:
    """Return what Python is given to run, for a gateway with these changes."""
    return "-c", f"{_PATIENT}{changes}\ncli.main()"


# Nothing is sent again within a test, however long a busy machine takes for megabytes.
PINGS_SOON = _with("routes._PING_EVERY, face.ACK_WITHIN = 10.0, 100.0")
# It waits half a minute, for Prometheus to see a zero first.
COUNTS_SOON = _with("dropped.COUNTED_AFTER = 0.0")


def soon(ack: float, *pauses: float, read: float = 30.0) -> tuple[str, ...]:
    """Return what Python is given to run, for a gateway with these waits: Slack's are too long."""
    waits = (ack, pauses, read)
    return _with(f"face.ACK_WITHIN, face.RETRY_AFTER, frame_writer.READ_WITHIN = {waits}")


# Nothing is sent again within a test: Slack's three seconds are short for a busy machine.
PATIENT = soon(100.0)


class GatewayProcess(PumpProcess):
    """`rtmpump gateway` as a process; keywords are sections, `gateway.clients.NAME` among them."""

    command = "gateway"

    def __init__(
        self,
        folder: Path,
        broker_url: str,
        *,
        clients: Mapping[str, Mapping[str, Any]] | None = None,
        program: tuple[str, ...] = OFTEN,
        **sections: Any,
    ) -> None:
        self.port = free_port()
        tables = {"bot": {"token": TOKEN}} if clients is None else clients
        ours = {f"gateway.clients.{name}": dict(table) for name, table in tables.items()}
        own = {"listen": f"127.0.0.1:{self.port}", **sections.pop("gateway", {})}
        super().__init__(folder, None, broker_url, program=program, gateway=own, **ours, **sections)
        self._secrets += [str(table["token"]) for table in tables.values() if "token" in table]

    @property
    def api_url(self) -> str:
        """What a program gives its library as Slack's address."""
        return f"http://127.0.0.1:{self.port}/api/"

    def wait_connected(self) -> None:
        """Waits until it listens and has RabbitMQ."""
        self.wait_log("gateway.listening")
        self.wait_log("broker.connected")

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and text of a GET."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as got:  # noqa: S310
                return got.status, got.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def call(self, method: str, token: str = TOKEN, **arguments: str) -> Any:
        """A call of the Web API with a form."""
        request = urllib.request.Request(  # noqa: S310 - our own
            self.api_url + method,
            urlencode(arguments).encode(),
            {"Authorization": f"Bearer xoxb-{token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as got:  # noqa: S310
            return json.load(got)
