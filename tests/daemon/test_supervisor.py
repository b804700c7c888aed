"""The daemon as a process: how it starts, what ends it, and with which exit code."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtmpump.errors import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.faults import Hang
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.http import ask
from tests.support.paths import PYTHONPATH
from tests.support.pump import SHORT_STOP, PumpProcess
from tests.support.waiting import wait_until

# Nobody listens there, so these pumps have a workspace and no broker.
NO_BROKER = "amqp://guest:guest@127.0.0.1:1/%2F"


@pytest.fixture
def pump(workspace: Workspace, tmp_path: Path) -> Iterator[PumpProcess]:
    """A pump that is live at Slack and has no broker."""
    with PumpProcess(tmp_path, workspace, NO_BROKER) as pump:
        pump.wait_ready("slack")
        yield pump


def own_events(spool: Path) -> list[dict[str, Any]]:
    """The pump's own events in the spool of a pump that has ended."""
    db = sqlite3.connect(f"file:{spool}?mode=ro", uri=True)
    try:
        bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM events")]
    finally:
        db.close()
    return [body for body in bodies if body.get("type") == "rtmpump"]


def test_a_signal_ends_it_in_order(pump: PumpProcess, workspace: Workspace) -> None:
    """SIGTERM: the WebSocket is closed, what can't be published stays on disk, the code is 0."""
    pump.terminate()
    assert pump.wait() == EXIT_DONE
    stopped = pump.logged("stopped")[0]
    assert stopped["unfinished"] == []
    assert stopped["left_in_spool"] == 3
    assert [event["subtype"] for event in own_events(pump.spool)] == ["connected", "disconnected"]
    assert workspace.live == 0


def test_an_interrupt_ends_it_in_order(start_pump: StartPump) -> None:
    """SIGINT, as Ctrl-C sends it: with a broker there, nothing is left."""
    pump = start_pump()
    pump.signal(signal.SIGINT)
    assert pump.wait() == EXIT_DONE
    assert pump.logged("stopped")[0]["left_in_spool"] == 0


def test_a_second_signal_ends_it_at_once(pump: PumpProcess) -> None:
    """A broker that is away holds the stop up; a second signal ends that, and the code is 1."""
    pump.terminate()
    pump.wait_log("stopping")
    began = time.monotonic()
    pump.terminate()
    assert pump.wait() == EXIT_FAILED
    assert time.monotonic() - began < 10
    assert pump.logged("stopped_at_once")
    assert not pump.logged("stopped")


def test_stop_while_slack_does_not_answer(workspace: Workspace, tmp_path: Path) -> None:
    """A Slack that hangs can't hold up the stop for longer than its deadline."""
    workspace.faults.api_errors["rtm.connect"].append(Hang(600))
    with PumpProcess(tmp_path, workspace, NO_BROKER) as pump:
        assert workspace.wait(lambda: workspace.calls)
        pump.terminate()
        assert pump.wait() == EXIT_DONE


def test_a_refused_token(workspace: Workspace, tmp_path: Path) -> None:
    """A token that can never work ends it with 78 and one line that says why and what to do."""
    workspace.faults.api_errors["rtm.connect"].append("invalid_auth")
    with PumpProcess(tmp_path, workspace, NO_BROKER) as pump:
        assert pump.wait() == EXIT_CONFIG
        errors = [line for line in pump.log_lines() if line["level"] == "error"]
        assert [(line["event"], line["code"]) for line in errors] == [
            ("token.refused", "invalid_auth")
        ]
        assert errors[0]["fix"]
        assert len(workspace.calls) == 1


def test_a_token_that_is_revoked_later(start_pump: StartPump, workspace: Workspace) -> None:
    """So does one that is refused at a reconnect; what was accepted is published before."""
    pump = start_pump()
    workspace.faults.api_errors["rtm.connect"].append("token_revoked")
    workspace.cut()
    assert pump.wait() == EXIT_CONFIG
    assert pump.logged("stopped")[0]["left_in_spool"] == 0


def broken(folder: Path, where: str, how: str) -> dict[str, str]:
    """The environment of a pump in which a function of ours raises something."""
    return changed(folder, f"def broken(self, *_, **__): raise {how}", f"{where} = broken")


def changed(folder: Path, *lines: str) -> dict[str, str]:
    """The environment of a pump that begins with these lines of Python."""
    before = (
        "import time\nfrom rtmpump import errors\nfrom rtmpump.spool import Spool\n"
        "from rtmpump.daemon import reader_listener, supervisor\nsupervisor.STOP_DEADLINE = 8.0"
    )
    (folder / "sitecustomize.py").write_text("\n".join([before, *lines, ""]))
    return {"PYTHONPATH": f"{folder}:{PYTHONPATH}"}


