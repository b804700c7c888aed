"""The spool: every accepted event on disk, in order, until the broker has confirmed it.

Laws:
- One process and one connection per file, under the spool's own lock. WAL with two connections or
  more had a corruption bug up to SQLite 3.51.2 (sqlite.org/wal.html).
- When `append` returns, its events are committed: they can be read, and no end of the process can
  take them back. When it raises, none of them is stored.
- When `sync` returns, no power cut can take back what was appended before (with `sync="full"`).
- `seq` rises by one from event to event, for ever. Within one epoch no number is used twice: a
  power cut may take back numbers that were read, so each start begins an epoch of its own.
- A row is deleted only after `confirm`, or to make room for newer ones (policy `drop_oldest`).
  `append` returns how many were dropped, and from when to when.
Nothing here knows Slack or AMQP, or what a body means.

Lock order: `_lock` (the connection), then `_room` (what is confirmed) or the lock of the log.
`confirm` needs only `_room`, and `sync` only the lock of the log: nobody else waits for an fsync,
but every two MiB, when the log is moved into the file, and for a log that is mended. `report` is
called with no lock held.
Files: `path`, `path-wal`, `path.lock`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from rtmpump.errors import SpoolCorrupt, SpoolFailed, SpoolFull
from rtmpump.spool.file import Row
from rtmpump.spool.lock import hold
from rtmpump.spool.origins import Origin
from rtmpump.spool.read_only import reading
from rtmpump.spool.repair import Report, open_sound
from rtmpump.spool.store import Batch, Damage, Dropped, EventStore, Items, Limits, Peek, Usage
from rtmpump.spool.write_ahead_log import WriteAheadLog

_TRIM_EVERY = 2048


class Appended(NamedTuple):
    """The seq of the last event that was accepted, and what was dropped to make room for it."""

    last_seq: int
    dropped: Dropped | None


class Spool:
    """The file of events.

    The reader calls `append`, the backfill `append_later`, and both `sync` before they say that an
    event is safe; the publisher calls `read` and `confirm`. All methods may be called from any
    thread. `set_aside` is where `open` moved a damaged file, or None.
    """

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        max_bytes: int,
        when_full: Literal["block", "drop_oldest"],
        sync: Literal["full", "normal"],
        report: Report = lambda _event, _fields: None,
        repair: bool = True,
    ) -> Spool:
        """Open or create the spool; a damaged file is set aside, what can be read is carried over.

        Args:
            path: the file; its folder must exist.
            max_bytes: what the files may take on the disk, 16 MiB at least.
            when_full: refuse new events, or drop the oldest.
            sync: whether `sync` waits for the disk ("full").
            report: called with the name and the fields of a log event.
            repair: whether a damaged file is repaired.

        Raises:
            SpoolLocked: another process holds the spool.
            SpoolError: there is no folder, it is not writable, or the file is of a newer version.
            SpoolFailed: the disk failed.
            SpoolCorrupt: the file is damaged, with `repair=False`.
        """
        path = Path(os.path.realpath(path))
        with ExitStack() as undo:
            undo.callback(os.close, hold(path))
            log = WriteAheadLog(path, syncs=sync == "full")
            undo.callback(log.close)
            db, aside = open_sound(path, report, repair)
            undo.callback(db.close)
            log.open()
            with suppress(SpoolFailed):
                # Where the disk fails, the first append tries again.
                log.mend()
            limits = Limits(max_bytes, drops_oldest=when_full == "drop_oldest")
            store = EventStore(path, db, limits)
            store.begin_epoch()
            spool = cls(store, log, report, aside)
            spool._closing = undo.pop_all()
            return spool

    @classmethod
    def open_read_only(cls, path: Path, *, max_bytes: int) -> Spool:
        """Open an existing spool for reading; no file is made, repaired or changed.

        Raises:
            SpoolLocked: another process holds the spool.
            SpoolError: there is no such file, it can't be read, or it is of a newer version.
            SpoolFailed: the disk failed.
            SpoolCorrupt: the file is damaged.
        """
        path = Path(os.path.realpath(path))
        with ExitStack() as undo:
            db = undo.enter_context(reading(path))
            limits = Limits(max_bytes, drops_oldest=False)
            store, log = EventStore(path, db, limits), WriteAheadLog(path, syncs=False)
            spool = cls(store, log, lambda _event, _fields: None)
            spool._closing = undo.pop_all()
            return spool

    def __init__(
        self,
        store: EventStore,
        log: WriteAheadLog,
        report: Report,
        set_aside: Path | None = None,
    ) -> None:
        self._store = store
        self._log = log
        self._report = report
        self.set_aside = set_aside
        self._closing = ExitStack()
        self._queue = threading.Lock()
        self._lock = threading.Lock()
        self._room = threading.Condition()
        self._closed = False
        self._confirmed = store.trimmed
        self._refused_at = -1
        self._trim_due = 0
        self._trim_failing = False
        self._reported_damage = 0
        self._dead_end = (0, 0)

    @property
    def path(self) -> Path:
        """The real place of the file, without links."""
        return self._store.path

    @property
    def epoch(self) -> str:
        """The random name of this opening of the file: 16 hex digits."""
        return self._store.epoch

    @property
    def watermark_ms(self) -> int | None:
        """The watermark that the newest `append` gave; it survives trimming and restarts.

        All that Slack sent up to then (Unix time in milliseconds) is stored, or was announced as
        missing.
        """
        return self._store.watermark_ms

    @property
    def bytes_seen(self) -> int:
        """How many bytes were in use at the last change; it waits for no lock and no disk."""
        return self._store.used

    @property
    def has_unconfirmed(self) -> bool:
        """Whether events wait for their confirm; it waits for no lock and no disk."""
        return self._confirmed < self._store.last_seq

    @property
    def confirmed_upto(self) -> int:
        """The seq up to which all is confirmed; it waits for no lock and no disk."""
        return self._confirmed

    @contextmanager
    def _turn(self, patience: float = -1) -> Iterator[None]:
        """Take the lock in turns: appends without a pause must not starve the publisher.

        Raises:
            SpoolFailed: the lock was not free within `patience` seconds; a disk hangs.
        """
        is_free = self._queue.acquire(timeout=patience)
        if is_free:
            try:
                is_free = self._lock.acquire(timeout=patience)
            finally:
                self._queue.release()
        if not is_free:
            raise SpoolFailed(str(self.path), "a call of the disk does not end")
        try:
            yield
        finally:
            self._lock.release()

    def append(
        self,
        items: Items,
        *,
        team: str,
        bot: str,
        watermark_ms: int | None = None,
        source: str = "",
    ) -> Appended:
        """Accept a batch of (received_ms, body) in one transaction; on return it can be read.

        `watermark_ms` is the watermark once this batch is stored; None means the time of its newest
        event. An empty spool takes a batch of any size, so that one giant frame can't block for
        ever.

        Raises:
            SpoolFull: there is no room (policy `block`). Nothing of the batch was accepted, and a
                later call may succeed.
            SpoolFailed: the disk failed, or the file was deleted; likewise.
            SpoolCorrupt: the file is damaged; nothing of the batch was accepted.
        """
        if not items:
            return Appended(self._store.last_seq, None)
        origin = Origin(team, bot, self._store.epoch, source)
        until = items[-1][0] if watermark_ms is None else watermark_ms
        with self._turn():
            return self._append(Batch.of(items, origin, until))

    def append_later(self, items: Items, *, team: str, bot: str, source: str) -> Appended:
        """Accept a batch of what was fetched afterwards, in one transaction, as `append` does.

        The watermark stays where it is. Raises what `append` raises.
        """
        origin = Origin(team, bot, self._store.epoch, source)
        with self._turn():
            known = self._store.watermark_ms
            until = items[-1][0] if known is None else known
            return self._append(Batch.of(items, origin, until))

    def sync(self) -> None:
        """Wait until all that was appended is on the disk; with `sync="normal"` return at once.

        Raises:
            SpoolFailed: the disk failed. What was appended stays, and a later call may succeed.
        """
        if self._log.is_doubtful:
            with self._turn():
                self._log.mend()
        self._log.sync()

    def _append(self, batch: Batch) -> Appended:
        self._store.require_files()
        self._before_change()
        self._store.require_disk(batch.size)
        dropped = self._make_room_and_append(batch)
        self._log.committed()
        self._refused_at = -1
        self._raise_confirmed(self._store.trimmed)
        return Appended(self._store.last_seq, dropped)

    def _before_change(self) -> None:
        self._log.mend()
        if self._log.is_long:
            # A trim is a commit too, and needs no sync but this one.
            self._log.committed()
            self._log.sync()
            self._store.checkpoint()

    def _make_room_and_append(self, batch: Batch) -> Dropped | None:
        store, drop = self._store, 0
        while True:
            try:
                return store.append(batch, self._confirmed, drop)
            except SpoolFull:
                if store.trimmed < self._confirmed:
                    self._before_change()
                    store.trim(self._confirmed)
                    drop = 0
                elif store.limits.drops_oldest:
                    drop = drop * 2 or max((store.last_seq - store.trimmed) // 64, 1)
                else:
                    self._refused_at = store.trimmed
                    raise

    def wait_room(self, timeout: float) -> bool:
        """Wait (seconds) until something was confirmed since `append` raised SpoolFull."""
        with self._room:
            self._room.wait_for(lambda: self._closed or self._confirmed > self._refused_at, timeout)
            return not self._closed and self._confirmed > self._refused_at

    def read(self, after: int, limit: int, max_bytes: int = 4 << 20) -> list[Row]:
        """Return the next events with `seq > after`, in order, never one that is confirmed.

        At most `limit`, and no more than `max_bytes` of bodies; but one at least, if there is any.
        An event whose checksum is wrong is skipped and reported.

        Raises:
            SpoolFailed: the disk failed.
            SpoolCorrupt: the file is damaged.
        """
        # The publisher looks after each confirm, and an append may hold the lock for long.
        if limit < 1 or max(after, self._confirmed) >= self._store.last_seq:
            return []
        with self._turn():
            rows, damage = self._store.read(max(after, self._confirmed), limit, max_bytes)
        if damage is not None:
            self._pass_over(damage)
        return rows

    def _pass_over(self, damage: Damage) -> None:
        """Report damaged events once; those at the end are confirmed with the sound one before."""
        bad = damage.last_seq
        if bad > damage.last_sound:
            with self._room:
                self._dead_end = (damage.last_sound, bad)
                self._confirmed = self._past_damage(self._confirmed)
                self._room.notify_all()
        if bad > self._reported_damage:
            self._reported_damage = bad
            self._report("spool.event_damaged", {"count": damage.events, "last_seq": bad})

    def _past_damage(self, upto: int) -> int:
        start, end = self._dead_end
        return end if start <= upto < end else upto

    def peek(self, after: int, limit: int, max_bytes: int = 1 << 20) -> Peek:
        """Look at the next events with `seq > after` that are not confirmed, and change nothing.

        For people who inspect the spool: unlike `read` it neither confirms damaged events nor
        reports them. At most `limit` events and `max_bytes` of bodies, but one event at least; so
        the lock is never held for long.

        Raises:
            SpoolFailed: the disk failed.
            SpoolCorrupt: the file is damaged.
        """
        with self._turn():
            return self._store.peek(max(after, self._confirmed), limit, max_bytes)

    def confirm(self, upto: int) -> None:
        """Confirm all events with `seq <= upto`; a later append, or `flush`, deletes them.

        Cheap, but after every few thousand events it deletes them itself. A disk error is reported,
        and the delete is tried again later.

        Raises:
            ValueError: there was never such an event.
        """
        if upto > self._store.last_seq:
            last = self._store.last_seq
            raise ValueError(f"seq {upto} was never accepted; the last is {last}")
        self._raise_confirmed(upto)
        confirmed = self._confirmed
        if confirmed - self._store.trimmed >= _TRIM_EVERY and confirmed >= self._trim_due:
            self._trim_due = confirmed + _TRIM_EVERY
            self.flush()

    def _raise_confirmed(self, upto: int) -> None:
        with self._room:
            if upto > self._confirmed:
                self._confirmed = self._past_damage(upto)
                self._room.notify_all()

    def flush(self) -> bool:
        """Delete now what is confirmed; if the disk fails, report it and return False."""
        try:
            while self._trim_next():
                pass
        except SpoolFailed as failure:
            if not self._trim_failing:
                self._report("spool.trim_failed", {"problem": failure.problem})
            self._trim_failing = True
            return False
        self._trim_failing = False
        return True

    def _trim_next(self) -> bool:
        """Delete one chunk and release the lock, so that an append can come in between."""
        with self._turn():
            if self._closed or self._store.trimmed >= self._confirmed:
                return False
            self._before_change()
            self._store.trim(self._confirmed)
            return True

    def usage(self, patience: float = -1) -> Usage:
        """Return how much is not confirmed, and since when; this counts no rows.

        Raises:
            SpoolFailed: the disk failed, or others held the spool for longer than `patience`
                seconds.
            SpoolCorrupt: the file is damaged.
        """
        with self._turn(patience):
            return self._store.usage(self._confirmed)._replace(is_full=self._refused_at >= 0)

    def check_state(self) -> None:
        """Check the few rows beside the events.

        Raises:
            SpoolFailed: the disk failed.
            SpoolCorrupt: they are not what was written.
        """
        with self._turn():
            self._store.check_state()

    def verify(self) -> list[str]:
        """Check the whole file and each checksum; return at most two hundred problems.

        Raises:
            SpoolFailed: the disk failed.
        """
        problems: list[str] = []
        try:
            with self._turn():
                problems.extend(self._store.find_problems())
        except SpoolCorrupt as damage:
            problems.append(damage.problem)
        return problems

    def close(self) -> None:
        """Delete what is confirmed and release the file; may be called twice."""
        with suppress(SpoolFailed):
            self.sync()
        with suppress(SpoolCorrupt):
            self.flush()
        with self._turn(), self._room:
            self._closed = True
            self._room.notify_all()
            self._closing.close()
