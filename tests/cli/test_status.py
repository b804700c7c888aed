"""Facts about `rtmpump status`, with a real pump behind it."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import jsonschema
import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.broker_node import memory_alarm
from tests.support.cli import Running, environment, rtmpump
from tests.support.http import AT
from tests.support.paths import ROOT
from tests.support.pump import PumpProcess
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until


def listening(start_pump: StartPump, host: str = "127.0.0.1", *, ready: bool = True) -> PumpProcess:
    """Start a pump with an HTTP port."""
    return start_pump(ready=ready, http={"listen": f"{host}:{free_port()}"})


def test_status_shows_what_a_person_wants_to_know(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace, broker: Broker
) -> None:
    """Who and for how long, whether it is ready, links, events, spool, commands, dead letters."""
    pump = listening(start_pump)
    assert broker.ask({"channel": "nowhere", "text": "x"})["ok"] is False
    workspace.emit({"type": "message", "channel": "C1", "text": "secret words", "ts": "1.000001"})
    # The pump's own two come before it.
    wait_until(lambda: broker.count("rtm.unrouted") >= 3)
    wait_until(lambda: "empty" in rtmpump(tmp_path, "status", "-c", str(pump.config)).stdout)
    done = rtmpump(tmp_path, "status", "-c", str(pump.config))
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first.startswith("rtmpump 0.")
    assert f", pid {pump.pid}, up " in first
    assert first.endswith(": ready")
    rows = {line[2:].partition("  ")[0]: line for line in rest}
    for name in ("Slack", "RabbitMQ (events)", "RabbitMQ (commands)"):
        assert " up since 20" in rows[name]
    assert " received from Slack, " in rows["events"]
    assert rows["workspace"].endswith("  Sandbox (T0SANDBOX), bot U0PUMP; RTM, 1 of 1 WebSocket")
    assert rows["gaps"].endswith("  none since it started")
    assert rows["spool"].endswith("  empty")
    assert rows["commands"].endswith("  1 channel_not_found since it started; 0 waiting")
    assert " in rtm.outbound.dead, 1 since it started; `rtmpump dead list`" in rows["dead letters"]
    assert "secret words" not in done.stdout
    assert workspace.token not in done.stdout


def test_status_says_what_is_away_and_why(tmp_path: Path, workspace: Workspace) -> None:
    """Not ready is no failure of the command: it was asked and answered."""
    address = f"127.0.0.1:{free_port()}"
    closed_port = "amqp://guest:pass-word@127.0.0.1:1/%2F"
    with PumpProcess(tmp_path, workspace, closed_port, http={"listen": address}) as pump:
        pump.wait_ready("slack")
        pump.wait_log("broker_events.unreachable")
        pump.wait_log("broker_commands.unreachable")
        done = rtmpump(tmp_path, "status", "-c", str(pump.config))
    assert done.returncode == 0
    first = done.stdout.splitlines()[0]
    away = (
        ": not ready: Not connected: RabbitMQ (events), RabbitMQ (commands) (refused: 127.0.0.1:1"
    )
    assert away in first
    assert "; start RabbitMQ, or correct broker.url; the next try is " in first
    assert "last error: refused: 127.0.0.1:1: connection refused" in done.stdout
    assert "pass-word" not in done.stdout


def test_status_json_is_the_object_of_the_port(tmp_path: Path, start_pump: StartPump) -> None:
    """For machines, as one line, and as its JSON Schema says."""
    pump = listening(start_pump)
    done = rtmpump(tmp_path, "status", "--json", "-c", str(pump.config))
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads((ROOT / "docs/status.schema.json").read_text()))
    assert document["pid"] == pump.pid
    assert document["links"]["slack"]["up"] is True
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::1]", "localhost"])  # noqa: S104
def test_status_finds_a_port_however_it_listens(
    tmp_path: Path, start_pump: StartPump, host: str
) -> None:
    """All addresses, IPv6 and names: each passes the check of the Host header."""
    pump = listening(start_pump, host, ready=False)
    pump.wait_log("http.listening")
    done = rtmpump(tmp_path, "status", "-c", str(pump.config))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("listen", "error"),
    [
        ("", 'the daemon is not reachable: http.listen is "" in the configuration'),
        ("127.0.0.1:0", "the daemon is not reachable: http.listen has port 0"),
        ("127.0.0.1:1", "the daemon at 127.0.0.1:1 is not reachable: connection refused; is"),
    ],
)
def test_status_without_a_daemon_to_ask_is_69(tmp_path: Path, listen: str, error: str) -> None:
    """One line that says why and what to do."""
    done = rtmpump(tmp_path, "status", env={"RTMPUMP_HTTP_LISTEN": listen})
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith(f"rtmpump: {error}")
    assert done.stderr.count("\n") == 1


@contextmanager
def another_program(answer: bytes) -> Iterator[str]:
    """Run an HTTP server that is no rtmpump, and give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("answer", [b"hello", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_status_knows_that_another_program_has_the_port(tmp_path: Path, answer: bytes) -> None:
    """Another program on that port is recognized."""
    with another_program(answer) as address:
        done = rtmpump(tmp_path, "status", env={"RTMPUMP_HTTP_LISTEN": address})
    assert done.returncode == 69
    assert "what answers there is no rtmpump" in done.stderr
    assert done.stderr.count("\n") == 1


def test_status_takes_what_another_version_leaves_out(tmp_path: Path) -> None:
    """Only what is there is shown, and nothing steers the terminal."""
    document = {"uptime_seconds": 7384, "links": {"slack": {"up": False, "last_error": "\x1b[2J"}}}
    with another_program(json.dumps(document).encode()) as address:
        done = rtmpump(tmp_path, "status", env={"RTMPUMP_HTTP_LISTEN": address})
    assert (done.returncode, done.stderr) == (0, "")
    assert "up 2h 3m: not ready: This daemon gives no verdict" in done.stdout
    assert r"last error: \x1b[2J" in done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (2, "too few events yet (2 of 20) to say, from the frame to RabbitMQ's confirm"),
        (20, "half within 5 ms, from the frame to RabbitMQ's confirm; of 20 events since it"),
        (100, "half within 5 ms, 99% within 250 ms, from the frame to RabbitMQ's confirm; of 100"),
    ],
)
def test_status_says_no_percentile_of_a_few(tmp_path: Path, count: int, said: str) -> None:
    """And no number of events that another one belies: the pump's own are confirmed as well."""
    latency = {"count": count, "p50": 0.005, "p99": 0.25}
    events = {"received": 1, "confirmed": 2, "dropped": {"ignored": 3, "spool_full": 4}}
    document = {"uptime_seconds": 1, "metrics": {"confirm_latency": latency, "events": events}}
    with another_program(json.dumps(document).encode()) as address:
        done = rtmpump(tmp_path, "status", env={"RTMPUMP_HTTP_LISTEN": address})
    assert said in done.stdout
    assert (
        "1 received from Slack, 2 confirmed by RabbitMQ (with the pump's own, and what waited from "
        "before), 3 ignored, as events.ignore says, 4 given up\n"
    ) in done.stdout


