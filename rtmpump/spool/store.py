"""The rows of an open spool: what is on the disk, and what of it is known in memory.

Laws:
- The caller holds the spool's lock. Nothing here waits, calls back or knows threads.
- Each change is one transaction. What is known in memory changes only after COMMIT has returned.
  COMMIT waits for no fsync: see `WriteAheadLog`.
- No cursor outlives its call: an open one would keep the WAL from starting over.
- A body is handed out only if its checksum holds: SQLite does not see a byte that flipped.

Each method raises SpoolFailed for a disk error and SpoolCorrupt for a damaged file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

from rtmpump.errors import SpoolCorrupt, SpoolFailed, SpoolFull
from rtmpump.spool.file import (
    PAGE,
    READ,
    Row,
    SpoolState,
    beside,
    event_crc,
    faults,
    file_identity,
    file_size,
    find_problems,
    insert,
    is_sound,
    new_epoch,
    number,
    pages_max,
    read_state,
    require_free,
    transaction,
    write_state,
)
from rtmpump.spool.origins import Origin, check_origins, delete_origins, write_origin

Items: TypeAlias = Sequence[tuple[int, bytes]]

# SQLite writes freed pages to the WAL too, so a delete costs up to one page for each row: 4 MiB.
_TRIM_ROWS = 1024
# 2 MiB until the checkpoint, and such a delete.
_WAL_LIMIT = 6 << 20
_ROW_OVERHEAD = 64
_PROBLEMS_MAX = 200
_FILES = ("", "-wal")


class Limits(NamedTuple):
    """What the files may take on the disk (bytes), and whether the oldest events make room."""

    max_bytes: int
    drops_oldest: bool

    def bytes_in_use(self, size: int) -> int:
        """Return how many bytes of pages may be in use after an append of `size` bytes.

        The WAL of this append must fit beside them. Half-empty pages take twice the room, and each
        page is once in the WAL, once in the file.
        """
        return self.events_max_bytes - 4 * size

    @property
    def events_max_bytes(self) -> int:
        """How many bytes of pages the events may take in all."""
        drop = self.max_bytes // 32 if self.drops_oldest else 0
        return self.max_bytes - _WAL_LIMIT - drop


class Batch(NamedTuple):
    """Events to accept together, each as (received_ms, body).

    `watermark_ms` is the watermark after them; `size` is about how many bytes their rows take.
    """

    items: Items
    origin: Origin
    watermark_ms: int
    size: int

    @classmethod
    def of(cls, items: Items, origin: Origin, watermark_ms: int) -> Batch:
        """Make a batch and count its bytes."""
        size = sum(len(body) for _, body in items) + len(items) * _ROW_OVERHEAD
        return cls(items, origin, watermark_ms, size)


@dataclass(frozen=True, slots=True)
class Dropped:
    """The oldest events, given up for newer ones: how many, received from when to when (ms)."""

    count: int
    from_ms: int
    to_ms: int


class Usage(NamedTuple):
    """How full the spool is. `first_seq` is `last_seq + 1` when it is empty.

    `bytes` are pages in use, `events_max_bytes` what they may take, also on a disk that is smaller,
    `max_bytes` all that the files may take. `is_full`: the last append was refused for that.
    """

    events: int
    bytes: int
    oldest_received_ms: int | None
    first_seq: int
    last_seq: int
    max_bytes: int
    events_max_bytes: int
    is_full: bool = False


class Damage(NamedTuple):
    """Damaged events that a read skipped: how many `events`, and the seq of the last.

    `last_sound` is the seq of the last sound event of that read, or where the read began.
    """

    events: int
    last_seq: int
    last_sound: int


class Peek(NamedTuple):
    """What a look at some events found: the sound ones, and what is wrong with the others.

    `after` is where the next look begins, `at_end` whether there was nothing behind it.
    """

    rows: list[Row]
    problems: list[str]
    after: int
    at_end: bool


class EventStore:
    """The rows of one file, by its one connection.

    `epoch`, `last_seq` and `watermark_ms` are as the newest commit left them; `trimmed` is the
    greatest seq that was deleted; `used` is how many bytes were in use when that was asked last.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self._db = db
        with faults(path):
            self.epoch, self.last_seq, self.watermark_ms, _ = read_state(db, path)
            self._origins = check_origins(db, path)
            first, count = db.execute("SELECT min(seq), count(*) FROM events").fetchone()
        self.trimmed: int = self.last_seq if first is None else first - 1
        # Each append asks for these files, and to make a Path takes longer than to ask.
        self._paths = {suffix: os.fspath(beside(path, suffix)) for suffix in _FILES}
        self._files = {suffix: file_identity(self._paths[suffix]) for suffix in _FILES}
        # A salvaged file has holes; above them seqs are contiguous and need no counting.
        self.used = 0
        self._ragged = 0 if count == self.last_seq - self.trimmed else self.last_seq

    def begin_epoch(self) -> None:
        """Begin another life of the file; the next change writes that.

        A power cut may have taken commits back that had been read, and their seqs come again.
        """
        self.epoch = new_epoch()

    def require_files(self) -> None:
        """Raise SpoolFailed if a file was deleted or replaced: commits would go into nothing."""
        with faults(self.path):
            for suffix, opened in self._files.items():
                now = file_identity(self._paths[suffix])
                if opened is None:
                    # SQLite makes the log with the first write.
                    self._files[suffix] = now
                elif now != opened:
                    problem = f"{self.path.name}{suffix} was deleted or replaced while it is open"
                    fix = (
                        "restart rtmpump; until then it publishes what is there, and takes no more"
                    )
                    raise SpoolFailed(str(self.path), problem, fix)

    def checkpoint(self) -> None:
        """Move pages from the log into the file. The log must be synced.

        An error is no matter yet: the next one tries again, and `require_disk` sees a log that only
        grows.
        """
        with faults(self.path), suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def require_disk(self, size: int) -> None:
        """Raise SpoolFailed unless the disk has room for an append of `size` bytes."""
        with faults(self.path):
            # `checkpoint` keeps its errors to itself; the size of the WAL shows them.
            if file_size(self._paths["-wal"]) > _WAL_LIMIT:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            require_free(self._db, self.path, 4 * size)

    def append(self, batch: Batch, confirmed: int, drop: int) -> Dropped | None:
        """Insert a batch, and delete some of what is confirmed and the `drop` oldest events.

        An empty spool takes a batch of any size.

        Raises:
            SpoolFull: `max_bytes` leaves no room for the batch; nothing has changed.
        """
        trimmed = self._trim_target(confirmed)
        with transaction(self._db, self.path):
            self._delete(trimmed)
            dropped, trimmed = self._drop(drop, trimmed)
            was_empty = trimmed >= self.last_seq
            origin_id = self._origin_id(batch.origin, was_empty)
            self._insert(batch.items, origin_id)
            used = self.used if was_empty else self._in_use()
            is_over = used > self.limits.bytes_in_use(batch.size)
            if is_over and not was_empty and self._has_older():
                problem = f"spool.max_bytes ({self.limits.max_bytes}) is reached"
                raise SpoolFull(str(self.path), problem)
            last = self.last_seq + len(batch.items)
            write_state(self._db, SpoolState(self.epoch, last, batch.watermark_ms, trimmed))
        if was_empty and origin_id not in self._origins:
            self._origins.clear()
        self._origins[origin_id] = batch.origin
        self.last_seq, self.watermark_ms, self.trimmed = last, batch.watermark_ms, trimmed
        self.used = used
        return dropped

    def trim(self, confirmed: int) -> None:
        """Delete one chunk of what is confirmed."""
        target = self._trim_target(confirmed)
        with transaction(self._db, self.path):
            self._delete(target)
            write_state(self._db, SpoolState(self.epoch, self.last_seq, self.watermark_ms, target))
        self.trimmed = target

    def read(self, after: int, limit: int, max_bytes: int) -> tuple[list[Row], Damage | None]:
        """Return the next sound events with `seq > after`, and what was skipped among them."""
        rows: list[Row] = []
        size = bad = skipped = 0
        with faults(self.path), closing(self._db.execute(READ, (after,))) as cursor:
            for seq, received_ms, origin_id, crc, body in cursor:
                origin = self._origins.get(origin_id)
                if origin is None or not is_sound(seq, received_ms, origin_id, crc, body):
                    bad, skipped = seq, skipped + 1
                    continue
                size += len(body)
                if rows and size > max_bytes:
                    break
                rows.append(Row(seq, received_ms, body, origin))
                if len(rows) == limit:
                    break
        return rows, Damage(skipped, bad, rows[-1].seq if rows else after) if skipped else None

    def peek(self, after: int, limit: int, max_bytes: int) -> Peek:
        """Return the next events with `seq > after`, and what is wrong with those not sound."""
        found, size, count = Peek([], [], after, True), 0, 0
        with faults(self.path), closing(self._db.execute(f"{READ} LIMIT ?", (after, limit))) as all:
            for seq, *rest in all:
                body = rest[-1]
                size += len(body) if isinstance(body, bytes) else 0
                if count and size > max_bytes:
                    return found._replace(after=after, at_end=False)
                self._note_missing(found, after, seq - 1)
                self._note(found, seq, *rest)
                after, count = seq, count + 1
        if count < limit:
            self._note_missing(found, after, self.last_seq)
        return found._replace(after=after, at_end=count < limit)

    def usage(self, confirmed: int) -> Usage:
        """Return how much is stored beyond what is confirmed; count no rows."""
        next_row = "SELECT seq, received_ms FROM events WHERE seq > ? ORDER BY seq LIMIT 1"
        with faults(self.path):
            oldest = self._db.execute(next_row, (confirmed,)).fetchone()
            first, received_ms = oldest or (self.last_seq + 1, None)
            events, used = self._events_after(confirmed), self._in_use()
            most = min(self.limits.events_max_bytes, pages_max(self._db, self.path))
        self.used = used
        return Usage(events, used, received_ms, first, self.last_seq, self.limits.max_bytes, most)

    def check_state(self) -> None:
        """Raise SpoolCorrupt unless the few rows beside the events are what was written."""
        with faults(self.path):
            read_state(self._db, self.path)
            lost = self._origins.keys() - check_origins(self._db, self.path).keys()
        if lost:
            raise SpoolCorrupt(str(self.path), "an origin is gone")

    def find_problems(self) -> Iterator[str]:
        """Check the whole file and each checksum; yield at most two hundred problems."""
        with faults(self.path):
            yield from islice(find_problems(self._db), _PROBLEMS_MAX)

    def _insert(self, items: Items, origin_id: int) -> None:
        rows = [
            (seq, received_ms, origin_id, event_crc(seq, received_ms, origin_id, body), body)
            for seq, (received_ms, body) in enumerate(items, self.last_seq + 1)
        ]
        insert(self._db, rows)

    def _origin_id(self, origin: Origin, is_empty: bool) -> int:
        # The newest is nearly always the one.
        for known_id, known in reversed(self._origins.items()):
            if known == origin:
                return known_id
        new_id = max(self._origins, default=0) + 1
        if is_empty:
            # Each start has one, and no event needs the older ones.
            delete_origins(self._db)
        write_origin(self._db, new_id, origin)
        return new_id

    def _has_older(self) -> bool:
        """Return whether any event is there beside those of the open append.

        A salvaged file may lack its newest ones, so `trimmed` says nothing of that.
        """
        older = "SELECT 1 FROM events WHERE seq <= ? LIMIT 1"
        return self._db.execute(older, (self.last_seq,)).fetchone() is not None

    def _drop(self, count: int, trimmed: int) -> tuple[Dropped | None, int]:
        oldest = "SELECT seq FROM events ORDER BY seq"
        last = self._db.execute(f"{oldest} DESC LIMIT 1").fetchone() if count else None
        if last is None:
            return None, trimmed
        nth = self._db.execute(f"{oldest} LIMIT 1 OFFSET ?", (count - 1,)).fetchone()
        (upto,) = nth or last
        # The time of day may have been set in between, so the first is not always the earliest.
        bounds = "SELECT min(received_ms), max(received_ms) FROM events WHERE seq <= ?"
        from_ms, to_ms = self._db.execute(bounds, (upto,)).fetchone()
        return Dropped(self._delete(upto), from_ms, to_ms), upto

    def _trim_target(self, confirmed: int) -> int:
        return min(confirmed, self.trimmed + _TRIM_ROWS)

    def _delete(self, upto: int) -> int:
        return self._db.execute("DELETE FROM events WHERE seq <= ?", (upto,)).rowcount

    def _note(
        self, found: Peek, seq: int, received_ms: int, origin_id: int, crc: int, body: bytes
    ) -> None:
        origin = self._origins.get(origin_id)
        if origin is None or not is_sound(seq, received_ms, origin_id, crc, body):
            found.problems.append(f"event {seq} is damaged: its checksum is wrong")
        else:
            found.rows.append(Row(seq, received_ms, body, origin))

    def _note_missing(self, found: Peek, after: int, upto: int) -> None:
        """Add a gap between two events; a salvaged file has some, but none above `_ragged`."""
        first = max(after, self._ragged) + 1
        if first <= upto:
            found.problems.append(f"events {first} to {upto} are missing")

    def _events_after(self, seq: int) -> int:
        if seq >= self._ragged:
            return self.last_seq - seq
        ragged = "SELECT count(*) FROM events WHERE seq > ? AND seq <= ?"
        (count,) = self._db.execute(ragged, (seq, self._ragged)).fetchone()
        return int(count) + self.last_seq - self._ragged

    def _in_use(self) -> int:
        return (number(self._db, "page_count") - number(self._db, "freelist_count")) * PAGE
