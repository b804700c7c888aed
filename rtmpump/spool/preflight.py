"""Says before a start whether the daemon could use its spool, without changing or making a file."""

from __future__ import annotations

import os
from pathlib import Path

from rtmpump.errors import SpoolCorrupt, SpoolError
from rtmpump.spool.file import beside, file_size
from rtmpump.spool.lock import require_place
from rtmpump.spool.read_only import reading


def require_usable(path: Path) -> None:
    """Return if a daemon of this user could open the spool; a damaged one counts, it is repaired.

    Raises:
        SpoolLocked: another process holds it.
        SpoolError: the folder is missing or not writable, or the file is of a newer version.
        SpoolFailed: the disk failed.
    """
    require_access(path)
    path = Path(os.path.realpath(path))
    if file_size(path) > 1:
        try:
            with reading(path):
                return
        except SpoolCorrupt:
            # The start sets it aside and saves what can be read.
            return


def require_access(path: Path) -> None:
    """Return if this user (the effective one) may write the spool and its folder.

    Raises:
        SpoolError: the folder is missing, something is not writable, or it is no regular file.
    """
    path = Path(os.path.realpath(path))
    folder = path.parent
    require_place(path)
    _require(folder, os.W_OK | os.X_OK, path)
    for file in (path, *(beside(path, suffix) for suffix in (".lock", "-wal"))):
        if file.exists():
            _require(file, os.R_OK | os.W_OK, path)


def _require(target: Path, mode: int, path: Path) -> None:
    if not os.access(target, mode, effective_ids=os.access in os.supports_effective_ids):
        problem = f"can't write {target} (permission denied)"
        raise SpoolError(str(path), problem, "see the owner and mode of file and folder")
