"""What this machine could not give for a link (a file descriptor, a thread, buffers).

The link is then tried again, like one whose other end is away, and the error says what is missing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rtmpump.errors import LinkError

SCARCE: Final = "scarce"
"""The reason of such an error."""
_FILES: Final = "raise the limit on open files (LimitNOFILE= in the unit, or ulimit -n)"
_THREADS: Final = "raise the limit on threads (TasksMax= in the unit, or ulimit -u)"
_MEMORY: Final = "give this machine more memory"
_FIXES: Final = {
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _MEMORY,
    errno.ENOBUFS: _MEMORY,
}
_NO_THREAD: Final = "can't start new thread"


def lack(error: BaseException) -> str:
    """Return what this machine lacks and what to do, if this exception says so; else ""."""
    if isinstance(error, OSError) and error.errno in _FIXES:
        return f"{os.strerror(error.errno).lower()}; {_FIXES[error.errno]}"
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return f"no thread can be started; {_THREADS}"
    return ""


@contextmanager
def scarce(link: str) -> Iterator[None]:
    """Turn an exception by which this machine lacks something into a LinkError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not (detail := lack(error)):
            raise
        raise LinkError(link, SCARCE, detail) from None
