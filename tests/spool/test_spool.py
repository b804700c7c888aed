"""What `rtmpump.spool` promises: order, durability, and that nothing is forgotten."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtmpump.errors import SpoolError
from rtmpump.spool import Origin, Spool, Usage
from tests.support.spool import (
    MIB,
    START_MS,
    body,
    child,
    disk_bytes,
    finished,
    image,
    line,
    opened,
    put,
    rows,
    seqs,
)


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    """Open an empty spool."""
    made = opened(path)
    yield made
    made.close()


# -- append and read


def test_new_spool_is_empty(spool: Spool) -> None:
    """A new spool holds nothing, has an epoch, and its first seq will be 1."""
    measure = spool.usage()
    assert measure == Usage(0, measure.bytes, None, 1, 0, 64 * MIB, 58 * MIB)
    assert measure.bytes < 64 * 1024
    assert (len(spool.epoch), spool.watermark_ms, spool.set_aside) == (16, None, None)
    assert spool.read(0, 10) == []


def test_events_come_out_as_they_went_in(spool: Spool) -> None:
    """Seqs rise by one from 1; bytes, time and origin come back unchanged and in order."""
    bodies = [b"", b"\x00\xff", b'{"type":"message"}', bytes(range(256)) * 100]
    items = [(START_MS - number, data) for number, data in enumerate(bodies)]
    assert spool.append(items, team="T1", bot="U1") == (4, None)
    assert spool.append(items[:1], team="T2", bot="U2").last_seq == 5
    found = spool.read(0, 10)
    first, second = Origin("T1", "U1", spool.epoch), Origin("T2", "U2", spool.epoch)
    assert [row[:3] for row in found[:4]] == [
        (seq, received_ms, data) for seq, (received_ms, data) in enumerate(items, 1)
    ]
    assert [row.origin for row in found] == [first] * 4 + [second]
    assert spool.watermark_ms == START_MS


def test_nothing_to_append(spool: Spool) -> None:
    """An empty batch gives no seq away."""
    put(spool, 3)
    assert spool.append([], team="T1", bot="U1") == (3, None)
    assert put(spool, 1) == 4


def test_read_limits(spool: Spool) -> None:
    """A read stops at `limit` and at `max_bytes`, but gives one event however big it is."""
    put(spool, 10, size=1000)
    assert [row.seq for row in spool.read(2, 3)] == [3, 4, 5]
    assert [row.seq for row in spool.read(2, 100, max_bytes=3000)] == [3, 4, 5]
    assert [row.seq for row in spool.read(2, 100, max_bytes=1)] == [3]
    assert spool.read(10, 100) == spool.read(0, 0) == spool.read(0, -1) == []


def test_failed_batch_leaves_no_trace(spool: Spool) -> None:
    """A batch in which one item can't be stored is rolled back whole, new origin and all."""
    put(spool, 2)
    poison: list[tuple[int, Any]] = [(START_MS, b"good"), (START_MS, "not bytes")]
    with pytest.raises(TypeError):
        spool.append(poison, team="T9", bot="U9")
    with pytest.raises(OverflowError):
        spool.append([(START_MS, b"good"), (1 << 70, b"late")], team="T9", bot="U9")
    assert put(spool, 1) == 3
    assert spool.append([(START_MS + 4, body(4))], team="T9", bot="U9").last_seq == 4
    assert seqs(spool) == [1, 2, 3, 4]
    assert spool.read(3, 1)[0].origin.team == "T9"
    assert spool.verify() == []


def test_failed_append_keeps_its_deletes_for_later(spool: Spool, path: Path) -> None:
    """Deletes that rode along with an append that failed are done later."""
    put(spool, 10)
    spool.confirm(5)
    poison: Any = "not bytes"
    with pytest.raises(TypeError):
        spool.append([(START_MS, b"x"), (START_MS, poison)], team="T1", bot="U1")
    assert seqs(spool) == [6, 7, 8, 9, 10]
    assert spool.flush()
    with_crash = opened(image(path, path.parent / "crash"))
    assert seqs(with_crash) == [6, 7, 8, 9, 10]
    with_crash.close()


# -- confirm


