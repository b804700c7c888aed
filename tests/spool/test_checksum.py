"""Damage that SQLite does not see, or not at once: what the checksums are for."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.spool import (
    PAGE,
    Reports,
    body,
    child,
    finished,
    leaves,
    line,
    made,
    opened,
    put,
    say,
    scribble,
    seqs,
)


def flip(path: Path, seq: int) -> None:
    """Change one byte inside a body."""
    at = path.read_bytes().index(body(seq, 0))
    scribble(path, at + 5, b"#")


def test_flipped_byte_is_never_published(path: Path, reports: Reports) -> None:
    """An event whose body changed on disk is skipped and reported once; the others are read."""
    made(path, 100)
    for seq in (20, 21, 50):
        flip(path, seq)
    spool = opened(path, report=reports)
    expected = [seq for seq in range(1, 101) if seq not in (20, 21, 50)]
    assert seqs(spool) == seqs(spool) == expected
    assert spool.set_aside is None
    assert reports.one("spool.event_damaged") == {"count": 3, "last_seq": 50}
    assert [line for line in spool.verify() if "checksum" in line] == [
        f"the checksum of event {seq} is wrong" for seq in (20, 21, 50)
    ]
    assert [row.seq for row in spool.read(19, 1)] == [22]
    spool.confirm(100)
    assert spool.usage().events == 0
    spool.close()


@pytest.mark.parametrize("first_confirm", [True, False])
def test_damaged_tail_does_not_stay(path: Path, first_confirm: bool) -> None:
    """Damaged events with nothing good behind them go when the one before them is confirmed."""
    made(path, 100)
    for seq in (98, 99, 100):
        flip(path, seq)
    spool = opened(path)
    if first_confirm:
        spool.confirm(97)
        assert spool.read(97, 10) == []
    else:
        assert seqs(spool)[-1] == 97
        spool.confirm(96)
        assert spool.usage().events == 4
        spool.confirm(97)
    assert spool.usage().events == 0
    assert put(spool, 1) == 101
    assert seqs(spool) == [101]
    spool.close()


def test_wrong_number_beside_a_body(path: Path, reports: Reports) -> None:
    """The checksum covers seq, time and origin too: a row moved or redated is damage."""
    made(path, 10)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET seq = 11 WHERE seq = 10")
        db.execute("UPDATE events SET received_ms = received_ms + (1 << 35) WHERE seq = 5")
        db.execute("UPDATE events SET received_ms = 'late' WHERE seq = 6")
        db.execute("UPDATE events SET body = NULL WHERE seq = 7")
        db.execute("UPDATE events SET origin = 9 WHERE seq = 8")
    db.close()
    spool = opened(path, report=reports)
    assert seqs(spool) == [1, 2, 3, 4, 9]
    assert reports.one("spool.event_damaged")["count"] == 5
    assert len(spool.verify()) >= 5
    spool.close()


DAMAGED_LATER = """
import sys
from pathlib import Path
from rtmpump.errors import SpoolCorrupt
from tests.support.spool import opened, put, seqs
spool = opened(Path(sys.argv[1]))
put(spool, 60_000)
print("filled", flush=True)
sys.stdin.readline()
try:
    seqs(spool)
except SpoolCorrupt as damage:
    print(damage)
"""


@pytest.mark.real
def test_damage_at_run_time(path: Path) -> None:
    """A page that goes bad under a running spool is SpoolCorrupt; the next start sets it aside."""
    with child(DAMAGED_LATER, path) as process:
        assert line(process) == "filled"
        for page in leaves(path, 100, 101):
            subprocess.run(
                [sys.executable, "-c", SCRIBBLE, str(path), str(page * PAGE)], check=True
            )
        say(process)
        assert "malformed" in finished(process)
    spool = opened(path)
    assert spool.set_aside is not None
    assert len(seqs(spool)) > 59_970
    assert spool.usage().last_seq == 60_000
    spool.close()


SCRIBBLE = """
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    file.write(b"\\xa5" * 4096)
"""
