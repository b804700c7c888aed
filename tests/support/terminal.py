"""A person at a terminal: a program with a controlling terminal of its own, which may ask."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import click

from tests.support.waiting import SECONDS


class Terminal:
    """Runs a program; `text` is all that it showed, and what a person sees of their typing."""

    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], columns: int = 80
    ) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        # A password is asked for at the controlling terminal, whatever standard input is.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            cwd=folder,
            # These would win over what the terminal says of itself.
            env={name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.text = ""
        self._seen = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        os.close(self._ours)

    def wait(self, words: str) -> None:
        """Read until these words come, after those that were awaited before."""
        until = time.monotonic() + SECONDS
        while words not in self.text[self._seen :]:
            assert self._read(until), f"no {words!r} in {self.text[self._seen :]!r}"
        self._seen = self.text.index(words, self._seen) + len(words)

    def answer(self, question: str, words: str) -> None:
        """Wait for a question and type a line."""
        self.wait(question)
        os.write(self._ours, f"{words}\n".encode())

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        os.write(self._ours, b"\x03")

    def lines(self) -> list[str]:
        """Return the lines so far without their colours."""
        return click.unstyle(self.text).splitlines()

    def end(self) -> int:
        """Read to the end; return the exit code."""
        until = time.monotonic() + SECONDS
        while self._read(until):
            pass
        return self._process.wait(SECONDS)

    def _read(self, until: float) -> bool:
        """Read a piece; return whether there may be more."""
        ready, _, _ = select.select([self._ours], [], [], max(until - time.monotonic(), 0))
        try:
            piece = os.read(self._ours, 4096) if ready else b""
        except OSError:
            # The other side is closed.
            return False
        self.text += piece.decode().replace("\r\n", "\n")
        return bool(piece)
