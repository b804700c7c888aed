"""SQLite's write-ahead log and the disk: when a commit can't be lost by a power cut any more.

Laws:
- Each commit is in the log before anybody can read it. SQLite does not fsync it: `sync` does, while
  others go on with the file.
- An error of fsync is told once to each open file, and what could not be written counts as written
  from then on (fsync(2), "ERRORS"). So after an error, and in a log that another process has left,
  nothing counts as on the disk until `mend` has written all of it again.
- While that is not so, nothing is committed behind it: a power cut would cut that off too. And
  while the spool is open SQLite moves pages from the log into the file only after a `sync`: its own
  fsync, whose error it keeps to itself, has nothing left to lose then.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from pathlib import Path

from rtmpump.errors import SpoolFailed
from rtmpump.spool.file import CHECKPOINT_PAGES, PAGE, beside, faults, file_size

_CHUNK = 1 << 20
# The log's format: sqlite.org/fileformat2.html#walformat.
_HEADER = 32
_FRAME_HEADER = 24
_SALT = 8
_SALT_AT = 16
_FRAME_SALT_AT = _HEADER + (CHECKPOINT_PAGES - 1) * (_FRAME_HEADER + PAGE) + 8


class WriteAheadLog:
    """The log of a spool. Each method says whether it needs the spool's lock.

    `is_doubtful`: what it holds may be missing on the disk, although an fsync succeeds. Without
    `syncs` nobody wants to know: it never is, and `sync` returns at once.
    """

    def __init__(self, path: Path, *, syncs: bool) -> None:
        """Look at the log before SQLite opens it; `open` comes after that."""
        self._path = path
        self._log = beside(path, "-wal")
        self._syncs = syncs
        self._opened = -1
        self._lock = threading.Lock()
        self._commits = self._synced = 0
        self.is_doubtful = syncs and file_size(self._log) > 0

    def open(self) -> None:
        """Open the log, before the first commit: an error before that would never be told.

        SQLite has the lock of the file by then, so the log is of no other program.

        Raises:
            SpoolFailed: the disk failed.
        """
        with faults(self._path):
            self._opened = os.open(self._log, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def committed(self) -> None:
        """Note a commit. With the spool's lock."""
        if self._syncs:
            self._commits += 1

    def sync(self) -> None:
        """Wait until all that was committed is on the disk. The spool's lock is not needed.

        Raises:
            SpoolFailed: the disk failed, or `is_doubtful`.
        """
        with self._lock, faults(self._path):
            if self.is_doubtful:
                raise SpoolFailed(str(self._path), "a write to the disk has failed")
            commits = self._commits
            if self._synced == commits:
                return
            self._sync()
            self._synced = commits

    def mend(self) -> None:
        """Write all of it again, if it is doubtful. With the spool's lock.

        Raises:
            SpoolFailed: the disk failed.
        """
        if not self.is_doubtful:
            return
        with self._lock, faults(self._path):
            at = 0
            while chunk := os.pread(self._opened, _CHUNK, at):
                at += os.pwrite(self._opened, chunk, at)
            self._sync()
            self._synced, self.is_doubtful = self._commits, False

    @property
    def is_long(self) -> bool:
        """Whether its pages should be moved into the file. With the spool's lock.

        The log begins anew when all of it was moved, with another salt in its header and its
        frames; behind them are old frames.

        Raises:
            SpoolFailed: the disk failed.
        """
        with faults(self._path):
            salt = os.pread(self._opened, _SALT, _SALT_AT)
            return bool(salt) and os.pread(self._opened, _SALT, _FRAME_SALT_AT) == salt

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._opened >= 0:
                os.close(self._opened)
                self._opened = -1
            # From now on the file may be that of another process.
            self._synced, self.is_doubtful = self._commits, False

    def _sync(self) -> None:
        try:
            sync_file(self._opened)
        except OSError:
            self.is_doubtful = True
            raise


def sync_file(opened: int) -> None:
    """Bring the bytes of an open file to the disk."""
    if sys.platform == "darwin":  # there fsync alone does not reach the disk
        try:
            fcntl.fcntl(opened, fcntl.F_FULLFSYNC)
        except OSError:  # a file system that does not know it, such as one of a network
            os.fsync(opened)
    else:
        os.fdatasync(opened)
