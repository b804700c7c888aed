"""The spool: every accepted event on disk, in order, until the broker has confirmed it.

Laws:
- One process and one connection per file, under the spool's own lock. WAL with two connections or
  more had a corruption bug up to SQLite 3.51.2 (sqlite.org/wal.html).
- What `append` returned is committed; with `sync="full"` it is fsynced. What raised is not there.
  What is known in memory changes only after COMMIT has returned.
- `seq` rises by one for ever. Within one epoch no number is given twice.
- A row leaves only by `confirm`, or by `drop_oldest`, which is told.
- No cursor outlives its call: an open one would keep the WAL from starting over.
- A body is handed out only if its checksum holds: SQLite does not see a byte that flipped.
Nothing here knows Slack, AMQP or what a body means.

Lock order: `_lock` (the connection), then `_room` (what is confirmed). `confirm` needs only
`_room`, so it does not wait for another thread's fsync. `told` is called with no lock held.
Files: `path`, `path-wal`, `path.lock`. The tables are in `spool.file`, damage is `spool.repair`'s,
and `spool.read_only` reads without touching.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from rtmpump.errors import SpoolCorrupt, SpoolFailed, SpoolFull
from rtmpump.spool.file import (
    PAGE,
    READ,
    Origin,
    Row,
    State,
    beside,
    event_crc,
    faults,
    file_size,
    find_problems,
    hold,
    insert,
    is_sound,
    number,
    read_origins,
    read_state,
    require_free,
    transaction,
    write_origin,
    write_state,
)
from rtmpump.spool.read_only import looking
from rtmpump.spool.repair import Told, open_sound

__all__ = ["Appended", "Dropped", "Measure", "Origin", "Peek", "Row", "Spool", "Told"]

_Items = Sequence[tuple[int, bytes]]

# SQLite writes freed pages to the WAL too, so a delete costs up to one page for each row: 4 MiB.
_TRIM_ROWS = 1024
_TRIM_EVERY = 2048
# 2 MiB until the automatic checkpoint, and such a delete.
_WAL_LIMIT = 6 << 20
_ROW_OVERHEAD = 64


@dataclass(frozen=True, slots=True)
class Dropped:
    """What `drop_oldest` gave up: how many events, received from when to when (ms)."""

    count: int
    from_ms: int
    to_ms: int


class Appended(NamedTuple):
    """The seq of the last event that was accepted, and what had to go for it."""

    last_seq: int
    dropped: Dropped | None


class Measure(NamedTuple):
    """How full the spool is. `bytes` are pages in use; `first_seq` is `last_seq + 1` when empty."""

    events: int
    bytes: int
    oldest_received_ms: int | None
    first_seq: int
    last_seq: int
    max_bytes: int


class Peek(NamedTuple):
    """What a look at some events found: the sound ones, and what is wrong with the others.

    `after` is where the next look begins, `at_end` whether there was nothing behind it.
    """

    rows: list[Row]
    problems: list[str]
    after: int
    at_end: bool


class Spool:
    """The file of events. `append` belongs to the reader, `append_later` to who fills gaps, `read`
    and `confirm` to the publisher.

    All methods may be called from any thread. `epoch` is random and made with the file,
    `watermark_ms` is what the newest `append` said (it survives trimming and restarts): all that
    Slack sent up to then (Unix time in milliseconds) is stored, or was announced as missing.
    `set_aside` names where a damaged file was moved at open.
    """

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        max_bytes: int,
        when_full: Literal["block", "drop_oldest"],
        sync: Literal["full", "normal"],
        told: Told = lambda _event, _fields: None,
        repair: bool = True,
    ) -> Spool:
        """Open or create the spool; a damaged file is set aside, what can be read is carried over.

        `max_bytes` is 16 MiB at least. Raises SpoolLocked, SpoolError (no folder, not writable, of
        a newer version), SpoolFailed (disk error) and, with `repair=False`, SpoolCorrupt.
        """
        path = Path(os.path.realpath(path))
        with ExitStack() as undo:
            undo.callback(os.close, hold(path))
            db, aside = open_sound(path, sync, told, repair)
            undo.callback(db.close)
            spool = cls(path, db, max_bytes, when_full == "drop_oldest", told, aside)
            spool._closing = undo.pop_all()
            return spool

    @classmethod
    def look(cls, path: Path, *, max_bytes: int) -> Spool:
        """Open for reading only what is there: no file is made, mended or changed.

        Raises SpoolLocked, SpoolError (no such file, not readable, of a newer version),
        SpoolFailed (disk error) and SpoolCorrupt.
        """
        path = Path(os.path.realpath(path))
        with ExitStack() as undo:
            db = undo.enter_context(looking(path))
            spool = cls(path, db, max_bytes, False, lambda _event, _fields: None, None)
            spool._closing = undo.pop_all()
            return spool

    def __init__(
        self,
        path: Path,
        db: sqlite3.Connection,
        max_bytes: int,
        drops: bool,
        told: Told,
        set_aside: Path | None,
    ) -> None:
        self._path = path
        self._db = db
        self._max_bytes = max_bytes
        self._drops = drops
        self._told = told
        self.set_aside = set_aside
        self._closing = ExitStack()
        self._queue = threading.Lock()
        self._lock = threading.Lock()
        self._room = threading.Condition()
        self._closed = False
        self._refused_at = -1
        self._trim_due = 0
        self._trim_failing = False
        self._told_damage = 0
        self._dead_end = (0, 0)
        with faults(path):
            self._load()

    @property
    def path(self) -> Path:
        """Where the file really is, without links."""
        return self._path

    def _load(self) -> None:
        self.epoch, self._last, self.watermark_ms, _ = read_state(self._db, self._path)
        self._origins = read_origins(self._db)
        first, count = self._db.execute("SELECT min(seq), count(*) FROM events").fetchone()
        self._trimmed = self._confirmed = self._last if first is None else first - 1
        # A salvaged file has holes; above them seqs are contiguous and need no counting.
        self._ragged = 0 if count == self._last - self._trimmed else self._last

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock, in turns: appends without a pause between must not starve the publisher."""
        with self._queue:
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def append(
        self,
        items: _Items,
        *,
        team: str,
        bot: str,
        watermark_ms: int | None = None,
        source: str = "",
    ) -> Appended:
        """Accept a batch of (received_ms, body) in one transaction; on return it is committed.

        `watermark_ms` is the watermark once this batch is stored; None means the time of its newest
        event.

        An empty spool takes a batch of any size, so that one giant frame can't block for ever.
        Raises SpoolFull (policy `block`), SpoolFailed (disk error) or SpoolCorrupt; then nothing of
        the batch was accepted, and after the first two a later call may succeed.
        """
        if not items:
            return Appended(self._last, None)
        size = sum(len(body) for _, body in items) + len(items) * _ROW_OVERHEAD
        with self._turn():
            self._check_disk(size)
            if watermark_ms is None:
                watermark_ms = items[-1][0]
            origin = Origin(team, bot, self.epoch, source)
            return self._append_with_room(items, size, origin, watermark_ms)

    def append_later(self, items: _Items, *, team: str, bot: str, source: str) -> Appended:
        """Accept a batch of what was fetched afterwards, in one transaction, as `append` does.

        The watermark stays where it is. Raises what that raises.
        """
        size = sum(len(body) for _, body in items) + len(items) * _ROW_OVERHEAD
        with self._turn():
            self._check_disk(size)
            known = self.watermark_ms
            until = items[-1][0] if known is None else known
            origin = Origin(team, bot, self.epoch, source)
            return self._append_with_room(items, size, origin, until)

    def _append_with_room(
        self, items: _Items, size: int, origin: Origin, watermark_ms: int
    ) -> Appended:
        drop = 0
        while True:
            try:
                return self._append(items, size, origin, watermark_ms, drop)
            except SpoolFull:
                if self._trimmed < self._confirmed:
                    self._trim()
                    drop = 0
                elif self._drops:
                    drop = drop * 2 or max((self._last - self._trimmed) // 64, 1)
                else:
                    self._refused_at = self._trimmed
                    raise

    def _append(
        self, items: _Items, size: int, origin: Origin, watermark_ms: int, drop: int
    ) -> Appended:
        trimmed = self._trim_target()
        with transaction(self._db, self._path):
            self._delete(trimmed)
            dropped, trimmed = self._drop(drop, trimmed)
            origin_id = self._origin_id(origin)
            self._insert(items, origin_id)
            if trimmed < self._last and self._in_use() > self._budget(size):
                raise SpoolFull(str(self._path), f"spool.max_bytes ({self._max_bytes}) is reached")
            last = self._last + len(items)
            write_state(self._db, State(self.epoch, last, watermark_ms, trimmed))
        self._origins[origin_id] = origin
        self._last, self.watermark_ms, self._trimmed = last, watermark_ms, trimmed
        self._refused_at = -1
        self._raise_confirmed(trimmed)
        return Appended(last, dropped)

    def _insert(self, items: _Items, origin_id: int) -> None:
        rows = [
            (seq, received_ms, origin_id, event_crc(seq, received_ms, origin_id, body), body)
            for seq, (received_ms, body) in enumerate(items, self._last + 1)
        ]
        insert(self._db, rows)

    def _origin_id(self, origin: Origin) -> int:
        for known_id, known in self._origins.items():
            if known == origin:
                return known_id
        new_id = max(self._origins, default=0) + 1
        write_origin(self._db, new_id, origin)
        return new_id

    def _drop(self, count: int, trimmed: int) -> tuple[Dropped | None, int]:
        if not count:
            return None, trimmed
        oldest = "SELECT seq, received_ms FROM events ORDER BY seq"
        _, from_ms = self._db.execute(f"{oldest} LIMIT 1").fetchone()
        nth = self._db.execute(f"{oldest} LIMIT 1 OFFSET ?", (count - 1,)).fetchone()
        upto, to_ms = nth or self._db.execute(f"{oldest} DESC LIMIT 1").fetchone()
        return Dropped(self._delete(upto), from_ms, to_ms), upto

    def _budget(self, size: int) -> int:
        """Bytes of pages that may be in use: the WAL of this append must fit beside them.

        Half-empty pages take twice the room, and each page is once in the WAL, once in the file.
        """
        drop = self._max_bytes // 32 if self._drops else 0
        return self._max_bytes - _WAL_LIMIT - drop - 4 * size

    def _check_disk(self, size: int) -> None:
        with faults(self._path):
            # The automatic checkpoint keeps its errors to itself; the size of the WAL shows them.
            if file_size(beside(self._path, "-wal")) > _WAL_LIMIT:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            require_free(self._db, self._path, 4 * size)

    def wait_room(self, timeout: float) -> bool:
        """Wait (seconds) until something was confirmed since `append` raised SpoolFull."""
        with self._room:
            self._room.wait_for(lambda: self._closed or self._confirmed > self._refused_at, timeout)
            return not self._closed and self._confirmed > self._refused_at

    def read(self, after: int, limit: int, max_bytes: int = 4 << 20) -> list[Row]:
        """The next events with `seq > after`, in order, never one that is confirmed.

        At most `limit`, and no more than `max_bytes` of bodies; but one at least, if there is any.
        An event whose checksum is wrong is skipped and told. Raises SpoolFailed, SpoolCorrupt.
        """
        rows: list[Row] = []
        if limit < 1:
            return rows
        size = bad = skipped = 0
        with self._turn(), faults(self._path):
            good = max(after, self._confirmed)
            with closing(self._db.execute(READ, (good,))) as cursor:
                for seq, received_ms, origin_id, crc, body in cursor:
                    origin = self._origins.get(origin_id)
                    if origin is None or not is_sound(seq, received_ms, origin_id, crc, body):
                        bad, skipped = seq, skipped + 1
                        continue
                    size += len(body)
                    if rows and size > max_bytes:
                        break
                    good = seq
                    rows.append(Row(seq, received_ms, body, origin))
                    if len(rows) == limit:
                        break
        if skipped:
            self._skip(good, bad, skipped)
        return rows

    def _skip(self, good: int, bad: int, count: int) -> None:
        """Tell damaged events once. Those with no good one behind them go with the one before."""
        if bad > good:
            with self._room:
                self._dead_end = (good, bad)
                self._confirmed = self._past_damage(self._confirmed)
                self._room.notify_all()
        if bad > self._told_damage:
            self._told_damage = bad
            self._told("spool.event_damaged", {"count": count, "last_seq": bad})

    def _past_damage(self, upto: int) -> int:
        start, end = self._dead_end
        return end if start <= upto < end else upto

    def peek(self, after: int, limit: int, max_bytes: int = 1 << 20) -> Peek:
        """Look at the next events with `seq > after` that are not confirmed, and change nothing.

        For people beside the daemon: unlike `read` it neither lets go of damaged events nor tells
        of them. At most `limit` events and `max_bytes` of bodies, but one event at least, so that
        nobody waits long for the lock. Raises SpoolFailed, SpoolCorrupt.
        """
        found = Peek([], [], after, True)
        with self._turn(), faults(self._path):
            after, size, count = max(after, self._confirmed), 0, 0
            with closing(self._db.execute(f"{READ} LIMIT ?", (after, limit))) as cursor:
                for seq, received_ms, origin_id, crc, body in cursor:
                    size += len(body) if isinstance(body, bytes) else 0
                    if count and size > max_bytes:
                        return found._replace(after=after, at_end=False)
                    self._note_missing(found, after, seq - 1)
                    origin = self._origins.get(origin_id)
                    if origin is None or not is_sound(seq, received_ms, origin_id, crc, body):
                        found.problems.append(f"event {seq} is damaged: its checksum is wrong")
                    else:
                        found.rows.append(Row(seq, received_ms, body, origin))
                    after, count = seq, count + 1
            if count < limit:
                self._note_missing(found, after, self._last)
            return found._replace(after=after, at_end=count < limit)

    def _note_missing(self, found: Peek, after: int, upto: int) -> None:
        """A salvaged file has holes, but none above `_ragged`."""
        first = max(after, self._ragged) + 1
        if first <= upto:
            found.problems.append(f"events {first} to {upto} are missing")

    def confirm(self, upto: int) -> None:
        """Let go of all events with `seq <= upto`; a later append, or `flush`, deletes them.

        Cheap, save that each few thousand events it deletes them itself. Raises ValueError if there
        was never such an event; a disk error is told, and the delete tried again later.
        """
        if upto > self._last:
            raise ValueError(f"seq {upto} was never accepted; the last is {self._last}")
        self._raise_confirmed(upto)
        if self._confirmed - self._trimmed >= _TRIM_EVERY and self._confirmed >= self._trim_due:
            self._trim_due = self._confirmed + _TRIM_EVERY
            self.flush()

    def _raise_confirmed(self, upto: int) -> None:
        with self._room:
            if upto > self._confirmed:
                self._confirmed = self._past_damage(upto)
                self._room.notify_all()

    def flush(self) -> bool:
        """Delete now what is confirmed. False if the disk refused it, which is told."""
        try:
            while self._trim_next():
                pass
        except SpoolFailed as failure:
            if not self._trim_failing:
                self._told("spool.trim_failed", {"problem": failure.problem})
            self._trim_failing = True
            return False
        self._trim_failing = False
        return True

    def _trim_next(self) -> bool:
        """Delete one chunk and let go of the lock, so that an append can come in between."""
        with self._turn():
            if self._closed or self._trimmed >= self._confirmed:
                return False
            self._trim()
            return True

    def _trim(self) -> None:
        target = self._trim_target()
        with transaction(self._db, self._path):
            self._delete(target)
            write_state(self._db, State(self.epoch, self._last, self.watermark_ms, target))
        self._trimmed = target

    def _trim_target(self) -> int:
        return min(self._confirmed, self._trimmed + _TRIM_ROWS)

    def _delete(self, upto: int) -> int:
        return self._db.execute("DELETE FROM events WHERE seq <= ?", (upto,)).rowcount

    def measure(self) -> Measure:
        """How much waits, and since when; counts no rows. Raises SpoolFailed, SpoolCorrupt."""
        next_row = "SELECT seq, received_ms FROM events WHERE seq > ? ORDER BY seq LIMIT 1"
        with self._turn(), faults(self._path):
            confirmed, used = self._confirmed, self._in_use()
            oldest = self._db.execute(next_row, (confirmed,)).fetchone()
            first, received_ms = oldest or (self._last + 1, None)
            events = self._events_after(confirmed)
            return Measure(events, used, received_ms, first, self._last, self._max_bytes)

    def _events_after(self, seq: int) -> int:
        if seq >= self._ragged:
            return self._last - seq
        ragged = "SELECT count(*) FROM events WHERE seq > ? AND seq <= ?"
        (count,) = self._db.execute(ragged, (seq, self._ragged)).fetchone()
        return int(count) + self._last - self._ragged

    def _in_use(self) -> int:
        return (number(self._db, "page_count") - number(self._db, "freelist_count")) * PAGE

    def check_state(self) -> None:
        """Raise SpoolCorrupt unless the few rows beside the events are what was written."""
        with self._turn(), faults(self._path):
            read_state(self._db, self._path)
            lost = self._origins.keys() - read_origins(self._db).keys()
        if lost:
            raise SpoolCorrupt(str(self._path), "the checksum of an origin is wrong")

    def verify(self) -> list[str]:
        """Check the whole file and each checksum; the problems found, at most two hundred."""
        problems: list[str] = []
        try:
            with self._turn(), faults(self._path):
                problems.extend(islice(find_problems(self._db), 200))
        except SpoolCorrupt as damage:
            problems.append(damage.problem)
        return problems

    def close(self) -> None:
        """Delete what is confirmed and let go of the file. May be called twice."""
        with suppress(SpoolCorrupt):
            self.flush()
        with self._turn(), self._room:
            self._closed = True
            self._room.notify_all()
            self._closing.close()
