"""One lane for each channel: order inside it, no waiting between them.

Laws:

- Of a lane only the head is ever under way. What follows waits until the head is settled, so a
  message that has to be sent again is never overtaken by the next one of its channel.
- Memory is in proportion to the jobs that are not over, whatever ends them and in whatever order.
- A lane that waits for its rate limit, a reply or a retry costs nothing until then: what can go
  is found in a heap of times, not by looking at every lane.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from rtmpump.core.rate_limit import RateLimit


class Job(Protocol):
    """What a lane has to know of a job: whether it is over, and whether it costs a token."""

    @property
    def done(self) -> bool:
        """Settled while it waited: it is passed over."""

    @property
    def costs(self) -> bool:
        """Whether the rate limit counts it."""


T = TypeVar("T", bound=Job)

_STALE_MAX = 64


class _Lane(Generic[T]):
    __slots__ = ("busy", "jobs", "over", "planned_at")

    def __init__(self) -> None:
        self.jobs: deque[T] = deque()
        self.busy = False
        self.planned_at: float | None = None
        self.over = 0


class ChannelQueues(Generic[T]):
    """Jobs that wait to be sent, by lane; all times are seconds of the caller's clock."""

    def __init__(self, bucket: RateLimit) -> None:
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
        """Put back a job that is under way already, and so was before all others of its lane.

        If another one is under way by now, `due` gives this one right after it: it must be known
        by its caller as sent, and only holds the lane then.
        """
        one = self._lanes.setdefault(lane, _Lane())
        if one.busy:
            one.jobs.insert(1, job)
        else:
            one.jobs.appendleft(job)
            one.busy = True
            one.planned_at = None

    def due(self, now: float) -> Iterator[tuple[str, T]]:
        """Give each head that may be sent now, its token taken; its lane waits from then on.

        What the caller puts back with `again` and a time that has come, is given again.
        """
        while self._plan and self._plan[0][0] <= now:
            entry = heappop(self._plan)
            if not self._is_live(entry):
                continue
            lane = entry[1]
            one = self._lanes[lane]
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
        """The job is over (`done`), wherever it stands; the next one of its lane may go."""
        one = self._lanes.get(lane)
        if one is None:
            return
        if one.jobs[0] is job:
            one.jobs.popleft()
            one.busy = False
            self._next(lane, one, now)
        else:
            self._pass_over(one)

    def again(self, lane: str, job: T, at: float) -> None:
        """The job has to be sent once more, not before `at`, unless it never was the head."""
        one = self._lanes.get(lane)
        if one is not None and one.busy and one.jobs[0] is job:
            one.busy = False
            self._plan_at(lane, one, at)

    def next_at(self) -> float | None:
        """Give the time at which `due` may have something; None if nothing waits for a time."""
        while self._plan and not self._is_live(self._plan[0]):
            heappop(self._plan)
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

    def _pass_over(self, one: _Lane[T]) -> None:
        """Drop those that are over once they are the greater part; each is looked at few times."""
        one.over += 1
        if 2 * one.over > len(one.jobs) + _STALE_MAX:
            head = one.jobs[0]
            one.jobs = deque(job for job in one.jobs if job is head or not job.done)
            one.over = 0

    def _plan_at(self, lane: str, one: _Lane[T], at: float) -> None:
        one.planned_at = at
        heappush(self._plan, (at, lane))
        if len(self._plan) > 2 * len(self._lanes) + _STALE_MAX:
            self._plan = [entry for entry in set(self._plan) if self._is_live(entry)]
            heapify(self._plan)

    def _is_live(self, entry: tuple[float, str]) -> bool:
        at, lane = entry
        one = self._lanes.get(lane)
        return one is not None and one.planned_at == at and not one.busy