def test_status_watch_stays_through_a_restart(tmp_path: Path, start_pump: StartPump) -> None:
    """In a pipe one answer after the other; it says while the daemon is away; Ctrl-C is 0."""
    pump = listening(start_pump)
    args = ("status", "--watch", "-c", str(pump.config))
    command = [sys.executable, "-m", "rtmpump", *args]
    with (
        Running(tmp_path, *args) as piped,
        Terminal(command, tmp_path, environment(), columns=60) as terminal,
    ):
        piped.wait_line(f"pid {pump.pid}, ")
        terminal.wait(f"pid {pump.pid}, ")
        pump.terminate()
        piped.wait_line("is not reachable: connection refused")
        terminal.wait("connection refused")
        assert pump.wait() == 0
        pump.start()
        piped.wait_line(f"pid {pump.pid}, ")
        terminal.wait(f"pid {pump.pid}, ")
        piped.process.send_signal(signal.SIGINT)
        terminal.interrupt()
        assert (piped.wait(), terminal.end()) == (0, 0)
    assert piped.errors == []
    assert terminal.text.startswith("\x1b[H\x1b[J20")
    assert max(map(len, terminal.lines())) <= 60 + len("\x1b[H\x1b[J")


def test_status_of_a_standby_counts_what_it_needs(tmp_path: Path) -> None:
    """Slack rests, and that is no failure."""
    up, off, never = {"up": True, "since": AT}, {"up": False, "since": AT}, {"up": False}
    document = {
        "uptime_seconds": 60,
        "role": "standby",
        "wanted": ["broker_events", "broker_lock"],
        "links": {"broker_events": up, "broker_lock": up, "slack": off, "broker_commands": never},
        "verdict": {"ready": True, "tone": "ok", "what": "Standby"},
    }
    with another_program(json.dumps(document).encode()) as address:
        done = rtmpump(tmp_path, "status", env={"RTMPUMP_HTTP_LISTEN": address})
    assert "standing by, ready to take over" in done.stdout
    assert "resting" in next(line for line in done.stdout.splitlines() if "Slack" in line)
    assert re.search(r"RabbitMQ \(commands\) +resting\n", done.stdout)
    lock = next(line for line in done.stdout.splitlines() if "RabbitMQ (lock)" in line)
    assert "up since" in lock


def test_status_says_that_rabbitmq_has_an_alarm(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace, node: RabbitNode
) -> None:
    """Links are up then, and yet no event goes out."""
    pump = listening(start_pump)
    with memory_alarm(node):
        # The broker reports the alarm to connections that publish.
        workspace.emit({"type": "message", "channel": "C1", "text": "x", "ts": "1.000001"})
        pump.wait_log("broker.blocked")
        done = rtmpump(tmp_path, "status", "-c", str(pump.config))
    assert "ready: RabbitMQ accepts no events: it has a memory or disk alarm; free " in done.stdout
