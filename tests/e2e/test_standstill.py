"""Facts about a pump of which a part stands still: it says so within seconds, first, with a fix."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.faults import Hang, HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.broker_node import clear_policy, fill, memory_alarm, set_policy
from tests.support.cli import rtmpump
from tests.support.disk import small_disk
from tests.support.http import ask
from tests.support.line import Line
from tests.support.paths import PYTHONPATH
from tests.support.pump import PumpProcess
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import wait_until

MIB = 1 << 20
DISK = 20 * MIB
REJECTS = {"x-max-length": 1, "x-overflow": "reject-publish"}


def say(workspace: Workspace, count: int = 1, size: int = 10) -> None:
    """Emit so many messages."""
    for _ in range(count):
        workspace.emit({"type": "message", "channel": "C1", "text": "x" * size, "ts": "1.000001"})


class Asked:
    """A pump and what its port says."""

    def __init__(self, pump: PumpProcess, port: int) -> None:
        self.pump = pump
        self.port = port

    def ready(self) -> bool:
        """Whether /readyz is 200."""
        return ask(self.port, "/readyz")[0] == 200

    def verdict(self) -> dict[str, Any]:
        """The verdict of /status."""
        found: dict[str, Any] = self.status()["verdict"]
        return found

    def status(self) -> dict[str, Any]:
        """The document of /status."""
        found: dict[str, Any] = json.loads(ask(self.port, "/status")[1])
        return found

    def metrics(self) -> str:
        """The page of /metrics."""
        return ask(self.port, "/metrics")[1].decode()

    def metric(self, name: str) -> float | None:
        """The value of one sample of ours."""
        found = re.search(rf"^rtmpump_{re.escape(name)} (\S+)$", self.metrics(), re.MULTILINE)
        return None if found is None else float(found[1])

    def wait_failure(self, reason: str, *words: str) -> None:
        """Wait until /readyz is 503 for this reason, and `rtmpump status` begins with these words.

        While a link is renewed it says that for a moment, and from one question to the next a
        second or a percent goes by: so all of it is asked until it agrees.
        """
        done = None

        def fails() -> bool:
            nonlocal done
            verdict = self.verdict()
            if verdict["ready"] or reason not in self.reasons():
                return False
            status, body = ask(self.port, "/readyz")
            if status != 503 or verdict["what"] not in body.decode():
                return False
            assert (verdict["tone"], bool(verdict["means"])) == ("bad", True)
            done = rtmpump(self.pump.folder, "status", "-c", str(self.pump.config))
            first = done.stdout.splitlines()[0]
            return ": not ready: " in first and all(one in first for one in words)

        def found() -> str:
            said = f"{self.status()}\n{self.pump.log_text()}"
            return f"for {reason}: {'' if done is None else done.stdout}\n{said}"

        wait_until(fails, what=found)

    def reasons(self) -> list[str]:
        """What has stopped, as a metric says it."""
        return re.findall(r'^rtmpump_\w+_stopped\{reason="(\w+)"\}', self.metrics(), re.MULTILINE)

    def wait_ready(self) -> None:
        """Wait until all is well again, and nothing has stopped."""
        wait_until(self.ready, what=lambda: f"{self.status()}\n{self.pump.log_text()}")
        assert self.reasons() == []
        assert self.metric("reading") == 1


def changed(folder: Path, *lines: str) -> dict[str, str]:
    """The environment of a pump that begins with these lines of Python."""
    (folder / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return {"PYTHONPATH": f"{folder}:{PYTHONPATH}"}


IMPATIENT = "from rtmpump.core import standstill\nstandstill.PATIENCE = 2.5"


@pytest.fixture
def start(start_pump: StartPump, tmp_path: Path) -> Any:
    """Start a pump with a port, for which a standstill is a failure after 2.5 seconds."""

    def started(env: dict[str, str] | None = None, **sections: Any) -> Asked:
        port = free_port()
        env = changed(tmp_path, IMPATIENT) if env is None else env
        pump = start_pump(env=env, http={"listen": f"127.0.0.1:{port}"}, **sections)
        return Asked(pump, port)

    return started


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """A disk on which nothing is free."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        try:
            while file.write(b"\0" * 65_536):
                file.flush()
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk(tmp_path: Path, start: Any, workspace: Workspace) -> None:
    """Slack and RabbitMQ are up, and nothing is read: it says which disk, and what to do."""
    with small_disk(tmp_path / "disk", DISK) as disk:
        spool = {"path": str(disk / "spool.db"), "max_bytes": "16MiB"}
        asked = start(env={}, spool=spool)
        wait_until(asked.ready)
        with full(disk):
            say(workspace, 50)
            asked.wait_failure(
                "disk", "Nothing is read from Slack", str(disk / "spool.db"), "; free some space"
            )
            assert asked.metric("reading") == 0
            assert asked.metric("spool_refusing") == 1
            assert ask(asked.port, "/livez")[0] == 200
            assert asked.status()["links"]["slack"]["up"] is True
        asked.wait_ready()
        assert asked.metric("spool_refusing") == 0


