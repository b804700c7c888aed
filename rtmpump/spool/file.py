"""The file of the spool: its tables, its checksums, and what SQLite's errors mean.

Laws:
- A process holds the lock of `spool.lock` before it opens the file.
- `connect` returns a connection only if the file is ours, has a version that we know, and
  `quick_check` finds it sound.
- SQLite's errors are translated here: a failing disk is SpoolFailed, a damaged file is
  SpoolCorrupt. Nothing here repairs; `spool.repair` does.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from rtmpump.errors import SpoolCorrupt, SpoolError, SpoolFailed, SpoolLocked
from rtmpump.spool.origins import SOURCED, TABLES, Origin, check_origins, read_origins, row_crc

READ = "SELECT seq, received_ms, origin, crc, body FROM events WHERE seq > ? ORDER BY seq"
INSERT = "INSERT INTO events (seq, received_ms, origin, crc, body) VALUES (?, ?, ?, ?, ?)"
PAGE = 4096

_ROWS_AT_ONCE = 64
_INSERT_MANY = INSERT + ", (?, ?, ?, ?, ?)" * (_ROWS_AT_ONCE - 1)
_APPLICATION_ID = 0x72746D70  # "rtmp"
_VERSION = 1
_SHRINK_PAGES = 1024
CHECKPOINT_PAGES = 512
# Appends stop short of a full disk: deletes and checkpoints must still find room on it.
_HEADROOM = 8 << 20
_PRAGMAS = (
    "locking_mode=EXCLUSIVE",
    "cache_size=-8192",
    "mmap_size=0",
    # Debian builds SQLite with secure_delete on.
    "secure_delete=OFF",
    # Only for macOS, where fsync alone does not reach the disk.
    "fullfsync=ON",
    "checkpoint_fullfsync=ON",
    f"wal_autocheckpoint={CHECKPOINT_PAGES}",
    f"journal_size_limit={CHECKPOINT_PAGES * PAGE}",
)
_SCHEMA = (
    "CREATE TABLE state (one INTEGER PRIMARY KEY, epoch TEXT, last_seq INTEGER,"
    " complete_until_ms INTEGER, trimmed INTEGER, crc INTEGER)",
    TABLES[0],
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, received_ms INTEGER, origin INTEGER,"
    " crc INTEGER, body BLOB)",
    TABLES[1],
    f"PRAGMA application_id={_APPLICATION_ID}",
    f"PRAGMA user_version={_VERSION}",
)
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    # Our statements are right, so "no such table", a seq twice and the like mean a damaged file.
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Row(NamedTuple):
    """One event: `received_ms` is Unix time in milliseconds, `body` the frame as Slack sent it."""

    seq: int
    received_ms: int
    body: bytes
    origin: Origin


class SpoolState(NamedTuple):
    """The one row that is never deleted; `trimmed` is the greatest seq that was deleted.

    On disk the column of the watermark is `complete_until_ms`, as in files of older versions.
    """

    epoch: str
    last_seq: int
    watermark_ms: int | None
    trimmed: int


def new_epoch() -> str:
    """Return a random name for one life of a spool file: 16 hex digits."""
    return secrets.token_hex(8)


def event_crc(seq: int, received_ms: int, origin: int, body: bytes) -> int:
    """Return the CRC-32 of a whole row: of the body, started with the numbers beside it."""
    return zlib.crc32(body, (seq + received_ms * 31 + origin * 1009) % 4294967291)


def is_sound(seq: Any, received_ms: Any, origin: Any, crc: Any, body: Any) -> bool:
    """Return whether a row is as it was written; a damaged file may give values of any type."""
    try:
        return bool(event_crc(seq, received_ms, origin, body) == crc)
    except (TypeError, ValueError, OverflowError):
        return False


def beside(path: Path, suffix: str) -> Path:
    """Return the path with a suffix after its name, as SQLite names its own files (`-wal`)."""
    return path.with_name(path.name + suffix)


def file_size(path: Path | str) -> int:
    """Return the size in bytes, 0 if there is no such file."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def file_identity(path: Path | str) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def is_empty(path: Path) -> bool:
    """Return whether SQLite takes the file for empty; one byte is empty too (`unixFileSize`)."""
    return file_size(path) <= 1


