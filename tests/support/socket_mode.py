"""A pump in Socket Mode, and a Slack whose retries come soon."""

from __future__ import annotations

from collections.abc import Callable

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

StartSocketPump = Callable[..., PumpProcess]


def wait_connections(workspace: Workspace, count: int) -> None:
    """Waits until exactly so many connections of Socket Mode are live."""
    wait_until(lambda: len(workspace.sockets) == count, what=f"for {count} connections")
