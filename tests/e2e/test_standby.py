"""Two real pumps for one workspace: one is active, the other stands by, RabbitMQ decides which."""

from __future__ import annotations

import json
import os
import signal
import time
import tomllib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.faults import ApiFault, HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.e2e.test_crash import Flood, all_events, gaps, numbers, until_number, untold
from tests.e2e.test_crash import without_repeats as once
from tests.support import http
from tests.support.broker import Broker, Message
from tests.support.broker_node import memory_alarm
from tests.support.line import Line
from tests.support.load import HeldUp
from tests.support.programs import with_change
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

HEARTBEAT = 6
LOCK = "rtmpump.lock"
HISTORY = "conversations.history"


class Pumps:
    """Starts pumps of one workspace, each with a folder and a port of its own."""

    def __init__(self, workspace: Workspace, url: str, folder: Path, stack: ExitStack) -> None:
        self._workspace, self._url, self._folder, self._stack = workspace, url, folder, stack
        self._count = 0

    def start(self, url: str = "", **sections: Any) -> PumpProcess:
        """Another one; it need not be ready."""
        self._count += 1
        folder = self._folder / f"host-{self._count}"
        folder.mkdir()
        given: dict[str, dict[str, object]] = {
            "ha": {"enabled": True},
            "broker": {"url": url or self._url, "heartbeat": HEARTBEAT},
            "http": {"listen": f"127.0.0.1:{free_port()}"},
        }
        pump = PumpProcess(folder, self._workspace, self._url, **(given | sections))
        return self._stack.enter_context(pump)

    def start_active(self, url: str = "", **sections: Any) -> PumpProcess:
        """One that is the active one."""
        pump = self.start(url, **sections)
        pump.wait_ready()
        return pump

    def start_standby(self, url: str = "", **sections: Any) -> PumpProcess:
        """One that stands by."""
        pump = self.start(url, **sections)
        wait_until(partial(stands_by, pump))
        return pump


@pytest.fixture
def pumps(workspace: Workspace, broker_url: str, tmp_path: Path) -> Iterator[Pumps]:
    """To start pumps with."""
    with ExitStack() as stack:
        yield Pumps(workspace, broker_url, tmp_path, stack)


def ask(pump: PumpProcess, path: str) -> tuple[int, str]:
    """What its port says; (0, "") while nobody listens."""
    listen = tomllib.loads(pump.config.read_text())["http"]["listen"]
    status, body = http.ask(int(listen.rpartition(":")[2]), path)
    return status, body.decode()


def stands_by(pump: PumpProcess) -> bool:
    """Whether it is ready as the standby."""
    return ask(pump, "/readyz") == (200, "standby\n")


def has_nothing_left(pump: PumpProcess) -> bool:
    """Whether its spool is empty."""
    return events_left(pump) == 0


def at(line: dict[str, Any]) -> float:
    """When a line was logged, in seconds since 1970."""
    return datetime.fromisoformat(line["time"]).timestamp()


def connects(workspace: Workspace) -> int:
    """How often rtm.connect was called."""
    return sum(call.method == "rtm.connect" for call in workspace.calls)


def all_that_came(broker: Broker, queue: str, flood: Flood, *pumps: PumpProcess) -> list[Message]:
    """What was received, once no pump has anything left: each has a spool of its own."""
    got = broker.take_until(queue, until_number(len(flood.at) - 1))
    for pump in pumps:
        wait_until(partial(has_nothing_left, pump), what="for an empty spool")
    return once([*got, *broker.drain(queue)])


def events_left(pump: PumpProcess) -> int:
    """How many events wait in its spool."""
    return int(json.loads(ask(pump, "/status")[1])["metrics"]["spool"]["events"])


def times_connected(*pumps: PumpProcess) -> int:
    """How often they were connected; a RabbitMQ that stands still for seconds adds to a strike."""
    return sum(pump.output().count('"slack.connected"') for pump in pumps)


def asked_history(workspace: Workspace) -> list[float]:
    """When Slack's history was asked for, in seconds since 1970."""
    return [call.time for call in list(workspace.calls) if call.method == HISTORY]


def closings(got: list[Message]) -> list[Message]:
    """The events that close gaps."""
    return [one for one in got if one.key == "rtmpump.backfilled"]


def send(broker: Broker, text: str) -> None:
    """A command, which somebody has to carry out."""
    assert broker.ask({"channel": "general", "text": text})["ok"]


