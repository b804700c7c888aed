"""One queue for each channel: order inside it, no waiting between them.

Laws:

- Of a queue only the head is ever under way. What follows waits until the head is settled, so a
  message that has to be sent again is never overtaken by the next one of its channel.
- A job whose way is closed (the way to Slack that it needs is not there) holds up its own queue,
  and takes no token of the rate limit.
- Memory is in proportion to the jobs that are not over, whatever ends them and in whatever order.
- A queue that waits for its rate limit, its way, a reply or a retry costs nothing until then: what
  can go is found in a heap of times, not by looking at every queue.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from rtmpump.core.rate_limit import RateLimit


class Sendable(Protocol):
    """What a queue has to know of a job."""

    @property
    def done(self) -> bool:
        """Whether it was settled while it waited: then it is passed over."""

    costs: bool
    """Whether the rate limit counts it."""
    way: str
    """What has to be open for it to be sent."""


T = TypeVar("T", bound=Sendable)

_STALE_MAX = 64


class _Queue(Generic[T]):
    __slots__ = ("busy", "jobs", "over", "planned_at")

    def __init__(self) -> None:
        self.jobs: deque[T] = deque()
        self.busy = False
        self.planned_at: float | None = None
        self.over = 0


class ChannelQueues(Generic[T]):
    """Jobs that wait to be sent, by the key of their queue; times in seconds of one clock."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._queues: dict[str, _Queue[T]] = {}
        self._plan: list[tuple[float, str]] = []
        # Each closed way, and the queues that wait for it with the times at which they could go.
        self._closed: dict[str, dict[str, float]] = {}

    def add(self, key: str, job: T, now: float) -> None:
        """Put a job behind those of its queue."""
        queue = self._queues.setdefault(key, _Queue())
        queue.jobs.append(job)
        if not queue.busy and queue.planned_at is None:
            self._plan_at(key, queue, now)

    def add_sent(self, key: str, job: T) -> None:
        """Put back a job that is under way already, and so was before all others of its queue.

        If another one is under way by now, `due` gives this one right after it: the caller must
        know that it was sent, and it only holds the queue then.
        """
        queue = self._queues.setdefault(key, _Queue())
        if queue.busy:
            queue.jobs.insert(1, job)
        else:
            queue.jobs.appendleft(job)
            queue.busy = True
            queue.planned_at = None

    def due(self, now: float) -> Iterator[T]:
        """Give each head that may be sent now, its token taken; its queue waits from then on.

        What the caller puts back with `again` and a time that has come, is given again.
        """
        while self._plan and self._plan[0][0] <= now:
            entry = heappop(self._plan)
            if not self._is_live(entry):
                continue
            at, key = entry
            queue = self._queues[key]
            queue.planned_at = None
            job = self._head(key, queue)
            if job is None:
                continue
            if job.way in self._closed:
                self._closed[job.way].setdefault(key, at)
            elif wait := (self._limit.take(key, now) if job.costs else 0.0):
                self._plan_at(key, queue, now + wait)
            else:
                queue.busy = True
                yield job

    def settle(self, key: str, job: T, now: float) -> None:
        """Go on without this job, which is over (`done`), wherever it stands."""
        queue = self._queues.get(key)
        if queue is None:
            return
        if queue.jobs[0] is job:
            queue.jobs.popleft()
            queue.busy = False
            if self._head(key, queue) is not None:
                self._plan_at(key, queue, now)
        else:
            self._pass_over(queue)

    def take_out(self, key: str, wanted: Callable[[T], bool], now: float) -> list[T]:
        """Remove from a queue those that are not over and `wanted`; return them in their order.

        The head has to be one of them.
        """
        queue = self._queues[key]
        taken = [job for job in queue.jobs if not job.done and wanted(job)]
        queue.jobs = deque(job for job in queue.jobs if job.done or not wanted(job))
        queue.busy = False
        if self._head(key, queue) is not None:
            self._plan_at(key, queue, now)
        return taken

    def again(self, key: str, job: T, at: float) -> None:
        """Send the job once more, not before `at`, unless it never was the head."""
        queue = self._queues.get(key)
        if queue is not None and queue.busy and queue.jobs[0] is job:
            queue.busy = False
            self._plan_at(key, queue, at)

    def close(self, way: str) -> None:
        """Hold back the jobs of this way until `open`."""
        self._closed.setdefault(way, {})

    def open(self, way: str) -> None:
        """Let the jobs of this way go, as soon as they could have gone."""
        for key, at in self._closed.pop(way, {}).items():
            queue = self._queues[key]
            if not queue.busy and queue.planned_at is None:
                self._plan_at(key, queue, at)

    def next_at(self) -> float:
        """Return the time at which `due` may have something; infinity if nothing waits for one."""
        while self._plan and not self._is_live(self._plan[0]):
            heappop(self._plan)
        return self._plan[0][0] if self._plan else math.inf

    def clear(self) -> None:
        """Forget every job; what the rate limit granted stays counted, closed gates stay closed."""
        self._queues.clear()
        self._plan.clear()
        for waiting in self._closed.values():
            waiting.clear()

    def _head(self, key: str, queue: _Queue[T]) -> T | None:
        while queue.jobs and queue.jobs[0].done:
            queue.jobs.popleft()
        if queue.jobs:
            return queue.jobs[0]
        del self._queues[key]
        for waiting in self._closed.values():
            waiting.pop(key, None)
        return None

    def _pass_over(self, queue: _Queue[T]) -> None:
        """Drop those that are over once they are the greater part; each is looked at few times."""
        queue.over += 1
        if 2 * queue.over > len(queue.jobs) + _STALE_MAX:
            head = queue.jobs[0]
            queue.jobs = deque(job for job in queue.jobs if job is head or not job.done)
            queue.over = 0

    def _plan_at(self, key: str, queue: _Queue[T], at: float) -> None:
        queue.planned_at = at
        heappush(self._plan, (at, key))
        if len(self._plan) > 2 * len(self._queues) + _STALE_MAX:
            self._plan = [entry for entry in set(self._plan) if self._is_live(entry)]
            heapify(self._plan)

    def _is_live(self, entry: tuple[float, str]) -> bool:
        at, key = entry
        queue = self._queues.get(key)
        return queue is not None and queue.planned_at == at and not queue.busy
