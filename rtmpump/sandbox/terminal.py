"""How text looks on a terminal: how wide it is, shortened, padded and wrapped."""

from __future__ import annotations

import os
import textwrap
import unicodedata
from collections.abc import Mapping
from typing import TextIO

_JOINER = "\u200d"


def is_terminal(out: TextIO, env: Mapping[str, str]) -> bool:
    """Return whether lines of `out` can be rewritten."""
    return out.isatty() and env.get("TERM") != "dumb"


def columns_of(out: TextIO) -> int:
    """Return how many columns the terminal behind `out` has now; 80 if it does not say so."""
    try:
        return os.get_terminal_size(out.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def one_line(text: str) -> str:
    """Return the text without what could control a terminal or begin another line."""
    return "".join(
        one if one == _JOINER or unicodedata.category(one)[0] != "C" else " " for one in text
    )


def width_of(text: str) -> int:
    """Return how many columns a line takes: most characters one, those of East Asia two."""
    return sum(map(_width, text))


def shortened(text: str, room: int) -> str:
    """Return the text, or its beginning and "…", in at most `room` columns."""
    if width_of(text) <= room:
        return text
    kept, left = "", room - 1
    for one in text:
        left -= _width(one)
        if left < 0:
            break
        kept += one
    return f"{kept}…"


def padded(text: str, room: int) -> str:
    """Return the text in exactly `room` columns."""
    short = shortened(text, room)
    return short + " " * (room - width_of(short))


def wrapped(text: str, columns: int, first: str, more: str) -> list[str]:
    """Return the text as lines of at most `columns`; `first` and `more` are the indents."""
    return textwrap.wrap(
        text,
        max(columns, len(more) + 20),
        initial_indent=first,
        subsequent_indent=more,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _width(one: str) -> int:
    if unicodedata.category(one) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1
