"""The chart of the page: events a second by type, one band on the other; page.js draws the same.

Bands are steps and not slopes: what is known is how many came in each bucket.
"""

from __future__ import annotations

from itertools import pairwise
from math import floor
from typing import Any, Final, NamedTuple

from rtmpump.http import wording

SPAN: Final = 900
HEIGHT: Final = 200
_GROUP: Final = 6
_OTHER: Final = "other"
_OTHER_COLOUR: Final = 8


class Band(NamedTuple):
    """What belongs to one type: its colour's number, its outline, and its row of the table."""

    type: str
    colour: int
    path: str
    now: float
    most: float
    events: int


class Minute(NamedTuple):
    """A second's events in about a minute: all, and of each band."""

    until: str
    all: float
    each: list[float]


class Chart(NamedTuple):
    """All that is drawn or said of the events of the last quarter of an hour."""

    top: float
    now: float
    most: float
    bands: list[Band]
    minutes: list[Minute]

    @property
    def said(self) -> str:
        """The chart in words, for those who don't see it."""
        if not self.minutes:
            return "Events a second over the last 15 minutes: nothing is counted yet."
        by_type = "".join(f" {band.type}: {wording.rate(band.now)} now." for band in self.bands)
        return (
            f"Events a second over the last 15 minutes: {wording.rate(self.now)} now, "
            f"{wording.rate(self.most)} at most.{by_type}"
        )


def chart(history: dict[str, Any]) -> Chart:
    """Make the chart of what `History.snapshot` gives."""
    seconds: list[float] = history["seconds"]
    received: dict[str, list[int]] = history["received"]
    edges = _edges(seconds)
    floors = [0.0] * len(seconds)
    rates = {type: _rates(counts, seconds) for type, counts in received.items()}
    totals = [sum(column) for column in zip(*rates.values(), strict=True)] or floors
    top = _nice(max(totals, default=0.0))
    bands = []
    for place, (type, each) in enumerate(rates.items()):
        ceilings = [low + high for low, high in zip(floors, each, strict=True)]
        colour = _OTHER_COLOUR if type == _OTHER else place
        path = _outline(edges, floors, ceilings, top)
        bands.append(Band(type, colour, path, each[-1], max(each), sum(received[type])))
        floors = ceilings
    now = totals[-1] if totals else 0.0
    return Chart(top, now, max(totals, default=0.0), bands, _minutes(history))


def _rates(counts: list[int], seconds: list[float]) -> list[float]:
    return [count / span for count, span in zip(counts, seconds, strict=True)]


def _edges(seconds: list[float]) -> list[float]:
    """Where buckets begin and end, the newest at the right; one more than there are buckets."""
    edges = [float(SPAN)]
    for span in reversed(seconds):
        edges.append(max(0.0, edges[-1] - span))
    return edges[::-1]


def _nice(most: float) -> float:
    """The least of 0.5, 1, 2, 5, 10, 20 … that is no less."""
    top, place = 0.5, 0
    while top < most:
        top *= (2, 2, 2.5)[place % 3]
        place += 1
    return top


def _outline(edges: list[float], floors: list[float], ceilings: list[float], top: float) -> str:
    steps = list(pairwise(edges))
    there = [
        f"V{_y(high, top)}H{_digit(right)}"
        for (_, right), high in zip(steps, ceilings, strict=True)
    ]
    back = [
        f"V{_y(low, top)}H{_digit(left)}"
        for (left, _), low in zip(reversed(steps), reversed(floors), strict=True)
    ]
    return f"M{_digit(edges[0])} {HEIGHT}{''.join(there)}{''.join(back)}Z"


def _y(value: float, top: float) -> str:
    return _digit(HEIGHT - HEIGHT * value / top)


def _digit(value: float) -> str:
    return f"{floor(value * 10 + 0.5) / 10:.1f}".removesuffix(".0")


def _minutes(history: dict[str, Any]) -> list[Minute]:
    """The newest first."""
    minutes = []
    for end in range(len(history["at"]), 0, -_GROUP):
        part = slice(max(0, end - _GROUP), end)
        span = sum(history["seconds"][part])
        each = [sum(counts[part]) / span for counts in history["received"].values()]
        minutes.append(Minute(history["at"][end - 1], sum(each), each))
    return minutes