def test_one_of_two_is_active(pumps: Pumps, workspace: Workspace, broker: Broker) -> None:
    """The other is connected to RabbitMQ alone, and each tells its role wherever one may look."""
    active = pumps.start_active()
    standby = pumps.start_standby()
    assert workspace.live == 1
    assert connects(workspace) == times_connected(active, standby)
    for pump, role, number in ((active, "active", "1.0"), (standby, "standby", "0.0")):
        assert json.loads(ask(pump, "/status")[1])["role"] == role
        assert f"\nrtmpump_active {number}\n" in ask(pump, "/metrics")[1]
    assert ask(active, "/readyz") == (200, "ok\n")
    assert 'rtmpump_link_up{link="broker_lock"} 1.0' in ask(standby, "/metrics")[1]
    links = json.loads(ask(standby, "/status")[1])["links"]
    assert {name for name, link in links.items() if link["up"]} == {"broker_events", "broker_lock"}
    consumers = broker.channel.queue_declare("rtm.outbound", passive=True).method.consumer_count
    assert consumers == 1
    send(broker, "to Slack")
    assert connects(workspace) == times_connected(active, standby)


def test_kill_9_of_the_active_one(
    pumps: Pumps, workspace: Workspace, broker: Broker, node: RabbitNode
) -> None:
    """The standby takes over within 5 s; a gap covers all that nobody read; commands go on."""
    queue = all_events(broker)
    first, second = pumps.start_active(), pumps.start_standby()
    with Flood(workspace) as flood:
        for _ in range(2):
            flood.wait_for(200)
            had = len(second.logged("slack.connected"))
            with HeldUp(second.pid, node.pid, os.getpid()) as held_up:
                killed = datetime.now().timestamp()
                first.kill()
                taken_over = at(second.wait_log("slack.connected", had + 1))
            assert taken_over - killed < 5 + held_up.seconds
            flood.wait_for(50)
            send(broker, "goes on")
            # What it had accepted and not published comes from its own spool, though it is standby.
            first.start()
            wait_until(partial(stands_by, first))
            first, second = second, first
        flood.wait_for(100)
    assert len(workspace.sent) == 2
    got = all_that_came(broker, queue, flood, first, second)
    assert len(gaps(got)) == times_connected(first, second) - 1 >= 2
    assert untold(flood.at, flood.written, got) == []
    assert all(one.json["reason"] == "takeover" for one in got if one.key == "rtmpump.gap")


def test_kill_9_right_after_the_very_first_hello(
    pumps: Pumps, workspace: Workspace, broker: Broker
) -> None:
    """Before it could say what it had: the gap goes back to when it became the active one."""
    queue = all_events(broker)
    failing: deque[ApiFault] = deque(["internal_error"] * 1000)
    workspace.faults.api_errors["rtm.connect"] = failing
    first = pumps.start()
    first.wait_log("lock.taken")
    second = pumps.start_standby()
    with Flood(workspace) as flood:
        failing.clear()
        first.wait_log("slack.connected")
        killed = time.time_ns() // 1_000_000
        first.kill()
        second.wait_log("slack.connected")
        flood.wait_for(100)
    first.start()
    wait_until(lambda: ask(first, "/readyz") == (200, "standby\n"))
    got = all_that_came(broker, queue, flood, first, second)
    assert len(gaps(got)) == times_connected(first, second) - 1
    since, to = min(gaps(got))
    assert since <= killed <= to
    assert untold(flood.at, flood.written, got) == []


def test_a_planned_stop_hands_over_at_once(
    pumps: Pumps, workspace: Workspace, broker: Broker, node: RabbitNode
) -> None:
    """SIGTERM: no event that a pump was connected for is lost, and each handover is one gap."""
    queue = all_events(broker)
    # It takes in all that Slack sends before its answer to the goodbye, also on a busy machine.
    program = with_change("reader", "_CLOSING", 5.0)
    first, second = pumps.start_active(program=program), pumps.start_standby(program=program)
    bounds = []
    with Flood(workspace) as flood:
        for _ in range(2):
            flood.wait_for(200)
            with HeldUp(first.pid, second.pid, node.pid, os.getpid()) as held_up:
                first.terminate()
                first.wait_log("lock.left")
                second.wait_log("slack.connected", len(second.logged("slack.disconnected")) + 1)
            assert first.wait() == 0
            (left,) = first.logged("lock.left")
            # RabbitMQ gave it on at once: two heartbeats are what a lost connection takes.
            assert at(second.logged("lock.taken")[-1]) - at(left) < HEARTBEAT + held_up.seconds
            began = first.logged("lock.taken")[-1], second.logged("slack.connected")[-1]
            bounds.append([1000 * at(line) for line in began])
            assert first.logged("stopped")[0]["left_in_spool"] == 0
            first.start()
            wait_until(partial(stands_by, first))
            first, second = second, first
        flood.wait_for(100)
    got = all_that_came(broker, queue, flood, first, second)
    # The last one before a close may have gone out to nobody.
    assert len(flood.at) - len(set(numbers(got))) <= 2
    assert untold(flood.at, flood.written, got) == []
    assert len(gaps(got)) == times_connected(first, second) - 1 >= 2
    # One begins in the term of the one that stopped, and ends with the other's connection.
    for before, after in bounds:
        assert any(before <= since < to <= after for since, to in gaps(got))


