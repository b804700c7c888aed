"""Commands in the order in which they came, until it is known which channel each is for.

Laws:

- A command whose channel's name is still being looked up holds up those behind it: one of them may
  give the id of the same channel, and must not overtake it.
- It holds them up for `patience` seconds at most, for a directory that doesn't answer must not
  stop the others. What was passed by waits for its name alone, and what comes later of that name
  waits behind it and holds up nobody.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Resolvable(Protocol):
    """What has to be known of a job: whether it is over."""

    @property
    def done(self) -> bool:
        """Settled while it waited: it is passed over."""


T = TypeVar("T", bound=Resolvable)


@dataclass(slots=True, eq=False)
class _Arrival(Generic[T]):
    job: T
    at: float
    key: str | None
    name: str = ""
    passed_by: bool = False


class NameResolution(Generic[T]):
    """Jobs on their way to their lanes; all times are seconds of the caller's clock.

    `most` is how many jobs that are not over there can be at a time.
    """

    def __init__(self, patience: float, most: int) -> None:
        self._patience = patience
        self._most = most
        self.line: deque[_Arrival[T]] = deque()
        """Those that wait for their turn; empty as long as no name is looked up. Only read it."""
        self._unknown: dict[str, deque[_Arrival[T]]] = {}

    def __len__(self) -> int:
        """How many wait, those that are over but not passed over yet included."""
        passed_by = sum(one.passed_by for same in self._unknown.values() for one in same)
        return len(self.line) + passed_by

    def add(self, job: T, key: str, now: float) -> None:
        """A job whose key is known."""
        self.line.append(_Arrival(job, now, key))

    def add_unknown(self, job: T, name: str, now: float) -> bool:
        """A job whose key is that of a name; gives whether the name has to be asked for."""
        same = self._unknown.setdefault(name, deque())
        is_new = not same
        passed_by = not is_new and same[0].passed_by
        arrival = _Arrival(job, now, None, name, passed_by)
        same.append(arrival)
        if not passed_by:
            self.line.append(arrival)
        if len(same) > 2 * self._most:
            self._unknown[name] = deque(one for one in same if not one.job.done)
        return is_new

    def found(self, name: str, key: str) -> Iterator[tuple[T, str]]:
        """The name's key; gives those that were passed by, `release` gives the others."""
        for one in self._unknown.pop(name, ()):
            one.key = key
            if one.passed_by and not one.job.done:
                yield one.job, key

    def not_found(self, name: str) -> tuple[T | None, bool]:
        """Give the first that waits for the name, to be ended; and whether others still wait."""
        same = deque(one for one in self._unknown.pop(name, ()) if not one.job.done)
        if not same:
            return None, False
        first = same.popleft()
        if same:
            self._unknown[name] = same
        return first.job, bool(same)

    def release(self, now: float) -> Iterator[tuple[T, str]]:
        """Give each job that may go to its key now, in the order in which they came.

        One that `not_found` gave must be over by now.
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
        """Return the time at which the first one has held up the others for long enough."""
        return self.line[0].at + self._patience if self.line else math.inf

    def clear(self) -> None:
        """Forget every job."""
        self.line.clear()
        self._unknown.clear()
