"""Facts about commits and the disk: after a power cut all is there that was synced before."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from rtmpump.errors import SpoolCorrupt, SpoolFailed, SpoolFull, SpoolLocked
from rtmpump.spool import Spool, write_ahead_log
from rtmpump.spool.store import EventStore
from tests.support.spool import (
    MIB,
    PAGE,
    START_MS,
    Reports,
    body,
    child,
    finished,
    line,
    opened,
    put,
    put_until,
    seqs,
    until,
)


def append(spool: Spool, count: int = 1) -> int:
    """Append events as `put` does, but don't sync; return the last seq."""
    last = spool.usage().last_seq
    numbers = range(last + 1, last + count + 1)
    items = [(START_MS + number, body(number)) for number in numbers]
    return spool.append(items, team="T1", bot="U1").last_seq


class Disk:
    """What the disk has of the log of an open spool, with a system that forgets as Linux does.

    What an fsync could not write counts as written: the next one brings only what was written to
    the file since.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, *, has: bytes | None) -> None:
        """Begin with what it `has`; None is all of the log."""
        self.fails = False
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._clean = self._log.read_bytes()
        self._has = self._clean if has is None else has
        self._written: set[int] = set()
        self._pwrite = os.pwrite
        monkeypatch.setattr(write_ahead_log, "sync_file", self._sync)
        monkeypatch.setattr(os, "pwrite", self._note)

    def _note(self, file: int, data: bytes, at: int) -> int:
        count = self._pwrite(file, data, at)
        self._written.update(range(at // PAGE, (at + count - 1) // PAGE + 1))
        return count

    def _sync(self, _file: int) -> None:
        before, self._clean = self._clean, self._log.read_bytes()
        written, self._written = self._written, set()
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        has = bytearray(self._has.ljust(len(self._clean), b"\0"))
        for number in range(-(-len(self._clean) // PAGE)):
            page = slice(number * PAGE, (number + 1) * PAGE)
            if number in written or self._clean[page] != before[page]:
                has[page] = self._clean[page]
        self._has = bytes(has[: len(self._clean)])

    def after_a_power_cut(self, folder: Path) -> list[int]:
        """Return the seqs of a spool that is opened then."""
        folder.mkdir()
        copy = folder / self._path.name
        shutil.copy(self._path, copy)
        copy.with_name(self._log.name).write_bytes(self._has)
        with pytest.MonkeyPatch.context() as real:
            real.setattr(write_ahead_log, "sync_file", os.fdatasync)
            spool = opened(copy)
        found = seqs(spool)
        assert spool.set_aside is None
        spool.close()
        return found


@pytest.fixture
def spool(path: Path) -> Spool:
    """A spool that syncs, and that no test closes: a power cut ends it."""
    spool = opened(path, sync="full")
    put(spool, 3)
    return spool


@pytest.fixture
def disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk below `spool`."""
    return Disk(spool.path, monkeypatch, has=None)


def test_what_is_synced_survives_a_power_cut(spool: Spool, disk: Disk, tmp_path: Path) -> None:
    """And what is only appended can be read, but does not."""
    append(spool, 2)
    spool.sync()
    append(spool, 2)
    assert seqs(spool) == [1, 2, 3, 4, 5, 6, 7]
    assert disk.after_a_power_cut(tmp_path / "after") == [1, 2, 3, 4, 5]


def test_a_long_log_is_mended_whole(spool: Spool, disk: Disk, tmp_path: Path) -> None:
    """One batch may make it longer than what is written again at once."""
    last = append(spool, 8000)
    disk.fails = True
    with pytest.raises(SpoolFailed):
        spool.sync()
    disk.fails = False
    spool.sync()
    assert disk.after_a_power_cut(tmp_path / "after") == list(range(1, last + 1))


def test_a_failed_sync_leaves_no_hole(spool: Spool, disk: Disk, tmp_path: Path) -> None:
    """The system has forgotten what it could not write, so all of it is written again."""
    append(spool, 2)
    disk.fails = True
    for _ in range(3):
        with pytest.raises(SpoolFailed):
            spool.sync()
    assert disk.after_a_power_cut(tmp_path / "during") == [1, 2, 3]
    disk.fails = False
    spool.sync()
    assert disk.after_a_power_cut(tmp_path / "synced") == [1, 2, 3, 4, 5]
    append(spool, 2)
    spool.sync()
    assert disk.after_a_power_cut(tmp_path / "after") == [1, 2, 3, 4, 5, 6, 7]


