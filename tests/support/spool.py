"""What the tests of the spool share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtmpump.errors import SpoolError
from rtmpump.spool import Row, Spool
from tests.support.paths import PYTHONPATH, ROOT

PAGE = 4096
MIB = 1 << 20
START_MS = 1_700_000_000_000


def opened(path: Path, **options: Any) -> Spool:
    """Open a spool of 64 MiB that blocks and does not fsync, unless the options say otherwise."""
    settings: dict[str, Any] = {"max_bytes": 64 * MIB, "when_full": "block", "sync": "normal"}
    return Spool.open(path, **(settings | options))


def body(number: int, size: int = 300) -> bytes:
    """Return a body that says which event it is."""
    return b'{"n":%d}' % number + b" " * (size - 8)


def put(spool: Spool, count: int, *, size: int = 300, batch: int = 256) -> int:
    """Append events whose number is their seq, and sync each batch; give the last seq."""
    last = spool.usage().last_seq
    goal = last + count
    while last < goal:
        numbers = range(last + 1, min(last + batch, goal) + 1)
        items = [(START_MS + number, body(number, size)) for number in numbers]
        last = spool.append(items, team="T1", bot="U1").last_seq
        spool.sync()
    return last


def put_until(error: type[SpoolError], spool: Spool, **options: int) -> int:
    """Append until `error` comes; the last seq before it."""
    last = spool.usage().last_seq
    try:
        while True:
            last = put(spool, options.get("batch", 256), **options)
            assert disk_bytes(spool.path) <= spool.usage().max_bytes
    except error:
        return last


def rows(spool: Spool, after: int = 0) -> Iterator[Row]:
    """All events after `after`, read in batches."""
    while batch := spool.read(after, 512):
        after = batch[-1].seq
        yield from batch


def seqs(spool: Spool, after: int = 0) -> list[int]:
    """Return the seqs of all that waits; check that each row is as `put` made it."""
    found = []
    for row in rows(spool, after):
        assert (row.received_ms, row.body.rstrip()) == (START_MS + row.seq, body(row.seq, 0))
        found.append(row.seq)
    return found


def image(path: Path, folder: Path) -> Path:
    """Copy the files to another folder, as a crash at this moment would leave them."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        if path.with_name(path.name + suffix).exists():
            shutil.copy(path.with_name(path.name + suffix), folder)
    return folder / path.name


def disk_bytes(path: Path) -> int:
    """Bytes of the file and its write-ahead log."""
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))


def until(condition: Callable[[], bool], seconds: float = 100.0) -> None:
    """Wait for a condition; fail if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


@contextmanager
def child(script: str, *args: object, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python process that can import `tests.support.spool`; kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": PYTHONPATH} | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a child prints."""
    assert process.stdout is not None
    text = process.stdout.readline()
    assert text, "the child ended"
    return text.strip()


def say(process: subprocess.Popen[str], text: str = "go") -> None:
    """Send a child one line."""
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def finished(process: subprocess.Popen[str]) -> str:
    """All the rest that a child prints; it must end well."""
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    return output


class Reports(list[tuple[str, dict[str, Any]]]):
    """Keeps what the spool reports."""

    def __call__(self, name: str, fields: dict[str, Any]) -> None:
        """Keep it."""
        self.append((name, fields))

    def one(self, name: str) -> dict[str, Any]:
        """Return the fields of the only report."""
        assert [reported for reported, _ in self] == [name]
        return self[0][1]


def made(path: Path, count: int, *, confirmed: int = 0) -> str:
    """Make a closed spool of `count` events; return its epoch."""
    spool = opened(path)
    put(spool, count)
    spool.confirm(confirmed)
    spool.close()
    return spool.epoch


def scribble(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes behind SQLite's back."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def leaves(path: Path, low: int, high: int) -> list[int]:
    """Return the numbers of the pages that hold events `low` to `high`, found by their bodies."""
    data = path.read_bytes()
    numbers = range(0, len(data), PAGE)
    marks = [body(seq, 0) for seq in range(low, high + 1)]
    return [at // PAGE for at in numbers if any(m in data[at : at + PAGE] for m in marks)]


def goes_on(spool: Spool, old_epoch: str, after: int) -> None:
    """Check that new events get a new epoch, and seqs beyond all that were ever used."""
    assert spool.epoch != old_epoch
    assert all(row.origin.epoch == old_epoch for row in rows(spool))
    assert all(row.origin[:2] == ("T1", "U1") for row in rows(spool))
    last = put(spool, 3)
    assert last == after + 3
    assert [row.origin.epoch for row in rows(spool, after)] == [spool.epoch] * 3
    assert spool.verify() == []
    spool.close()
