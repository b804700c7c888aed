"""Messages that were written to Slack, until each has its reply or nobody waits for it any more.

Laws:

- An id stays known until its job is settled or forgotten, also after its deadline: a late reply to
  an earlier attempt settles the job.
- When the WebSocket ends, what waits for a reply becomes uncertain. It is given out for a decision
  `late_reply` seconds after the next hello, since the first frames then may bring the reply.
- An attempt is given out once, and only if it is the last of its job and still waits.
"""

from __future__ import annotations

from rtmpump.core.outbound.deadlines import Deadlines
from rtmpump.core.outbound.job import Job, Stage


class ReplyTracker:
    """Written ids and their jobs; times in seconds of the caller's clock.

    One thread owns it; `in` may be asked by any.
    """

    def __init__(self, late_reply: float) -> None:
        self._late_reply = late_reply
        self._jobs: dict[int, Job] = {}
        self._deadlines: Deadlines[Job] = Deadlines()
        self._unsure: list[tuple[int, Job]] = []
        self._decide_at: float | None = None

    def __contains__(self, id: int) -> bool:
        return id in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def expect(self, id: int, job: Job) -> None:
        """The job will be written with this id: before the write, for the reply may be faster."""
        job.ids.append(id)
        self._jobs[id] = job

    def unwritten(self, id: int) -> None:
        """It was not written after all."""
        self._jobs.pop(id).ids.remove(id)

    def wrote(self, id: int, deadline: float) -> None:
        """It was written, perhaps; its reply is due."""
        job = self._jobs[id]
        job.stage = Stage.WRITTEN
        self._deadlines.add(id, job, deadline)

    def job(self, id: int) -> Job | None:
        """Give the job that was written with this id."""
        return self._jobs.get(id)

    def wait_no_more(self, job: Job) -> None:
        """It goes again: its last attempt has no deadline any more."""
        self._deadlines.forget(job.ids[-1])

    def forget(self, job: Job) -> None:
        """No reply to any attempt means anything any more."""
        for id in job.ids:
            self._jobs.pop(id, None)
            self._deadlines.forget(id)

    def link_down(self) -> None:
        """The WebSocket ended."""
        self._decide_at = None
        self._unsure.extend(self._deadlines.take_all())

    def decide_soon(self, now: float) -> None:
        """The late replies come now or never: a hello was said, or there will be none."""
        self._decide_at = now + self._late_reply if self._unsure else None

    def unanswered(self, now: float) -> list[Job]:
        """Take out those whose reply didn't come in time though the link is up."""
        return [job for id, job in self._deadlines.expired(now) if _waits(id, job)]

    def undecided(self, now: float) -> list[Job]:
        """Take out those about which it is time to decide."""
        if self._decide_at is None or now < self._decide_at:
            return []
        self._decide_at = None
        unsure, self._unsure = self._unsure, []
        return [job for id, job in unsure if _waits(id, job)]

    def next_at(self) -> float | None:
        """Give the time at which one of the two above may have something."""
        times = (self._deadlines.next_deadline(), self._decide_at)
        return min((at for at in times if at is not None), default=None)


def _waits(id: int, job: Job) -> bool:
    return job.stage is Stage.WRITTEN and job.ids[-1] == id
