"""Facts about promise 1: whatever is killed, nothing that was accepted is lost.

A flood of numbered events, with the time of each, is the record that is independent of the pump.
"""

from __future__ import annotations

import json
import random
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from signal import SIGTERM
from typing import Any, Self

import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker, Message
from tests.support.broker_node import lose_consumers
from tests.support.line import Line
from tests.support.pump import PumpProcess
from tests.support.waiting import SECONDS, wait_until

# What may lie between Slack's writing of an event and our reading of it.
ON_THE_WAY_MS = 250
KILLS = 20


class Flood:
    """Numbered events, one after the other, to whoever is connected.

    `at` has the time of each, right before it is written, and `written` that right after it.
    """

    def __init__(self, workspace: Workspace, pause: float = 0.001) -> None:
        self.at: list[int] = []
        self.written: list[int] = []
        self._workspace = workspace
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """No further event."""
        self._stop.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def wait_for(self, more: int) -> None:
        """Waits until so many more were sent."""
        wanted = len(self.at) + more
        wait_until(lambda: len(self.at) >= wanted, what="for the flood")

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            if not self._workspace.live:
                continue
            number = len(self.at)
            self.at.append(time.time_ns() // 1_000_000)
            self._workspace.emit(numbered(number))
            self.written.append(time.time_ns() // 1_000_000)


def numbered(number: int) -> bytes:
    """An event without an identity of its own, so that its id comes from the spool."""
    event = {"type": "user_typing", "channel": "C0GENERAL", "user": "U0ALICE", "n": number}
    return json.dumps(event).encode()


def all_events(broker: Broker, name: str = "", **arguments: object) -> str:
    """A queue that gets all events from the very first, before a pump declares anything."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    return broker.queue(("rtm.events", "#"), name=name, **arguments)


def without_repeats(got: Sequence[Message]) -> list[Message]:
    """The first of each message id; a repeat must be equal to it."""
    first: dict[str, Message] = {}
    for one in got:
        known = first.setdefault(one.properties.message_id or "", one)
        assert known.body == one.body
        assert known.headers == one.headers
    assert "" not in first
    return list(first.values())


def numbers(got: Sequence[Message]) -> list[int]:
    """The numbers of the flood's events."""
    return [one.json["n"] for one in got if one.key == "user_typing"]


def assert_nothing_accepted_is_lost(got: Sequence[Message]) -> list[Message]:
    """All that the spool ever numbered is there, in order; returns it without repeats."""
    once = without_repeats(got)
    seqs = [one.headers["seq"] for one in once]
    assert seqs == list(range(1, len(seqs) + 1))
    assert numbers(once) == sorted(set(numbers(once)))
    return once


def gaps(got: Sequence[Message]) -> list[tuple[int, int]]:
    """The times of the gaps that were told, in milliseconds."""

    def ms(moment: str) -> int:
        return round(datetime.fromisoformat(moment).timestamp() * 1000)

    return [(ms(one.json["from"]), ms(one.json["to"])) for one in got if one.key == "rtmpump.gap"]


def untold(at: Sequence[int], written: Sequence[int], got: Sequence[Message]) -> list[int]:
    """The numbers that did not come and that no gap covers, by the times of their emission.

    Each was emitted somewhere between two times: whoever writes may have to wait for its turn.
    """
    seen, told = set(numbers(got)), gaps(got)
    return [
        number
        for number, (begun, done) in enumerate(zip(at, written, strict=True))
        if number not in seen
        and not any(since - ON_THE_WAY_MS <= done and begun <= to + 1 for since, to in told)
    ]


def until_number(last: int) -> Any:
    """Says when the event with this number has come."""
    looked, came = 0, False

    def has_come(got: list[Message]) -> bool:
        nonlocal looked, came
        new, looked = got[looked:], len(got)
        came = came or any(one.key == "user_typing" and one.json["n"] == last for one in new)
        return came

    return has_come


def at_port(url: str, port: int) -> str:
    """Return the URL of the same vhost at another port."""
    return re.sub(r":\d+/", f":{port}/", url)


def stop_well(pump: PumpProcess) -> dict[str, Any]:
    """SIGTERM, and the last line of the log."""
    began = time.monotonic()
    pump.terminate()
    assert pump.wait() == 0, pump.log_text()
    # A stop has 20 s; a busy machine needs some around them.
    assert time.monotonic() - began < 60
    (line,) = pump.logged("stopped")
    return line


def test_twenty_kills_lose_nothing_that_was_accepted(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """`kill -9` at any moment: seqs without a hole, repeats with equal ids, order, gap events."""
    queue = all_events(broker)
    pump = start_pump(log={"level": "info"})
    dice = random.Random(20)
    with Flood(workspace) as flood:
        for kill in range(KILLS):
            if kill % 4 == 3:
                # In the middle of its start, whatever it does just then.
                time.sleep(dice.uniform(0, 0.5))
            else:
                pump.wait_log("slack.connected")
                flood.wait_for(dice.randrange(1, 150))
            pump.kill()
            pump.start()
        pump.wait_ready()
        flood.wait_for(100)
    assert stop_well(pump)["left_in_spool"] == 0
    got = broker.take(queue, broker.count(queue))
    once = assert_nothing_accepted_is_lost(got)
    assert len(gaps(once)) >= KILLS // 2
    assert untold(flood.at, flood.written, once) == []
    assert len(numbers(once)) > KILLS


def test_a_gap_begins_before_what_lay_unread(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """A pump that lags when it is killed: all that lay in its socket is in the gap."""
    queue = all_events(broker)
    pump = start_pump()
    pump.signal(signal.SIGSTOP)
    at: list[int] = []
    killed = threading.Event()

    def frames() -> Iterator[bytes]:
        # For as long as it lives, so that there is always something that it has not read.
        for number in count():
            if killed.is_set():
                return
            at.append(time.time_ns() // 1_000_000)
            yield numbered(number)

    flood = threading.Thread(target=workspace.emit_many, args=(frames(),))
    flood.start()
    # Long enough that a gap from the time of reading would begin too late to hide behind.
    wait_until(lambda: at and time.time_ns() // 1_000_000 - at[0] > 10 * ON_THE_WAY_MS)
    pump.signal(signal.SIGCONT)
    wait_until(lambda: broker.count(queue) > 10)
    pump.kill()
    killed.set()
    flood.join()
    pump.start()
    pump.wait_ready()
    assert stop_well(pump)["left_in_spool"] == 0
    once = assert_nothing_accepted_is_lost(broker.take(queue, broker.count(queue)))
    assert len(numbers(once)) < len(at)
    assert untold(at, at, once) == []


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_broker_that_goes_and_comes_back_loses_no_event(
    node: RabbitNode, broker_url: str, workspace: Workspace, tmp_path: Path, how: str
) -> None:
    """In good order or not, under load: every event of the flood arrives, and Slack saw nothing."""
    with Broker(broker_url) as broker:
        all_events(broker, "all")
    with PumpProcess(tmp_path, workspace, broker_url) as pump:
        pump.wait_ready()
        # Two hundred a second: it goes on for as long as the node is away.
        with Flood(workspace, pause=0.005) as flood:
            flood.wait_for(200)
            getattr(node, how)()
            node.start()
            pump.wait_log("broker_events.connected", 2)
            pump.wait_log("broker_commands.connected", 2)
            flood.wait_for(200)
        assert stop_well(pump)["left_in_spool"] == 0
    with Broker(broker_url) as broker:
        got = broker.take_until("all", until_number(len(flood.at) - 1))
    once = assert_nothing_accepted_is_lost(got)
    assert numbers(once) == list(range(len(flood.at)))
    assert workspace.connections == 1
    assert gaps(once) == []


def test_a_command_is_not_sent_twice_because_the_broker_went_away(
    node: RabbitNode, broker_url: str, workspace: Workspace, tmp_path: Path
) -> None:
    """Slack's reply came while there was nobody to tell it; the redelivery gets it."""
    workspace.faults.reply_policy = faults.late(2.0)
    with PumpProcess(tmp_path, workspace, broker_url) as pump:
        pump.wait_ready()
        with Broker(broker_url) as broker:
            broker.queue(name="answers", x_queue_type="quorum")
            command = {"channel": "general", "text": "once"}
            broker.publish(command, reply_to="answers", correlation_id="c", message_id="m")
            assert workspace.wait(lambda: workspace.sent)
        node.restart()
        pump.wait_log("broker_commands.connected", 2)
        with Broker(broker_url) as broker:
            result = broker.get("answers").json
            wait_until(lambda: broker.count("rtm.outbound") == 0)
            assert broker.poll("answers") is None
    assert (result["ok"], result["ts"]) == (True, workspace.sent[0].ts)
    assert len(workspace.sent) == 1


def test_a_command_is_not_sent_twice_because_the_queue_gave_it_again(
    node: RabbitNode, broker: Broker, broker_url: str, workspace: Workspace, start_pump: StartPump
) -> None:
    """On the same connection, while it waits for its turn, for Slack, or for its confirm."""
    workspace.faults.reply_policy = faults.late(0.05)
    pump = start_pump(outbound={"rate": 50.0, "burst": 1})
    asked = [broker.command({"channel": "general", "text": str(n)}) for n in range(60)]
    for sent in (1, 20, 40):
        assert workspace.wait(lambda: len(workspace.sent) >= sent)  # noqa: B023 - it is called now
        lose_consumers(node, broker_url.rpartition("/")[2], "rtm.outbound")
    for correlation in asked:
        assert broker.result(correlation).json["ok"]
    pump.terminate()
    assert pump.wait() == 0
    assert broker.count("rtm.outbound") == 0
    assert [one.text for one in workspace.sent] == [str(n) for n in range(60)]
    assert len(pump.logged("broker_commands.connected")) == 1


def test_events_wait_on_disk_for_a_broker_that_is_not_there(
    node: RabbitNode, broker_url: str, workspace: Workspace, tmp_path: Path
) -> None:
    """Down at the start, SIGTERM, the next run with the broker back: all of it arrives."""
    with Broker(broker_url) as broker:
        all_events(broker, "all")
    port = free_port()
    with PumpProcess(tmp_path, workspace, at_port(broker_url, port)) as pump:
        pump.wait_ready("slack")
        pump.wait_log("broker_events.unreachable")
        workspace.emit_many([numbered(n) for n in range(300)])
        # It closes in order, so it reads all that Slack wrote before.
        assert stop_well(pump)["left_in_spool"] >= 300
        with Line(node.port, port), Broker(broker_url) as broker:
            pump.start().wait_ready()
            got = broker.take_until(
                "all", lambda got: any(one.key == "rtmpump.gap" for one in got[-5:])
            )
            assert stop_well(pump)["left_in_spool"] == 0
    once = assert_nothing_accepted_is_lost(got)
    assert numbers(once) == list(range(300))
    assert len(gaps(once)) == 1


def test_a_second_signal_stops_at_once(workspace: Workspace, tmp_path: Path) -> None:
    """While it still waits for a broker that is not there."""
    with PumpProcess(tmp_path, workspace, f"amqp://127.0.0.1:{free_port()}/") as pump:
        pump.wait_ready("slack")
        workspace.emit(numbered(0))
        pump.terminate()
        pump.wait_log("stopping")
        pump.signal(SIGTERM)
        assert pump.wait() == 1
        assert pump.logged("stopped_at_once")


def test_sigterm_publishes_all_that_was_read(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """In the middle of a flood: 0, nothing left behind, the last event is `disconnected`."""
    queue = all_events(broker)
    pump = start_pump()
    with Flood(workspace) as flood:
        flood.wait_for(500)
        assert stop_well(pump)["left_in_spool"] == 0
    got = broker.take(queue, broker.count(queue))
    once = assert_nothing_accepted_is_lost(got)
    assert once[-1].key == "rtmpump.disconnected"
    assert numbers(once) == list(range(len(numbers(once))))


def test_a_second_pump_on_the_same_spool_is_refused(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """With one line that names the file; the first goes on."""
    first = start_pump()
    second = start_pump(ready=False)
    assert second.wait() not in (0, 78)
    (line,) = second.output().splitlines()
    assert str(second.spool) in line
    assert first.running
    assert broker.ask({"channel": "general", "text": "x"})["ok"]
    assert workspace.connections == 1


def test_a_spool_that_is_destroyed_at_run_time_ends_the_pump(
    node: RabbitNode, broker_url: str, workspace: Workspace, tmp_path: Path
) -> None:
    """With 1 and which thread died of what; the next start sets the file aside and works."""
    port = free_port()
    with PumpProcess(tmp_path, workspace, at_port(broker_url, port)) as pump:
        pump.wait_ready("slack")
        body = json.dumps({"type": "user_typing", "text": "x" * 4000}).encode()
        # More than SQLite keeps in memory, so that it has to read the file.
        workspace.emit_many([body] * 5000)
        wait_until(lambda: sum(file.stat().st_size for file in files(pump)) > 16_000_000)
        for file in files(pump):
            destroy(file)
        with Line(node.port, port):
            assert pump.wait() == 1
            # One of them, or both at once.
            deaths = pump.logged("thread.died")
            assert deaths
            assert {died["thread"] for died in deaths} <= {"publisher", "reader"}
            assert all("Spool" in died["why"] for died in deaths)
            pump.start().wait_ready()
            with Broker(broker_url) as broker:
                assert broker.ask({"channel": "general", "text": "x"})["ok"]
        assert [file for file in tmp_path.iterdir() if ".corrupt-" in file.name]


def files(pump: PumpProcess) -> list[Path]:
    """The spool's file and its log."""
    return [file for file in (pump.spool, Path(f"{pump.spool}-wal")) if file.exists()]


def destroy(file: Path) -> None:
    """Overwrites all of a file but its first page, without making it shorter."""
    size = file.stat().st_size
    with file.open("r+b") as out:
        out.seek(4096)
        out.write(b"\xff" * max(0, size - 4096))
