"""One deadline for each job that is under way: its expiration, or the end of the wait for a reply.

Laws:

- A job has at most one deadline, the last one that was set.
- Memory is in proportion to the jobs that have one, however often deadlines change.

One thread owns a `Deadlines`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_STALE_MAX = 64


class Deadlines(Generic[T]):
    """Jobs and their deadlines, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._numbers = count()
        self._entries: dict[T, tuple[float, int, T]] = {}
        # An entry that no longer counts stays in the heap until it comes to the top, or until the
        # heap is made anew.
        self._heap: list[tuple[float, int, T]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, job: T, deadline: float) -> None:
        """Give the job this deadline, in place of the one that it had."""
        # The number decides between equal deadlines: the one that was set first passes first.
        entry = (deadline, next(self._numbers), job)
        self._entries[job] = entry
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + _STALE_MAX:
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def drop(self, job: T) -> None:
        """Take the job's deadline away; nothing happens if it has none."""
        self._entries.pop(job, None)

    def passed(self, now: float) -> list[T]:
        """Take out every job whose deadline is `now` or earlier, the earliest first."""
        late: list[T] = []
        while self.next_at() <= now:
            job = heappop(self._heap)[2]
            del self._entries[job]
            late.append(job)
        return late

    def next_at(self) -> float:
        """Return the earliest deadline, infinity if no job has one."""
        heap = self._heap
        while heap and self._entries.get(heap[0][2]) is not heap[0]:
            heappop(heap)
        return heap[0][0] if heap else math.inf
