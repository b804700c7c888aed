"""What people see: one line for each event and command, or a sample if there are many.

Several threads print lines, one at a time; the last line is the live one. The columns follow the
width of the terminal. Colours are for terminals that want them (https://no-color.org). When the
reader is gone (`| head`) the show ends; that is no error.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, TextIO

import click

from rtmpump.sandbox.live_line import LiveLine
from rtmpump.sandbox.terminal import columns_of, one_line, padded, shortened, width_of, wrapped

_LINES_A_SECOND: Final = 6
_WIDE: Final = 110
_MIDDLE: Final = 72
_PLACE: Final = 10
_NARROWEST: Final = 50
_PIPED: Final = 160


class _Way(NamedTuple):
    """One direction: in words, and as an arrow where there is no room for them."""

    words: str
    arrow: str


_IN: Final = _Way("Slack → RabbitMQ", "→")
_OUT: Final = _Way("RabbitMQ → Slack", "←")


class Screen:
    """Prints to `out`; it calls `gone` once, when the reader is gone."""

    def __init__(
        self,
        out: TextIO | None = None,
        env: Mapping[str, str] = os.environ,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._out = out or sys.stdout
        self.live = LiveLine(self._out, env, gone)
        self._lock = threading.Lock()
        self._began: float | None = None
        self._colours = self.live.is_terminal and not env.get("NO_COLOR")
        self._second = 0
        self._shown = self._held_back = self._total = 0

    @property
    def columns(self) -> int:
        """How wide a line may be."""
        return max(_NARROWEST, columns_of(self._out)) if self._out.isatty() else _PIPED

    @property
    def legend(self) -> str:
        """What the arrows mean, if lines have no room for words; else ""."""
        is_wide = self.columns >= _WIDE
        return "" if is_wide else f"{_IN.arrow} {_IN.words}    {_OUT.arrow} {_OUT.words}"

    def begin(self) -> None:
        """Start the clock of the lines."""
        self._began = time.monotonic()

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """Say in the live line what is being waited for, while this lasts."""
        return self.live.waiting(what)

    def say(self, text: str = "", **style: object) -> None:
        """Print a line without a clock."""
        self.live.say(self.styled(text, **style))

    def entry(self, name: str, number: str, text: str, **style: object) -> None:
        """Print a row of a table, over several lines if it does not fit into one."""
        head = f"  {name:<14}{number} "
        lines = wrapped(text, self.columns, f"{head} ", " " * (width_of(head) + 1))
        for line in lines or [head.rstrip()]:
            self.say(line, **style)

    def paragraph(self, text: str, **style: object) -> None:
        """Print a text over as many lines as it needs."""
        for line in wrapped(text, self.columns, "", ""):
            self.say(line, **style)

    def event(self, what: str, detail: str, *, place: str = "", always: bool = False) -> None:
        """Print an event that came from Slack to RabbitMQ; only a sample if there are many."""
        with self._lock:
            self._tick()
            self._total += 1
            if self._shown >= _LINES_A_SECOND and not always:
                self._held_back += 1
                return
            self._shown += 1
        self._row(_IN, "cyan", what, place, detail)

    def command(self, what: str, detail: str, *, place: str = "", ok: bool) -> None:
        """Print Slack's answer to a command."""
        self._row(_OUT, "green" if ok else "yellow", what, place, detail)

    def strike(self, text: str) -> None:
        """Print what was broken on purpose."""
        self.live.say(f"{self._clock()}  {self.styled(f'⚡ {text}', fg='red', bold=True)}")

    def heal(self, text: str) -> None:
        """Print what works again."""
        self.live.say(f"{self._clock()}  {self.styled(f'✔ {text}', fg='magenta')}")

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
            self.live.say(f"{self._clock()}  {self.styled(text, dim=True)}")
        self._shown = self._held_back = 0

    def _row(self, way: _Way, colour: str, what: str, place: str, detail: str) -> None:
        columns = self.columns
        is_wide = columns >= _WIDE
        parts = [self._clock(), self.styled(way.words if is_wide else way.arrow, fg=colour)]
        used = width_of(f"{self._seconds():5.1f} s") + (20 if is_wide else 3)
        kind, gap = (23, 2) if is_wide else (16 if columns >= _MIDDLE else 11, 1)
        names = [(what, kind), (place, _PLACE)] if place else [(what, kind + gap + _PLACE)]
        for name, room in names:
            parts.append(padded(one_line(name), room))
            used += room + gap
        parts.append(shortened(one_line(detail), columns - used))
        self.live.say(("  " if is_wide else " ").join(parts).rstrip())

    def _clock(self) -> str:
        return self.styled(f"{self._seconds():5.1f} s", dim=True)

    def _seconds(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began
