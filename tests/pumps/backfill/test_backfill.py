"""Facts about the pump that fills gaps, with a real workspace and a real spool."""

from __future__ import annotations

import json
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rtmpump.core.missed_messages import OpenGap
from rtmpump.pumps.backfill import pump as backfill
from rtmpump.pumps.backfill.gap_file import GapFile
from rtmpump.sandbox.slack.faults import ApiFault, Hang, HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.filling import (
    GENERAL,
    HISTORY,
    REPLIES,
    Fill,
    Filling,
    age,
    around,
    calls,
    missed,
)
from tests.support.spool import MIB, Reports, rows
from tests.support.waiting import SECONDS, wait_until

HOUR_MS = 3_600_000


def test_only_what_lies_in_the_gap_is_fetched(workspace: Workspace, fill: Fill) -> None:
    """Give or take the margin for clocks that differ; how old the spool's events are is kept."""
    workspace.say("general", "long before")
    age(workspace, 60)
    ts = [workspace.say("general", str(n)) for n in range(3)]
    filling = fill()
    filling.spool.append([(5, b'{"type": "hello"}')], team="T1", bot="U1", watermark_ms=7)
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == ["0", "1", "2"]
    assert (closed["channels"], closed["messages"]) == (1, 3)
    assert filling.spool.watermark_ms == 7
    assert filling.metrics.snapshot().events.received_by_type == {"backfill": 3}
    sources = [row.origin for row in rows(filling.spool)][1:]
    assert [(one.team, one.bot, one.source) for one in sources] == [
        *[("T1", "U1", "backfill")] * 3,
        ("T1", "U1", ""),
    ]


def test_it_goes_on_where_it_was(workspace: Workspace, fill: Fill, tmp_path: Path) -> None:
    """In the middle of a channel, with the counts of before."""
    ts = [workspace.say("general", str(n)) for n in range(10)]
    from_ms, to_ms = around(*ts)
    begun = OpenGap(from_ms, to_ms, "T1", "U1", channel=GENERAL, upto=ts[5], messages=6)
    GapFile(tmp_path / "spool.db", Reports()).add(begun)
    filling = fill()
    missed(filling, (to_ms + HOUR_MS, to_ms + HOUR_MS))
    first, _ = filling.closed(2)
    assert filling.texts() == ["6", "7", "8", "9"]
    assert (first["messages"], first["channels"]) == (10, 1)


def test_a_stop_in_a_gap_ends_it_after_the_call_and_the_next_run_goes_on(
    workspace: Workspace, fill: Fill
) -> None:
    """As when the turn is lost and comes again: the gap is kept, and nothing is fetched twice."""
    workspace.archive.page_max = 3
    workspace.channels["random"] = "C0RANDOM"
    ts = [workspace.say(name, f"{name} {n}") for name in ("general", "random") for n in range(6)]
    faults: deque[ApiFault] = deque([Hang(0.0), Hang(0.0), Hang(3.0)])
    workspace.faults.api_errors[HISTORY] = faults
    filling = fill()
    missed(filling, around(*ts))
    wait_until(lambda: not faults)
    filling.rest()
    assert len(calls(workspace)) == 3
    assert filling.texts() == [f"general {n}" for n in range(6)]
    assert len(GapFile(filling.path, Reports())) == len(filling.gaps) == 1
    filling.begin()
    (closed,) = filling.closed()
    assert filling.texts() == [f"{name} {n}" for name in ("general", "random") for n in range(6)]
    assert (closed["channels"], closed["messages"]) == (2, 12)


def test_a_run_that_was_stopped_before_it_began_asks_for_nothing(
    workspace: Workspace, fill: Fill
) -> None:
    """Whoever ends a term need not know how far it came; the gap waits."""
    filling = fill()
    filling.rest()
    filling.begin(stopped=True)
    missed(filling, (1, 2))
    filling.thread.join(SECONDS)
    assert not calls(workspace)
    assert len(filling.gaps) == 1


def test_it_waits_for_the_first_hello(workspace: Workspace, fill: Fill, tmp_path: Path) -> None:
    """Gaps of a team that is not ours are dropped, and logged."""
    GapFile(tmp_path / "spool.db", Reports()).add(OpenGap(1, 2, "T-other", "U9"))
    filling = fill()
    workspace.say("general", "x")
    assert not workspace.calls
    missed(filling, (1, 2))
    assert len(filling.closed()) == 1
    assert [event for event, _ in filling.told] == ["gaps.of_another_team"]