def test_confirmed_events_are_not_read_again(spool: Spool) -> None:
    """From `confirm` on no read gives those events, whatever it asks for."""
    put(spool, 10)
    spool.confirm(4)
    spool.confirm(2)
    assert seqs(spool) == seqs(spool, after=3) == [5, 6, 7, 8, 9, 10]
    assert spool.usage()[:1] + spool.usage()[2:5] == (6, START_MS + 5, 5, 10)
    spool.confirm(10)
    assert seqs(spool) == []
    assert spool.usage()[2:5] == (None, 11, 10)


def test_only_what_was_accepted_can_be_confirmed(spool: Spool) -> None:
    """A confirm of a seq that does not exist is refused: it would take events yet to come."""
    put(spool, 3)
    with pytest.raises(ValueError, match="4"):
        spool.confirm(4)
    assert seqs(spool) == [1, 2, 3]


@pytest.mark.parametrize("way", ["flush", "append", "close"])
def test_confirmed_events_are_deleted_for_good(path: Path, way: str) -> None:
    """What is confirmed leaves the disk with the next append, a flush, or the end."""
    spool = opened(path)
    put(spool, 10)
    spool.confirm(7)
    if way == "append":
        put(spool, 1)
    else:
        getattr(spool, way)()
    crashed = opened(image(path, path.parent / "crash"))
    assert seqs(crashed)[:3] == [8, 9, 10]
    crashed.close()
    spool.close()


def test_long_drain_deletes_by_itself(spool: Spool, path: Path) -> None:
    """While a backlog drains with no append, a crash repeats a few thousand events at most."""
    put(spool, 20_000, size=10)
    for seq in range(100, 20_001, 100):
        spool.confirm(seq)
    crashed = opened(image(path, path.parent / "crash"))
    assert crashed.usage().events < 3000
    crashed.close()


# -- restarts


def test_seq_and_time_survive_restarts(path: Path) -> None:
    """A spool that was emptied and closed goes on with seq and the newest time."""
    spool = opened(path)
    last = put(spool, 5)
    spool.confirm(last)
    spool.close()
    for round_ in range(3):
        spool = opened(path)
        assert spool.watermark_ms == START_MS + 5 + round_
        assert put(spool, 1) == 6 + round_
        spool.confirm(6 + round_)
        spool.close()


def test_after_a_power_cut_no_seq_comes_again_in_its_epoch(tmp_path: Path, path: Path) -> None:
    """What was not fsynced may be gone, though RabbitMQ has it: ids must differ."""
    spool = opened(path)
    put(spool, 3)
    on_the_disk = image(path, tmp_path / "after")
    put(spool, 2)
    before = {(row.origin.epoch, row.seq) for row in rows(spool)}
    spool.close()
    spool = opened(on_the_disk)
    put(spool, 2)
    after = [(row.origin.epoch, row.seq) for row in rows(spool)]
    assert [seq for _, seq in after] == [1, 2, 3, 4, 5]
    assert set(after[:3]) < before
    assert before.isdisjoint(after[3:])
    spool.close()


def test_backlog_survives_a_restart(path: Path) -> None:
    """Events that wait are there after a restart, with their origin."""
    spool = opened(path)
    put(spool, 1000)
    spool.confirm(300)
    before = list(rows(spool))
    spool.close()
    spool = opened(path)
    assert list(rows(spool)) == before
    assert spool.usage().events == 700
    spool.close()


def test_emptied_spool_gives_the_disk_back_at_the_next_start(path: Path) -> None:
    """The room that an outage took is free again after a start with nothing left to deliver."""
    spool = opened(path)
    spool.confirm(put(spool, 20_000))
    spool.close()
    assert disk_bytes(path) > 6 * MIB
    spool = opened(path)
    assert disk_bytes(path) < MIB
    assert put(spool, 1) == 20_001
    spool.close()


def test_closed_spool_refuses(path: Path) -> None:
    """After `close` every use is a SpoolError that says so, and closing again does nothing."""
    spool = opened(path)
    put(spool, 1)
    spool.close()
    spool.close()
    for use in (lambda: put(spool, 1), lambda: spool.read(0, 1), spool.usage, spool.verify):
        with pytest.raises(SpoolError, match="closed"):
            use()
    assert spool.wait_room(0) is False
    assert spool.flush()