def test_damage_at_run_time(workspace: Workspace, tmp_path: Path) -> None:
    """A spool that turns out to be damaged while it runs ends it with 1, and the log says so."""
    env = broken(tmp_path, "Spool.append", "errors.SpoolCorrupt('spool.db', 'malformed')")
    with PumpProcess(tmp_path, workspace, NO_BROKER, env=env) as pump:
        assert pump.wait() == EXIT_FAILED
        assert "SpoolCorrupt: spool spool.db: malformed" in pump.logged("thread.died")[0]["why"]


def test_a_spool_that_can_not_be_asked(workspace: Workspace, tmp_path: Path) -> None:
    """A spool that can't even say how full it is does not keep the stop from its end."""
    env = broken(tmp_path, "Spool.usage", "errors.SpoolFailed('spool.db', 'disk I/O error')")
    with PumpProcess(tmp_path, workspace, NO_BROKER, env=env) as pump:
        pump.wait_ready("slack")
        pump.terminate()
        assert pump.wait() == EXIT_DONE
        assert pump.logged("stopped")[0]["left_in_spool"] is None


def test_a_bug(workspace: Workspace, tmp_path: Path) -> None:
    """A bug in what a pump calls ends it with 1; the log says which thread, and what it was."""
    env = broken(tmp_path, "reader_listener.PumpsListener.stored", "ZeroDivisionError('a bug')")
    with PumpProcess(tmp_path, workspace, NO_BROKER, env=env) as pump:
        assert pump.wait() == EXIT_FAILED
        died = pump.logged("thread.died")[0]
        assert died["thread"] == "reader"
        assert "ZeroDivisionError: a bug" in died["why"]


def test_a_locked_spool(pump: PumpProcess, workspace: Workspace) -> None:
    """A second pump on the same spool ends with 1 before it asks Slack for anything."""
    calls = len(workspace.calls)
    with PumpProcess(pump.folder, workspace, NO_BROKER) as second:
        assert second.wait() == EXIT_FAILED
    assert len(workspace.calls) == calls
    assert pump.running


def test_a_taken_port(workspace: Workspace, tmp_path: Path) -> None:
    """A port that is taken ends it with 1, naming key and fix, before anything connects."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with PumpProcess(tmp_path, workspace, NO_BROKER, http={"listen": listen}) as pump:
            assert pump.wait() == EXIT_FAILED
            assert "http.listen" in pump.output()
            assert listen in pump.output()
    assert workspace.calls == []


def test_the_port_of_the_daemon(workspace: Workspace, tmp_path: Path) -> None:
    """It lives without a broker, and is not ready; the stop closes the port."""
    port = free_port()
    listen = {"listen": f"127.0.0.1:{port}"}
    with PumpProcess(tmp_path, workspace, NO_BROKER, program=SHORT_STOP, http=listen) as pump:
        pump.wait_ready("slack")
        pump.wait_log("broker_events.unreachable")
        pump.wait_log("broker_commands.unreachable")
        assert ask(port, "/livez") == (200, b"ok\n")
        status, body = ask(port, "/readyz")
        assert status == 503
        assert body.startswith(b"not connected: broker_events, broker_commands\n")
        status = json.loads(ask(port, "/status")[1])
        assert status["links"]["slack"]["up"] is True
        assert status["links"]["broker_events"]["last_error"]
        assert workspace.token not in json.dumps(status)
        assert b'rtmpump_link_up{link="slack"} 1.0' in ask(port, "/metrics")[1]
        pump.terminate()
        assert pump.wait() == EXIT_DONE
    assert ask(port, "/livez") == (0, b"")


def test_ready(start_pump: StartPump) -> None:
    """With Slack and RabbitMQ there, it is ready."""
    port = free_port()
    start_pump(http={"listen": f"127.0.0.1:{port}"})
    wait_until(lambda: ask(port, "/readyz")[0] == 200)


def test_a_loop_that_hangs(workspace: Workspace, tmp_path: Path) -> None:
    """A disk that never answers: `/livez` says 503 and names the reader, and only that."""
    port = free_port()
    env = changed(
        tmp_path,
        "supervisor._STALLED_AFTER, supervisor._NODE_TIMEOUT = 8.0, 0.0",
        "Spool.append = lambda *_, **__: time.sleep(600)",
    )
    listen = {"listen": f"127.0.0.1:{port}"}
    with PumpProcess(tmp_path, workspace, NO_BROKER, env=env, http=listen):
        wait_until(lambda: ask(port, "/livez") == (503, b"no progress: reader\n"))


def test_loops_that_idle(start_pump: StartPump, tmp_path: Path) -> None:
    """A daemon that has nothing to do makes progress all the same."""
    port = free_port()
    env = changed(tmp_path, "supervisor._STALLED_AFTER, supervisor._NODE_TIMEOUT = 10.0, 0.0")
    start_pump(env=env, http={"listen": f"127.0.0.1:{port}"})
    end = time.monotonic() + 15
    while time.monotonic() < end:
        assert ask(port, "/livez") == (200, b"ok\n")
        time.sleep(0.2)
