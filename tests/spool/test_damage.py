"""What a spool still gives after damage of any kind, and what it never gives."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from rtmpump.core import envelopes
from rtmpump.errors import SpoolError, SpoolFailed
from rtmpump.spool.origins import Origin
from tests.support.spool import (
    MIB,
    PAGE,
    START_MS,
    Reports,
    body,
    goes_on,
    image,
    leaves,
    made,
    opened,
    put,
    rows,
    scribble,
    seqs,
)

pytestmark = pytest.mark.slow


def test_scribbled_leaf(path: Path, reports: Reports) -> None:
    """A page of events that was overwritten costs its events only; the rest keep seq and origin."""
    epoch = made(path, 3000, confirmed=100)
    bad = leaves(path, 1500, 1500)[0]
    scribble(path, bad * PAGE, b"\xa5" * PAGE)
    size = path.stat().st_size
    spool = opened(path, report=reports)
    found = seqs(spool)
    lost = sorted(set(range(101, 3001)) - set(found))
    assert found == sorted(found)
    assert 5 < len(lost) < 15
    assert 1500 in lost
    fields = reports.one("spool.set_aside")
    assert (fields["salvaged"], fields["lost"]) == (len(found), len(lost))
    assert spool.usage()[:1] + spool.usage()[3:5] == (len(found), 101, 3000)
    assert spool.watermark_ms == START_MS + 3000
    assert spool.set_aside is not None
    assert spool.set_aside.stat().st_size == size
    goes_on(spool, epoch, 3000)


def test_every_other_leaf(path: Path) -> None:
    """Good pages between damaged ones are all found, however small they are."""
    made(path, 3000)
    pages, chance, lost = leaves(path, 1000, 2500), random.Random(10), set[int]()
    data = path.read_bytes()
    for page in chance.sample(pages, len(pages) // 2):
        content = data[page * PAGE : (page + 1) * PAGE]
        lost |= {seq for seq in range(900, 2600) if body(seq, 0) in content}
        scribble(path, page * PAGE, b"\xa5" * PAGE)
    spool = opened(path)
    assert seqs(spool) == [seq for seq in range(1, 3001) if seq not in lost]
    assert len(lost) > 500
    spool.close()


def test_page_that_is_in_two_places(path: Path) -> None:
    """Where a broken pointer leads back to older events, they are not taken a second time."""
    made(path, 3000)
    db = sqlite3.connect(path)
    (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'").fetchone()
    db.close()
    root = (page - 1) * PAGE
    data = path.read_bytes()
    early, late = (int.from_bytes(data[root + at : root + at + 2], "big") for at in (20, 120))
    scribble(path, root + late, data[root + early : root + early + 4])
    spool = opened(path)
    found = seqs(spool)
    assert found == sorted(set(found))
    assert 2950 < len(found) < 3000
    spool.close()


def test_salvaged_spool_drains(path: Path) -> None:
    """The holes that damage left do not confuse counting, confirming, restarting, being emptied."""
    made(path, 3000)
    for seq in (1000, 2000, 3000):
        scribble(path, leaves(path, seq, seq)[0] * PAGE, b"\xa5" * PAGE)
    spool = opened(path)
    found = seqs(spool)
    assert found[-1] < 3000
    for at in (0, len(found) // 2, len(found) - 2, len(found) - 1):
        spool.confirm(found[at])
        assert spool.usage().events == len(found) - at - 1
        assert seqs(spool) == found[at + 1 :]
        spool.close()
        spool = opened(path)
        assert spool.usage().events == len(found) - at - 1
    assert put(spool, 5) == 3005
    assert spool.usage()[:1] + spool.usage()[3:5] == (5, 3001, 3005)
    assert spool.set_aside is None
    spool.close()


def test_lost_origins_and_state(path: Path, reports: Reports) -> None:
    """Without the pages that say where events are from and how many, they are still saved."""
    made(path, 500)
    db = sqlite3.connect(path)
    roots = db.execute("SELECT rootpage FROM sqlite_schema WHERE name != 'events'").fetchall()
    db.close()
    for (page,) in roots:
        scribble(path, (page - 1) * PAGE, b"\xa5" * PAGE)
    spool = opened(path, report=reports)
    assert seqs(spool) == list(range(1, 501))
    ((*names, epoch, source),) = {row.origin for row in rows(spool)}
    # Whatever the body is, it is read as what it is: see `route`.
    assert (names, len(epoch), source) == (["", ""], 16, "socket")
    assert reports.one("spool.set_aside")["lost"] is None
    assert spool.watermark_ms == START_MS + 500
    assert put(spool, 1) == 501
    spool.close()


@pytest.mark.parametrize(
    "change", ["UPDATE state SET last_seq = 7", "UPDATE origins SET bot = 'U9'"]
)
def test_wrong_state_or_origin(path: Path, change: str) -> None:
    """A state or origin row whose checksum is wrong is damage, though SQLite sees none."""
    epoch = made(path, 500)
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()
    spool = opened(path)
    assert spool.set_aside is not None
    assert seqs(spool) == list(range(1, 501))
    assert spool.epoch != epoch
    assert put(spool, 1) == 501
    spool.close()


WRONG_CRC = "UPDATE origins SET crc = crc + 1"


@pytest.mark.parametrize(
    "change",
    [
        WRONG_CRC,
        "UPDATE origins SET bot = 'U9'",
        "UPDATE origins SET bot = x'00ff'",
        "UPDATE origins SET epoch = 'x' || substr(epoch, 2)",
        "UPDATE origins SET epoch = NULL",
    ],
)
def test_a_damaged_origin_changes_no_id(path: Path, change: str) -> None:
    """Team and epoch make the ids: they stay, and a second repair changes nothing again."""
    epoch = made(path, 50)
    for statement in (change, WRONG_CRC):
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()
        spool = opened(path)
        assert spool.set_aside is not None
        assert {(row.origin.team, row.origin.epoch) for row in rows(spool)} == {("T1", epoch)}
        spool.close()


@pytest.mark.parametrize("page", ["origins", "origins_again", "state"])
def test_a_page_of_origins_that_is_lost_changes_no_id(path: Path, page: str) -> None:
    """Two pages say where events are from; of three starts, RTM and Socket Mode."""
    known = three_starts(path)
    scribble(path, (root_page(path, page) - 1) * PAGE, b"\xa5" * PAGE)
    for statement in (WRONG_CRC, "DELETE FROM origins_again WHERE id = 2", "DELETE FROM origins"):
        spool = opened(path)
        assert spool.set_aside is not None
        assert [row.origin for row in rows(spool)] == known
        spool.close()
        change(path, statement)


def test_a_file_of_one_list_of_origins_is_taken_over_whole(path: Path, reports: Reports) -> None:
    """Older versions wrote one."""
    known = three_starts(path)
    change(path, "DROP TABLE origins_again")
    spool = opened(path, report=reports)
    assert [row.origin for row in rows(spool)] == known
    fields = reports.one("spool.set_aside")
    assert (fields["salvaged"], fields["lost"]) == (3, 0)
    spool.close()


def test_where_an_origin_is_lost_twice_the_others_say_the_team(path: Path) -> None:
    """The epoch is that of the file, and the body says how it is read; a repair changes it once."""
    *known, last = three_starts(path)
    lost = Origin("T1", "U1", last.epoch, "socket")
    assert lost.source == envelopes.SOURCE
    for statement in ("UPDATE origins_again SET crc = crc + 1 WHERE id = 1", WRONG_CRC):
        change(path, "DELETE FROM origins WHERE id = 1", statement)
        spool = opened(path)
        assert spool.set_aside is not None
        assert [row.origin for row in rows(spool)] == [lost, *known[1:], last]
        spool.close()


def three_starts(path: Path) -> list[Origin]:
    """Put one event of each source into a spool, each in another start; return their origins."""
    known = []
    for source in ("", "socket", "backfill"):
        spool = opened(path)
        spool.append([(START_MS, b"{}")], team="T1", bot="U1", source=source)
        known.append(Origin("T1", "U1", spool.epoch, source))
        spool.close()
    return known


def change(path: Path, *statements: str) -> None:
    """Do what damage might have done."""
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def root_page(path: Path, table: str) -> int:
    """Return the first page of a table, from 1."""
    db = sqlite3.connect(path)
    (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    db.close()
    return int(page)


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_a_spool_without_its_newest_events_takes_a_giant(path: Path, policy: str) -> None:
    """All that is left is confirmed: it is empty, and takes a frame of any size."""
    made(path, 500)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM events WHERE seq > 400")
        db.execute(WRONG_CRC)
    db.close()
    spool = opened(path, max_bytes=16 * MIB, when_full=policy)
    assert spool.set_aside is not None
    spool.confirm(400)
    giant = b" " * (3 * MIB)
    for seq in (501, 502):
        assert spool.append([(START_MS, giant)], team="T1", bot="U1").last_seq == seq
        assert [row.body for row in spool.read(0, 5)] == [giant]
        spool.confirm(seq)
    spool.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("how", ["delete", "replace"])
def test_a_file_that_is_gone_takes_no_more(path: Path, suffix: str, how: str) -> None:
    """A commit would go into nothing; what is there can still be read and confirmed."""
    spool = opened(path)
    put(spool, 10)
    file = path.with_name(path.name + suffix)
    file.rename(path.with_name("aside"))
    if how == "replace":
        file.write_bytes(path.with_name("aside").read_bytes())
    for _ in range(2):
        with pytest.raises(SpoolFailed, match="deleted or replaced"):
            put(spool, 1)
    assert seqs(spool) == list(range(1, 11))
    spool.confirm(10)
    path.with_name("aside").replace(file)
    assert put(spool, 1) == 11
    spool.close()


def torn(path: Path, epoch: str, count: int) -> int:
    """Open what damage left: rows that were written, rising, each once; how many there are."""
    spool = opened(path)
    found = seqs(spool)
    assert found == sorted(set(found))
    assert not found or 1 <= found[0] <= found[-1] <= count
    last = spool.usage().last_seq
    assert last >= (found[-1] if found else 0)
    assert {row.origin.epoch for row in rows(spool)} <= {epoch, spool.epoch}
    assert put(spool, 5) == last + 5
    assert seqs(spool) == [*found, *range(last + 1, last + 6)]
    spool.close()
    again = opened(path)
    assert again.set_aside is None
    assert seqs(again)[: len(found)] == found
    # A cut within the last page looks sound to SQLite: only the checksum of one event tells.
    assert len(again.verify()) <= (0 if spool.set_aside else 1)
    again.close()
    return len(found)


@pytest.mark.parametrize("log", [False, True], ids=["closed", "killed"])
def test_torn_file(tmp_path: Path, log: bool) -> None:
    """Cut off at any place, with or without a log, what is readable comes out and nothing else."""
    spool = opened(tmp_path / "spool.db")
    put(spool, 4000)
    whole = spool.path
    if log:
        whole = image(whole, tmp_path / "whole")
        assert (tmp_path / "whole" / "spool.db-wal").stat().st_size > 100 * PAGE
    spool.close()
    chance, size, saved = random.Random(5), whole.stat().st_size, 0
    cuts = [0, 1, 100, PAGE, PAGE + 1, size - 1, *(chance.randrange(size) for _ in range(14))]
    for number, cut in enumerate(cuts):
        copy = image(whole, tmp_path / str(number))
        os.truncate(copy, cut)
        saved += torn(copy, spool.epoch, 4000)
    assert saved > 4000


def test_torn_log(tmp_path: Path) -> None:
    """A log that was cut off costs the newest events only, and no event is ever out of order."""
    spool = opened(tmp_path / "spool.db")
    put(spool, 4000, batch=20)
    chance = random.Random(6)
    for number in range(12):
        copy = image(spool.path, tmp_path / str(number))
        log = copy.with_name("spool.db-wal")
        os.truncate(log, chance.randrange(log.stat().st_size))
        other = opened(copy)
        found = seqs(other)
        assert found == list(range(1, len(found) + 1))
        assert other.verify() == []
        other.close()
    spool.close()


@pytest.mark.parametrize("size", [0, 1])
def test_empty_file_with_a_log(tmp_path: Path, reports: Reports, size: int) -> None:
    """A file that lost all its bytes is read from its log; SQLite alone would delete that."""
    spool = opened(tmp_path / "spool.db")
    put(spool, 700)
    copy = image(spool.path, tmp_path / "crash")
    spool.close()
    os.truncate(copy, size)
    other = opened(copy, report=reports)
    assert seqs(other) == list(range(1, 701))
    assert reports.one("spool.set_aside")["lost"] == 0
    goes_on(other, spool.epoch, 700)


def test_random_scribbles(tmp_path: Path) -> None:
    """Whatever bytes are overwritten, the spool opens, and gives no event that was not accepted."""
    whole = tmp_path / "spool.db"
    epoch, size = made(whole, 4000, confirmed=50), whole.stat().st_size
    chance, saved = random.Random(8), 0
    for number in range(40):
        copy = image(whole, tmp_path / str(number))
        for _ in range(chance.randrange(1, 6)):
            at = chance.choice([chance.randrange(size), chance.randrange(6 * PAGE)])
            scribble(copy, at, chance.randbytes(chance.choice([1, 8, 500, 5000])))
        spool = opened(copy)
        found = seqs(spool)
        assert found == sorted(set(found))
        assert not found or 1 <= found[0] <= found[-1] <= 4000
        assert len({row.origin.epoch for row in rows(spool)} - {epoch}) <= 1
        spool.close()
        again = opened(copy)
        assert (seqs(again), again.set_aside) == (found, None)
        again.close()
        saved += len(found)
    assert saved > 40 * 1000


def version(path: Path) -> int:
    """Return the `user_version` in the header."""
    return int.from_bytes(path.read_bytes()[60:64], "big", signed=True)


@pytest.mark.parametrize("value", [0x00, 0x07, 0xFF])
def test_wrong_header(tmp_path: Path, value: int) -> None:
    """Any wrong byte of the header costs no event; in the version it reads as a newer rtmpump."""
    whole = tmp_path / "spool.db"
    epoch = made(whole, 300, confirmed=7)
    for at in range(100):
        copy = image(whole, tmp_path / str(at))
        scribble(copy, at, bytes([value]))
        if 60 <= at < 64 and version(copy) > 1:
            with pytest.raises(SpoolError, match="newer"):
                opened(copy)
            continue
        spool = opened(copy)
        assert seqs(spool) == list(range(8, 301)), at
        assert {row.origin.epoch for row in rows(spool)} == {epoch}
        assert put(spool, 1) == 301
        spool.close()


def test_lost_first_page(path: Path, reports: Reports) -> None:
    """With the first page gone every event is still found, and the file is kept as it was."""
    epoch = made(path, 10_000, confirmed=5000)
    scribble(path, 0, b"\xa5" * PAGE)
    damaged = path.read_bytes()
    spool = opened(path, report=reports)
    assert seqs(spool) == list(range(5001, 10_001))
    assert reports.one("spool.set_aside")["lost"] == 0
    assert spool.set_aside is not None
    assert spool.set_aside.read_bytes() == damaged
    names = {"spool.db", "spool.db-wal", "spool.db.lock", spool.set_aside.name}
    assert {file.name for file in path.parent.iterdir()} == names
    goes_on(spool, epoch, 10_000)


def test_lost_first_page_of_a_killed_spool(tmp_path: Path) -> None:
    """The same where the newest events are in the log only."""
    spool = opened(tmp_path / "spool.db")
    put(spool, 10_000)
    copy = image(spool.path, tmp_path / "crash")
    spool.close()
    scribble(copy, 0, b"\xa5" * PAGE)
    other = opened(copy)
    assert seqs(other) == list(range(1, 10_001))
    other.close()


def test_lost_state_and_oldest_events(path: Path) -> None:
    """If it is unknown where the events begin, those beyond the damage are found all the same."""
    spool = opened(path)
    for _ in range(40):
        spool.confirm(put(spool, 10_000, size=10, batch=5000))
    spool.flush()
    put(spool, 5000)
    spool.close()
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM state")
    db.close()
    scribble(path, leaves(path, 400_001, 400_001)[0] * PAGE, b"\xa5" * PAGE)
    spool = opened(path)
    found = seqs(spool)
    assert 400_001 < found[0] < 400_020
    assert found == list(range(found[0], 405_001))
    spool.close()
