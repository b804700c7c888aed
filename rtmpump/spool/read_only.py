"""Reads the spool of a stopped daemon without changing one byte of it.

Laws:
- No file is made, written, repaired or removed, and none changes its owner: a reader is often root,
  the daemon is not.
- The reader holds `path.lock`, shared with other readers, so no daemon can start until it is done.
  Without that file no daemon ever ran here: a daemon makes it first.
- SQLite opens the file for reading only and without its own locks. If there is a write-ahead log,
  SQLite reads it too and leaves it; if there is none, SQLite must not make one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from rtmpump.errors import SpoolCorrupt, SpoolError
from rtmpump.spool.file import beside, check, faults, file_size, find_problems, is_empty, set_up
from rtmpump.spool.lock import require_regular, share, unreadable

_PROBLEMS_MAX = 200
_PRAGMAS = ("locking_mode=EXCLUSIVE", "cache_size=-8192", "mmap_size=0")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection that reads a sound spool; raises what `Spool.open_read_only` raises."""
    with _connected(path) as db:
        check(db, path, writes=False)
        yield db


def find_all_problems(path: Path) -> list[str]:
    """Read the whole spool of a stopped daemon; return at most about two hundred problems.

    Raises:
        SpoolLocked: a daemon holds the spool.
        SpoolError: there is no spool, or it can't be read.
        SpoolFailed: the disk failed.
    """
    path = Path(os.path.realpath(path))
    found: dict[str, None] = {}
    try:
        with _connected(path) as db:
            try:
                check(db, path, writes=False)
            except SpoolCorrupt as damage:
                found |= _lines(damage.problem)
            for problem in islice(find_problems(db), _PROBLEMS_MAX):
                found |= _lines(problem)
    except SpoolCorrupt as damage:
        found |= _lines(damage.problem)
    return list(found)


def _lines(problem: str) -> dict[str, None]:
    """Return the lines of SQLite's report, without the headings that name the database."""
    return {line: None for line in problem.splitlines() if not line.startswith("***")}


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    with faults(path), share(path):
        source = _source(path)
        has_log = file_size(beside(source, "-wal")) > 0
        if is_empty(source):
            if has_log:
                raise SpoolCorrupt(str(path), "the file is empty but has a write-ahead log")
            raise SpoolError(str(path), "it is empty, no daemon has used it yet")
        how = "mode=ro&vfs=unix-none" if has_log else "immutable=1"
        uri = f"{source.as_uri()}?{how}"
        db = sqlite3.connect(
            uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            set_up(db, *_PRAGMAS)
            yield db
        finally:
            db.close()


def _source(path: Path) -> Path:
    """Return the file that counts: after an interrupted repair it is the salvaged one."""
    salvaged = beside(path, ".salvaged")
    source = salvaged if os.path.exists(salvaged) else path
    require_regular(source)
    try:
        os.close(os.open(source, os.O_RDONLY))
    except FileNotFoundError as error:
        raise SpoolError(str(path), "there is no such file") from error
    except OSError as error:
        raise unreadable(path, error) from error
    return source