def _free(path: Path) -> int:
    """Return how many bytes are free on the disk of a file."""
    disk = os.statvfs(os.path.dirname(path))
    return disk.f_bavail * disk.f_frsize


def pages_max(db: sqlite3.Connection, path: Path) -> int:
    """Return how many bytes of pages the disk lets be in use, those that are now among them."""
    return max(PAGE, number(db, "page_count") * PAGE + _free(path) - _HEADROOM)


def require_free(db: sqlite3.Connection, path: Path, size: int) -> None:
    """Raise SpoolFailed unless disk and free pages have room for `size` bytes and a reserve."""
    free, needed = _free(path), size + _HEADROOM
    if free >= needed:
        return
    needed -= number(db, "freelist_count") * PAGE
    if free < needed:
        problem = f"the disk is full ({free} bytes are free, {needed} are needed)"
        raise SpoolFailed(str(path), problem, "free some space")


def sync_path(path: Path) -> None:
    """Call fsync for a file, or for a folder (after a rename or a new file in it)."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Translate what SQLite and the file system raise into SpoolError and its kinds."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translated(str(path), error) from error
    except OSError as error:
        raise SpoolFailed(str(path), error.strerror or str(error)) from error


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Write all or nothing. When COMMIT fails, SQLite has mostly rolled back already."""
    with faults(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _translated(path: str, error: sqlite3.DatabaseError) -> SpoolError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return SpoolLocked(path, "another program has it open", "close that program first")
    if is_damage(error):
        return SpoolCorrupt(path, str(error), "the next start sets it aside")
    if isinstance(error, sqlite3.ProgrammingError):
        return SpoolError(path, str(error))
    return SpoolFailed(path, str(error), "check that the disk has room and is sound")


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether SQLite reports a damaged file, and not a failing disk."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def connect(path: Path) -> sqlite3.Connection:
    """Open the one connection, to a sound spool of our version; an empty file becomes a new spool.

    SQLite neither fsyncs a commit of it nor moves the log into the file by itself: that is left to
    `WriteAheadLog` and `EventStore.checkpoint`.

    Raises:
        SpoolCorrupt: the file is damaged, or it is no spool.
        SpoolError: it is of a newer version.
        SpoolLocked: a program that does not use `path.lock` has it open.
        SpoolFailed: the disk failed.
    """
    with faults(path):
        if is_empty(path) and file_size(beside(path, "-wal")) > 0:
            # This must come before SQLite opens the file, which would delete the log.
            raise SpoolCorrupt(str(path), "the file is empty but has a write-ahead log")
        db = raw(path)
        try:
            _prepare(db, path)
            set_up(db, "synchronous=NORMAL", "wal_autocheckpoint=0")
        except BaseException:
            db.close()
            raise
        return db


def raw(path: Path, *pragmas: str) -> sqlite3.Connection:
    """Open a connection with our settings, and `pragmas` before them; check nothing."""
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        set_up(db, *pragmas, *_PRAGMAS)
    except BaseException:
        db.close()
        raise
    return db


def set_up(db: sqlite3.Connection, *pragmas: str) -> None:
    """Give a connection its settings, and let it read bytes that are no text."""
    # In a damaged file any bytes may stand as text; sqlite3 would raise OperationalError for them.
    db.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    for pragma in pragmas:
        db.execute(f"PRAGMA {pragma}").fetchall()


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    if _is_blank(db):
        db.execute(f"PRAGMA page_size={PAGE}")
        db.execute("PRAGMA journal_mode=WAL").fetchall()
        create(db, SpoolState(new_epoch(), 0, None, 0))
        sync_path(path.parent)
    check(db, path)
    db.execute("PRAGMA journal_mode=WAL").fetchall()
    _shrink(db)


def _is_blank(db: sqlite3.Connection) -> bool:
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return not tables and not number(db, "application_id") and not number(db, "user_version")


def number(db: sqlite3.Connection, pragma: str) -> int:
    """Return the value of a PRAGMA that is a number."""
    (value,) = db.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)


