"""What `rtmpump.spool.file` promises: one holder, our file only, and what a bad disk means."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from rtmpump.errors import SpoolCorrupt, SpoolError, SpoolFailed, SpoolLocked
from rtmpump.spool.preflight import require_usable
from rtmpump.spool.read_only import find_all_problems
from tests.support.disk import small_disk
from tests.support.spool import (
    MIB,
    START_MS,
    body,
    child,
    finished,
    line,
    opened,
    put,
    put_until,
    say,
    seqs,
)

pytestmark = pytest.mark.real

# -- who may have it

HOLDER = """
import sys
from pathlib import Path
from tests.support.spool import opened, put
spool = opened(Path(sys.argv[1]))
put(spool, 3)
print("held", flush=True)
sys.stdin.readline()
"""


def test_second_process_is_refused(path: Path) -> None:
    """While one process holds the spool another gets SpoolLocked, until the first is dead."""
    with child(HOLDER, path) as process:
        assert line(process) == "held"
        with pytest.raises(SpoolLocked, match="another process holds it"):
            opened(path)
        process.kill()
        process.wait(100)
        spool = opened(path)
    assert seqs(spool) == [1, 2, 3]
    spool.close()


def test_second_spool_in_one_process_is_refused(path: Path) -> None:
    """The same process can't open it twice either, and the first is none the worse for it."""
    spool = opened(path)
    for _ in range(2):
        with pytest.raises(SpoolLocked):
            opened(path)
    assert put(spool, 1) == 1
    spool.close()


def test_link_and_file_are_one_spool(path: Path) -> None:
    """A symbolic link to a spool is that spool, lock and all."""
    link = path.parent / "link.db"
    link.symlink_to(path)
    spool = opened(link)
    put(spool, 1)
    with pytest.raises(SpoolLocked):
        opened(path)
    spool.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "link.db",
        "spool.db",
        "spool.db.lock",
    ]


FOREIGN = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN").execute("SELECT * FROM events").fetchone()
print("reading", flush=True)
sys.stdin.readline()
"""


def test_foreign_program_in_the_file(path: Path) -> None:
    """A program that reads the file with SQLite keeps it from us, and we keep it from them."""
    spool = opened(path)
    put(spool, 3)
    look = ["sqlite3", str(path), "SELECT count(*) FROM events"]
    if shutil.which("sqlite3"):
        answer = subprocess.run(look, capture_output=True, text=True, check=False)
        assert "locked" in answer.stderr
    spool.close()
    with child(FOREIGN, path) as process:
        assert line(process) == "reading"
        with pytest.raises(SpoolLocked, match="another program"):
            opened(path)
        say(process)
        finished(process)
    spool = opened(path)
    assert seqs(spool) == [1, 2, 3]
    assert spool.set_aside is None
    spool.close()


def test_places_where_no_spool_can_be(tmp_path: Path) -> None:
    """A missing folder, a folder in its place and one we can't write in are named."""
    with pytest.raises(SpoolError, match=r"there is no folder .*/missing; create it"):
        opened(tmp_path / "missing" / "spool.db")
    with pytest.raises(SpoolError, match="no regular file"):
        opened(tmp_path)
    if Path("/proc/self").exists():
        with pytest.raises(SpoolError, match=r"can't write /proc/spool\.db"):
            opened(Path("/proc/spool.db"))


def test_a_folder_that_this_user_may_not_enter(tmp_path: Path) -> None:
    """It is named before a start and at the start; of the file nobody knows whether it is there."""
    closed = tmp_path / "closed"
    closed.mkdir(0o000)
    path, user = closed / "in" / "spool.db", os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        for look in (opened, require_usable):
            with pytest.raises(SpoolError, match=r"can't look into .*/in \(Permission denied\)"):
                look(path)
        with pytest.raises(SpoolError, match="can't be read"):
            find_all_problems(path)
    finally:
        os.seteuid(user)
        closed.chmod(0o700)


def test_file_is_for_its_owner_alone(path: Path) -> None:
    """Spool, log and lock hold what people wrote: no other user may read them."""
    spool = opened(path)
    put(spool, 1)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["spool.db", "spool.db-wal", "spool.db.lock"], 0o600)
    spool.close()


def test_a_source_is_kept_and_raises_the_format(path: Path) -> None:
    """Rows say how they are to be read; only then is the file none for older versions."""
    spool = opened(path)
    put(spool, 1)
    epochs = [spool.epoch]
    spool.close()
    assert version(path) == 1
    spool = opened(path)
    spool.append([(1, b"x")], team="T1", bot="U1", source="socket")
    epochs.append(spool.epoch)
    spool.close()
    assert version(path) == 2
    spool = opened(path)
    plain, sourced = spool.read(0, 10)
    assert (plain.origin.source, sourced.origin.source) == ("", "socket")
    assert [plain.origin.epoch, sourced.origin.epoch] == epochs
    spool.close()