def test_nothing_is_committed_behind_a_hole(spool: Spool, disk: Disk, tmp_path: Path) -> None:
    """While the disk fails nothing is accepted and nothing deleted; then the next append mends."""
    append(spool, 2)
    disk.fails = True
    with pytest.raises(SpoolFailed):
        spool.sync()
    spool.confirm(1)
    assert not spool.flush()
    with pytest.raises(SpoolFailed, match="Input/output error"):
        append(spool)
    assert seqs(spool) == [2, 3, 4, 5]
    assert disk.after_a_power_cut(tmp_path / "during") == [1, 2, 3]
    disk.fails = False
    append(spool)
    assert disk.after_a_power_cut(tmp_path / "mended") == [1, 2, 3, 4, 5]
    spool.sync()
    assert disk.after_a_power_cut(tmp_path / "after") == [2, 3, 4, 5, 6]


def test_a_failure_is_no_success_for_another_thread(spool: Spool, disk: Disk) -> None:
    """The system tells an error once; the thread that asks next must not take that for a yes."""
    append(spool)
    disk.fails = True
    with pytest.raises(SpoolFailed):
        spool.sync()
    with pytest.raises(SpoolFailed, match="has failed"):
        spool._log.sync()


@pytest.mark.real
def test_a_log_that_another_process_left_is_written_again(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed, perhaps in its fsync, and a repeat by Slack may be acknowledged at once."""
    script = """
import os, sys
from pathlib import Path
from tests.support.spool import opened, put
put(opened(Path(sys.argv[1])), 5)
os._exit(0)
"""
    with child(script, path) as process:
        finished(process)
    disk = Disk(path, monkeypatch, has=b"")
    assert disk.after_a_power_cut(tmp_path / "before") == []
    spool = opened(path, sync="full")
    spool.sync()
    assert disk.after_a_power_cut(tmp_path / "after") == [1, 2, 3, 4, 5]
    spool.close()


def test_a_failing_disk_stops_no_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits can still go to RabbitMQ; what comes is not accepted before the disk works."""
    first = opened(path)
    put(first, 5)
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    first.close()
    disk = Disk(copy, monkeypatch, has=b"")
    disk.fails = True
    spool = opened(copy, sync="full")
    assert seqs(spool) == [1, 2, 3, 4, 5]
    with pytest.raises(SpoolFailed):
        append(spool)
    disk.fails = False
    append(spool)
    spool.sync()
    spool.close()


def test_nobody_waits_for_the_sync_of_another(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it lasts others append, read, confirm and delete."""
    begun, goes_on = threading.Event(), threading.Event()

    def slow(file: int) -> None:
        begun.set()
        goes_on.wait()
        os.fdatasync(file)

    monkeypatch.setattr(write_ahead_log, "sync_file", slow)
    append(spool)
    syncing = threading.Thread(target=spool.sync, daemon=True)
    syncing.start()
    begun.wait()

    def work() -> None:
        append(spool)
        spool.confirm(2)
        assert spool.flush()

    others = threading.Thread(target=work, daemon=True)
    others.start()
    try:
        until(lambda: not others.is_alive())
        assert seqs(spool) == [3, 4, 5]
        assert syncing.is_alive()
    finally:
        goes_on.set()
    syncing.join()
    spool.close()


def test_one_sync_is_enough_for_all_before_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was appended since, the disk is not asked."""
    syncs: list[int] = []
    monkeypatch.setattr(write_ahead_log, "sync_file", syncs.append)
    append(spool)
    append(spool)
    spool.sync()
    spool.sync()
    assert len(syncs) == 1
    append(spool)
    spool.sync()
    assert len(syncs) == 2
    spool.close()
    spool.sync()
    assert len(syncs) == 2


def test_a_closed_spool_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file may be that of another process by now."""
    spool = opened(path, sync="full")
    disk = Disk(path, monkeypatch, has=None)
    append(spool)
    disk.fails = True
    with pytest.raises(SpoolFailed):
        spool.sync()
    spool.close()
    disk.fails = False
    other = opened(path)
    put(other, 1)
    monkeypatch.setattr(write_ahead_log, "sync_file", lambda _: pytest.fail("it wrote"))
    spool.sync()
    spool.close()
    other.close()


def test_nothing_is_moved_into_the_file_that_was_not_synced(
    spool: Spool, disk: Disk, tmp_path: Path
) -> None:
    """SQLite would fsync the log by itself, and keep the error to itself."""
    append(spool, 9000)
    before = spool.path.read_bytes()
    disk.fails = True
    with pytest.raises(SpoolFailed):
        append(spool)
    spool.confirm(3000)
    assert not spool.flush()
    assert spool.path.read_bytes() == before
    assert disk.after_a_power_cut(tmp_path / "during") == [1, 2, 3]
    disk.fails = False
    append(spool)
    assert spool.path.read_bytes() != before


def test_deletes_are_synced_too_before_they_are_moved(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else SQLite's fsync would be the one that is told an error of theirs."""
    did: list[str] = []
    put(spool, 8000)
    checkpoint = EventStore.checkpoint

    def move(store: EventStore) -> None:
        did.append("moved")
        checkpoint(store)

    monkeypatch.setattr(EventStore, "checkpoint", move)
    monkeypatch.setattr(write_ahead_log, "sync_file", lambda _: did.append("synced"))
    spool.confirm(8000)
    assert spool.flush()
    assert did
    assert did == ["synced", "moved"] * (len(did) // 2)
    spool.close()


@pytest.mark.parametrize("size", [0, PAGE, 1_000_000])
def test_a_file_that_was_cut_is_a_damaged_spool(spool: Spool, size: int) -> None:
    """SQLite sees that when it moves the log into the file; the error is ours, and told once."""
    put(spool, 9000)
    os.truncate(spool.path, size)
    with pytest.raises(SpoolCorrupt, match="malformed"):
        put(spool, 9000)
    spool.close()


def test_trims_that_make_room_leave_no_long_log(path: Path) -> None:
    """Where much is confirmed and nothing deleted yet, an append deletes it in chunks."""
    spool, log = opened(path, max_bytes=64 * MIB), path.with_name("spool.db-wal")
    last = put_until(SpoolFull, spool)
    spool._confirmed = last - 300
    spool.append([(START_MS, b"x" * 10 * MIB)], team="T1", bot="U1")
    assert log.stat().st_size < 16 * MIB
    spool.close()


@pytest.mark.parametrize("sync", ["full", "normal"])
def test_the_log_begins_anew(path: Path, sync: str) -> None:
    """After about two MiB it is moved into the file, also where nobody syncs."""
    spool = opened(path, sync=sync)
    for _ in range(100):
        put(spool, 300)
        spool.confirm(spool.usage().last_seq)
    assert path.with_name("spool.db-wal").stat().st_size < 4 * MIB
    assert spool.flush()
    assert spool.verify() == []
    spool.close()


@pytest.mark.real
def test_the_log_of_a_program_that_has_it_open_is_not_touched(path: Path) -> None:
    """Such as that of an administrator who looks at the spool with SQLite's own shell."""
    put(spool := opened(path), 5)
    spool.close()
    script = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode=EXCLUSIVE")
db.execute("CREATE TABLE other (x)")
print("has it", flush=True)
sys.stdin.readline()
"""
    log = path.with_name("spool.db-wal")
    with child(script, path) as process:
        line(process)
        before = log.stat().st_mtime_ns, log.read_bytes()
        with pytest.raises(SpoolLocked):
            opened(path, sync="full")
        assert before[1]
        assert (log.stat().st_mtime_ns, log.read_bytes()) == before


def test_a_log_longer_than_a_checkpoint(path: Path) -> None:
    """The log is moved into the file while syncs go on."""
    spool, done = opened(path, max_bytes=64 * MIB, sync="full"), threading.Event()

    def syncs() -> None:
        while not done.is_set():
            spool.sync()

    syncing = threading.Thread(target=syncs)
    syncing.start()
    try:
        put(spool, 6_000, batch=16)
    finally:
        done.set()
        syncing.join()
    assert seqs(spool) == list(range(1, 6_001))
    assert spool.verify() == []
    spool.close()


def test_starts_leave_no_rows(path: Path) -> None:
    """Each start has an origin of its own, and those that no event needs are deleted."""
    for _ in range(5):
        spool = opened(path)
        put(spool, 1)
        spool.confirm(spool.usage().last_seq)
        spool.close()
    spool = opened(path)
    put(spool, 1)
    count = "SELECT count(*) FROM origins"
    assert spool._store._db.execute(count).fetchone() == (1,)
    assert seqs(spool) == [6]
    spool.check_state()
    spool.close()


def test_a_trim_that_fails_for_the_hole_is_reported_once(
    spool: Spool, disk: Disk, tmp_path: Path
) -> None:
    """As any other trim that fails."""
    reports = Reports()
    spool._report = reports
    append(spool)
    disk.fails = True
    with pytest.raises(SpoolFailed):
        spool.sync()
    spool.confirm(2)
    for _ in range(3):
        assert not spool.flush()
    assert reports.one("spool.trim_failed") == {"problem": "Input/output error"}
    disk.fails = False
    assert spool.flush()
    assert disk.after_a_power_cut(tmp_path / "after") == [1, 2, 3, 4]


def test_sqlite_syncs_what_it_moves_and_moves_nothing_by_itself(spool: Spool) -> None:
    """1 is NORMAL: the log before it is moved, and the file before the log begins anew."""
    for pragma, value in (("synchronous", 1), ("wal_autocheckpoint", 0)):
        assert spool._store._db.execute(f"PRAGMA {pragma}").fetchone() == (value,)
    spool.close()
