"""Lines that fit a terminal: its width, and texts cut or filled to a number of columns.

A pipe has no width: what is printed there is never cut.
"""

from __future__ import annotations

import shutil
import sys
import unicodedata
from typing import Final

_ELLIPSIS: Final = "…"
_WIDE: Final = ("W", "F")


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def width(text: str) -> int:
    """Return how many columns a text takes: most emoji and Asian characters take two."""
    return sum(map(_columns, text))


def cut(text: str, columns: int) -> str:
    """Return as much of a text as fits; the last character says that there is more."""
    taken = kept = 0
    for number, char in enumerate(text, 1):
        taken += _columns(char)
        if taken > columns:
            return text[:kept] + _ELLIPSIS
        if taken < columns:
            kept = number
    return text


def filled(text: str, columns: int) -> str:
    """Return a text with spaces up to so many columns; a longer one as it is."""
    return text + " " * (columns - width(text))


def _columns(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in _WIDE else 1