def test_a_spool_at_its_cap(start: Any, workspace: Workspace, broker: Broker) -> None:
    """The queue rejects, then nothing is read either: 100 % of what events may take, and why."""
    broker.channel.queue_declare("full", arguments=REJECTS)
    asked = start(spool={"max_bytes": "16MiB"})
    broker.wait_for_exchange("rtm.events")
    broker.channel.queue_bind("full", "rtm.events", "#")
    wait_until(asked.ready)
    say(workspace, 80, 100_000)
    asked.wait_failure("nacked", "RabbitMQ refuses the events")
    assert asked.metric("reading") == 1
    # No more than the sockets hold: nobody reads what the spool has no room for.
    say(workspace, 24, 100_000)
    asked.wait_failure(
        "spool_full", "Nothing is read from Slack: the spool is full", "spool.max_bytes"
    )
    found = asked.status()
    assert found["metrics"]["spool"]["percent"] == 100
    assert [one["reason"] for one in found["verdict"]["more"]][:1] == ["nacked"]
    assert asked.metric("spool_bytes") > 0.8 * asked.metric("spool_max_bytes")
    broker.channel.queue_delete("full")
    asked.wait_ready()


def test_an_alarm(start: Any, workspace: Workspace, node: RabbitNode) -> None:
    """RabbitMQ has a memory alarm and events wait: it says what to free, and where they are."""
    asked = start()
    wait_until(asked.ready)
    with memory_alarm(node):
        say(workspace)
        asked.pump.wait_log("broker.blocked")
        asked.wait_failure(
            "broker_blocked",
            "it has a memory or disk alarm; free memory or disk on the RabbitMQ node",
        )
    asked.wait_ready()


def test_dead_letters_that_are_refused(
    start: Any, broker: Broker, broker_url: str, node: RabbitNode
) -> None:
    """A command whose dead letter no queue takes is held, and that is said; so is the depth."""
    asked = start()
    wait_until(lambda: asked.metric("dead_letters") == 0)
    vhost = broker_url.rpartition("/")[2]
    set_policy(node, vhost, "dead$", max_length=1, overflow="reject-publish")
    fill(broker, "rtm.outbound.dead")
    for number in range(4):
        broker.publish(f"no command {number}", queue="rtm.outbound")
    asked.wait_failure("dead_queue", "RabbitMQ refuses the dead letters of ", "`rtmpump dead list`")
    assert broker.count("rtm.outbound.dead") > 0
    asked.pump.kill()
    asked.pump.start()
    wait_until(lambda: asked.metric("dead_letters") == broker.count("rtm.outbound.dead"))
    assert asked.status()["metrics"]["dead_letters"] == {}
    clear_policy(node, vhost)
    asked.wait_ready()


