"""What `rtmpump.spool.repair` promises: a damaged file is kept, and a crash loses nothing."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from rtmpump.errors import SpoolCorrupt, SpoolFailed
from tests.support.disk import small_disk
from tests.support.spool import (
    MIB,
    PAGE,
    Reports,
    child,
    goes_on,
    image,
    leaves,
    line,
    made,
    opened,
    put,
    scribble,
    seqs,
)

# -- set aside


@pytest.mark.parametrize("content", [b"no", b"this is no database\n" * 1000, bytes(8192)])
def test_no_database(path: Path, reports: Reports, content: bytes) -> None:
    """A file that is no database is moved aside byte for byte and reported; a new spool begins."""
    path.write_bytes(content)
    spool = opened(path, report=reports)
    aside = spool.set_aside
    assert aside is not None
    assert aside.name.startswith("spool.db.corrupt-2")
    assert aside.read_bytes() == content
    fields = reports.one("spool.set_aside")
    assert (fields["to"], fields["salvaged"], fields["lost"]) == (str(aside), 0, None)
    assert fields["problem"]
    assert put(spool, 2) == 2
    spool.close()


def test_foreign_database(path: Path, reports: Reports) -> None:
    """Another program's database is moved aside unchanged."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, name TEXT)")
        db.execute("INSERT INTO events VALUES (1, 'birthday')")
    db.close()
    before = path.read_bytes()
    spool = opened(path, report=reports)
    assert "not a spool" in reports.one("spool.set_aside")["problem"]
    assert spool.set_aside is not None
    assert spool.set_aside.read_bytes() == before
    assert seqs(spool) == []
    spool.close()


def test_no_name_is_taken_twice(path: Path) -> None:
    """Damaged files set aside within one second get names of their own."""
    contents = [b"no database %d" % number for number in range(4)]
    for content in contents:
        path.write_bytes(content)
        opened(path).close()
    kept = {file.read_bytes() for file in path.parent.glob("*.corrupt-*")}
    assert kept == set(contents)


def test_repair_can_be_forbidden(path: Path) -> None:
    """With `repair=False` a damaged file is an error and stays where it is."""
    path.write_bytes(b"no database")
    with pytest.raises(SpoolCorrupt):
        opened(path, repair=False)
    assert path.read_bytes() == b"no database"
    assert not list(path.parent.glob("*.corrupt-*"))


# -- a crash in the middle of the exchange


@pytest.mark.parametrize("stage", ["finished", "log moved", "both moved", "half-made"])
def test_interrupted_exchange(tmp_path: Path, reports: Reports, stage: str) -> None:
    """A crash anywhere in the exchange loses nothing: the next start completes it."""
    path = tmp_path / "spool.db"
    epoch = made(path, 3000)
    scribble(path, leaves(path, 1500, 1500)[0] * PAGE, b"\xa5" * PAGE)
    damaged = path.read_bytes()
    spool = opened(path)
    expected, aside = seqs(spool), spool.set_aside
    assert aside is not None
    spool.close()
    if stage == "half-made":
        path.with_name("spool.db.new").write_bytes(path.read_bytes()[: 20 * PAGE])
        aside.rename(path)
    else:
        path.rename(path.with_name("spool.db.salvaged"))
    if stage == "finished":
        path.with_name("spool.db-wal").write_bytes(b"log")
        aside.rename(path)
    elif stage == "log moved":
        aside.rename(path)
    spool = opened(path, report=reports)
    assert seqs(spool) == expected
    assert len(reports) == (stage != "both moved")
    goes_on(spool, epoch, 3000)
    kept = [file for file in tmp_path.glob("*.corrupt-*") if file.suffix != ".db-wal"]
    assert damaged in [file.read_bytes() for file in kept]
    assert not path.with_name("spool.db.salvaged").exists()
    assert not path.with_name("spool.db.new").exists()


@pytest.mark.real
def test_no_room_for_the_repair(tmp_path: Path) -> None:
    """Where the disk has no room for a second file the start fails and the damaged one stays."""
    with small_disk(tmp_path / "disk", 40 * MIB) as disk:
        path = disk / "spool.db"
        made(path, 60_000)
        scribble(path, leaves(path, 1500, 1500)[0] * PAGE, b"\xa5" * PAGE)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(12 * MIB))
        before = path.read_bytes()
        with pytest.raises(SpoolFailed, match="full"):
            opened(path)
        assert path.read_bytes() == before
        assert sorted(os.listdir(disk)) == ["ballast", "spool.db", "spool.db.lock"]
        ballast.unlink()
        spool = opened(path)
        assert spool.usage().events > 59_980
        spool.close()


def test_repaired_file_keeps_its_mode(path: Path) -> None:
    """The new file may be read by those who could read the old one."""
    made(path, 10)
    path.chmod(0o640)
    scribble(path, 0, b"x" * 100)
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o640


KILLED = """
import sys
from pathlib import Path
from tests.support.spool import opened
print("begun", flush=True)
spool = opened(Path(sys.argv[1]), sync="full")
print("open", flush=True)
spool.close()
"""


@pytest.mark.real
@pytest.mark.parametrize("damage", ["leaf", "first page", "none"])
def test_killed_while_it_opens(tmp_path: Path, damage: str) -> None:
    """`kill -9` at any moment of a start, with or without a repair, loses no event."""
    whole = tmp_path / "spool.db"
    made(whole, 20_000)
    page = {"leaf": leaves(whole, 5000, 5000)[0], "first page": 0, "none": None}[damage]
    if page is not None:
        scribble(whole, page * PAGE, b"\xa5" * PAGE)
    sound = opened(image(whole, tmp_path / "sound"))
    expected, chance = seqs(sound), random.Random(9)
    sound.close()
    for number in range(10):
        copy = image(whole, tmp_path / str(number))
        with child(KILLED, copy) as process:
            assert line(process) == "begun"
            with suppress(subprocess.TimeoutExpired):
                process.wait(chance.random() / 10)
        spool = opened(copy)
        assert seqs(spool) == expected
        assert put(spool, 1) == 20_001
        spool.close()
