"""Secrets that come from files: read again on SIGHUP and where they are refused, no restart."""

from __future__ import annotations

import os
import pty
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtmpump.errors import EXIT_DONE
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker_node import (
    add_user,
    add_vhost,
    change_password,
    close_connections,
    delete_user,
    delete_vhost,
    set_permissions,
)
from tests.support.paths import PYTHONPATH
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

# Nobody listens there, so these pumps have a workspace and no broker.
NO_BROKER = "amqp://guest:guest@127.0.0.1:1/%2F"
USER, VHOST = "rotating", "rotating"


def new_token(kind: str = "xoxb") -> str:
    """A token that Slack could have made."""
    return f"{kind}-{secrets.token_hex(16)}"


@pytest.fixture
def token_file(tmp_path: Path, workspace: Workspace) -> Path:
    """Where the token of the pump is."""
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(f"{workspace.token}\n")
    return file


@pytest.fixture
def pump(workspace: Workspace, token_file: Path, tmp_path: Path) -> Iterator[PumpProcess]:
    """A pump that is live at Slack, has its token from the file, and no broker."""
    slack = {"token": "", "token_file": str(token_file)}
    log = {"level": "info"}
    with PumpProcess(tmp_path, workspace, NO_BROKER, slack=slack, log=log) as pump:
        pump.wait_ready("slack")
        yield pump


def reload(pump: PumpProcess, count: int = 1) -> None:
    """Ask for a reload, and wait until it is done."""
    pump.signal(signal.SIGHUP)
    pump.wait_log("reloaded", count)


def reconnects(pump: PumpProcess, workspace: Workspace) -> bool:
    """Whether the pump signs in again after a cut."""
    before = len(pump.logged("slack.connected"))
    workspace.cut()
    pump.wait_log("slack.connected", before + 1)
    return pump.running


def test_a_rotated_token_is_used_after_a_reload(
    pump: PumpProcess, workspace: Workspace, token_file: Path
) -> None:
    """The WebSocket stays as it is; the next sign-in has the new token, and nothing was refused."""
    workspace.token = new_token()
    token_file.write_text(workspace.token)
    reload(pump)
    assert pump.logged("secret.replaced", key="slack.token_file")
    assert len(pump.logged("slack.connected")) == 1
    assert reconnects(pump, workspace)
    assert not pump.logged("web_api.disconnected")
    assert workspace.token not in pump.output()


BAD = {
    "gone": None,
    "empty": "",
    "two lines": "xoxb-1\nxoxb-2\n",
    "no token": "not a token",
    "refused by Slack": "xoxb-0123456789abcdef0123",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_bad_secret_changes_nothing(
    pump: PumpProcess, workspace: Workspace, token_file: Path, content: str | None
) -> None:
    """It is refused and logged, and the old one stays; each reload says so again."""
    if content is None:
        token_file.unlink()
    else:
        token_file.write_text(content)
    for count in (1, 2):
        reload(pump, count)
        line = pump.wait_log("secret.refused", count, key="slack.token_file")
        assert line["problem"]
    assert reconnects(pump, workspace)
    assert content is None or not content or content not in pump.output()


def test_a_token_of_another_workspace_is_refused(
    pump: PumpProcess, workspace: Workspace, token_file: Path
) -> None:
    """On a reload, and also where the old token is refused: no command goes to strangers."""
    stranger: dict[str, Any] = {"ok": True, "team_id": "T0STRANGER", "user_id": "U1"}
    token_file.write_text(new_token())
    workspace.faults.api_errors["auth.test"].append(stranger)
    reload(pump)
    line = pump.wait_log("secret.refused", key="slack.token_file")
    assert "another workspace (T0STRANGER" in line["problem"]
    assert reconnects(pump, workspace)
    workspace.faults.api_errors["rtm.connect"].append("token_revoked")
    workspace.faults.api_errors["auth.test"].append(stranger)
    workspace.cut()
    assert pump.wait() == 78
    assert [call.method for call in workspace.calls][-2:] == ["rtm.connect", "auth.test"]


def test_a_refused_app_level_token_is_read_again(
    workspace: Workspace, token_file: Path, tmp_path: Path
) -> None:
    """Socket Mode goes on with the one that is in the file now."""
    file = tmp_path / "app-token"
    file.write_text(workspace.app_token)
    slack = {"mode": "socket", "app_token_file": str(file), "connections": 1}
    log = {"level": "info"}
    with PumpProcess(tmp_path, workspace, NO_BROKER, slack=slack, log=log) as pump:
        pump.wait_ready("slack")
        workspace.app_token = new_token("xapp")
        file.write_text(workspace.app_token)
        assert reconnects(pump, workspace)
        assert pump.logged("secret.replaced", key="slack.app_token_file")
        # And on a reload, without a refusal.
        workspace.app_token = new_token("xapp")
        file.write_text(workspace.app_token)
        reload(pump)
        pump.wait_log("secret.replaced", 2, key="slack.app_token_file")
        file.write_text("xapp")
        reload(pump, 2)
        pump.wait_log("secret.refused", key="slack.app_token_file")
        assert reconnects(pump, workspace)


@pytest.fixture
def rotating(node: RabbitNode) -> Iterator[str]:
    """The URL of a user whose password is going to be another one."""
    url = add_vhost(node.start(), VHOST)
    password = secrets.token_hex(8)
    add_user(node, USER, password)
    set_permissions(node, VHOST, USER, ".*", ".*", ".*")
    yield url.replace("guest:guest", f"{USER}:{password}")
    delete_user(node, USER)
    delete_vhost(node, VHOST)


def test_a_rotated_password_of_rabbitmq_needs_no_restart(
    node: RabbitNode, rotating: str, workspace: Workspace, tmp_path: Path
) -> None:
    """The file is read again where RabbitMQ refuses the old one, and on a reload."""
    file = tmp_path / "url"
    file.touch(mode=0o600)
    file.write_text(rotating)
    old = rotating.split(":")[2].partition("@")[0]
    broker, log = {"url_file": str(file)}, {"level": "info"}
    with PumpProcess(tmp_path, workspace, "", broker=broker, log=log) as pump:
        pump.wait_ready()
        file.write_text("")
        reload(pump)
        assert pump.logged("secret.refused", key="broker.url_file")
        new = secrets.token_hex(8)
        change_password(node, USER, new)
        file.write_text(rotating.replace(old, new))
        close_connections(node, VHOST, product="rtmpump")
        for link in ("broker_events", "broker_commands"):
            pump.wait_log(f"{link}.connected", 2)
        assert pump.logged("secret.replaced", key="broker.url_file")
        assert not pump.logged("broker_events.unreachable", reason="auth")
        assert old not in pump.output()
        assert new not in pump.output()


def test_where_a_terminal_is_lost_it_ends_in_order(workspace: Workspace, tmp_path: Path) -> None:
    """SIGHUP means the end there: nobody sees the daemon any more."""
    with PumpProcess(tmp_path, workspace, NO_BROKER) as pump:
        pump.kill()
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "rtmpump", "run", "-c", str(pump.config)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": PYTHONPATH},
                cwd=tmp_path,
            )
            try:
                wait_until(lambda: workspace.live)
                process.send_signal(signal.SIGHUP)
                assert process.wait(100) == EXIT_DONE
            finally:
                process.kill()
                process.wait()
        finally:
            os.close(ours)
            os.close(theirs)