def test_a_partition(
    pumps: Pumps, workspace: Workspace, broker: Broker, node: RabbitNode, broker_url: str
) -> None:
    """Cut off without a word, the active one lets go before RabbitMQ gives the lock away.

    The other has it within three heartbeats; the first stands by when the line is back, and what it
    had accepted meanwhile is not lost.
    """
    queue = all_events(broker)
    with Line(node.port) as line:
        first = pumps.start_active(broker_url.replace(str(node.port), str(line.port)))
        second = pumps.start_standby()
        with Flood(workspace, pause=0.005) as flood:
            flood.wait_for(100)
            with HeldUp(first.pid, second.pid, node.pid, os.getpid()) as held_up:
                line.freeze()
                frozen = datetime.now().timestamp()
                lost = first.wait_log("lock.lost")
                taken = second.wait_log("lock.taken")
                live = second.wait_log("slack.connected")
            assert at(lost) - frozen < HEARTBEAT + held_up.seconds
            assert at(lost) < at(taken)
            assert at(live) - frozen < 3 * HEARTBEAT + held_up.seconds
            wait_until(lambda: workspace.live == 1)
            status, told = ask(first, "/readyz")
            assert (status, "broker_lock" in told) == (503, True)
            send(broker, "by the second")
            line.thaw()
            wait_until(lambda: ask(first, "/readyz") == (200, "standby\n"))
            flood.wait_for(50)
        got = all_that_came(broker, queue, flood, first)
    assert sorted(numbers(got)) == sorted(set(numbers(got)))
    assert untold(flood.at, flood.written, got) == []
    assert len(gaps(got)) == times_connected(first, second) - 1 >= 1
    assert len(workspace.sent) == 1
    assert connects(workspace) == times_connected(first, second)


def test_a_pump_that_was_frozen_sends_nothing_when_it_wakes(
    pumps: Pumps, workspace: Workspace, broker: Broker
) -> None:
    """SIGSTOP for longer than the broker waits: the other is active, and no command goes out twice.

    The first has commands in hand when it freezes; it must not write them when it wakes. The one
    whose reply it may not have read is uncertain, so that may come again.
    """
    # The next one is due when it wakes, and not before it is frozen.
    first = pumps.start_active(outbound={"rate": 0.2, "burst": 1})
    second = pumps.start_standby(outbound={"rate": 5.0, "burst": 1})
    for number in range(6):
        broker.publish({"channel": "general", "text": str(number)})
    assert workspace.wait(lambda: len(workspace.sent) == 1)
    first.signal(signal.SIGSTOP)
    second.wait_log("lock.taken")
    second.wait_log("slack.connected")
    first.signal(signal.SIGCONT)
    first.wait_log("lock.lost")
    assert workspace.wait(lambda: len({sent.text for sent in workspace.sent}) == 6, 100)
    wait_until(lambda: broker.count("rtm.outbound") == 0)
    texts = [sent.text for sent in workspace.sent]
    assert texts[-6:] == [str(number) for number in range(6)]
    assert texts[:-6] in ([], ["0"])
    wait_until(lambda: ask(first, "/readyz") == (200, "standby\n"))
    wait_until(lambda: workspace.live == 1)


def test_what_comes_twice_has_the_same_message_id(
    pumps: Pumps, workspace: Workspace, broker: Broker
) -> None:
    """While a frozen pump's connection to Slack still lives, both get an event: it has one id.

    One without an identity of its own has two, which nobody can help.
    """
    queue = all_events(broker)
    first, second = pumps.start_active(), pumps.start_standby()
    first.signal(signal.SIGSTOP)
    second.wait_log("slack.connected")
    message = {"type": "message", "channel": "C0GENERAL", "user": "U1", "text": "x", "ts": "9.1"}
    workspace.emit(message)
    workspace.emit({"type": "reaction_added", "user": "U1", "event_ts": "9.2"})
    workspace.emit({"type": "user_typing", "user": "U1"})
    first.signal(signal.SIGCONT)

    def both_came(got: list[Message]) -> bool:
        return sum(one.key == "user_typing" for one in got) == 2

    got = broker.take_until(queue, both_came)
    ids = {
        key: [one.properties.message_id for one in got if one.key == key]
        for key in ("message", "reaction_added", "user_typing")
    }
    many = {key: len(set(of_key)) for key, of_key in ids.items()}
    assert many == {"message": 1, "reaction_added": 1, "user_typing": 2}
    assert len(ids["message"]) == len(ids["reaction_added"]) == 2


