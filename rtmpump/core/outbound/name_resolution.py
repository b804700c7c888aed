"""Commands in the order in which they came, until it is known which channel each is for.

Laws:

- While the name of a command's channel is looked up, the commands behind it wait: one of them may
  give the id of the same channel, and must not overtake it.
- They wait for `patience` seconds at most, so that a directory without an answer does not stop
  them. After that they pass by, and the command waits for its name alone. What comes later for the
  same name waits behind it, and holds up no other command.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Resolvable(Protocol):
    """What has to be known of a job."""

    @property
    def done(self) -> bool:
        """Whether it was settled while it waited; then it is left out."""


T = TypeVar("T", bound=Resolvable)


@dataclass(slots=True, eq=False)
class _Arrival(Generic[T]):
    job: T
    at: float
    key: str | None
    name: str = ""
    passed_by: bool = False


class NameResolution(Generic[T]):
    """Jobs on their way to the queues of their channels; times in seconds of the caller's clock.

    `most` is the highest number of unsettled jobs that can be here at a time. A `key` is that of a
    channel queue.
    """

    def __init__(self, patience: float, most: int) -> None:
        self._patience = patience
        self._most = most
        self.line: deque[_Arrival[T]] = deque()
        """Those that wait for their turn; empty as long as no name is looked up. Only read it."""
        self._unknown: dict[str, deque[_Arrival[T]]] = {}

    def __len__(self) -> int:
        """Count the jobs that wait, and those that were settled and not left out yet."""
        passed_by = sum(one.passed_by for same in self._unknown.values() for one in same)
        return len(self.line) + passed_by

    def awaits(self, name: str) -> bool:
        """Return whether a name is looked up."""
        return name in self._unknown

    def oldest(self) -> float | None:
        """Return since when a job has waited for its name; None if none does."""
        times = [one.at for same in self._unknown.values() for one in same if not one.job.done]
        return min(times, default=None)

    def add(self, job: T, key: str, now: float) -> None:
        """Add a job whose key is known."""
        self.line.append(_Arrival(job, now, key))

    def add_unknown(self, job: T, name: str, now: float) -> bool:
        """Add a job of which only the channel's name is known.

        Returns:
            Whether the name has to be looked up; False: that is under way already.
        """
        same = self._unknown.setdefault(name, deque())
        is_new = not same
        passed_by = not is_new and same[-1].passed_by
        arrival = _Arrival(job, now, None, name, passed_by)
        same.append(arrival)
        if not passed_by:
            self.line.append(arrival)
        if len(same) > 2 * self._most:
            self._unknown[name] = deque(one for one in same if not one.job.done)
        return is_new

    def found(self, name: str, key: str) -> Iterator[tuple[T, str]]:
        """Take the key of a name; give the jobs that were passed by, `release` gives the others."""
        for one in self._unknown.pop(name, ()):
            one.key = key
            if one.passed_by and not one.job.done:
                yield one.job, key

    def not_found(self, name: str) -> tuple[T | None, bool]:
        """Take out the first job that waits for a name that does not exist.

        Returns:
            The job, which the caller has to settle (None: no job waits), and whether others of the
            same name still wait.
        """
        same = deque(one for one in self._unknown.pop(name, ()) if not one.job.done)
        if not same:
            return None, False
        first = same.popleft()
        if same:
            self._unknown[name] = same
        return first.job, bool(same)

    def goes_by_name(self, job: T, name: str) -> bool:
        """Let a job that `not_found` gave go on with its name as its key.

        Return whether `release` gives it in its turn; else it was passed by, and may go now.
        """
        for one in self.line:
            if one.job is job:
                one.key = name
                return True
        return False

    def release(self, now: float) -> Iterator[tuple[T, str]]:
        """Give each job that may go to its queue now, in the order in which they came.

        A job that `not_found` returned has to be settled by now, or go by its name.
        """
        while self.line:
            first = self.line[0]
            if first.job.done:
                self.line.popleft()
            elif first.key is not None:
                self.line.popleft()
                yield first.job, first.key
            elif now >= first.at + self._patience or self._unknown[first.name][0].passed_by:
                self.line.popleft()
                first.passed_by = True
            else:
                return

    def next_at(self) -> float:
        """Return the time at which the others pass by the first one; infinity if none waits."""
        return self.line[0].at + self._patience if self.line else math.inf

    def clear(self) -> None:
        """Forget every job."""
        self.line.clear()
        self._unknown.clear()
