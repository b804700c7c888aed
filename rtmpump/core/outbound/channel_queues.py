"""One queue for each channel: order inside it, no waiting between them.

Laws:

- Of a queue only the head is ever under way. What follows waits until the head is settled, so a
  message that has to be sent again is never overtaken by the next one of its channel.
- Of the heads that a throttle holds back the first come is the first served, and a head comes when
  the one before it is settled. So queues take turns, however long each is.
- A head takes a token of its channel's rate limit only when it goes.
- Memory is in proportion to the jobs that are not over, whatever ends them and in whatever order.
- A queue that waits for its rate limit, its throttle, a reply or a retry costs nothing until then:
  what can go is found in a heap of times and in one line for each throttle, not by looking at every
  queue.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

from rtmpump.core.outbound.throttles import Passenger, Throttles
from rtmpump.core.rate_limit import RateLimit


class Sendable(Passenger, Protocol):
    """What a queue has to know of a job."""

    @property
    def done(self) -> bool:
        """Whether it was settled while it waited: then it is passed over."""

    @property
    def holds_queue(self) -> bool:
        """Whether it is under way already: then it only holds its queue."""

    costs: bool
    """Whether the rate limit counts it."""
    again_at: float
    """Before which time it may not go, for a reason of its own."""


T = TypeVar("T", bound=Sendable)

_STALE_MAX: Final = 64
# Who waits exactly as long as told must not wait again for a rounding error.
_ROUNDING: Final = 1e-6


class _Queue(Generic[T]):
    """The jobs of one channel.

    While the head waits, `plan` is the number of its entry in the heap, or `line` the throttle in
    whose line it stands. `since` is when `heads` first saw it after it moved; None before that.
    """

    __slots__ = ("busy", "jobs", "line", "over", "plan", "since")

    def __init__(self) -> None:
        self.jobs: deque[T] = deque()
        self.busy = False
        self.plan = 0
        self.line = ""
        self.over = 0
        self.since: float | None = None

    @property
    def waits(self) -> bool:
        """Whether the head has its place in the heap or in a line."""
        return bool(self.plan or self.line)


class ChannelQueues(Generic[T]):
    """Jobs that wait to be sent, by the key of their queue; times in seconds of one clock."""

    def __init__(self, limit: RateLimit, throttles: Throttles) -> None:
        self._limit = limit
        self._throttles = throttles
        self._queues: dict[str, _Queue[T]] = {}
        self._numbers = count(1)
        # The heads that have a time before which they can't go, the first one first.
        self._plan: list[tuple[float, int, str]] = []
        # By the name of its throttle: the queues whose heads can go when it lets them.
        self._lines: dict[str, OrderedDict[str, None]] = {}

    def add(self, key: str, job: T, now: float) -> None:
        """Put a job behind those of its queue."""
        queue = self._queues.setdefault(key, _Queue())
        queue.jobs.append(job)
        if not queue.busy and not queue.waits:
            self._plan_at(key, queue, max(now, job.again_at))

    def use_up(self, key: str, now: float) -> None:
        """Have the next job of a queue wait as if its rate limit had been used up just now."""
        self._limit.use_up(key, now)

    def add_sent(self, key: str, job: T) -> None:
        """Put back a job that is under way already, and so was before all others of its queue.

        If another one is under way by now, this one holds the queue right after it.
        """
        queue = self._queues.setdefault(key, _Queue())
        if queue.busy:
            queue.jobs.insert(1, job)
        else:
            self._withdraw(key, queue)
            queue.jobs.appendleft(job)
            queue.busy = True

    def due(self, now: float) -> Iterator[T]:
        """Give each head that may be sent now, with its token and its ticket; its queue waits then.

        What the caller puts back with `again` and a time that has come, is given again.
        """
        while (job := self._next(now)) is not None:
            yield job

    def settle(self, key: str, job: T, now: float) -> None:
        """Go on without this job, which is over (`done`), wherever it stands."""
        queue = self._queues.get(key)
        if queue is None:
            return
        if queue.jobs[0] is not job:
            self._pass_over(queue)
            return
        queue.jobs.popleft()
        self._go_on(key, queue, now)

    def take_out(self, key: str, wanted: Callable[[T], bool], now: float) -> list[T]:
        """Remove from a queue those that are not over and `wanted`; return them in their order."""
        queue = self._queues.get(key)
        if queue is None:
            return []
        head = queue.jobs[0]
        taken = [job for job in queue.jobs if not job.done and wanted(job)]
        queue.jobs = deque(job for job in queue.jobs if job.done or not wanted(job))
        if taken and taken[0] is head:
            self._go_on(key, queue, now)
        return taken

    def again(self, key: str, job: T, at: float) -> None:
        """Send the job once more, not before `at`, unless it never was the head."""
        job.again_at = at
        queue = self._queues.get(key)
        if queue is not None and queue.busy and queue.jobs[0] is job:
            queue.busy = False
            self._plan_at(key, queue, at)

    def unused(self, key: str, job: T) -> None:
        """Take the job's token back: it was not sent."""
        if job.costs:
            self._limit.give_back(key)

    def next_at(self) -> float:
        """Return the time at which `due` may have something; infinity if nothing waits for one."""
        while self._plan and not self._is_live(self._plan[0]):
            heappop(self._plan)
        times = [self._throttles.opens_at(name) for name, line in self._lines.items() if line]
        times += [entry[0] for entry in self._plan[:1]]
        return min(times, default=math.inf)

    def heads(self, now: float) -> Iterator[tuple[T, float, int]]:
        """Give each head, since when its queue has not moved, and how many are in the queue.

        The time is right if this is called often.
        """
        for queue in self._queues.values():
            if queue.since is None:
                queue.since = now
            if queue.jobs:
                yield queue.jobs[0], queue.since, len(queue.jobs) - queue.over

    def clear(self) -> None:
        """Forget every job; what was granted stays counted."""
        self._queues.clear()
        self._plan.clear()
        self._lines.clear()

    def _next(self, now: float) -> T | None:
        self._line_up(now)
        for name, line in self._lines.items():
            while line and self._throttles.opens_at(name) <= now + _ROUNDING:
                key = line.popitem(last=False)[0]
                if (job := self._sent(key, now)) is not None:
                    return job
        return None

    def _line_up(self, now: float) -> None:
        """Move those whose time has come into the lines of their throttles."""
        while self._plan and self._plan[0][0] <= now:
            entry = heappop(self._plan)
            if not self._is_live(entry):
                continue
            key = entry[2]
            queue = self._queues[key]
            queue.plan = 0
            head = self._head(key, queue)
            if head is not None:
                queue.line = head.throttle
                self._lines.setdefault(head.throttle, OrderedDict())[key] = None

    def _sent(self, key: str, now: float) -> T | None:
        """Let the head of a queue go, unless its rate limit has it wait."""
        queue = self._queues[key]
        queue.line = ""
        job = queue.jobs[0]
        if wait := (self._limit.take(key, now) if job.costs else 0.0):
            self._plan_at(key, queue, now + wait)
            return None
        queue.busy = True
        self._throttles.enter(job, now)
        return job

    def _head(self, key: str, queue: _Queue[T]) -> T | None:
        """Return the first job that is not over; forget a queue that has none."""
        while queue.jobs and queue.jobs[0].done:
            queue.jobs.popleft()
        if queue.jobs:
            return queue.jobs[0]
        del self._queues[key]
        return None

    def _pass_over(self, queue: _Queue[T]) -> None:
        """Drop those that are over once they are the greater part; each is looked at few times."""
        queue.over += 1
        if 2 * queue.over > len(queue.jobs) + _STALE_MAX:
            head = queue.jobs[0]
            queue.jobs = deque(job for job in queue.jobs if job is head or not job.done)
            queue.over = 0

    def _go_on(self, key: str, queue: _Queue[T], now: float) -> None:
        """Go on with the next head, after the one before it was taken out."""
        self._withdraw(key, queue)
        head = self._head(key, queue)
        if head is not None:
            queue.busy = head.holds_queue
            if not queue.busy:
                self._plan_at(key, queue, max(now, head.again_at))

    def _plan_at(self, key: str, queue: _Queue[T], at: float) -> None:
        queue.plan = next(self._numbers)
        heappush(self._plan, (at, queue.plan, key))
        if len(self._plan) > 2 * len(self._queues) + _STALE_MAX:
            self._plan = [entry for entry in self._plan if self._is_live(entry)]
            heapify(self._plan)

    def _withdraw(self, key: str, queue: _Queue[T]) -> None:
        """Take the head's place away, for there is another head."""
        queue.busy, queue.plan, queue.since = False, 0, None
        if queue.line:
            del self._lines[queue.line][key]
            queue.line = ""

    def _is_live(self, entry: tuple[float, int, str]) -> bool:
        queue = self._queues.get(entry[2])
        return queue is not None and queue.plan == entry[1]
