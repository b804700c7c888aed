"""The two servers: the simulated Slack alone, and a gateway, RabbitMQ and a pump before it.

A proxy stands before each, so that a connection can be cut without a word of either end.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from rtmpump.sandbox.slack.workspace import Workspace
from tests.faults.proxy import Proxy
from tests.support.gateway import GatewayProcess, soon
from tests.support.pump import PumpProcess
from tests.support.socket_mode import wait_connections

ANSWERED: Final = ["slash_command", "interactive.view_submission", "interactive.block_suggestion"]
METHODS: Final = ["views.open"]
# A busy machine must not look like a program that does not acknowledge.
_PATIENCE: Final = 60.0


class Server(Protocol):
    """What a program connects to; `workspace` is where people are."""

    workspace: Workspace
    proxy: Proxy

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a program: address and tokens."""

    def begin_refresh(self) -> None:
        """Announce the end of all connections."""

    def end_refresh(self) -> None:
        """Have that end over."""


class Sandbox:
    """The simulated Slack alone."""

    def __init__(self, workspace: Workspace, proxy: Proxy) -> None:
        self.workspace = workspace
        self.proxy = proxy

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a program: address and tokens."""
        return _settings(self.proxy, self.workspace.token, self.workspace.app_token)

    def begin_refresh(self) -> None:
        """Announce the end of all connections, as Slack does each few hours."""
        self.workspace.disconnect("warning", close_after=None)
        self.workspace.disconnect("refresh_requested", close_after=2.0)
        self.workspace.goodbye(close_after=2.0)

    def end_refresh(self) -> None:
        """Have that end over; it comes by itself."""


class BehindGateway:
    """A gateway; `kill` and `start` are what can happen to it."""

    def __init__(
        self, workspace: Workspace, proxy: Proxy, gateway: GatewayProcess, token: str
    ) -> None:
        self.workspace = workspace
        self.proxy = proxy
        self.gateway = gateway
        self._token = token

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a program: address and tokens."""
        return _settings(self.proxy, f"xoxb-{self._token}", f"xapp-{self._token}")

    def begin_refresh(self) -> None:
        """Stop the gateway, as for an upgrade."""
        self.gateway.terminate()

    def end_refresh(self) -> None:
        """Start it again."""
        assert self.gateway.wait() == 0
        self.start()

    def kill(self) -> None:
        """Kill the gateway (-9)."""
        self.gateway.kill()

    def start(self) -> None:
        """Start it again."""
        self.gateway.start()
        self.gateway.wait_connected()


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Run the simulated Slack alone."""
    with _workspace() as workspace, Proxy(workspace.port) as proxy:
        workspace.faults.place = f"127.0.0.1:{proxy.port}"
        yield Sandbox(workspace, proxy)


@contextmanager
def behind_gateway(broker_url: str, folder: Path) -> Iterator[BehindGateway]:
    """Run a gateway and a pump in Socket Mode; the program may need both faces of the gateway."""
    token = secrets.token_hex(24)
    with (
        _workspace() as workspace,
        PumpProcess(
            folder,
            workspace,
            broker_url,
            # One connection, for events come in order on each alone.
            slack={
                "mode": "socket",
                "app_token": workspace.app_token,
                "connections": 1,
                "answered": ANSWERED,
            },
            outbound={"rate": 50.0, "burst": 50, "api_methods": METHODS, "api_rate": 50.0},
        ) as pump,
        GatewayProcess(
            folder,
            broker_url,
            clients={"judge": {"token": token, "api_methods": METHODS}},
            program=soon(_PATIENCE, 1.0, 60.0, 300.0),
            slack={"mode": "socket"},
        ) as gateway,
        Proxy(gateway.port) as proxy,
    ):
        pump.wait_ready()
        pump.wait_log("answers.on")
        wait_connections(workspace, 1)
        gateway.wait_connected()
        yield BehindGateway(workspace, proxy, gateway, token)


@contextmanager
def _workspace() -> Iterator[Workspace]:
    token, app_token = f"xoxb-{secrets.token_hex(16)}", f"xapp-{secrets.token_hex(16)}"
    with Workspace(token=token, app_token=app_token) as workspace:
        workspace.faults.ack_seconds = _PATIENCE
        # Slack tries for six minutes. So do we, but each second: a library may be away for one.
        workspace.faults.retry_after = (1.0,) * 360
        workspace.faults.trigger_ttl = _PATIENCE
        yield workspace


def _settings(proxy: Proxy, token: str, app_token: str) -> dict[str, str]:
    return {
        "SLACK_API_URL": f"http://127.0.0.1:{proxy.port}/api/",
        "SLACK_BOT_TOKEN": token,
        "SLACK_APP_TOKEN": app_token,
    }
