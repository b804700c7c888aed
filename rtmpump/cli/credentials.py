"""Credentials in the memory of this process, in a folder as systemd gives it to a service.

Laws:

- No secret is written to a disk: the folder holds links to files in memory, which end with the
  process, however that ends.
- The folder is there while a configuration is loaded. What that read is gone afterwards.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


class Copies:
    """The folder, for $CREDENTIALS_DIRECTORY."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        self.folder = folder
        self._undo = undo

    def add(self, contents: Mapping[str, bytes]) -> None:
        """Put credentials into the folder, by their names."""
        for name, content in contents.items():
            file = os.memfd_create(f"rtmpump-{name}")
            self._undo.callback(os.close, file)
            with open(file, "wb", closefd=False) as stream:
                stream.write(content)
            (self.folder / name).symlink_to(f"/proc/self/fd/{file}")

    def forget(self, but: Iterable[str] = ()) -> None:
        """Remove the folder and all that is in it, but these paths and then the folder too."""
        kept = set(but)
        for link in list(self.folder.iterdir()):
            if str(link) not in kept:
                link.unlink()
        with suppress(OSError):
            self.folder.rmdir()


@contextmanager
def copies() -> Iterator[Copies]:
    """Give a folder that is empty, and remove it at the end if it is still there."""
    with ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix="rtmpump-"))
        copies = Copies(folder, undo)
        undo.callback(_remove, copies)
        yield copies


def _remove(copies: Copies) -> None:
    if copies.folder.is_dir():
        copies.forget()
