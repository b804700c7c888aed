"""Facts about text on a terminal: columns are counted, not characters."""

from __future__ import annotations

import pytest

from rtmpump.sandbox.terminal import one_line, padded, shortened, width_of, wrapped


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("こん", 4), ("🎉", 2), ("e\u0301", 1), ("Réunion", 7)]
)
def test_width_is_that_of_the_terminal(text: str, columns: int) -> None:
    """Characters of East Asia and pictures take two columns, accents of their own none."""
    assert width_of(text) == columns


@pytest.mark.parametrize("room", range(1, 9))
def test_what_is_padded_has_exactly_its_room(room: int) -> None:
    """Also where half of a wide character would fit."""
    assert width_of(padded("こんにちは", room)) == room
    assert width_of(padded("ab", room)) == room


def test_only_what_does_not_fit_is_cut() -> None:
    """And its end says so."""
    assert shortened("こん", 4) == "こん"
    assert shortened("こんに", 5) == "こん…"


def test_one_line_keeps_what_people_write() -> None:
    """Pictures that are joined stay; what controls a terminal or turns the text around goes."""
    assert one_line("👩\u200d🚀 a\tb\x1b[2J\u202ec") == "👩\u200d🚀 a b [2J c"


def test_wrapped_lines_begin_under_the_text() -> None:
    """A word that is longer than the line stays whole, so that a path can be copied."""
    path = "/a-long/path-name" * 3
    assert wrapped(f"log: {path}", 30, "  x ", "    ") == ["  x log:", f"    {path}"]
