"""Fixtures for tests against real things: a RabbitMQ node, a simulated workspace, a real pump."""

from __future__ import annotations

import io
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rtmpump import log
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker
from tests.support.broker_node import add_vhost, delete_vhost
from tests.support.pump import PumpProcess
from tests.support.socket_mode import StartSocketPump, wait_connections
from tests.support.spool import Reports

pytest_plugins = ["tests.support.quick"]

StartPump = Callable[..., PumpProcess]


def pytest_configure() -> None:
    """Prepare what the programs under test inherit, and hypothesis."""
    _let_interrupts_through()
    _keep_bytecode()
    # It would take wall time for the test's own, while other tests have the processor.
    settings.register_profile(
        "rtmpump", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("rtmpump")


def _let_interrupts_through() -> None:
    """Let Ctrl-C, and the end of a terminal, reach the programs wherever we run.

    A shell ignores SIGINT for what it runs in the background, and nohup SIGHUP; what is ignored is
    inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _keep_bytecode() -> None:
    """Let Python keep bytecode, also where the environment forbids it, as container images do.

    The tests start the program some hundred times, and compiling it takes a third of each start.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


@pytest.fixture(scope="session")
def node() -> Iterator[RabbitNode]:
    """One RabbitMQ for all tests; who stops it starts it again."""
    with RabbitNode() as node:
        yield node


@pytest.fixture
def broker_url(node: RabbitNode) -> Iterator[str]:
    """The URL of a vhost that only this test uses."""
    name = f"test-{secrets.token_hex(4)}"
    yield add_vhost(node.start(), name)
    if node.running:
        delete_vhost(node, name)


@pytest.fixture
def broker(broker_url: str) -> Iterator[Broker]:
    """A connection to this test's vhost."""
    with Broker(broker_url) as broker:
        yield broker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the spool of a test is."""
    return tmp_path / "spool.db"


@pytest.fixture
def reports() -> Reports:
    """Keeps what that spool reports."""
    return Reports()


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """A workspace with a token of its own, so that a token in a log is this one."""
    token, app_token = f"xoxb-{secrets.token_hex(16)}", f"xapp-{secrets.token_hex(16)}"
    with Workspace(token=token, app_token=app_token) as workspace:
        yield workspace


@pytest.fixture
def start_pump(workspace: Workspace, broker_url: str, tmp_path: Path) -> Iterator[StartPump]:
    """Starts a pump between the workspace and the vhost; keywords are sections of its config.

    `start_pump(outbound={"rate": 100.0})`. Each pump of one test has the same spool, unless one is
    given.
    """
    with ExitStack() as stack:

        def start(*, ready: bool = True, **sections: Any) -> PumpProcess:
            pump = PumpProcess(tmp_path, workspace, broker_url, **sections)
            stack.enter_context(pump)
            if ready:
                pump.wait_ready()
            return pump

        yield start


@pytest.fixture
def workspace_that_retries(workspace: Workspace) -> Workspace:
    """A Slack whose retries over Socket Mode come soon, so that no test waits for minutes."""
    workspace.faults.ack_seconds = 1.0
    workspace.faults.retry_after = (0.0, 0.5, 1.0)
    return workspace


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """The log of this process, as JSON lines of level info and above."""
    stream = io.StringIO()
    log.setup("info", "json", stream)
    yield stream
    log.setup("info", "auto")


@pytest.fixture
def start_socket(start_pump: StartPump, workspace_that_retries: Workspace) -> StartSocketPump:
    """Starts a pump in Socket Mode; by default it is ready when all its connections are up."""

    def start(
        *, ready: bool = True, slack: dict[str, Any] | None = None, **sections: Any
    ) -> PumpProcess:
        ours = {"mode": "socket", "app_token": workspace_that_retries.app_token} | (slack or {})
        pump = start_pump(ready=ready, slack=ours, **sections)
        if ready:
            count = int(ours.get("connections", 2))
            wait_connections(workspace_that_retries, count)
            # Slack counts one from the upgrade on: the pump may not have it yet.
            pump.wait_log("connection.opened", count)
        return pump

    return start
