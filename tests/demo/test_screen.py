"""Facts about what the demo prints: columns, samples, and its end."""

from __future__ import annotations

import io
import os
import pty
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ

import pytest

from rtmpump.demo.screen import Screen
from rtmpump.sandbox.terminal import width_of


@contextmanager
def terminal(columns: int) -> Iterator[tuple[io.TextIOWrapper, int]]:
    """Give a terminal: what to write to, and the descriptor to read from."""
    reading, writing = pty.openpty()
    ioctl(writing, TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))
    with open(writing, "w", encoding="utf-8") as out:
        yield out, reading
    os.close(reading)


def read_lines(reading: int, count: int) -> list[str]:
    """Read so many lines from a terminal."""
    text = b""
    while text.count(b"\n") < count:
        text += os.read(reading, 10_000)
    return text.decode().splitlines()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_lines_fit_into_the_terminal_and_stand_in_columns(columns: int) -> None:
    """Wide characters count as two; what does not fit is cut, and the text begins alike."""
    with terminal(columns) as (out, reading):
        screen = Screen(out, {"NO_COLOR": "1"})
        screen.event("message", "Alice: " + "text " * 60, place="#general")
        screen.event("message.message_changed", "Boris: " + "こんにちは" * 30, place="#deploys")
        screen.event("rtmpump.disconnected", "closed: 1000")
        lines = read_lines(reading, 3)
        legend = screen.legend
    assert all(columns - 2 < width_of(line) <= columns for line in lines[:2]), lines
    places = [
        width_of(line.partition(name)[0])
        for line, name in zip(lines, ("Alice", "Boris", "closed"), strict=True)
    ]
    assert len(set(places)) == 1
    assert "rtmpump.disconnected" in lines[2]
    assert ("→ Slack → RabbitMQ" in legend) == (columns < 200)


def test_a_table_goes_on_under_its_text() -> None:
    """A note that is too long for a line is indented as its first line."""
    with terminal(60) as (out, reading):
        Screen(out, {"NO_COLOR": "1"}).entry("lost", "      12", "word " * 20)
        lines = read_lines(reading, 3)
    assert {line.index("word") for line in lines} == {lines[0].index("word")}
    assert "\x1b" not in "".join(lines)


def test_what_others_wrote_can_not_control_the_terminal() -> None:
    """A message in a real workspace may hold escape sequences."""
    out = io.StringIO()
    Screen(out, {}).event("message", "a\x1b]0;title\x07b\nc", place="C1")
    assert "a ]0;title b c\n" in out.getvalue()


def test_many_events_are_shown_as_a_sample_and_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that were not shown are counted a second later; the pump's own always show."""
    out = io.StringIO()
    screen = Screen(out, {})
    now = 0.5
    monkeypatch.setattr(screen, "_seconds", lambda: now)
    for _ in range(500):
        screen.event("message", "hello")
    screen.event("rtmpump.gap", "from … to …", always=True)
    now = 1.5
    screen.tick()
    text = out.getvalue()
    shown = text.count("  message ")
    assert 0 < shown < 50
    assert "rtmpump.gap" in text
    assert f"and {500 - shown} more events; 501 so far" in text
    assert "\x1b" not in text


def test_a_reader_that_went_away_ends_the_show() -> None:
    """`rtmpump demo | head` is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    gone = threading.Event()
    with open(writing, "w", encoding="utf-8", closefd=False) as out:
        screen = Screen(out, {}, gone.set)
        screen.say("x" * 100_000)
        screen.say("y")
        assert gone.is_set()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)
    os.close(writing)