def test_a_pause_that_slack_asked_for(
    start_socket: StartSocketPump, workspace: Workspace, broker: Broker, tmp_path: Path
) -> None:
    """It is said at once, and is no failure until it lasts; then it is one."""
    port = free_port()
    workspace.faults.api_errors["chat.postMessage"].append(HttpAnswer(429, {"Retry-After": "30"}))
    # A busy machine has seen it by then, and has time to see the failure before the pause is over.
    env = changed(tmp_path, IMPATIENT, "standstill.LENIENCE = 12.0")
    pump = start_socket(env=env, http={"listen": f"127.0.0.1:{port}"})
    asked = Asked(pump, port)
    sent = broker.command({"channel": "general", "text": "x"})

    def is_said_and_no_failure() -> bool:
        verdict = asked.verdict()
        return bool(verdict["ready"]) and [one["reason"] for one in verdict["more"]] == [
            "slack_pause"
        ]

    wait_until(is_said_and_no_failure)
    asked.wait_failure(
        "slack_pause", "1 command waits for ", "Slack asked for a pause (chat.postMessage)"
    )
    assert broker.result(sent).json["ok"]
    asked.wait_ready()


def test_a_slack_that_answers_no_call(
    start_socket: StartSocketPump, workspace: Workspace, broker: Broker, tmp_path: Path
) -> None:
    """A command that Slack does not answer is not carried out."""
    port = free_port()
    workspace.faults.api_errors["chat.postMessage"].append(Hang(600))
    pump = start_socket(
        env=changed(tmp_path, IMPATIENT),
        http={"listen": f"127.0.0.1:{port}"},
        outbound={"reply_timeout": 600},
    )
    sent = broker.command({"channel": "general", "text": "x"})
    asked = Asked(pump, port)
    asked.wait_failure("no_answer", "Slack has not answered 1 command for ")
    # It ends the call that hangs.
    workspace.down()
    workspace.up()
    assert broker.result(sent).json["ok"]
    asked.wait_ready()


@pytest.mark.parametrize(
    ("name", "trip"),
    [
        ("Spool.append", "Nothing is read from Slack: the reading thread hangs"),
        ("Spool.read", "No event gets to RabbitMQ: the publishing thread hangs"),
    ],
)
def test_a_thread_that_hangs(
    start: Any, workspace: Workspace, tmp_path: Path, name: str, trip: str
) -> None:
    """It is said long before the watchdog acts, though the other links are up."""
    env = changed(
        tmp_path,
        IMPATIENT,
        f"import os, time\nfrom rtmpump.spool import Spool\nbefore = {name}",
        "def hangs(*given, **named):",
        f"    while os.path.exists({str(tmp_path / 'hang')!r}): time.sleep(0.1)",
        "    return before(*given, **named)",
        f"{name} = hangs",
    )
    asked = start(env=env)
    wait_until(asked.ready)
    (tmp_path / "hang").touch()
    say(workspace)
    asked.wait_failure("hangs", trip)
    assert ask(asked.port, "/livez")[0] == 200
    (tmp_path / "hang").unlink()
    asked.wait_ready()


def test_a_node_that_confirms_nothing(
    start: Any, workspace: Workspace, node: RabbitNode, broker_url: str
) -> None:
    """A RabbitMQ that is connected and silent is noticed before it is taken for dead."""
    with Line(node.port) as line:
        url = broker_url.replace(f":{node.port}/", f":{line.port}/")
        asked = start(broker={"url": url, "heartbeat": 60})
        wait_until(asked.ready)
        line.freeze()
        say(workspace)
        asked.wait_failure("no_confirm", "RabbitMQ has confirmed no event for ")
        line.thaw()
        asked.wait_ready()


def test_a_slack_that_is_silent(start: Any, workspace: Workspace) -> None:
    """A ping without an answer is said before the connection is taken for dead."""
    with Line(workspace.port) as line:
        workspace.faults.place = f"127.0.0.1:{line.port}"
        asked = start(slack={"ping_interval": 1, "ping_timeout": 60})
        wait_until(asked.ready)
        line.freeze()
        asked.wait_failure("silent", "it has not answered a ping for ")
        line.thaw()
        asked.wait_ready()


def test_no_queue_takes_the_events(start: Any, workspace: Workspace) -> None:
    """Every event came back: that is a warning, and not a side remark."""
    asked = start()
    say(workspace, 20)
    wait_until(lambda: asked.verdict()["tone"] == "warn", what=lambda: str(asked.status()))
    assert asked.verdict()["what"].startswith("No queue takes the events: ")
    wait_until(asked.ready)