def version(path: Path) -> int:
    """Return the format that the file says it has."""
    with sqlite3.connect(path) as db:
        (found,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(found)


def test_newer_version_is_left_alone(path: Path) -> None:
    """A spool of a newer rtmpump is refused in clear words and not touched."""
    spool = opened(path)
    put(spool, 3)
    spool.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=3")
    db.close()
    before = path.read_bytes()
    with pytest.raises(SpoolError, match=r"newer rtmpump \(format 3, this one knows 2\)") as error:
        opened(path)
    assert not isinstance(error.value, SpoolCorrupt)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.corrupt*"))


def test_half_made_file_becomes_a_spool(path: Path) -> None:
    """What a crash in the first start leaves (no bytes, or no tables) becomes a new spool."""
    path.touch()
    spool = opened(path)
    assert put(spool, 1) == 1
    spool.close()
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.close()
    spool = opened(path)
    assert (put(spool, 1), spool.set_aside) == (1, None)
    spool.close()


# -- what a bad disk means

LIMITED = """
import os, resource, sys
from pathlib import Path
from rtmpump.errors import SpoolFailed
from tests.support.spool import MIB, disk_bytes, opened, put, seqs
path, limit, reports = Path(sys.argv[1]), int(sys.argv[2]), []
spool = opened(path, sync="full", report=lambda *words: reports.append(words))
last = put(spool, 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    while last < 200_000:
        last = put(spool, 256)
    raise SystemExit("no error came")
except SpoolFailed as failure:
    print(failure, file=sys.stderr)
assert path.with_name("spool.db-wal").stat().st_size < 8 * MIB
assert spool.usage().last_seq == last == spool.usage().events
for _ in range(3):
    try:
        put(spool, 256)
        raise SystemExit("accepted")
    except SpoolFailed:
        pass
assert seqs(spool) == list(range(1, last + 1))
spool.confirm(last)
assert seqs(spool) == []
flushed = spool.flush()
assert flushed or [name for name, _ in reports] == ["spool.trim_failed"], reports
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert spool.flush()
assert put(spool, 500) == last + 500
assert seqs(spool) == list(range(last + 1, last + 501))
assert spool.verify() == []
print(last, flushed)
"""


@pytest.mark.parametrize("limit", [1 * MIB, 5 * MIB, 12 * MIB])
def test_write_errors_are_reported_and_survived(path: Path, limit: int) -> None:
    """A write that the system refuses accepts nothing; reading goes on, and later all is well.

    Under 1 MiB the log can't grow; with 5 and 12 MiB it is the file that can't take a checkpoint,
    which SQLite does not say: the size of the log does.
    """
    with child(LIMITED, path, limit) as process:
        last, _ = finished(process).split()
    assert int(last) > 1000
    spool = opened(path)
    assert seqs(spool) == list(range(int(last) + 1, int(last) + 501))
    spool.close()


FSYNC = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <dlfcn.h>
static int count;
int rtmpump_fsyncs(void) { return count; }
static int done(const char *name, int fd) {
    count++;
    if (access(getenv("BROKEN"), F_OK) == 0) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, name))(fd);
}
int fsync(int fd) { return done("fsync", fd); }
int fdatasync(int fd) { return done("fdatasync", fd); }
"""


@pytest.fixture
def broken_disk(tmp_path: Path) -> dict[str, str]:
    """Environment for a child whose fsync is counted, and fails while the file `BROKEN` exists."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    source, library = tmp_path / "fsync.c", tmp_path / "fsync.so"
    source.write_text(FSYNC)
    made = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    if subprocess.run(made, check=False, capture_output=True).returncode:
        pytest.skip("the C compiler makes no shared libraries")
    return {"LD_PRELOAD": str(library), "BROKEN": str(tmp_path / "broken")}


SYNCED = """
import ctypes, sys
from pathlib import Path
from tests.support.spool import opened, put
fsyncs = ctypes.CDLL(None).rtmpump_fsyncs
spool = opened(Path(sys.argv[1]), sync=sys.argv[2])
put(spool, 1)
before = fsyncs()
for _ in range(10):
    put(spool, 1)
print(fsyncs() - before)
"""


@pytest.mark.parametrize(("sync", "fsyncs"), [("full", 10), ("normal", 0)])
def test_fsync(path: Path, broken_disk: dict[str, str], sync: str, fsyncs: int) -> None:
    """With `full` each append is on the disk on return; `normal` leaves that to checkpoints."""
    with child(SYNCED, path, sync, **broken_disk) as process:
        assert int(finished(process)) == fsyncs


