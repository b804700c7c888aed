"""The last 15 minutes, made from the counters: events by type, and how long things took.

Laws:

- One thread calls `tick`, and any thread may read. Each reading is one object that never changes.
- Memory is bounded: a fixed number of buckets, and of types in each.
- It reads counters only, and never the spool, which may wait for a disk: the thread that ticks also
  has to report which other threads hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from heapq import nlargest
from typing import Final, NamedTuple

from rtmpump.http.status import EventHistory, Recent, RecentLatency
from rtmpump.metrics import BOUNDS, OTHER, Sample

STEP: Final = 10.0
BUCKETS: Final = 90
TYPES: Final = 8
RECENT: Final = 300.0
_KEPT: Final = 32
_MARKS: Final = int(RECENT / STEP) + 2


class _Bucket(NamedTuple):
    at: float
    seconds: float
    received: dict[str, int]


class _Mark(NamedTuple):
    at: float
    sample: Sample


class RateHistory:
    """A ring of BUCKETS buckets of STEP seconds each."""

    def __init__(
        self,
        read: Callable[[], Sample],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Begin now.

        Args:
            read: Returns the present counters.
            clock: Returns seconds that never go back.
            now: Returns seconds since 1970.
        """
        self._read = read
        self._clock = clock
        self._now = now
        self._last = _Mark(clock(), read())
        self._marks: tuple[_Mark, ...] = (_bare(self._last),)
        self._buckets: tuple[_Bucket, ...] = ()

    def tick(self) -> None:
        """Close the bucket if its time is over; call this more often than every STEP seconds."""
        at, before = self._clock(), self._last
        if at - before.at < STEP:
            return
        # Set this first: after a failed reading the next try is a STEP later, not at the next tick.
        self._last = before._replace(at=at)
        self._last = _Mark(at, self._read())
        received = _risen(before.sample.received, self._last.sample.received)
        bucket = _Bucket(self._now(), at - before.at, _largest(received, _KEPT))
        self._buckets = (*self._buckets, bucket)[-BUCKETS:]
        self._marks = (*self._marks, _bare(self._last))[-_MARKS:]

    def snapshot(self) -> EventHistory:
        """Return the buckets as columns, the oldest first.

        The TYPES types with the most events have a name, in alphabetical order; all others are
        counted as "other".
        """
        buckets = self._buckets
        named = _top_types(bucket.received for bucket in buckets)
        rows = [_with_other(bucket.received, named) for bucket in buckets]
        has_other = any(row[OTHER] for row in rows)
        types = [*named, OTHER] if has_other else named
        return EventHistory(
            at=[_rfc3339(bucket.at) for bucket in buckets],
            seconds=[round(bucket.seconds, 3) for bucket in buckets],
            received={type: [row[type] for row in rows] for type in types},
        )

    def recent(self) -> Recent:
        """Return how long things took in the last RECENT seconds, or since the start."""
        at, sample = self._clock(), self._read()
        young = (mark for mark in self._marks if at - mark.at <= RECENT + STEP)
        since = next(young, self._marks[-1])
        return Recent(
            seconds=round(at - since.at, 3),
            confirm_latency=_latency(since.sample.confirm_latency, sample.confirm_latency),
            command_latency=_latency(since.sample.command_latency, sample.command_latency),
            returned=sample.returned - since.sample.returned,
        )


def quantile(counts: list[int], part: float) -> float | None:
    """Estimate a quantile from the counts of the buckets of BOUNDS, in seconds.

    The values are taken as evenly spread inside their bucket. Return None without any value, and
    for a quantile above the last bound.
    """
    place = sum(counts) * part
    lower = 0.0
    for bound, count in zip(BOUNDS, counts, strict=False):
        if count and place <= count:
            return lower + (bound - lower) * place / count
        place -= count
        lower = bound
    return None


def _bare(mark: _Mark) -> _Mark:
    """Drop the counts by type: only the newest mark is compared by type."""
    return mark._replace(sample=mark.sample._replace(received={}))


def _risen(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    risen = {type: count - before.get(type, 0) for type, count in after.items()}
    return {type: count for type, count in risen.items() if count}


def _largest(counts: dict[str, int], most: int) -> dict[str, int]:
    """Keep the `most` largest counts; sum up the rest as "other"."""
    named = [type for type in nlargest(most, counts, key=counts.__getitem__) if type != OTHER]
    kept = _with_other(counts, named)
    return {type: count for type, count in kept.items() if count}


def _with_other(counts: dict[str, int], named: list[str]) -> dict[str, int]:
    kept = {type: counts.get(type, 0) for type in named}
    return kept | {OTHER: sum(counts.values()) - sum(kept.values())}


def _top_types(buckets: Iterable[dict[str, int]]) -> list[str]:
    sums: dict[str, int] = {}
    for counts in buckets:
        for type, count in counts.items():
            sums[type] = sums.get(type, 0) + count
    sums.pop(OTHER, None)
    return sorted(nlargest(TYPES, sums, key=sums.__getitem__))


def _latency(before: tuple[int, ...], after: tuple[int, ...]) -> RecentLatency:
    counts = [new - old for old, new in zip(before, after, strict=True)]
    return RecentLatency(count=sum(counts), p50=quantile(counts, 0.5), p99=quantile(counts, 0.99))


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