def test_who_loses_the_turn_fills_no_gap_until_the_next(
    pumps: Pumps, workspace: Workspace, broker: Broker, node: RabbitNode, broker_url: str
) -> None:
    """It asks Slack no more, keeps the gap in its notes, and goes on when it is its turn again."""
    queue = all_events(broker)
    limited: deque[ApiFault] = deque([HttpAnswer(429, {"Retry-After": "1"})] * 1000)
    workspace.faults.api_errors[HISTORY] = limited
    with Line(node.port) as line:
        url = broker_url.replace(str(node.port), str(line.port))
        first = pumps.start_active(url, events={"backfill": True})
        second = pumps.start_standby()
        refusing: deque[ApiFault] = deque(["internal_error"] * 1000)
        workspace.faults.api_errors["rtm.connect"] = refusing
        workspace.cut()
        assert workspace.wait(lambda: not workspace.live)
        workspace.say("general", "missed")
        refusing.clear()
        first.wait_log("backfill.waits", 2, reason="ratelimited")
        line.freeze()
        first.wait_log("lock.lost")
        second.wait_log("slack.connected")
        line.thaw()
        wait_until(lambda: ask(first, "/readyz") == (200, "standby\n"))
        asked, until = len(asked_history(workspace)), time.monotonic() + 3
        # It would ask once a second.
        wait_until(lambda: time.monotonic() > until)
        assert len(asked_history(workspace)) == asked
        limited.clear()
        assert len(json.loads((first.folder / "spool.db-gaps").read_bytes())) == 1
        assert not first.logged("backfill.done")
        second.kill()
        # Its gap from before, and that of its takeover.
        first.wait_log("backfill.done", 2)
        filled = [
            one
            for one in broker.take_until(queue, lambda got: len(closings(got)) == 2)
            if one.headers.get("backfill") is True
        ]
    assert {one.json["text"] for one in filled} == {"missed"}
    assert len({one.properties.message_id for one in filled}) == 1


def test_a_deposed_pump_can_be_elected_again(
    pumps: Pumps, workspace: Workspace, broker: Broker
) -> None:
    """The lock queue deleted under it: it steps down, stands for election and goes on."""
    queue = all_events(broker)
    pump = pumps.start_active()
    with Flood(workspace) as flood:
        for times in (2, 3):
            flood.wait_for(50)
            broker.channel.queue_delete(LOCK)
            pump.wait_log("slack.connected", times)
            flood.wait_for(50)
            send(broker, "again")
    got = once(broker.take_until(queue, until_number(len(flood.at) - 1)))
    assert untold(flood.at, flood.written, got) == []
    assert len(gaps(got)) == times_connected(pump) - 1 >= 2
    assert len(workspace.sent) == 2


def test_an_alarm_of_the_broker_deposes_nobody(
    pumps: Pumps, workspace: Workspace, node: RabbitNode, broker_url: str
) -> None:
    """No note comes back then; events wait in the spool, and a standby can still take over."""
    # Long ones: the lock now hangs on the heartbeats of the broker, on a busy machine too.
    broker = {"url": broker_url, "heartbeat": (heartbeat := 4 * HEARTBEAT)}
    first, second = pumps.start_active(broker=broker), pumps.start_standby(broker=broker)
    with memory_alarm(node):
        workspace.emit({"type": "user_typing"})
        first.wait_log("broker.blocked")
        # Longer than a claim lasts by itself, and longer than a node waits for heartbeats.
        until = at(first.logged("broker.blocked")[0]) + 1.7 * heartbeat
        wait_until(lambda: time.time() > until)
        assert not first.logged("lock.lost")
        assert workspace.live == 1
        first.kill()
        second.wait_log("slack.connected")
    second.wait_log("broker.unblocked") if second.logged("broker.blocked") else None
    assert not second.logged("lock.lost")


def test_without_ha_there_is_nothing_of_it(
    pumps: Pumps, workspace: Workspace, broker: Broker
) -> None:
    """No lock queue, no further connection, no role in the metrics."""
    pump = pumps.start_active(ha={"enabled": False})
    assert not broker.exists(queue=LOCK)
    assert not pump.logged("broker_lock.connected")
    assert "rtmpump_active" not in ask(pump, "/metrics")[1]
    assert "broker_lock" not in ask(pump, "/metrics")[1] + ask(pump, "/status")[1]
    assert workspace.live == 1


def test_both_stop_in_order(pumps: Pumps) -> None:
    """A standby ends with 0 as well, and leaves nothing running."""
    first, second = pumps.start_active(), pumps.start_standby()
    second.terminate()
    assert second.wait() == 0
    assert second.logged("stopped")[0]["unfinished"] == []
    first.terminate()
    assert first.wait() == 0
    assert first.logged("stopped")[0]["unfinished"] == []
