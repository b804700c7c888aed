"""Commands that give their channel by name: those of one name keep their order, wherever it moves.

A name can mean another channel from one command to the next. Then those that wait for the old one
have to go to the new one too, before the younger ones, for they were meant for the name.

Laws:

- A job stands in the queue of the job of its name that came before it.
- All of a name move together, and only while none of them is under way: until it is known how that
  one ended, nothing may overtake it.
"""

from __future__ import annotations

from collections.abc import Callable

from rtmpump.core.outbound.commands import is_channel_id
from rtmpump.core.outbound.job import Job


class _Namesakes:
    """What a name means by now, and the jobs of that name in the order in which they came."""

    __slots__ = ("jobs", "means", "scattered")

    def __init__(self, means: str) -> None:
        self.jobs: dict[Job, None] = {}
        self.means = means
        self.scattered = False


class NamedJobs:
    """The jobs in the channel queues that gave a name; `may_move` says which may change theirs."""

    def __init__(self, may_move: Callable[[Job], bool]) -> None:
        self._may_move = may_move
        self._names: dict[str, _Namesakes] = {}

    def add(self, job: Job, key: str) -> str:
        """Add a job whose name means the queue `key` now; return the queue in which it stands.

        One without a name stands where it is to.
        """
        if not job.name:
            return key
        same = self._names.setdefault(job.name, _Namesakes(key))
        self.learn(job.name, key)
        before = next(reversed(same.jobs), None)
        same.jobs[job] = None
        return same.means if before is None else before.queue_key

    def add_sent(self, job: Job) -> None:
        """Add a job that is under way, and stands in the queue of what the name meant then."""
        if job.name:
            same = self._names.setdefault(job.name, _Namesakes(job.queue_key))
            same.jobs[job] = None
            same.scattered = same.scattered or job.queue_key != same.means

    def learn(self, name: str, key: str) -> None:
        """Take in what a name of these jobs means now; a name without an id is no news."""
        same = self._names[name]
        if key != same.means and is_channel_id(key):
            same.means, same.scattered = key, True

    def meaning(self, name: str) -> str:
        """Return the queue that a name means now; "" if no job has it."""
        return self._names[name].means if name in self._names else ""

    def astray(self, name: str) -> list[str]:
        """Return the queues that the jobs of a name have to leave now; none while they may not."""
        same = self._names.get(name)
        if same is None or not same.scattered or not all(map(self._may_move, same.jobs)):
            return []
        same.scattered = False
        return list(
            dict.fromkeys(one.queue_key for one in same.jobs if one.queue_key != same.means)
        )

    def settle(self, job: Job) -> None:
        """Go on without this job."""
        same = self._names.get(job.name)
        if same is not None:
            same.jobs.pop(job, None)
            if not same.jobs:
                del self._names[job.name]

    def clear(self) -> None:
        """Forget every job."""
        self._names.clear()
