"""Facts about fills that end at any step, and about long ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rtmpump.core.missed_messages import OpenGap
from rtmpump.core.pump_events import rfc3339
from rtmpump.errors import SpoolFailed
from rtmpump.pumps.backfill.gap_file import GapFile
from rtmpump.sandbox.slack.workspace import Workspace
from rtmpump.spool import Spool
from tests.support.filling import (
    GENERAL,
    HISTORY,
    LIST,
    Fill,
    Filling,
    age,
    around,
    calls,
    missed,
)
from tests.support.spool import MIB, Reports, rows
from tests.support.waiting import wait_until

RANDOM = "C0RANDOM"
DAY = 86_400


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Ends a fill before or after one of its steps on the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, *, before: bool) -> None:
        self.is_dead = False
        self._left = step
        self._before = before
        for owner, name in (
            (GapFile, "save"),
            (GapFile, "close"),
            (Spool, "append_later"),
        ):
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **keys: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._before:
                self._die()
            result = real(*args, **keys)
            if self._left == 0 and not self._before:
                self._die()
            return result

        return step

    def _die(self) -> None:
        self.is_dead = True
        raise Killed


def said_in_two_channels(workspace: Workspace) -> tuple[dict[str, list[str]], tuple[int, int]]:
    """What was said in each, in its order, with a thread; and the times of the gap."""
    workspace.channels["random"] = RANDOM
    parent = workspace.say("general", "parent")
    ts = [parent]
    texts: dict[str, list[str]] = {GENERAL: ["parent"], RANDOM: []}
    for n in range(250):
        for name, channel in (("general", GENERAL), ("random", RANDOM)):
            in_thread = {"thread_ts": parent} if channel == GENERAL and n % 100 == 0 else {}
            ts.append(workspace.say(name, f"{n}", **in_thread))
            texts[channel].append(f"{n}")
    return texts, around(*ts)


def without_lists(body: dict[str, Any]) -> dict[str, Any]:
    """The members that can be in a set."""
    return {key: value for key, value in body.items() if isinstance(value, str | int)}


def came(bodies: list[dict[str, Any]], channel: str) -> list[str]:
    """What came of a channel, each once."""
    ours = [one for one in bodies if one.get("channel") == channel]
    return list({one["ts"]: one["text"] for one in ours}.values())


def filled_after_an_end(
    workspace: Workspace, folder: Path, gap: tuple[int, int], step: int, *, before: bool
) -> tuple[bool, list[dict[str, Any]]]:
    """Fills a gap, ends at that step and goes on; returns whether there was one, and all events."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        killer = Killer(patch, step, before=before)
        filling = Filling(workspace, folder)
        missed(filling, gap)
        wait_until(lambda: killer.is_dead or len(filling.gaps) == 0)
        filling.rest()
        filling.spool.close()
    again = Filling(workspace, folder)
    # A gap in which nothing was said: the hello of the next start.
    missed(again, (1, 2))
    wait_until(lambda: len(again.gaps) == 0)
    bodies = again.bodies()
    again.close()
    return killer.is_dead, bodies


@pytest.fixture(params=[True, False], ids=["before", "after"])
def before(request: pytest.FixtureRequest) -> bool:
    """Whether the end comes before the step, or right after it."""
    return bool(request.param)


def test_a_fill_may_end_at_each_step_and_nothing_is_lost(
    workspace: Workspace, tmp_path: Path, before: bool
) -> None:
    """What is on the disk then makes the next start go on: all comes, in order, and it closes."""
    texts, gap = said_in_two_channels(workspace)
    closing = {"from": rfc3339(gap[0]), "to": rfc3339(gap[1])}.items()
    for step in count(1):
        was_killed, bodies = filled_after_an_end(
            workspace, tmp_path / str(step), gap, step, before=before
        )
        for channel, said in texts.items():
            assert came(bodies, channel) == said, f"killed at step {step}"
        assert any(closing <= one.items() for one in map(without_lists, bodies)), f"step {step}"
        if not was_killed:
            break
    assert step > 10


