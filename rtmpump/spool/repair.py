"""Repairs a damaged spool: its readable events move to a new file, the old file is set aside.

Laws:
- Nothing of the damaged file is deleted. (SQLite may move content from the write-ahead log into it;
  the content stays the same.) If its first page is wrong, a copy of it is repaired.
- A crash in the middle loses no event. The new file is completed first, as `path.salvaged`; from
  then on every start completes the exchange.
- An event keeps its seq, time and origin, and with them its old epoch and its message id. It is
  taken only if its checksum is right, and in rising order.
- An origin is in the file twice. Where both are lost, an event gets what the others agree on; a
  second repair guesses nothing anew.
- The caller holds `path.lock`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from rtmpump.errors import SpoolCorrupt
from rtmpump.spool.file import (
    INSERT,
    PAGE,
    READ,
    SpoolState,
    beside,
    connect,
    create,
    event_crc,
    faults,
    file_size,
    is_damage,
    is_sound,
    new_epoch,
    raw,
    read_state,
    sync_path,
    write_state,
)
from rtmpump.spool.origins import Origin, read_origins, write_origin

Report = Callable[[str, dict[str, Any]], None]

_READ_ONE = "SELECT seq, received_ms, origin, crc, body FROM events WHERE seq = ?"
_READ_FIRST = f"{READ} LIMIT 1"
_DAMAGED = object()
# Without a state row the last seq is unknown: look so far beyond the last readable event.
_LOOK_AHEAD = 65536
_NO_ORIGIN = 0
# Read as from Socket Mode a body says itself what it is: what is no envelope is a frame of RTM.
_ANY_SOURCE = "socket"
# Where the first page differs from spool to spool: sqlite.org/fileformat.html#the_database_header
_WAL_VERSIONS = slice(18, 20)
_PAGES = slice(28, 32)
_COUNTERS = ((24, 40), (92, 100))


class Repaired(NamedTuple):
    """Where the damaged file is now, how many events were saved, and how many are known lost.

    `lost` is None if the state row was lost too; holes from an earlier repair count again.
    """

    set_aside: Path | None
    salvaged: int
    lost: int | None


def open_sound(
    path: Path, report: Report, may_repair: bool
) -> tuple[sqlite3.Connection, Path | None]:
    """Open the file, and repair it first if it is damaged; report `spool.set_aside`.

    Returns:
        The connection, and where the damaged file was moved, or None.

    Raises what `spool.file.connect` and `repair` raise.
    """
    aside = finish(path)
    if aside:
        report("spool.set_aside", {"problem": "an earlier start was interrupted", "to": str(aside)})
    try:
        return connect(path), aside
    except SpoolCorrupt as damage:
        if not may_repair:
            raise
        problem = damage.problem
    repaired = repair(path)
    events = {"salvaged": repaired.salvaged, "lost": repaired.lost}
    report("spool.set_aside", {"problem": problem, "to": str(repaired.set_aside), **events})
    return connect(path), repaired.set_aside


def repair(path: Path) -> Repaired:
    """Replace a damaged spool by a new one with all events that can still be read.

    This needs room on the disk for the new file, and for a copy if the first page is wrong.

    Raises:
        SpoolFailed: the disk failed; nothing has changed.
    """
    new = beside(path, ".new")
    with faults(path), ExitStack() as scraps:
        for suffix in (".new", ".mended", ".mended-wal"):
            beside(path, suffix).unlink(missing_ok=True)
            scraps.callback(beside(path, suffix).unlink, missing_ok=True)
        _make_like(path, new)
        salvaged, lost = _salvage(path, new)
        sync_path(new)
        os.rename(new, beside(path, ".salvaged"))
    return Repaired(finish(path), salvaged, lost)


def finish(path: Path) -> Path | None:
    """Complete an interrupted exchange, if any; return where the damaged file was moved."""
    salvaged = beside(path, ".salvaged")
    with faults(path):
        if not salvaged.exists():
            return None
        sync_path(path.parent)
        aside = _move_aside(path)
        os.rename(salvaged, path)
        sync_path(path.parent)
        return aside


def _move_aside(path: Path) -> Path | None:
    target = _free_name(path)
    moved = [suffix for suffix in ("", "-wal") if file_size(beside(path, suffix)) > 0]
    for suffix in moved:
        os.rename(beside(path, suffix), beside(target, suffix))
    return target if moved else None


def _free_name(path: Path) -> Path:
    stem = beside(path, f".corrupt-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    target, count = stem, 1
    while target.exists() or beside(target, "-wal").exists():
        count += 1
        target = beside(stem, f"-{count}")
    return target


def _make_like(path: Path, new: Path) -> None:
    """Make an empty file with the mode and, where allowed, the owner of the old one."""
    old = path.stat()
    opened = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.fchmod(opened, stat.S_IMODE(old.st_mode))
        with suppress(PermissionError):
            os.fchown(opened, old.st_uid, old.st_gid)
    finally:
        os.close(opened)


def _salvage(source: Path, target: Path) -> tuple[int, int | None]:
    settings = (f"page_size={PAGE}", "journal_mode=OFF", "synchronous=OFF")
    with closing(raw(target, *settings)) as new:
        create(new, SpoolState(new_epoch(), 0, None, 0))
        source = _with_first_page(source, target)
        old = _open_damaged(source)
        if old is None:
            return 0, None
        with closing(old):
            return _carry_over(old, new, source)


def _with_first_page(source: Path, sound: Path) -> Path:
    """Return the damaged file, or a copy with a sound first page if its own one is damaged.

    The first page says where the tables begin; only its counters differ from spool to spool.
    Without it no event can be read, and no log of a file that lost all its bytes.
    """
    own, model = _first_page(source), bytearray(_first_page(sound))
    model[_WAL_VERSIONS] = b"\x02\x02"
    if _without_counters(own) == _without_counters(model) and _says_its_size(own, source):
        return source
    mended = beside(source, ".mended")
    for suffix in ("", "-wal"):
        if beside(source, suffix).exists():
            shutil.copyfile(beside(source, suffix), beside(mended, suffix))
    with mended.open("r+b") as file:
        file.write(_without_counters(model))
    return mended


def _first_page(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PAGE)


def _without_counters(page: bytes | bytearray) -> bytes:
    """Return a page as a new spool has it, without a size: SQLite then takes that of the file."""
    plain = bytearray(page)
    for start, end in _COUNTERS:
        plain[start:end] = bytes(len(plain[start:end]))
    return bytes(plain)


def _says_its_size(page: bytes, path: Path) -> bool:
    return int.from_bytes(page[_PAGES], "big") * PAGE == file_size(path)


def _open_damaged(source: Path) -> sqlite3.Connection | None:
    try:
        return raw(source)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return None
        raise


def _carry_over(
    old: sqlite3.Connection, new: sqlite3.Connection, source: Path
) -> tuple[int, int | None]:
    before = _old_state(old, source)
    epoch = new_epoch()
    origins = read_origins(old)
    new.execute("BEGIN")
    for origin_id, origin in origins.items():
        write_origin(new, origin_id, origin)
    new.executemany(INSERT, _sound_rows(old, origins, before))
    if _NO_ORIGIN not in origins and _has_lost_origin(new):
        lost = _lost_origin(origins, before.epoch if before else epoch)
        write_origin(new, _NO_ORIGIN, lost)
    state, salvaged = _new_state(new, epoch, before)
    write_state(new, state)
    new.execute("COMMIT")
    if before is None:
        return salvaged, None
    return salvaged, max(before.last_seq - before.trimmed - salvaged, 0)


def _old_state(old: sqlite3.Connection, source: Path) -> SpoolState | None:
    try:
        return read_state(old, source)
    except (sqlite3.DatabaseError, SpoolCorrupt):
        return None


def _has_lost_origin(new: sqlite3.Connection) -> bool:
    found = new.execute("SELECT 1 FROM events WHERE origin = ? LIMIT 1", (_NO_ORIGIN,))
    return found.fetchone() is not None


def _lost_origin(origins: dict[int, Origin], epoch: str) -> Origin:
    """Return the origin of events whose own is lost; `epoch` is that of the state row."""
    teams = {(origin.team, origin.bot) for origin in origins.values()}
    team, bot = teams.pop() if len(teams) == 1 else ("", "")
    return Origin(team, bot, epoch, _ANY_SOURCE)


def _new_state(
    new: sqlite3.Connection, epoch: str, before: SpoolState | None
) -> tuple[SpoolState, int]:
    count, first, last, received_ms = new.execute(
        "SELECT count(*), min(seq), max(seq), max(received_ms) FROM events"
    ).fetchone()
    if before is not None:
        last, received_ms = max(before.last_seq, last or 0), before.watermark_ms
    return SpoolState(epoch, last or 0, received_ms, first - 1 if count else last or 0), count


def _sound_rows(
    old: sqlite3.Connection, origins: dict[int, Origin], before: SpoolState | None
) -> Iterator[tuple[int, int, int, int, bytes]]:
    after, upto = (before.trimmed, before.last_seq) if before else (0, 0)
    for seq, received_ms, origin, crc, body in _readable(old, after, upto):
        if not is_sound(seq, received_ms, origin, crc, body):
            continue
        if origin not in origins:
            origin, crc = _NO_ORIGIN, event_crc(seq, received_ms, _NO_ORIGIN, body)
        yield seq, received_ms, origin, crc, body


def _readable(old: sqlite3.Connection, after: int, upto: int) -> Iterator[tuple[Any, ...]]:
    """Yield all rows that SQLite can still find, in rising order; step over damaged pages."""
    while True:
        try:
            for row in old.execute(READ, (after,)):
                if row[0] > after:
                    after = row[0]
                    yield row
            return
        except sqlite3.DatabaseError:
            beyond = _next_near(old, after, upto) or _next_far(old, after)
        if beyond is None:
            return
        after = beyond[0]
        yield beyond


def _next_near(old: sqlite3.Connection, after: int, upto: int) -> tuple[Any, ...] | None:
    for seq in range(after + 1, max(upto, after + _LOOK_AHEAD) + 1):
        row = _tried(old, _READ_ONE, seq)
        if isinstance(row, tuple):
            return row
    return None


def _next_far(old: sqlite3.Connection, after: int) -> tuple[Any, ...] | None:
    """Leap ahead until a row is found, then halve the leap while one is still found."""
    leaps = (1 << power for power in range(62))
    leap = next((n for n in leaps if _tried(old, _READ_FIRST, after + n) is not _DAMAGED), 0)
    low, high = leap // 2, leap
    while low + 1 < high:
        middle = (low + high) // 2
        if _tried(old, _READ_FIRST, after + middle) is _DAMAGED:
            low = middle
        else:
            high = middle
    row = _tried(old, _READ_FIRST, after + high)
    return row if isinstance(row, tuple) else None


def _tried(old: sqlite3.Connection, query: str, seq: int) -> Any:
    """Return a row, None if there is none, or _DAMAGED."""
    try:
        return old.execute(query, (seq,)).fetchone()
    except sqlite3.DatabaseError:
        return _DAMAGED
