"""Commands that give their channel by name: those of one name keep their order, wherever it moves.

A name can mean another channel from one command to the next. Then those that wait for the old one
have to go to the new one too, before the younger ones, for they were meant for the name.

Laws:

- What a name means is what the directory answered last, also for a command that came before.
- A job is placed in the queue where the job of its name before it stands.
- All of a name move together, and only while none of them is under way or in doubt: until it is
  known how that one ended, nothing may overtake it.
"""

from __future__ import annotations

from collections.abc import Callable

from rtmpump.core.outbound.job import Job


class _Namesakes:
    """The jobs of one name in the order in which they came, each with whether it has its queue.

    `means` is the queue that the name means by now ("" as long as that is not known), `stands` the
    queue of those that have one. `scattered` says that some may have to move.
    """

    __slots__ = ("jobs", "means", "placed", "scattered", "stands")

    def __init__(self) -> None:
        self.jobs: dict[Job, bool] = {}
        self.means = self.stands = ""
        self.placed = 0
        self.scattered = False


class NamedJobs:
    """The jobs that gave a name, until their end; `may_move` says which may change their queue.

    Jobs without a name are let through.
    """

    def __init__(self, may_move: Callable[[Job], bool]) -> None:
        self._may_move = may_move
        self._names: dict[str, _Namesakes] = {}

    def arrive(self, job: Job) -> None:
        """Take in a job that is new, or came again."""
        if job.name:
            self._names.setdefault(job.name, _Namesakes()).jobs[job] = False

    def arrive_sent(self, job: Job) -> None:
        """Take in a job that is under way in its queue, and so came before all others."""
        if job.name:
            same = self._names.setdefault(job.name, _Namesakes())
            same.jobs = {job: True, **same.jobs}
            same.placed += 1
            same.stands = same.stands or job.queue_key
            same.scattered = True

    def learn(self, name: str, key: str) -> None:
        """Take in what a name means from now on."""
        same = self._names.get(name)
        if same is not None and key != same.means:
            same.means, same.scattered = key, True

    def meaning(self, name: str) -> str:
        """Return the queue that a name means, as far as is known; "" if no job of it has one."""
        same = self._names.get(name)
        return "" if same is None else same.means or same.stands

    def place(self, job: Job, key: str) -> str:
        """Return the queue in which a job has to stand; `key` if its name says nothing of that."""
        same = self._names.get(job.name)
        if same is None:
            return key
        if not same.placed:
            same.stands = same.means or key
        same.placed += not same.jobs.get(job, False)
        same.jobs[job] = True
        return same.stands

    def to_move(self, name: str, *, at_once: bool = False) -> list[Job]:
        """Return the jobs of a name that have to go to the queue that it means now, in order.

        None as long as one may not move; with `at_once` those that may do.
        """
        same = self._names.get(name)
        if same is None or not same.means or not same.scattered:
            return []
        if not at_once and not all(map(self._may_move, same.jobs)):
            return []
        wrong = [one for one, has in same.jobs.items() if has and one.queue_key != same.means]
        moves = [one for one in wrong if self._may_move(one)]
        same.stands, same.scattered = same.means, len(moves) < len(wrong)
        return moves

    def settle(self, job: Job) -> None:
        """Go on without this job."""
        same = self._names.get(job.name)
        if same is not None and job in same.jobs:
            same.placed -= same.jobs.pop(job)
            if not same.jobs:
                del self._names[job.name]

    def clear(self) -> None:
        """Forget every job."""
        self._names.clear()