def test_a_thousand_channels_are_filled_also_with_a_stop_in_the_middle(
    workspace: Workspace, fill: Fill
) -> None:
    """Each is listed and read once; what was done before the stop is not read again."""
    names = {f"c{n}": f"C{n:04d}" for n in range(999)}
    workspace.channels.update(names)
    ts = [workspace.say(name, name) for name in list(names)[::10]]
    filling = fill()
    missed(filling, around(*ts))
    wait_until(lambda: len(calls(workspace)) > 400)
    filling.rest()
    filling.begin()
    (closed,) = filling.closed()
    assert (closed["channels"], closed["messages"]) == (1000, 100)
    assert closed["failed_count"] == 0
    assert filling.texts() == list(names)[::10]
    # The call that the stop found under way is made again.
    assert 1000 <= len(calls(workspace)) <= 1001
    pages = [one for one in calls(workspace, LIST) if one["types"] == "public_channel"]
    assert len(pages) == 20


def test_a_gap_of_a_week_in_small_pages(workspace: Workspace, fill: Fill) -> None:
    """Threads and messages of all days, in the order of their times."""
    workspace.archive.page_max = 15
    parent = ""
    for day in range(7):
        for n in range(20):
            ts = workspace.say("general", f"{day}.{n:02d}")
            parent = parent if n else ts
        workspace.say("general", f"{day}.99 reply", thread_ts=parent)
        age(workspace, DAY)
    first = workspace.archive.said[GENERAL][0]["ts"]
    filling = fill()
    missed(filling, around(first, str(float(first) + 7 * DAY)))
    (closed,) = filling.closed()
    assert filling.texts() == sorted(filling.texts())
    assert len(filling.texts()) == closed["messages"] == 7 * 21
    assert len(calls(workspace, HISTORY)) == 10


def test_a_thread_of_the_first_day_goes_on_after_a_kill_on_the_last(
    workspace: Workspace, fill: Fill, tmp_path: Path
) -> None:
    """What was told in the gap is searched for threads again, however far the fill had come."""
    parent = workspace.say("general", "parent")
    reached = workspace.say("general", "day 6")
    reply = workspace.say("general", "day 7 reply", thread_ts=parent)
    first, second, third = workspace.archive.said[GENERAL]
    first["ts"] = first["thread_ts"] = third["thread_ts"] = f"{float(parent) - 6 * DAY:.6f}"
    assert second["ts"] == reached
    from_ms, to_ms = around(first["ts"], reply)
    begun = OpenGap(from_ms, to_ms, "T1", "U1", channel=GENERAL, upto=reached, messages=2)
    GapFile(tmp_path / "spool.db", Reports()).add(begun)
    filling = fill()
    missed(filling, (1, 2))
    filling.closed(2)
    assert filling.texts() == ["day 7 reply"]


def test_a_spool_that_fills_in_the_middle_of_a_channel_is_waited_for(
    workspace: Workspace, fill: Fill
) -> None:
    """As with a slow broker: what is confirmed makes room, and all comes once and in order."""
    long = "x" * 100_000
    ts = [workspace.say("general", f"{n:03d}{long}") for n in range(150)]
    filling = fill(max_bytes=16 * MIB)
    missed(filling, around(*ts))
    numbers: list[str] = []

    def confirm() -> bool:
        taken = list(rows(filling.spool))
        if taken:
            bodies = [json.loads(row.body) for row in taken]
            numbers.extend(one["text"][:3] for one in bodies if one["type"] == "message")
            filling.spool.confirm(taken[-1].seq)
            filling.spool.flush()
        return len(filling.gaps) == 0

    wait_until(lambda: filling.pump.waits_for == "room in the spool")
    assert filling.spool.usage().events < 150
    wait_until(confirm)
    confirm()
    assert numbers == [f"{n:03d}" for n in range(150)]


def test_a_gap_is_filled_when_the_disk_has_it(
    workspace: Workspace, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: a power cut could take what nobody would fetch again."""
    disk_works = threading.Event()

    def sync(_spool: Spool) -> None:
        if not disk_works.is_set():
            raise SpoolFailed("spool.db", "Input/output error")

    monkeypatch.setattr(Spool, "sync", sync)
    ts = [workspace.say("general", f"{n}") for n in range(3)]
    filling = fill()
    missed(filling, around(*ts))
    wait_until(lambda: filling.pump.waits_for == "the disk")
    assert filling.texts() == ["0", "1", "2"]
    assert len(filling.gaps) == 1
    disk_works.set()
    wait_until(lambda: len(filling.gaps) == 0)
    assert filling.texts() == ["0", "1", "2"]
