"""Facts about what /status, the page's document and the metrics show of a real pump."""

from __future__ import annotations

import json
import re
from collections import deque
from pathlib import Path
from typing import Any

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.faults import ApiFault, HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.http import ask
from tests.support.pump import PumpProcess
from tests.support.socket_mode import StartSocketPump, wait_connections
from tests.support.waiting import wait_until


def status(port: int) -> dict[str, Any]:
    """The document of /status."""
    found: dict[str, Any] = json.loads(ask(port, "/status")[1])
    return found


def metric(port: int, name: str) -> list[str]:
    """The values of the samples of a name, with or without labels."""
    text = ask(port, "/metrics")[1].decode()
    return re.findall(rf"^rtmpump_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)


def test_who_and_how_many(start_socket: StartSocketPump, workspace: Workspace) -> None:
    """Mode, workspace by name and id, WebSockets held of wanted; one that is missing is a note."""
    port = free_port()
    start_socket(http={"listen": f"127.0.0.1:{port}"})
    wait_until(lambda: status(port)["slack"]["websockets"] == 2)
    found = status(port)["slack"]
    assert found["mode"] == "socket"
    names = {"id": workspace.team, "name": "Sandbox", "bot": workspace.bot}
    assert (found["workspace"], found["websockets_wanted"]) == (names, 2)
    workspace.faults.most_sockets = 1
    workspace.cut()

    def is_ready_with_a_note() -> bool:
        verdict = status(port)["verdict"]
        noted = "websockets" in [one["reason"] for one in verdict["more"]]
        return verdict["ready"] and noted and ask(port, "/readyz") == (200, b"ok\n")

    # It also is ready, with a note, between the ends of the two connections.
    wait_until(lambda: len(workspace.sockets) == 1)
    wait_until(is_ready_with_a_note)
    workspace.faults.most_sockets = 10


def test_a_gap_that_is_not_filled(start_pump: StartPump, workspace: Workspace) -> None:
    """How many, from when to when, why, and that nobody fills them."""
    port = free_port()
    start_pump(http={"listen": f"127.0.0.1:{port}"})
    assert status(port)["slack"]["gaps"] == {"number": 0, "last": None, "recent": []}
    workspace.cut()
    wait_until(lambda: status(port)["slack"]["gaps"]["number"] == 1)
    found = status(port)
    last = found["slack"]["gaps"]["last"]
    assert found["slack"]["gaps"]["recent"] == [last]
    assert [one["reason"] for one in found["verdict"]["more"]] == ["gap"]
    assert last["from"] < last["to"]
    assert (last["filled"], last["note"]) == (False, "events.backfill is off")
    text = ask(port, "/metrics")[1].decode()
    assert f'rtmpump_gaps_total{{reason="{last["reason"]}"}} 1.0' in text


def test_a_gap_that_is_filled(start_pump: StartPump, workspace: Workspace, broker: Broker) -> None:
    """It waits for Slack, and that is said; then it is filled."""
    port = free_port()
    limited: deque[ApiFault] = deque([HttpAnswer(429, {"Retry-After": "1"})] * 1000)
    workspace.faults.api_errors["conversations.history"] = limited
    start_pump(http={"listen": f"127.0.0.1:{port}"}, events={"backfill": True})
    workspace.say("general", "one")
    workspace.cut()
    seen: deque[dict[str, Any]] = deque(maxlen=1)

    def waits() -> bool:
        seen.append(status(port))
        return bool(seen[0]["slack"]["backfill"]["waits_for"] == "Slack (ratelimited)")

    wait_until(waits)
    found = seen[0]
    assert (found["slack"]["backfill"]["on"], found["slack"]["backfill"]["pending"]) == (True, 1)
    assert found["slack"]["gaps"]["last"]["filled"] is False
    assert found["verdict"]["more"][0]["what"].startswith("1 gap to fill")
    assert metric(port, "backfill_pending") == ["1.0"]
    limited.clear()
    wait_until(lambda: status(port)["slack"]["backfill"]["pending"] == 0)
    found = status(port)["slack"]
    assert (found["gaps"]["last"]["filled"], found["gaps"]["last"]["note"]) == (True, "")
    assert found["backfill"]["waits_for"] == ""


def test_the_next_try(workspace: Workspace, tmp_path: Path) -> None:
    """Of each link that is away, and of the Web API too."""
    port = free_port()
    nobody = "amqp://guest:guest@127.0.0.1:1/%2F"
    listen = {"listen": f"127.0.0.1:{port}"}
    retry = {"initial": 300, "max": 600, "jitter": "none"}
    with PumpProcess(tmp_path, workspace, nobody, http=listen, retry=retry) as pump:
        pump.wait_ready("slack")
        pump.wait_log("broker_events.unreachable")
        pump.wait_log("broker_commands.unreachable")
        away = "Not connected: RabbitMQ (events), RabbitMQ (commands) ("
        wait_until(lambda: status(port)["verdict"]["what"].startswith(away))
        found = status(port)
        assert found["links"]["broker_events"]["next_try_at"] > found["now"]
        assert found["links"]["slack"]["next_try_at"] == ""
        # Of the five minutes two may be over on a busy machine.
        assert re.search(r"; the next try is in [345] min", found["verdict"]["fix"])


def test_the_trial_of_the_web_api(
    start_socket: StartSocketPump, workspace: Workspace, broker: Broker
) -> None:
    """While the token is refused it says what to do, and when it is tried again."""
    port = free_port()
    retry = {"initial": 20, "max": 60, "jitter": "none"}
    start_socket(http={"listen": f"127.0.0.1:{port}"}, retry=retry)
    workspace.faults.api_errors["*"] = deque(["token_revoked"] * 100)
    broker.command({"channel": "C0GENERAL", "text": "x"})
    wait_until(lambda: status(port)["links"]["web_api"]["next_try_at"])
    # While a try is under way there is no next one.
    wait_until(lambda: b"; the next try is in " in ask(port, "/readyz")[1])
    code, body = ask(port, "/readyz")
    assert code == 503
    assert b"put a new token into slack.token_file" in body
    wait_connections(workspace, 2)


def test_room_in_the_spool(start_pump: StartPump, workspace: Workspace, broker: Broker) -> None:
    """How full it is of what events may take, and how long there is room at this rate."""
    port = free_port()
    broker.channel.queue_declare(
        "full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    start_pump(http={"listen": f"127.0.0.1:{port}"}, spool={"max_bytes": "16MiB"})
    broker.bind("full", "rtm.events")
    for _ in range(20):
        workspace.emit({"type": "message", "channel": "C1", "text": "x" * 100_000, "ts": "1.0001"})
    # The first growth may be seen before all are there.
    wait_until(lambda: status(port)["metrics"]["spool"]["percent"] > 15)
    wait_until(lambda: status(port)["full_in_seconds"])
    spool = status(port)["metrics"]["spool"]
    assert spool["max_bytes"] == (16 - 6) << 20
    assert spool["percent"] == round(100 * spool["bytes"] / spool["max_bytes"], 1)
    assert 15 < spool["percent"] < 40