UNSYNCED = """
import os, sys
from pathlib import Path
from rtmpump.errors import SpoolFailed
from tests.support.spool import image, opened, put, seqs
path, broken = Path(sys.argv[1]), Path(os.environ["BROKEN"])
reports = []
spool = opened(path, sync="full", report=lambda *words: reports.append(words))
last = put(spool, 20)
for confirmed in (5, 10, 15):
    spool.confirm(confirmed)
    broken.touch()
    for _ in range(3):
        try:
            put(spool, 3)
            raise SystemExit("accepted")
        except SpoolFailed:
            pass
    # The first try could be read before the disk failed; no other is stored.
    last += 3
    spool.confirm(confirmed + 1)
    assert not spool.flush()
    assert spool.usage().events == last - confirmed - 1
    assert seqs(spool) == list(range(confirmed + 2, last + 1))
    broken.unlink()
    assert spool.flush()
    last = put(spool, 3)
assert [name for name, _ in reports] == ["spool.trim_failed"] * 3, reports
assert seqs(spool) == list(range(17, 39))
os._exit(0)
"""


def test_fsync_error(path: Path, broken_disk: dict[str, str]) -> None:
    """When fsync fails nothing was accepted, and only once was it read; afterwards all goes on."""
    with child(UNSYNCED, path, **broken_disk) as process:
        finished(process)
    spool = opened(path)
    assert seqs(spool) == list(range(17, 39))
    assert spool.verify() == []
    spool.close()


def test_full_disk_of_ours(tmp_path: Path) -> None:
    """On a disk smaller than the cap appends stop in time: deletes still work and make room."""
    with small_disk(tmp_path / "disk", 32 * MIB) as disk:
        spool = opened(disk / "spool.db", max_bytes=1 << 30, sync="full")
        for enough in (50_000, 25_000, 25_000):
            last = put_until(SpoolFailed, spool)
            found = seqs(spool)
            assert found == list(range(spool.usage().first_seq, last + 1))
            spool.confirm(found[-1])
            assert spool.flush()
            assert len(found) > enough
            assert shutil.disk_usage(disk).free > 4 * MIB
        spool.close()


def test_a_disk_smaller_than_the_cap_is_what_events_may_take(tmp_path: Path) -> None:
    """How full the spool is counts from what the disk has room for, as far as the appends go."""
    with small_disk(tmp_path / "disk", 32 * MIB) as disk:
        spool = opened(disk / "spool.db", max_bytes=1 << 30, sync="full")
        put(spool, 10)
        empty = spool.usage()
        assert 16 * MIB < empty.events_max_bytes < 32 * MIB
        put_until(SpoolFailed, spool)
        full = spool.usage()
        assert full.bytes > 0.8 * full.events_max_bytes
        assert full.bytes <= full.events_max_bytes
        spool.close()


def test_full_disk_of_others(tmp_path: Path) -> None:
    """Where others fill the disk to the last byte nothing is accepted and nothing lost."""
    reports: list[str] = []
    with small_disk(tmp_path / "disk", 64 * MIB) as disk:
        spool = opened(disk / "spool.db", sync="full", report=lambda name, _: reports.append(name))
        last = put(spool, 30_000)
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free)
        assert shutil.disk_usage(disk).free == 0
        with pytest.raises(SpoolFailed, match="free some space"):
            put(spool, 1)
        assert seqs(spool) == list(range(1, last + 1))
        spool.confirm(last - 10)
        spool.flush()
        assert seqs(spool) == list(range(last - 9, last + 1))
        ballast.unlink()
        assert spool.flush()
        assert put(spool, 5) == last + 5
        assert spool.verify() == []
        spool.close()
        spool = opened(disk / "spool.db")
        assert seqs(spool) == list(range(last - 9, last + 6))
        spool.close()


def test_disk_that_fills_up_in_an_append(path: Path) -> None:
    """A batch that meets the end of the disk half-way is rolled back whole, and can be repeated."""
    log = path.with_name("spool.db-wal")
    with small_disk(path.parent / "disk", 4 * MIB) as disk:
        log.touch()
        (disk / "log").touch()
        subprocess.run(["mount", "--bind", str(disk / "log"), str(log)], check=True)
        try:
            spool = opened(path, sync="full")
            last = put(spool, 20_000)
            spool.confirm(50)
            batch = [(START_MS + n, body(n)) for n in range(last + 1, last + 20_001)]
            for _ in range(3):
                with pytest.raises(SpoolFailed, match="full"):
                    spool.append(batch, team="T2", bot="U2")
            assert seqs(spool) == list(range(51, last + 1))
            assert put(spool, 20_000) == last + 20_000
            assert seqs(spool) == list(range(51, last + 20_001))
            assert spool.verify() == []
            spool.close()
        finally:
            subprocess.run(["umount", "--lazy", str(log)], check=True)


def test_read_only_file_system(tmp_path: Path) -> None:
    """A disk that turned read-only is a SpoolError at the start."""
    with small_disk(tmp_path / "disk", 32 * MIB) as disk:
        opened(disk / "spool.db").close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(SpoolError, match=r"[Rr]ead-only"):
            opened(disk / "spool.db")
        assert os.listdir(disk)
