"""What people see: one line for each event and command, or a sample if there are many.

Several threads print lines, one at a time. Colours are for terminals that want them
(https://no-color.org). When the reader is gone (`| head`) the show ends; that is no error.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

import click

_LINES_A_SECOND: Final = 6
_NARROWEST: Final = 60
_WIDEST_PIPED: Final = 160


class Screen:
    """Prints to `out`; it calls `gone` once, when the reader is gone."""

    def __init__(
        self,
        out: TextIO | None = None,
        env: Mapping[str, str] = os.environ,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._out = out or sys.stdout
        self._lock = threading.Lock()
        self._began: float | None = None
        self._colours = self._out.isatty() and not env.get("NO_COLOR")
        self._gone = gone
        self._is_gone = False
        self._second = 0
        self._shown = self._held_back = self._total = 0

    def begin(self) -> None:
        """Start the clock of the lines."""
        self._began = time.monotonic()

    def say(self, text: str = "", **style: object) -> None:
        """Print a line without a clock."""
        with self._lock:
            self._write(self.styled(text, **style))

    def event(self, what: str, detail: str, *, always: bool = False) -> None:
        """Print an event that came from Slack to RabbitMQ; only a sample if there are many."""
        with self._lock:
            self._tick()
            self._total += 1
            if self._shown >= _LINES_A_SECOND and not always:
                self._held_back += 1
                return
            self._shown += 1
            self._write(self._row("Slack → RabbitMQ", "cyan", what, detail))

    def command(self, what: str, detail: str, *, ok: bool) -> None:
        """Print Slack's answer to a command."""
        with self._lock:
            self._write(self._row("RabbitMQ → Slack", "green" if ok else "yellow", what, detail))

    def strike(self, text: str) -> None:
        """Print what was broken on purpose."""
        with self._lock:
            self._write(f"{self._clock()}  {self.styled(f'⚡ {text}', fg='red', bold=True)}")

    def heal(self, text: str) -> None:
        """Print what works again."""
        with self._lock:
            self._write(f"{self._clock()}  {self.styled(f'✔ {text}', fg='magenta')}")

    def tick(self) -> None:
        """Print now and then how many events were not shown."""
        with self._lock:
            self._tick()

    def styled(self, text: str, **style: object) -> str:
        """Return the text in colours, or as it is."""
        return click.style(text, **style) if self._colours and style else text  # type: ignore[arg-type]

    def _tick(self) -> None:
        second = int(self._seconds())
        if second == self._second:
            return
        self._second = second
        if self._held_back:
            text = f"… and {self._held_back:,} more events; {self._total:,} so far"
            self._write(f"{self._clock()}  {self.styled(text, dim=True)}")
        self._shown = self._held_back = 0

    def _row(self, way: str, colour: str, what: str, detail: str) -> str:
        room = max(20, self._width() - 52)
        detail = detail.replace("\n", " ")
        short = detail if len(detail) <= room else detail[: room - 1] + "…"
        return f"{self._clock()}  {self.styled(way, fg=colour)}  {what:<23} {short}".rstrip()

    def _clock(self) -> str:
        return self.styled(f"{self._seconds():6.1f} s", dim=True)

    def _seconds(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    def _width(self) -> int:
        if not self._out.isatty():
            return _WIDEST_PIPED
        return max(_NARROWEST, shutil.get_terminal_size().columns)

    def _write(self, text: str) -> None:
        if self._is_gone:
            return
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except UnicodeEncodeError:
            self._out.write(text.encode("ascii", "replace").decode() + "\n")
        except (OSError, ValueError):
            self._is_gone = True
            self._gone()