def test_more_than_the_memory_may_hold_comes_in_order(
    workspace: Workspace, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest pages are read again when their turn comes."""
    monkeypatch.setattr(backfill, "_KEPT_BYTES", 4_000)
    workspace.archive.page_max = 10
    ts = [workspace.say("general", str(n)) for n in range(95)]
    filling = fill()
    missed(filling, around(*ts))
    filling.closed()
    assert filling.texts() == [str(n) for n in range(95)]
    asked = calls(workspace)
    again = [one for one in asked if one["latest"] != asked[0]["latest"]]
    assert len(again) == 7
    assert len(asked) == 10 + 7


def test_threads_from_long_before_are_found_as_far_as_the_config_says(
    workspace: Workspace, fill: Fill
) -> None:
    """A parent older than that is not looked for, and its replies are not found."""
    old = workspace.say("general", "old")
    workspace.say("general", "reply of then", thread_ts=old)
    age(workspace, 7200)
    quiet = workspace.say("general", "quiet")
    workspace.say("general", "reply of then", thread_ts=quiet)
    age(workspace, 60)
    parent = workspace.archive.said[GENERAL][0]["ts"]
    ts = [workspace.say("general", "now"), workspace.say("general", "reply", thread_ts=parent)]
    filling = fill(backfill_threads=3 * 3600.0)
    missed(filling, around(*ts))
    filling.closed()
    assert filling.texts() == ["now", "reply"]
    assert [one["ts"] for one in calls(workspace, REPLIES)] == [parent]


def test_threads_past_the_limit_are_told(
    workspace: Workspace, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest are read; the memory stays bounded."""
    monkeypatch.setattr(backfill, "_THREADS_MAX", 2)
    parents = [workspace.say("general", f"parent {n}") for n in range(3)]
    replies = [workspace.say("general", f"reply {n}", thread_ts=parents[n]) for n in range(3)]
    filling = fill()
    missed(filling, around(*parents, *replies))
    (closed,) = filling.closed()
    assert filling.texts() == ["parent 0", "parent 1", "parent 2", "reply 1", "reply 2"]
    assert closed["failed"] == [{"conversations": GENERAL, "reason": "too_many_threads"}]


def test_a_thread_that_is_gone_hurts_nobody(workspace: Workspace, fill: Fill) -> None:
    """Deleted between the two calls; another refusal is logged."""
    parents = [workspace.say("general", f"parent {n}") for n in range(2)]
    replies = [workspace.say("general", "reply", thread_ts=one) for one in parents]
    faults: deque[ApiFault] = deque(["thread_not_found", "no_access"])
    workspace.faults.api_errors[REPLIES] = faults
    filling = fill()
    missed(filling, around(*parents, *replies))
    (closed,) = filling.closed()
    assert filling.texts() == ["parent 0", "parent 1"]
    assert closed["failed"] == [{"conversations": GENERAL, "reason": "no_access"}]


def test_a_spool_that_is_half_full_is_left_to_live_events(workspace: Workspace, fill: Fill) -> None:
    """Nothing is added until there is room; a stop does not wait for it."""
    ts = [workspace.say("general", str(n)) for n in range(3)]
    filling = fill(max_bytes=16 * MIB)
    last = 0
    while filling.spool.usage().bytes <= 8 * MIB:
        last = filling.spool.append([(1, b" " * 65_536)], team="T1", bot="U1").last_seq
    missed(filling, around(*ts))
    assert workspace.wait(lambda: calls(workspace))
    wait_until(
        lambda: filling.pump.lifecycle.last_progress > time.monotonic(), what="until it rests"
    )
    assert filling.spool.usage().last_seq == last
    filling.spool.confirm(last)
    filling.spool.flush()
    filling.closed()
    assert filling.texts() == ["0", "1", "2"]


def test_odd_messages_hurt_no_other(workspace: Workspace, fill: Fill) -> None:
    """What has no time is none; half a surrogate pair is replaced."""
    ts = workspace.say("general", "good")
    odd: list[Any] = [None, 5, {}, {"ts": 5}, {"ts": "soon"}, {"ts": ts, "text": "\ud800"}]
    answer = {"ok": True, "messages": odd}
    body = json.dumps(answer)
    workspace.faults.api_errors[HISTORY] = deque(
        [HttpAnswer(200, {"Content-Type": "application/json"}, body)]
    )
    filling = fill()
    missed(filling, around(ts))
    filling.closed()
    assert filling.texts() == ["?"]


def has_looked(filling: Filling, since: float) -> bool:
    """The pump has looked for a gap since then."""
    return filling.pump.lifecycle.last_progress > since


def test_a_gap_that_goes_on_is_filled_when_it_is_over(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slack says in advance that it drops events for a minute; a wrong clock holds nothing up."""
    filling = Filling(workspace, tmp_path)
    now_ms = time.time_ns() // 1_000_000
    wrong = now_ms + HOUR_MS
    try:
        filling.pump.missed(now_ms - 1, now_ms + 119_000, workspace.team, workspace.bot)
        for _ in range(2):
            wait_until(partial(has_looked, filling, filling.pump.lifecycle.last_progress))
        assert len(filling.gaps) == 1
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + 120 * 10**9)
        wait_until(lambda: len(filling.gaps) == 0)
        filling.pump.missed(now_ms, wrong, workspace.team, workspace.bot)
        wait_until(lambda: len(filling.gaps) == 0)
    finally:
        filling.stop.set()
        filling.pump.wake()
        filling.thread.join(SECONDS)
        filling.spool.close()
