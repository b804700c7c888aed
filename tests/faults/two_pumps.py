"""Who wrote to Slack and who read, when two pumps share one workspace. No socket, no clock.

Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Write(NamedTuple):
    """A frame that came to Slack on the connection of this number, from this pump."""

    connection: int
    pump: str
    at: float


class Overlap(NamedTuple):
    """The old connection wrote though the newer one, of the other pump, had begun to."""

    old: Write
    newer: Write

    def __str__(self) -> str:
        old, newer = self
        return (
            f"{old.pump} wrote on connection {old.connection} at {old.at:.3f}, after {newer.pump} "
            f"had begun on connection {newer.connection} at {newer.at:.3f}"
        )


class Writers:
    """Finds what a pump wrote after the next one had begun; one thread at a time may call."""

    def __init__(self) -> None:
        self._first: dict[int, Write] = {}
        self.overlaps: list[Overlap] = []

    def wrote(self, write: Write) -> None:
        """Take in a frame."""
        self._first.setdefault(write.connection, write)
        newer = [
            first
            for number, first in self._first.items()
            if number > write.connection and first.pump != write.pump
        ]
        if newer:
            self.overlaps.append(Overlap(write, min(newer, key=lambda first: first.at)))

    def seconds(self) -> float:
        """How long two wrote, in all: from the first of the newer to the last of the old one."""
        longest: dict[tuple[int, int], float] = {}
        for old, newer in self.overlaps:
            pair = old.connection, newer.connection
            longest[pair] = max(longest.get(pair, 0.0), old.at - newer.at)
        return sum(longest.values())


class Span(NamedTuple):
    """From when to when; `late` is how much later than it should the watcher looked meanwhile."""

    since: float
    to: float
    late: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.to - self.since


class Readers:
    """The spans in which nobody read, from looks that come one after the other."""

    def __init__(self, now: float) -> None:
        self._since: float | None = None
        self._late = 0.0
        self._now = now
        self._spans: list[Span] = []

    def look(self, now: float, reads: bool, late: float) -> None:
        """Take in a look: whether somebody reads, and how late the look is."""
        if self._since is None and not reads:
            self._since, self._late = self._now, 0.0
        if self._since is not None:
            self._late += late
            if reads:
                self._spans.append(Span(self._since, now, self._late))
                self._since = None
        self._now = now

    def spans(self, since: float) -> list[Span]:
        """Those that ended after this time, and the one that has not ended."""
        ended = [span for span in list(self._spans) if span.to > since]
        begun = self._since
        return ended if begun is None else [*ended, Span(begun, self._now, self._late)]


def outside(span: Span, others: Sequence[Span]) -> list[Span]:
    """The parts of a span that are in none of the others."""
    parts = [span]
    for other in others:
        parts = [piece for part in parts for piece in _without(part, other)]
    return parts


def _without(span: Span, other: Span) -> list[Span]:
    before = Span(span.since, min(span.to, other.since), span.late)
    after = Span(max(span.since, other.to), span.to, span.late)
    return [part for part in (before, after) if part.seconds > 0]
