"""Counters with labels, and histograms: what `metrics` is made of.

Laws: the laws of `metrics`. No lock; a set of labels is bounded, and so is the length of each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Annotated, Final

from msgspec import Meta, Struct

OTHER: Final = "other"
BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0),
)
"""Upper bounds of the latency buckets in seconds: a backlog of up to an hour has a bucket."""
LABELS_MAX: Final = 64
_LABEL_LENGTH: Final = 100


class LatencyHistogram(Struct, frozen=True, kw_only=True):
    """How long something took since the start, in seconds."""

    count: Annotated[int, Meta(description="How many were measured.")]
    sum: Annotated[float, Meta(description="The sum of all times.")]
    p50: Annotated[
        float | None,
        Meta(description="Upper bound of the bucket with the median; null if unknown or over 1 h."),
    ]
    p99: Annotated[float | None, Meta(description="The same for the 99th percentile.")]
    buckets: Annotated[
        dict[str, int], Meta(description="How many took at most so long, by upper bound.")
    ]


class Counts:
    """A counter for each value of a label; values after the first `most` count as "other"."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by: dict[str, int] = {}

    def add(self, label: str, n: int = 1) -> None:
        """Count `n` more."""
        by = self._by
        if label not in by:
            label = _fit(label, by, self._most)
        by[label] = by.get(label, 0) + n

    def copy(self) -> dict[str, int]:
        """Return the counts by label."""
        return self._by.copy()


class Pairs:
    """A counter for each pair of labels; the first one is bounded, and so are its seconds."""

    def __init__(self) -> None:
        self._by: dict[str, Counts] = {}

    def add(self, first: str, second: str) -> None:
        """Count one more."""
        if first not in self._by:
            first = _fit(first, self._by, LABELS_MAX)
        self._by.setdefault(first, Counts(LABELS_MAX)).add(second)

    def copy(self) -> dict[str, dict[str, int]]:
        """Return the counts by both labels."""
        return {first: counts.copy() for first, counts in self._by.copy().items()}


class Histogram:
    """How many times fell into each bucket, and their sum, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Add one time."""
        # A clock that was set back gives a time below zero; a sum must never fall.
        if seconds < 0.0:
            seconds = 0.0
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def observe_all(self, many: Iterable[float]) -> None:
        """Add many times at once; cheaper for each."""
        counts, total = self._counts, self._sum
        for seconds in many:
            if seconds < 0.0:
                seconds = 0.0
            counts[bisect_left(BOUNDS, seconds)] += 1
            total += seconds
        self._sum = total

    def counts(self) -> tuple[int, ...]:
        """Return the count of each bucket."""
        return tuple(self._counts)

    def snapshot(self) -> LatencyHistogram:
        """Return the counts; a quantile is the upper bound of its bucket."""
        upto = list(accumulate(list(self._counts)))
        return LatencyHistogram(
            count=upto[-1],
            sum=self._sum,
            p50=_quantile(upto, 0.5),
            p99=_quantile(upto, 0.99),
            buckets=dict(zip(_bound_names(), upto, strict=True)),
        )


def _fit(label: str, known: Mapping[str, object], most: int) -> str:
    # A lone surrogate, which JSON can carry, would make the whole page impossible to encode.
    fit = label[:_LABEL_LENGTH].encode("utf-8", "replace").decode()
    return fit if fit in known or len(known) < most else OTHER


def _bound_names() -> list[str]:
    return [str(bound) for bound in BOUNDS] + ["+Inf"]


def _quantile(upto: list[int], part: float) -> float | None:
    place = bisect_left(upto, upto[-1] * part)
    return BOUNDS[place] if upto[-1] and place < len(BOUNDS) else None
