"""One line that says what is being waited for, and for how long, so that nothing looks dead.

On a terminal it is the last line, rewritten all the time. Elsewhere, after a few seconds without
any other line, it is written as an ordinary one.

`python -m rtmpump.sandbox.live_line TEXT COMMAND…` shows it while a command runs, and what the
command wrote only if that failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TextIO

from rtmpump.sandbox.terminal import columns_of, is_terminal, one_line, shortened

_REDRAW = 0.1
_PLAIN_EVERY = 3.0
_ERASE = "\r\x1b[K"
_INTERRUPTED = 130


class _Wait(NamedTuple):
    what: str
    since: float


class LiveLine:
    """Writes lines to `out`, and under them the live one; any thread may call.

    `note` returns what else the live line says ("" = nothing), and must not raise. `gone` is called
    once, when the reader is gone.
    """

    def __init__(
        self,
        out: TextIO,
        env: Mapping[str, str] = os.environ,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self.is_terminal = is_terminal(out, env)
        self.note: Callable[[], str] = lambda: ""
        self._out = out
        self._gone = gone
        self._is_gone = False
        self._lock = threading.Lock()
        self._waits: list[_Wait] = []
        self._shown = ""
        self._wrote_at = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-line", daemon=True)

    def say(self, text: str) -> None:
        """Write a line that stays."""
        with self._lock:
            shown, self._shown = self._shown, ""
            self._write(f"{_ERASE if shown else ''}{text}\n")
            self._draw(shown)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say what is being waited for, while this lasts."""
        wait = _Wait(what, time.monotonic())
        self._waits.append(wait)
        self._begin()
        try:
            yield
        finally:
            self._waits.remove(wait)
            if self.is_terminal:
                self._refresh()

    def begin(self) -> None:
        """Show `note`, also while there is nothing else to wait for."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Take the live line away for good."""
        self._end.set()
        with self._lock:
            self._draw("")

    def _begin(self) -> None:
        self.begin()
        if self.is_terminal:
            self._refresh()
        else:
            self.say(f"{self._waits[-1].what}…")

    def _run(self) -> None:
        while not self._end.wait(_REDRAW):
            self._refresh()

    def _refresh(self) -> None:
        if not self.is_terminal and time.monotonic() - self._wrote_at < _PLAIN_EVERY:
            return
        text = self._text()
        with self._lock:
            if self._end.is_set():
                return
            if self.is_terminal:
                self._draw(shortened(text, columns_of(self._out) - 1))
            elif text:
                self._write(f"{text}\n")

    def _text(self) -> str:
        now = time.monotonic()
        waits = [f"{wait.what}, {now - wait.since:.1f} s" for wait in tuple(self._waits)]
        return one_line("; ".join(filter(None, [*waits, self.note()])))

    def _draw(self, text: str) -> None:
        if self.is_terminal and text != self._shown:
            self._shown = text
            self._write(f"{_ERASE}{text}")

    def _write(self, text: str) -> None:
        if self._is_gone:
            return
        self._wrote_at = time.monotonic()
        try:
            try:
                self._out.write(text)
            except UnicodeEncodeError:
                self._out.write(text.encode("ascii", "replace").decode())
            self._out.flush()
        except (OSError, ValueError):
            self._is_gone = True
            self._gone()


def main(arguments: list[str]) -> int:
    """Run a command under a live line; return its exit code."""
    text, *command = arguments
    live = LiveLine(sys.stdout)
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        try:
            with live.waiting(text):
                code = subprocess.call(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
                )
        except KeyboardInterrupt:
            code = _INTERRUPTED
        live.close()
        if not code:
            live.say(f"{text}: done in {time.monotonic() - began:.0f} s")
        elif code != _INTERRUPTED:
            output.seek(0)
            shutil.copyfileobj(output, sys.stderr.buffer)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
