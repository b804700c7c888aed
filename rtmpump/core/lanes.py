"""One lane for each channel: order inside it, no waiting between them.

Laws:

- Of a lane only the head is ever under way. What follows waits until the head is settled, so a
  message that has to be sent again is never overtaken by the next one of its channel.
- A lane that waits for its rate limit, a reply or a retry costs nothing until then: what can go
  is found in a heap of times, not by looking at every lane.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

from rtmpump.core.bucket import Bucket


class Job(Protocol):
    """What a lane has to know of a job: whether it is over, and whether sending it costs a token."""

    @property
    def done(self) -> bool:
        """Settled while it waited: it is passed over."""

    @property
    def costs(self) -> bool:
        """Whether the rate limit counts it."""


T = TypeVar("T", bound=Job)


class _Lane(Generic[T]):
    __slots__ = ("busy", "jobs", "planned_at")

    def __init__(self) -> None:
        self.jobs: deque[T] = deque()
        self.busy = False
        self.planned_at: float | None = None


class Lanes(Generic[T]):
    """Jobs that wait to be sent, by lane; all times are seconds of the caller's clock."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lanes: dict[str, _Lane[T]] = {}
        self._plan: list[tuple[float, str]] = []

    def add(self, lane: str, job: T, now: float) -> None:
        """Put a job behind those of its lane."""
        one = self._lanes.setdefault(lane, _Lane())
        one.jobs.append(job)
        if not one.busy and one.planned_at is None:
            self._plan_at(lane, one, now)

    def add_sent(self, lane: str, job: T) -> None:
        """Put back a job that is under way already: the lane waits for it if it comes first."""
        one = self._lanes.setdefault(lane, _Lane())
        if one.jobs:
            one.jobs.append(job)
        else:
            one.jobs.append(job)
            one.busy = True

    def due(self, now: float) -> Iterator[tuple[str, T]]:
        """Give each head that may be sent now, its token taken; its lane waits from then on."""
        while self._plan and self._plan[0][0] <= now:
            at, lane = heappop(self._plan)
            one = self._lanes.get(lane)
            if one is None or one.planned_at != at or one.busy:
                continue
            one.planned_at = None
            job = self._head(lane, one)
            if job is None:
                continue
            wait = self._bucket.take(lane, now) if job.costs else 0.0
            if wait:
                self._plan_at(lane, one, now + wait)
                continue
            one.busy = True
            yield lane, job

    def settle(self, lane: str, job: T, now: float) -> None:
        """The job is over, wherever it stands; the next one of its lane may go."""
        one = self._lanes.get(lane)
        if one is None:
            return
        if one.jobs and one.jobs[0] is job:
            one.jobs.popleft()
            one.busy = False
            self._next(lane, one, now)

    def again(self, lane: str, at: float) -> None:
        """The head of the lane has to be sent once more, not before `at`."""
        one = self._lanes.get(lane)
        if one is not None and one.busy:
            one.busy = False
            self._plan_at(lane, one, at)

    def next_at(self) -> float | None:
        """Give the time at which `due` may have something; None if nothing waits for a time."""
        return self._plan[0][0] if self._plan else None

    def clear(self) -> None:
        """Forget every job; what was granted by the rate limit stays counted."""
        self._lanes.clear()
        self._plan.clear()

    def _head(self, lane: str, one: _Lane[T]) -> T | None:
        while one.jobs and one.jobs[0].done:
            one.jobs.popleft()
        if not one.jobs:
            del self._lanes[lane]
            return None
        return one.jobs[0]

    def _next(self, lane: str, one: _Lane[T], now: float) -> None:
        if self._head(lane, one) is not None:
            self._plan_at(lane, one, now)

    def _plan_at(self, lane: str, one: _Lane[T], at: float) -> None:
        one.planned_at = at
        heappush(self._plan, (at, lane))