KILLED = """
import sys
from pathlib import Path
from tests.support.spool import opened, put
spool = opened(Path(sys.argv[1]), sync="full")
while True:
    print("before", flush=True)
    print(put(spool, 7), flush=True)
    if sys.argv[2] == "confirms":
        spool.confirm(max(spool.usage().last_seq - 500, 0))
"""


@pytest.mark.real
@pytest.mark.parametrize("way", ["keeps", "confirms"])
def test_kill_loses_nothing_that_was_accepted(path: Path, way: str) -> None:
    """After `kill -9` in an append all that was reported durable is there, once and in order."""
    chance = random.Random(7)
    for _ in range(6):
        with child(KILLED, path, way) as process:
            said = [line(process) for _ in range(chance.randrange(2, 400))]
            process.kill()
            rest, _ = process.communicate()
            reported = [int(word) for word in said + rest.splitlines() if word.isdigit()]
        spool = opened(path)
        found = seqs(spool)
        assert found == list(range(found[0], found[-1] + 1))
        assert found[-1] >= max(reported, default=0)
        assert found[0] == 1 if way == "keeps" else found[0] <= max(found[-1] - 500, 1) + 7
        assert spool.verify() == []
        spool.close()


# -- threads and memory


def test_two_threads(path: Path) -> None:
    """One thread appends while another reads and confirms: each event comes out once, in order."""
    spool, total = opened(path), 60_000
    found: list[int] = []

    def publish() -> None:
        while len(found) < total:
            for row in spool.read(found[-1] if found else 0, 512):
                assert row.body == body(row.seq, 50)
                found.append(row.seq)
            if found:
                spool.confirm(found[-1])

    publisher = threading.Thread(target=publish)
    publisher.start()
    for _ in range(total // 100):
        put(spool, 100, size=50)
    publisher.join(100)
    assert found == list(range(1, total + 1))
    assert spool.flush()
    assert spool.usage().events == 0
    spool.close()


def test_appends_do_not_starve_the_publisher(path: Path) -> None:
    """A thread that appends without a pause leaves turns enough for the publisher to keep up."""
    spool, stop = opened(path, sync="full"), threading.Event()

    def publish() -> None:
        after = 0
        while not stop.is_set():
            after = ([after] + [row.seq for row in spool.read(after, 512)])[-1]
            spool.confirm(after)

    publisher = threading.Thread(target=publish)
    publisher.start()
    batch = [(START_MS, body(1))] * 256
    appended, deadline = 0, time.monotonic() + 30
    # A machine may give the publisher no turn for a second or two.
    while appended < 300 or spool.usage().events >= appended * 256 // 2:
        spool.append(batch, team="T1", bot="U1")
        appended += 1
        assert time.monotonic() < deadline
    stop.set()
    publisher.join(100)
    spool.close()


def test_a_look_behind_the_last_event_waits_for_no_append(path: Path) -> None:
    """The publisher looks after each confirm, and its acks wait while it waits for a disk."""
    spool = opened(path)
    put(spool, 3)
    with spool._turn():
        assert spool.read(3, 10) == []
        spool.confirm(3)
        assert spool.read(0, 10) == []
    spool.close()


MEMORY = """
import resource, sys
from pathlib import Path
from tests.support.spool import opened, put, rows
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
spool = opened(Path(sys.argv[1]), max_bytes=1 << 30)
put(spool, 1000)
before = peak()
put(spool, 300_000)
assert sum(1 for _ in rows(spool)) == 301_000
filled = peak()
for row in rows(spool):
    if row.seq % 500 == 0:
        spool.confirm(row.seq)
spool.close()
spool = opened(Path(sys.argv[1]), max_bytes=1 << 30)
print(before, filled - before, peak() - before, spool.usage().events)
"""


@pytest.mark.real
def test_memory_does_not_grow_with_the_backlog(path: Path) -> None:
    """300,000 events go in and out with less than 32 MiB more memory than 1,000."""
    with child(MEMORY, path) as process:
        _, filled, drained, events = map(int, finished(process).split())
    assert events == 0
    assert filled < 32
    assert drained < 32
