"""The reader: what it puts into the spool, what it reports, and how it ends."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rtmpump.core.channel_events import Concerned, concerned
from rtmpump.errors import LinkError, NotConnected, SpoolFailed, SpoolFull, TokenRefused
from rtmpump.links import clock, retry
from rtmpump.pumps import reader
from rtmpump.sandbox.slack.faults import Hang
from rtmpump.sandbox.slack.workspace import Workspace
from rtmpump.spool import Spool
from tests.faults.proxy import Proxy, Weather
from tests.support.disk import small_disk
from tests.support.reader import (
    GOODBYE,
    HELLO,
    PART,
    Reading,
    Refusing,
    Scripted,
    configure,
    open_spool,
    reading,
)
from tests.support.waiting import wait_until

MIB = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A spool of 16 MiB that blocks when it is full."""
    spool = open_spool(tmp_path, configure())
    yield spool
    spool.close()


def message(number: int, size: int = 1) -> bytes:
    """A numbered message."""
    return json.dumps({"type": "message", "n": number, "text": "x" * size}).encode()


def numbers(running: Reading) -> list[int]:
    """The numbers of the messages in the spool."""
    return [event["n"] for event in running.events() if "n" in event]


def ms(time_of_day: str) -> int:
    """RFC 3339 to milliseconds."""
    return round(datetime.fromisoformat(time_of_day).timestamp() * 1000)


def test_the_first_connection(workspace: Workspace, spool: Spool) -> None:
    """On the very first start there is hello, then `connected`, and no gap."""
    with reading(configure(workspace), spool) as running:
        wait_until(lambda: "connected" in running.told.names())
        assert running.kinds() == ["hello", "connected"]
        connected = running.events("connected")[0]
        assert (connected["team"], connected["bot"]) == (workspace.team, workspace.bot)


def test_order(workspace: Workspace, spool: Spool) -> None:
    """Events are accepted in the order in which they came, all of them."""
    with reading(configure(workspace), spool) as running:
        assert workspace.wait_live()
        workspace.emit_many(message(n) for n in range(3000))
        wait_until(lambda: len(numbers(running)) == 3000)
        assert numbers(running) == list(range(3000))
        counts = running.metrics.snapshot
        wait_until(lambda: counts().events.received_by_type.get("message") == 3000)


def test_gap_after_a_cut(workspace: Workspace, spool: Spool) -> None:
    """Without an answered ping a gap begins when the connection did, and ends at the hello."""
    before = time.time_ns() // 1_000_000
    with reading(configure(workspace), spool) as running:
        assert workspace.wait_live()
        workspace.emit(message(1))
        wait_until(lambda: numbers(running) == [1])
        workspace.cut()
        wait_until(lambda: running.events("gap"))
        assert running.kinds()[2:] == ["message", "disconnected", "hello", "connected", "gap"]
        gap, rows = running.events("gap")[0], running.rows()
        assert before <= ms(gap["from"]) <= rows[0].received_ms
        assert ms(gap["to"]) == rows[-1].received_ms == rows[4].received_ms
        assert gap["reason"] == running.events("disconnected")[0]["reason"] == "eof"


def test_a_gap_begins_with_the_last_ping_that_was_answered(
    workspace: Workspace, spool: Spool
) -> None:
    """So it is no longer than need be."""
    settings = configure(workspace, slack={"ping_interval": 0.1})
    with reading(settings, spool) as running:
        assert workspace.wait_live()
        wait_until(running.rows)
        hello_ms = running.rows()[0].received_ms
        wait_until(lambda: (running.reader.watermark_ms or 0) > hello_ms)
        workspace.cut()
        # A ping may be answered until then.
        cut = time.time_ns() // 1_000_000
        wait_until(lambda: running.events("gap"))
        begin = ms(running.events("gap")[0]["from"])
        assert running.rows()[0].received_ms < begin <= cut


