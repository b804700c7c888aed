"""What `rtmpump.spool` promises when `max_bytes` is reached."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rtmpump.errors import SpoolFull
from rtmpump.spool import Dropped, Spool
from tests.support.spool import MIB, START_MS, body, disk_bytes, opened, put, put_until, seqs, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", [10, 300, 2100, 5000, 100_000])
def test_full_spool_blocks(path: Path, size: int) -> None:
    """With `block` the disk stays within the cap, and a refused batch leaves nothing behind."""
    spool = opened(path, max_bytes=16 * MIB)
    batch = max(1, 20_000 // size)
    last = put_until(SpoolFull, spool, size=size, batch=batch)
    assert spool.usage().events == spool.usage().last_seq == last
    assert last * size > 5 * MIB or size == 10
    assert seqs(spool) == list(range(1, last + 1))
    spool.confirm(last // 2)
    assert put(spool, batch, size=size, batch=batch) == last + batch
    spool.close()


@pytest.mark.parametrize("size", [10, 300, 2100, 5000, 100_000])
def test_full_spool_drops_the_oldest(path: Path, size: int) -> None:
    """With `drop_oldest` every batch is taken, the cap holds, and what went is reported exactly."""
    spool = opened(path, max_bytes=16 * MIB, when_full="drop_oldest")
    batch, drops, last, appends = max(1, 20_000 // size), [], 0, 0
    while last * size < 24 * MIB and last < 400_000:
        last, appends = last + batch, appends + 1
        items = [(START_MS + n, body(n, size)) for n in range(last - batch + 1, last + 1)]
        appended = spool.append(items, team="T1", bot="U1")
        assert (appended.last_seq, disk_bytes(path) <= 16 * MIB) == (last, True)
        drops += [appended.dropped] if appended.dropped else []
    first = spool.usage().first_seq
    assert drops[0].count >= spool.usage().events // 80
    assert size != 300 or len(drops) < appends / 2
    edges = [START_MS + 1]
    for drop in drops:
        assert drop == Dropped(drop.to_ms - drop.from_ms + 1, edges[-1], drop.to_ms)
        edges.append(drop.to_ms + 1)
    assert edges[-1] == START_MS + first
    assert seqs(spool) == list(range(first, last + 1))
    spool.confirm(first - 1)
    assert spool.usage().events == last - first + 1
    spool.close()


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_big_batches_stay_within_the_cap(path: Path, policy: str) -> None:
    """Batches of many half-empty pages are counted with the room that their log takes."""
    spool = opened(path, max_bytes=64 * MIB, when_full=policy)
    for number in range(20):
        items = [(START_MS, body(number, 2100))] * 3000
        try:
            spool.append(items, team="T1", bot="U1")
        except SpoolFull:
            spool.confirm(spool.usage().last_seq)
        assert disk_bytes(path) <= 64 * MIB
    spool.close()


def test_great_cap_with_drops(path: Path) -> None:
    """The log of a drop, a good part of a great cap, is counted too."""
    spool = opened(path, max_bytes=400 * MIB, when_full="drop_oldest")
    items, dropped, most = [(START_MS, body(1))] * 512, 0, 0
    while dropped < 3:
        dropped += spool.append(items, team="T1", bot="U1").dropped is not None
        most = max(most, disk_bytes(path))
    assert 300 * MIB < most <= 400 * MIB
    spool.close()


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_confirmed_events_make_room_at_once(path: Path, policy: str) -> None:
    """An append that needs the room of all that is confirmed gets it, and drops nothing."""
    # `drop_oldest` keeps a 32nd free for the log of a drop.
    full = 16 * MIB if policy == "block" else 31 * MIB // 2
    for extra in (1, 300, 600, 900):
        spool = opened(path, max_bytes=full)
        spool.confirm(spool.usage().last_seq)
        put(spool, extra)
        put_until(SpoolFull, spool, batch=1300)
        spool.close()
        spool = opened(path, max_bytes=16 * MIB, when_full=policy)
        spool.confirm(spool.usage().first_seq + 1950)
        items = [(START_MS, body(1))] * 1300
        assert spool.append(items, team="T1", bot="U1").dropped is None
        spool.close()


def test_confirmed_events_go_before_any_is_dropped(path: Path) -> None:
    """A full spool first gives up what is confirmed; only then is anything lost."""
    spool = opened(path, max_bytes=16 * MIB, when_full="drop_oldest")
    last = put(spool, 20_000)
    spool.confirm(last)
    for _ in range(5):
        items = [(START_MS, body(0, 40_000))] * 50
        assert spool.append(items, team="T1", bot="U1").dropped is None
        spool.confirm(spool.usage().last_seq)
    spool.close()


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_giant_batch_goes_into_an_empty_spool(path: Path, policy: str) -> None:
    """One batch beyond the cap is taken when nothing waits, so it can't block for ever."""
    spool = opened(path, max_bytes=16 * MIB, when_full=policy)
    giant = [(START_MS, b"x" * (20 * MIB))]
    assert spool.append(giant, team="T1", bot="U1").last_seq == 1
    if policy == "block":
        with pytest.raises(SpoolFull):
            spool.append(giant, team="T1", bot="U1")
        spool.confirm(1)
    assert spool.append(giant, team="T1", bot="U1").last_seq == 2
    assert [len(row.body) for row in spool.read(1, 9)] == [20 * MIB]
    spool.confirm(2)
    put(spool, 1)
    assert path.with_name("spool.db-wal").stat().st_size < 4 * MIB
    spool.close()


def fill(spool: Spool) -> int:
    """Append until it is full; the last seq."""
    return put_until(SpoolFull, spool, size=4000, batch=50)


def test_wait_room(path: Path) -> None:
    """After SpoolFull the wait ends with a confirm, also with one that came before the wait."""
    spool = opened(path, max_bytes=16 * MIB)
    assert spool.wait_room(0) is True
    last = fill(spool)
    assert spool.wait_room(0.01) is False
    spool.confirm(last // 2)
    assert spool.wait_room(0) is True
    put(spool, 50)
    spool.confirm(fill(spool))
    assert spool.wait_room(0) is True
    spool.close()


@pytest.mark.parametrize(("act", "woken"), [("confirm", True), ("close", False)])
def test_wait_room_is_woken(path: Path, act: str, woken: bool) -> None:
    """A confirm from another thread ends the wait with True, a close with False."""
    spool = opened(path, max_bytes=16 * MIB)
    last = fill(spool)
    answers: list[bool] = []
    waiter = threading.Thread(target=lambda: answers.append(spool.wait_room(600)))
    waiter.start()
    until(lambda: bool(spool._room._waiters))  # type: ignore[attr-defined]
    spool.confirm(last) if act == "confirm" else spool.close()
    waiter.join(100)
    assert answers == [woken]
    spool.close()


def test_what_was_dropped_while_the_clock_was_set(path: Path) -> None:
    """The time range has the earliest and the latest of them, in whichever order they came."""
    spool = opened(path, max_bytes=16 * MIB, when_full="drop_oldest")
    times, dropped = [5_000, 9_000, 1_000, 2_000], None
    while dropped is None:
        for at in times:
            dropped = dropped or spool.append([(at, bytes(MIB))], team="T", bot="U").dropped
    while dropped.count < 4:
        more = spool.append([(7_000, bytes(4 * MIB))], team="T", bot="U").dropped
        dropped = more or dropped
    assert (dropped.from_ms, dropped.to_ms) == (1_000, 9_000)
    spool.close()
