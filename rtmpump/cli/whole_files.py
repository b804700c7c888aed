"""Files that are written together: each is whole beside its place before the first takes its place.

Laws:

- A file has its owner and mode from the first moment on. One that is there keeps its owner, and
  its mode but for what the caller says. A symbolic link stays, what it leads to is written.
- Whatever fails before `put` leaves all files as they were.
"""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from rtmpump.errors import RtmpumpError

_MODE: Final = 0o7777
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ModeOf = Callable[[os.stat_result | None], int]
"""Makes the mode of a file from what is there, None for nothing."""


class _Ready(NamedTuple):
    path: Path
    target: Path
    new: str


class WholeFiles:
    """Collects files with `add`, then `put` puts all in their places."""

    def __init__(self) -> None:
        self._ready: list[_Ready] = []
        self._before: set[signal.Signals] | set[int] = set()

    def __enter__(self) -> WholeFiles:
        # A file beside its place may hold a secret, so no signal may leave it there.
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._ready:
            with suppress(OSError):
                os.unlink(one.new)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def add(self, path: Path, text: str, mode_of: ModeOf, group: int | None = None) -> None:
        """Write a file beside its place; `group` is its new group, None for the one that it has.

        Raises:
            RtmpumpError: it can't be written there.
        """
        target = Path(os.path.realpath(path))
        try:
            old = _status(target)
            descriptor, new = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
            self._ready.append(_Ready(path, target, new))
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                _own(descriptor, old, group)
                os.fchmod(descriptor, mode_of(old))
                file.write(text if text.endswith("\n") else f"{text}\n")
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            raise RtmpumpError(f"can't write {path}: {error.strerror}") from error

    def put(self) -> Iterator[Path]:
        """Put all files in their places, in the order of `add`; yield each path.

        Raises:
            RtmpumpError: one can't be replaced.
        """
        while self._ready:
            path, target, new = self._ready[0]
            try:
                os.replace(new, target)
            except OSError as error:
                raise RtmpumpError(f"can't write {path}: {error.strerror}") from error
            del self._ready[0]
            yield path


def _status(target: Path) -> os.stat_result | None:
    try:
        old = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(21, "Is a directory")
    if not stat.S_ISREG(old.st_mode):
        raise OSError(22, "it is no regular file")
    return old


def _own(descriptor: int, old: os.stat_result | None, group: int | None) -> None:
    now = os.fstat(descriptor)
    user = now.st_uid if old is None else old.st_uid
    kept = now.st_gid if old is None else old.st_gid
    wanted = (user, kept if group is None else group)
    if wanted != (now.st_uid, now.st_gid):
        os.fchown(descriptor, *wanted)


def mode_in(old: os.stat_result) -> int:
    """Return the permissions of a file."""
    return old.st_mode & _MODE
