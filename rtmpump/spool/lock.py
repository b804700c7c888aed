"""The lock of the spool: `path.lock`, held by one daemon or shared by several readers.

Laws:
- The lock file is never renamed, so the lock stays valid while a damaged spool is replaced.
  SQLite's own lock belongs to the inode and would not.
- Only a daemon makes the lock file; a reader changes nothing.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtmpump.errors import SpoolError, SpoolLocked
from rtmpump.spool.file import beside


def hold(path: Path) -> int:
    """Take `path.lock` for this process; return the file descriptor that holds the lock.

    Raises:
        SpoolLocked: another process holds the lock.
        SpoolError: the folder is missing or not writable, or the spool is no regular file.
    """
    require_place(path)
    lock = _open_for_writing(path, beside(path, ".lock"))
    try:
        _flock(path, lock)
        # SQLite opens a file that it can't write for reading only, so check that. But only with the
        # lock: closing any descriptor of a file drops the POSIX locks that this process has on it.
        os.close(_open_for_writing(path, path))
    except BaseException:
        os.close(lock)
        raise
    return lock


def require_place(path: Path) -> None:
    """Return if the folder of a spool is there, and the spool is a regular file or not there yet.

    Raises:
        SpoolError: it is otherwise, or this user may not look.
    """
    folder = path.parent
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        problem = f"can't look into {folder} ({error.strerror})"
        raise SpoolError(
            str(path), problem, "see owner and mode of the folders above it"
        ) from error
    if not is_folder:
        raise SpoolError(str(path), f"there is no folder {folder}", "create it or set spool.path")
    require_regular(path)


def require_regular(path: Path) -> None:
    """Return if this is a regular file, or can't be looked at: what opens it says why.

    Raises:
        SpoolError: it is a folder, a device, a pipe or the like.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise SpoolError(str(path), "it is no regular file", "set spool.path to another")


def _open_for_writing(path: Path, target: Path) -> int:
    try:
        return os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        problem = f"can't write {target} ({error.strerror})"
        raise SpoolError(str(path), problem, "see the owner and mode of file and folder") from error


def _flock(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        fix = "one spool serves one rtmpump: stop the other or set spool.path"
        raise SpoolLocked(str(path), "another process holds it", fix) from error
    except OSError as error:
        raise SpoolError(str(path), f"can't be locked ({error.strerror})") from error


@contextmanager
def share(path: Path) -> Iterator[None]:
    """Hold `path.lock` together with other readers, so that no daemon starts; do not make it.

    Raises:
        SpoolLocked: a daemon holds the lock.
        SpoolError: the lock file can't be read.
    """
    try:
        lock = os.open(beside(path, ".lock"), os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SpoolLocked(str(path), "another process holds it") from error
    finally:
        os.close(lock)


def unreadable(path: Path, error: OSError) -> SpoolError:
    """Return the error for a spool that this user may not read."""
    return SpoolError(str(path), f"can't be read ({error.strerror})", "ask as its owner or as root")