def test_what_was_on_its_way_is_in_the_gap(workspace: Workspace, spool: Spool) -> None:
    """Events come, so the connection seems good; those behind them die with it."""
    with Proxy(workspace.port) as proxy:
        workspace.faults.place = f"127.0.0.1:{proxy.port}"
        with reading(configure(workspace), spool) as running:
            assert workspace.wait_live()
            proxy.weather = Weather(delay=1.0)
            sent: list[int] = []
            while not numbers(running):
                sent.append(time.time_ns() // 1_000_000)
                workspace.emit(message(len(sent)))
                time.sleep(0.01)
            # However slowly this goes on, one is still on its way.
            proxy.weather = Weather(stalls=True)
            sent.append(time.time_ns() // 1_000_000)
            workspace.emit(message(len(sent)))
            proxy.reset()
            proxy.heal()
            wait_until(lambda: running.events("gap"))
            came = max(numbers(running))
            assert came < len(sent)
            assert ms(running.events("gap")[0]["from"]) <= sent[came]


def test_a_gap_is_told_to_who_fills_it_before_it_is_in_the_spool(
    workspace: Workspace, spool: Spool
) -> None:
    """With the times of the event and with whose it is: a crash in between must not hide it."""
    with reading(configure(workspace), spool) as running:
        assert workspace.wait_live()
        workspace.cut()
        wait_until(lambda: running.events("gap"))
        gap, told = running.events("gap")[0], running.told.all
        ((at, missed),) = [(n, what) for n, (name, what) in enumerate(told) if name == "missed"]
        whose = (workspace.team, workspace.bot)
        assert missed == (ms(gap["from"]), ms(gap["to"]), *whose)
        wait_until(lambda: told[-1][0] == "connected")
        assert [name for name, _ in told[at:]] == ["missed", "stored", "connected"]


def test_the_publisher_hears_of_an_event_before_slack_does(spool: Spool) -> None:
    """Slack waits three seconds for its acknowledgement, the event waits for nothing else."""
    script = Scripted([[HELLO]])
    with reading(configure(), spool, script=script) as running:
        wait_until(lambda: running.told.names() == ["connected"])
        greeted = script.accepts
        running.told.raising = "stored"
        script.come([message(1)])
        wait_until(lambda: running.error)
        assert numbers(running) == [1]
        assert script.accepts == greeted
        running.error = None


def test_no_hello_no_shift(workspace: Workspace, spool: Spool) -> None:
    """Connections without a hello report nothing, and the watermark stays where it was."""
    settings = configure(workspace, slack={"hello_timeout": 8.0})
    with reading(settings, spool) as running:
        assert workspace.wait_live()
        workspace.emit(message(1))
        wait_until(lambda: numbers(running) == [1])
        workspace.faults.hello = deque(["never", "error"])
        workspace.cut()
        wait_until(lambda: running.events("gap"))
        assert ms(running.events("gap")[0]["from"]) <= running.rows()[0].received_ms
        assert len(running.events("disconnected")) == 1
        names = ["connected", "disconnected", "missed", "connected"]
        wait_until(lambda: running.told.names() == names)
        assert [one.reason for one in running.downs] == ["eof", "no_hello", "expired_url"]


def test_goodbye_before_hello(spool: Spool) -> None:
    """A peer that says goodbye before hello has not been good at any time."""
    cut = LinkError("slack", "eof", "cut", at_once=True)
    script = Scripted([[HELLO, message(1)], cut], [[GOODBYE, message(2)], cut], [[HELLO]])
    with reading(configure(), spool, script=script) as running:
        wait_until(lambda: running.events("gap"))
        assert ms(running.events("gap")[0]["from"]) <= running.rows()[0].received_ms
        assert len(running.events("disconnected")) == 1
        assert numbers(running) == [1, 2]


def test_hello_twice(spool: Spool) -> None:
    """A second hello on one connection is an event and nothing more."""
    script = Scripted([[HELLO, HELLO], [HELLO]])
    with reading(configure(), spool, script=script) as running:
        wait_until(lambda: running.kinds().count("hello") == 3)
        assert running.kinds() == ["hello", "connected", "hello", "hello"]
        assert running.told.names() == ["connected"]


def test_hello_after_the_end(spool: Spool) -> None:
    """A hello behind an error means nothing: that connection has ended."""
    error = b'{"type":"error","error":{"code":1,"msg":"Socket URL has expired"}}'
    script = Scripted([[error, HELLO]])
    with reading(configure(), spool, script=script) as running:
        wait_until(lambda: running.downs)
        assert running.kinds() == ["error", "hello"]
        assert running.told.names() == []


def test_a_part_of_a_frame_is_a_sign_of_life(spool: Spool) -> None:
    """A large frame on a slow line takes longer than the answer to a ping may."""
    settings = configure(slack={"ping_interval": 0.02, "ping_timeout": 0.1})
    script = Scripted([[HELLO], *[PART] * 200, [message(1)]])
    with reading(settings, spool, script=script) as running:
        wait_until(lambda: running.events("disconnected"))
        assert running.kinds() == ["hello", "connected", "message", "disconnected"]
        assert running.events("disconnected")[0]["reason"] == "silent"


def test_silence_is_part_of_the_gap_of_a_restart(workspace: Workspace, tmp_path: Path) -> None:
    """After a silent death and a restart the gap begins at the last sign of life."""
    settings = configure(workspace, slack={"ping_interval": 0.2, "ping_timeout": 1.0})
    spool = open_spool(tmp_path, settings)
    with reading(settings, spool) as running:
        assert workspace.wait_live()
        refusals = workspace.faults.api_errors["rtm.connect"]
        refusals.extend(["service_unavailable"] * 100)
        workspace.silence()
        wait_until(lambda: running.events("disconnected"))
        found_out = time.time_ns() // 1_000_000
        assert running.events("disconnected")[0]["reason"] == "silent"
    good = spool.watermark_ms
    assert good is not None
    assert found_out - good >= 1000
    spool.close()
    spool = open_spool(tmp_path, settings)
    refusals.clear()
    with reading(settings, spool) as running:
        wait_until(lambda: any(g["reason"] == "restart" for g in running.events("gap")))
        begin = ms(next(g for g in running.events("gap") if g["reason"] == "restart")["from"])
        assert begin == good
    spool.close()


def test_restart(workspace: Workspace, tmp_path: Path) -> None:
    """After a restart the gap begins at the newest event in the spool."""
    settings = configure(workspace)
    spool = open_spool(tmp_path, settings)
    spool.append([(1_700_000_000_000, message(1))], team="T", bot="U")
    spool.confirm(1)
    spool.close()
    spool = open_spool(tmp_path, settings)
    with reading(settings, spool) as running:
        wait_until(lambda: running.events("gap"))
        gap = running.events("gap")[0]
        assert ms(gap["from"]) == 1_700_000_000_000
        assert gap["reason"] == "restart"
    spool.close()


def test_clock_set_back(workspace: Workspace, spool: Spool) -> None:
    """A gap never ends before it begins, even if the newest event is of tomorrow."""
    tomorrow = time.time_ns() // 1_000_000 + 86_400_000
    spool.append([(tomorrow, message(1))], team="T", bot="U")
    with reading(configure(workspace), spool) as running:
        wait_until(lambda: running.events("gap"))
        gap = running.events("gap")[0]
        # The two are read one after the other, and a busy machine may wait in between.
        assert ms(gap["from"]) <= ms(gap["to"]) - 86_400_000 + 60_000
        assert ms(gap["to"]) < tomorrow


def test_a_machine_that_slept_with_a_frame_unread(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of sleep is in the gap, although something came just after it."""
    asleep = Sleep(monkeypatch)
    script = Scripted([[HELLO]], [[HELLO]])
    with reading(configure(), spool, script=script) as running:
        wait_until(lambda: "connected" in running.told.names())
        before = time.time_ns() // 1_000_000
        asleep.sleep(3600)
        script.come([message(1)])
        wait_until(lambda: numbers(running) == [1])
        script.come(LinkError("slack", "reset", "gone", at_once=True))
        wait_until(lambda: running.events("gap"))
        (gap,) = running.events("gap")
        assert ms(gap["from"]) <= before
        assert ms(gap["to"]) >= before + 3_600_000
        assert ("missed", (ms(gap["from"]), ms(gap["to"]), "T1", "U1")) in running.told.all


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_set_after_a_gap(
    workspace: Workspace, spool: Spool, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """The gap is told again, by the new time of day; nothing is lost by it, and no link ends."""
    asleep = Sleep(monkeypatch)
    settings = configure(workspace, slack={"ping_interval": 0.1})
    with reading(settings, spool) as running:
        assert workspace.wait_live()
        workspace.cut()
        wait_until(lambda: len(running.events("gap")) == 1)
        asleep.set_clock(seconds)
        wait_until(lambda: len(running.events("gap")) == 2)
        first, again = running.events("gap")
        assert again["reason"] == "clock"
        # The jump is measured with two clocks, each in whole milliseconds.
        assert ms(again["from"]) <= ms(first["from"]) + min(0, 1000 * seconds) + 2
        assert ms(again["to"]) >= ms(first["to"]) + max(0, 1000 * seconds) - 2
        assert len(running.downs) == 1


class Sleep:
    """The clocks of a machine that sleeps, or whose time of day is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._slept = self._set = 0
        elapsed, time_ns = clock.elapsed, time.time_ns
        monkeypatch.setattr(clock, "elapsed", lambda: elapsed() + self._slept)
        monkeypatch.setattr(time, "time_ns", lambda: time_ns() + 10**9 * (self._slept + self._set))

    def sleep(self, seconds: int) -> None:
        """Sleep without a wait; `time.monotonic` does not see it."""
        self._slept += seconds

    def set_clock(self, seconds: int) -> None:
        """Set the time of day ahead, or back."""
        self._set += seconds


def end_by_goodbye(workspace: Workspace) -> None:
    """Goodbye, then the close."""
    workspace.goodbye()


def end_by_cut(workspace: Workspace) -> None:
    """A cut."""
    workspace.cut()


def end_by_migration(workspace: Workspace) -> None:
    """A migration that leaves the close to us."""
    workspace.emit({"type": "team_migration_started"})


def end_by_expired_url(workspace: Workspace) -> None:
    """It was the very first connection, and has ended already."""


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (end_by_goodbye, "goodbye"),
        (end_by_cut, "eof"),
        (end_by_migration, "migration"),
        (end_by_expired_url, "expired_url"),
    ],
)
def test_at_once(
    workspace: Workspace, spool: Spool, end: Callable[[Workspace], None], reason: str
) -> None:
    """After a goodbye, a migration, a cut or an expired URL the first new try needs no wait."""
    if end is end_by_expired_url:
        workspace.faults.hello = deque(["error"])
    patient = configure(workspace, retry={"initial": 600.0, "max": 600.0, "jitter": "none"})
    with reading(patient, spool) as running:
        assert workspace.wait_live()
        end(workspace)
        assert workspace.wait(lambda: workspace.connections == 2, 100)
        wait_until(lambda: running.downs)
        assert (running.downs[0].reason, running.downs[0].wait) == (reason, 0.0)


@pytest.mark.parametrize("announce", ["goodbye", "migrate"])
def test_after_a_goodbye_we_close_in_order(
    workspace: Workspace, spool: Spool, announce: str
) -> None:
    """Where Slack does not: with a close frame, and what comes until its answer is taken in."""
    with reading(configure(workspace), spool) as running:
        assert workspace.wait_live()
        if announce == "goodbye":
            workspace.goodbye(close_after=None)
        else:
            workspace.emit({"type": "team_migration_started"})
        assert workspace.wait(lambda: workspace.closes == [1000], 100)
        assert workspace.wait(lambda: workspace.connections == 2, 100)
        wait_until(lambda: running.downs)
        assert running.downs[0].wait == 0.0


@pytest.mark.parametrize("most", [0.01, 0.05])
def test_budget_of_calls(
    workspace: Workspace, spool: Spool, monkeypatch: pytest.MonkeyPatch, most: float
) -> None:
    """Four calls of rtm.connect at once, then one in a quarter of the span, whatever retry.max."""
    monkeypatch.setattr(retry, "CALLS_SPAN", 1.2)
    workspace.faults.api_errors["rtm.connect"].extend(["fatal_error"] * 7)
    settings = configure(workspace, retry={"initial": 0.01, "max": most})
    began = time.monotonic()
    with reading(settings, spool):
        assert workspace.wait_live(60)
    assert len(workspace.calls) == 8
    assert time.monotonic() - began >= 4 * 0.3


def test_token_refused(workspace: Workspace, spool: Spool) -> None:
    """That Slack refuses the token goes out of `run`."""
    workspace.faults.api_errors["rtm.connect"].append("invalid_auth")
    with reading(configure(workspace), spool) as running:
        running.join()
        error, running.error = running.error, None
    assert isinstance(error, TokenRefused)
    assert len(workspace.calls) == 1


def test_stop_while_live(workspace: Workspace, spool: Spool) -> None:
    """A stop closes the WebSocket in order, and the last event says so."""
    with reading(configure(workspace), spool) as running:
        wait_until(lambda: "connected" in running.told.names())
        running.stop()
        assert running.events()[-1]["reason"] in ("stopped", "closed")
        assert running.told.names() == ["connected", "disconnected"]
        assert workspace.wait(lambda: not workspace.live)
        assert running.downs == []


def test_stop_while_slack_does_not_answer(workspace: Workspace, spool: Spool) -> None:
    """A stop during rtm.connect opens no WebSocket any more."""
    workspace.faults.api_errors["rtm.connect"].append(Hang(5.0))
    with reading(configure(workspace), spool) as running:
        wait_until(lambda: workspace.calls)
        running.stop()
    assert workspace.connections == 0
    assert running.rows() == []


def test_stop_while_awaiting_hello(workspace: Workspace, spool: Spool) -> None:
    """A stop before hello ends it, and there is nothing to report."""
    workspace.faults.hello = "never"
    with reading(configure(workspace), spool) as running:
        assert workspace.wait(lambda: workspace.connections == 1)
        running.stop()
    assert running.rows() == []
    assert running.told.names() == []


def test_stop_during_backoff(workspace: Workspace, spool: Spool) -> None:
    """A stop ends the wait for the next try."""
    workspace.down()
    settings = configure(workspace, retry={"initial": 600, "max": 600, "jitter": "none"})
    with reading(settings, spool) as running:
        wait_until(lambda: running.downs)
        running.stop()
    assert running.rows() == []


def fill(spool: Spool) -> int:
    """Fills the spool until it refuses; returns how many events it took."""
    count = 0
    try:
        while True:
            spool.append([(1, message(-1, 256 * 1024))], team="T", bot="U")
            count += 1
    except SpoolFull:
        return count


def test_full_spool_blocks_and_goes_on(workspace: Workspace, spool: Spool) -> None:
    """While the spool is full pings go on, the peer is alive, no command goes out; then all go on.

    A command written in that time would seem unanswered: so the listener is called.
    """
    settings = configure(workspace, slack={"ping_interval": 0.2, "ping_timeout": 2.0})
    with reading(settings, spool) as running:
        wait_until(lambda: "connected" in running.told.names())
        filled = fill(spool)
        workspace.emit_many(message(n, 200_000) for n in range(5))
        wait_until(lambda: running.told.names() == ["connected", "disconnected"])
        pings = len(workspace.frames)
        assert workspace.wait(lambda: len(workspace.frames) >= pings + 6, 100)
        assert workspace.connections == 1
        assert running.downs == []
        spool.confirm(spool.read(0, filled)[-1].seq)
        wait_until(lambda: numbers(running)[-5:] == [0, 1, 2, 3, 4])
        wait_until(lambda: running.told.names()[-1] == "connected")
        assert {what for name, what in running.told.all if name == "connected"} == {1}
        assert workspace.connections == 1


def test_stop_while_the_spool_is_full(workspace: Workspace, spool: Spool) -> None:
    """What can't be stored at a stop is counted and lies in the gap of the next start.

    That gap will begin at the newest time in the spool, so nothing newer may be stored behind.
    """
    with reading(configure(workspace), spool) as running:
        wait_until(lambda: "connected" in running.told.names())
        fill(spool)
        workspace.emit_many(message(n, 200_000) for n in range(5))
        wait_until(lambda: running.told.names() == ["connected", "disconnected"])
        running.stop()
        assert running.metrics.snapshot().events.dropped["not_stored"] >= 1
        stored = [row for row in running.rows() if b'"disconnected"' not in row.body]
        assert spool.watermark_ms is not None
        assert spool.watermark_ms <= max(row.received_ms for row in stored)


def test_drop_oldest_is_told(workspace: Workspace, tmp_path: Path) -> None:
    """What `drop_oldest` gave up lies in gaps with the reason `spool_full`, and is counted."""
    settings = configure(workspace)
    spool = open_spool(tmp_path, settings, "drop_oldest")
    with reading(settings, spool) as running:
        wait_until(lambda: "connected" in running.told.names())
        workspace.emit_many(message(n, 100_000) for n in range(400))
        wait_until(lambda: numbers(running)[-1:] == [399])
        # What the last batch dropped is announced only after it is there.
        running.stop()
        kept = numbers(running)
        assert kept == list(range(400 - len(kept), 400))
        dropped = running.metrics.snapshot().events.dropped["spool_full"]
        assert dropped >= 400 - len(kept) > 0
        assert {gap["reason"] for gap in running.events("gap")} == {"spool_full"}
    spool.close()


def test_sick_disk(workspace: Workspace, spool: Spool) -> None:
    """A disk that refuses stops the reading and loses nothing; then it goes on where it was."""
    refusing = Refusing(spool)
    with reading(configure(workspace), refusing) as running:
        wait_until(lambda: "connected" in running.told.names())
        refusing.refusals.extend([SpoolFailed("spool.db", "no space left on the device")] * 2)
        workspace.emit_many(message(n) for n in range(100))
        wait_until(lambda: len(numbers(running)) == 100)
        assert numbers(running) == list(range(100))
        wait_until(lambda: running.told.names() == ["connected", "disconnected", "connected"])
        assert "not_stored" not in running.metrics.snapshot().events.dropped


def test_a_disk_that_does_not_sync(workspace: Workspace, spool: Spool) -> None:
    """It stops the reading too; what is in the spool already is stored no second time."""
    refusing = Refusing(spool)
    with reading(configure(workspace), refusing) as running:
        wait_until(lambda: "connected" in running.told.names())
        refusing.unsynced.extend([SpoolFailed("spool.db", "Input/output error")] * 2)
        workspace.emit(message(0))
        wait_until(lambda: running.told.names() == ["connected", "disconnected", "connected"])
        workspace.emit(message(1))
        wait_until(lambda: len(numbers(running)) == 2)
        assert numbers(running) == [0, 1]


@pytest.mark.parametrize("what", [[message(7)], []])
def test_nothing_is_acknowledged_before_the_disk_has_it(spool: Spool, what: list[bytes]) -> None:
    """An event is published before; and a repeat, with nothing to store, waits as well."""
    script = Scripted([[HELLO]])
    refusing = Refusing(spool)
    with reading(configure(), refusing, script=script) as running:
        wait_until(lambda: script.accepts == 1)
        stored = running.told.all.count(("stored", None))
        refusing.unsynced.extend([SpoolFailed("spool.db", "Input/output error")] * 1000)
        script.come([*what, b'{"type": "pong"}'])
        wait_until(lambda: len(refusing.unsynced) < 1000)
        assert script.accepts == 1
        assert running.told.all.count(("stored", None)) == stored + len(what)
        refusing.unsynced.clear()
        wait_until(lambda: script.accepts == 2)
    assert numbers(running) == [7] * len(what)


def test_a_stop_while_the_disk_does_not_sync(spool: Spool) -> None:
    """What is in the spool is not given up, and what comes after it hides no gap."""
    script = Scripted([[HELLO]])
    refusing = Refusing(spool)
    with capture_logs() as logged, reading(configure(), refusing, script=script) as running:
        wait_until(lambda: script.accepts == 1)
        refusing.unsynced.extend([SpoolFailed("spool.db", "Input/output error")] * 1000)
        script.come([message(7)])
        wait_until(lambda: len(refusing.unsynced) < 1000)
    assert script.accepts == 1
    assert numbers(running) == [7]
    assert running.events("disconnected")
    assert "not_stored" not in running.metrics.snapshot().events.dropped
    assert "events.not_synced" in [line["event"] for line in logged]


def test_refusals_in_turns_are_told_once(
    workspace: Workspace, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its cap the spool refuses and takes in turns; that is over when it took all for a time."""
    monkeypatch.setattr(reader, "_CALM", math.inf)
    refusing = Refusing(spool)
    with capture_logs() as logged, reading(configure(workspace), refusing) as running:
        wait_until(lambda: "connected" in running.told.names())
        for number in range(3):
            refusing.refusals.append(SpoolFull("spool.db", "spool.max_bytes is reached"))
            workspace.emit(message(number))
            wait_until(lambda: numbers(running) == list(range(number + 1)))  # noqa: B023
        monkeypatch.setattr(reader, "_CALM", 0.0)
        wait_until(lambda: any(line["event"] == "spool.accepts_again" for line in logged))
    told = [line["event"] for line in logged if line["event"].startswith("spool.")]
    assert told == ["spool.refuses", "spool.accepts_again"]


def test_disk_that_is_really_full(workspace: Workspace, tmp_path: Path) -> None:
    """A full file system refuses, is logged once, and takes all of it as soon as there is room."""
    with small_disk(tmp_path / "disk", 24 * MIB) as disk:
        spool = open_spool(disk, configure())
        with reading(configure(workspace), spool) as running:
            wait_until(lambda: "connected" in running.told.names())
            ballast = disk / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            workspace.emit_many(message(n, 10_000) for n in range(100))
            wait_until(lambda: running.told.names() == ["connected", "disconnected"])
            assert workspace.live == 1
            ballast.unlink()
            wait_until(lambda: len(numbers(running)) == 100)
            assert numbers(running) == list(range(100))
            assert running.downs == []
        spool.close()


def test_full_and_then_empty(workspace: Workspace, spool: Spool) -> None:
    """An event that was refused goes in even if the spool is empty at the next look."""
    refusing = Refusing(spool)
    with reading(configure(workspace), refusing) as running:
        wait_until(lambda: "connected" in running.told.names())
        spool.confirm(spool.usage().last_seq)
        spool.flush()
        refusing.refusals.append(SpoolFull("spool.db", "spool.max_bytes is reached"))
        workspace.emit(message(7))
        wait_until(lambda: numbers(running) == [7])


def test_frames_before_a_failed_write(spool: Spool) -> None:
    """A ping that can't be written ends nothing: what was read before the end still counts."""

    class Unwritable(Scripted):
        def send(self, frame: bytes, *, connection: int) -> None:
            raise NotConnected("slack", "not_connected", "the peer has closed")

    end = LinkError("slack", "closed", "1000", at_once=True)
    quiet: list[bytes] = []
    script = Unwritable([[HELLO], quiet, quiet, quiet, [message(1)], [message(2)], end])
    settings = configure(slack={"ping_interval": 0.001, "ping_timeout": 30})
    with reading(settings, spool, script=script) as running:
        wait_until(lambda: running.downs)
        assert numbers(running) == [1, 2]
        assert running.events("disconnected")[0]["reason"] == "closed"


def test_ignored_events(workspace: Workspace, spool: Spool) -> None:
    """Ignored events are not stored, but counted; and a migration that is ignored still counts."""
    ignore = frozenset({"user_typing", "team_migration_started"})
    with reading(configure(workspace, events={"ignore": ignore}), spool) as running:
        assert workspace.wait_live()
        workspace.emit({"type": "user_typing"})
        workspace.emit({"type": "team_migration_started"})
        wait_until(lambda: running.downs)
        assert running.downs[0].reason == "migration"
        assert not {"user_typing", "team_migration_started"} & set(running.kinds())
        assert running.metrics.snapshot().events.dropped == {"ignored": 2}


def test_ignored_events_of_our_own(workspace: Workspace, spool: Spool) -> None:
    """The pump's own events can be ignored like any other, by type.subtype or all of them."""
    some = frozenset({"rtmpump.connected", "rtmpump.disconnected"})
    with reading(configure(workspace, events={"ignore": some}), spool) as running:
        assert workspace.wait_live()
        workspace.cut()
        wait_until(lambda: running.kinds() == ["hello", "hello", "gap"])
    with reading(configure(workspace, events={"ignore": frozenset({"rtmpump"})}), spool) as running:
        assert workspace.wait_live()
        workspace.cut()
        wait_until(lambda: running.kinds() == ["hello", "hello", "gap", "hello", "hello"])


def test_changes_of_channels(workspace: Workspace, spool: Spool) -> None:
    """A renamed channel is reported; that a person has read one is not."""
    with reading(configure(workspace), spool) as running:
        assert workspace.wait_live()
        workspace.emit({"type": "channel_marked"})
        workspace.emit(message(1))
        wait_until(lambda: numbers(running) == [1])
        assert "channels_changed" not in running.told.names()
        workspace.emit({"type": "channel_archive", "channel": "C1"})
        wait_until(lambda: "channels_changed" in running.told.names())
        (frame,) = (what for name, what in running.told.all if name == "channels_changed")
        assert isinstance(frame, bytes)
        # Before it may be published: who gets it may use the new name at once.
        wait_until(lambda: running.told.all[-1][0] == "stored")
        assert concerned(frame) == Concerned(frozenset({"C1"}), frozenset())


def test_replies(workspace: Workspace, spool: Spool) -> None:
    """Replies are passed on and are no events; an echo is both, and is in the spool before."""
    with reading(configure(workspace), spool) as running:
        assert workspace.wait_live()
        workspace.emit({"ok": True, "reply_to": 5, "ts": "1.2"})
        workspace.emit({"type": "message", "reply_to": 6, "ts": "1.3", "n": 6})
        wait_until(lambda: ("replied", 6) in running.told.all)
        assert ("replied", 5) in running.told.all
        assert numbers(running) == [6]
        assert running.kinds() == ["hello", "connected", "message"]


def test_a_bug_in_a_hearer(workspace: Workspace, spool: Spool) -> None:
    """An exception of the listener is a bug, and ends it."""
    with reading(configure(workspace), spool) as running:
        assert workspace.wait_live()
        running.told.raising = "replied"
        workspace.emit({"ok": True, "reply_to": 5, "ts": "1.2"})
        running.join()
        error, running.error = running.error, None
    assert isinstance(error, ZeroDivisionError)


def test_no_leaks(workspace: Workspace, spool: Spool) -> None:
    """Fifty reconnects leave no descriptor and no thread behind (a few may close just now)."""
    settings = configure(workspace, retry={"initial": 0.001, "max": 0.01})
    with reading(settings, spool) as running:
        assert workspace.wait_live()
        cut(workspace, 2)
        files, threads = open_files(), threading.active_count()
        cut(workspace, 50)
        wait_until(lambda: open_files() < files + 10, what="for the descriptors")
        wait_until(lambda: threading.active_count() < threads + 10, what="for the threads")
        wait_until(lambda: len(running.events("gap")) == 52)


def connected_again(workspace: Workspace) -> Callable[[], bool]:
    """Whether there were more connections than now, when it is called."""
    before = workspace.connections
    return lambda: workspace.connections > before


def cut(workspace: Workspace, times: int) -> None:
    """Cuts each connection as soon as it lives."""
    for _ in range(times):
        again = connected_again(workspace)
        assert workspace.wait_live()
        workspace.cut()
        assert workspace.wait(again, 100)
    assert workspace.wait_live()


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))
