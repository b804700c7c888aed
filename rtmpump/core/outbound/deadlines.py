"""Commands that were sent and wait for Slack's reply.

Slack answers in any order, late, twice or never (`reply_to` names the frame), so nothing here
waits for the one before it. One thread owns a `Deadlines`.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")

_STALE_MAX = 64


class Deadlines(Generic[T]):
    """Sent id -> job and deadline, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[float, T]] = {}
        # A settled id stays in the heap until it comes to the top or the heap is made anew.
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, id: int, job: T, deadline: float) -> None:
        """Wait for the reply to `id` until `deadline`; raises ValueError if it is waited for."""
        if id in self._jobs:
            raise ValueError(f"a reply to id {id} is waited for already")
        self._jobs[id] = (deadline, job)
        heappush(self._heap, (deadline, id))
        self._shrink()

    def match(self, reply_to: int) -> T | None:
        """Take out the job that a reply settles; None for a reply that nobody waits for."""
        found = self._jobs.pop(reply_to, None)
        return None if found is None else found[1]

    def forget(self, id: int) -> None:
        """Wait no longer for `id`; nothing happens if nobody did."""
        self._jobs.pop(id, None)

    def expired(self, now: float) -> list[tuple[int, T]]:
        """Take out every `(id, job)` whose deadline is `now` or earlier, the earliest first."""
        late: list[tuple[int, T]] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, id = heappop(self._heap)
            late.append((id, self._jobs.pop(id)[1]))
        return late

    def next_deadline(self) -> float | None:
        """Give the earliest deadline, None if nothing is waited for."""
        heap = self._heap
        while heap and not self._is_live(heap[0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def take_all(self) -> list[tuple[int, T]]:
        """Take out every `(id, job)` in the order in which they were added: the link has ended."""
        taken = [(id, job) for id, (_, job) in self._jobs.items()]
        self._jobs.clear()
        self._heap.clear()
        return taken

    def _is_live(self, entry: tuple[float, int]) -> bool:
        deadline, id = entry
        found = self._jobs.get(id)
        return found is not None and found[0] == deadline

    def _shrink(self) -> None:
        """Keep the memory in proportion to what is waited for, whatever the deadlines are."""
        if len(self._heap) > 2 * len(self._jobs) + _STALE_MAX:
            self._heap = [(deadline, id) for id, (deadline, _) in self._jobs.items()]
            heapify(self._heap)