def create(db: sqlite3.Connection, state: SpoolState) -> None:
    """Make tables and state in one transaction, so that a half-made spool is a blank file."""
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        db.execute(statement)
    values = "INSERT INTO state (one, epoch, last_seq, complete_until_ms, trimmed, crc)"
    db.execute(f"{values} VALUES (1, ?, ?, ?, ?, ?)", (*state, row_crc(*state)))
    db.execute("COMMIT")


def check(db: sqlite3.Connection, path: Path, *, writes: bool = True) -> None:
    """Check that this is a sound spool; this takes a second per GiB.

    Args:
        db: the connection.
        path: the file, for the errors.
        writes: whether the header of the file must allow writes too.

    Raises:
        SpoolCorrupt: it is damaged, or it is no spool.
        SpoolError: it is of a newer version.
    """
    if number(db, "application_id") != _APPLICATION_ID:
        raise SpoolCorrupt(str(path), "it is not a spool of rtmpump")
    version = number(db, "user_version")
    if version > SOURCED:
        problem = f"made by a newer rtmpump (format {version}, this one knows {SOURCED})"
        raise SpoolError(str(path), problem, "run that version, or drain the spool with it first")
    if version < _VERSION:
        raise SpoolCorrupt(str(path), f"there never was a format {version}")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise SpoolCorrupt(str(path), str(verdict))
    if writes:
        _check_writes(db, path)
    read_state(db, path)
    check_origins(db, path)


def _check_writes(db: sqlite3.Connection, path: Path) -> None:
    try:
        db.execute("DELETE FROM events WHERE seq < 0")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY:
            raise
        # The file itself is writable, so its header must be wrong.
        raise SpoolCorrupt(str(path), str(error)) from error


def _shrink(db: sqlite3.Connection) -> None:
    """Give disk space back at a start with nothing to deliver: an outage made the file large."""
    if db.execute("SELECT 1 FROM events LIMIT 1").fetchone():
        return
    if number(db, "freelist_count") > _SHRINK_PAGES:
        with suppress(sqlite3.OperationalError):
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def read_state(db: sqlite3.Connection, path: Path) -> SpoolState:
    """Return the state row.

    Raises:
        SpoolCorrupt: it is missing, or its checksum is wrong.
    """
    columns = "SELECT epoch, last_seq, complete_until_ms, trimmed, crc FROM state"
    row = db.execute(columns).fetchone()
    if row is None or row_crc(*row[:4]) != row[4]:
        raise SpoolCorrupt(str(path), "the checksum of its state is wrong")
    return SpoolState(*row[:4])


def write_state(db: sqlite3.Connection, state: SpoolState) -> None:
    """Replace the state row, in the open transaction."""
    db.execute(
        "UPDATE state SET epoch = ?, last_seq = ?, complete_until_ms = ?, trimmed = ?, crc = ?",
        (*state, row_crc(*state)),
    )


def insert(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add events (the columns of `INSERT`), in the open transaction.

    Each statement adds many rows: between two statements another thread may take the interpreter,
    and to get it back takes longer than to insert a row.
    """
    at, whole = 0, len(rows) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
    while at < whole:
        many = rows[at : at + _ROWS_AT_ONCE]
        db.execute(_INSERT_MANY, tuple(chain.from_iterable(many)))
        at += _ROWS_AT_ONCE
    db.executemany(INSERT, rows[whole:])


def find_problems(db: sqlite3.Connection) -> Iterator[str]:
    """Read the whole file and yield what is wrong with it, one line each."""
    for (line,) in db.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield str(line)
    origins, previous = read_origins(db), 0
    for seq, received_ms, origin_id, crc, body in db.execute(READ, (-1,)):
        if seq <= previous:
            yield f"event {seq} comes after event {previous}"
        if origin_id not in origins:
            yield f"event {seq} has no origin"
        if not is_sound(seq, received_ms, origin_id, crc, body):
            yield f"the checksum of event {seq} is wrong"
        previous = seq
    for (last,) in db.execute("SELECT last_seq FROM state"):
        if previous > last:
            yield f"event {previous} is newer than the last one, {last}"
