"""The mistakes of one configuration, so that all of them are reported at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from rtmpump.errors import ConfigError


class Mistakes:
    """Collects errors while the reading goes on with what is right."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def add(self, error: ConfigError) -> None:
        """Keep one; a second one of the same words counts once."""
        if str(error) not in map(str, self._found):
            self._found.append(error)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep the ConfigError that ends the block, and go on after it."""
        try:
            yield
        except ConfigError as error:
            self.add(error)

    @property
    def keys(self) -> frozenset[str]:
        """The keys, as `section.key`, that a mistake was found in."""
        return frozenset(error.key for error in self._found)

    def raise_all(self) -> None:
        """Raise the first one by its line, with the others as `more`; return if there is none.

        Raises:
            ConfigError: a mistake was found.
        """
        if self._found:
            first, *others = sorted(self._found, key=_line)
            first.more = tuple(others)
            raise first


def _line(error: ConfigError) -> float:
    """Return the line of a place `file:line`; what has none comes after those that have one."""
    line = error.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else math.inf
