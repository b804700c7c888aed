"""Messages that were written to Slack, by the ids under which Slack answers them.

Laws:

- An id stays known until its job is settled or forgotten, also after the deadline of its reply: a
  late reply to an earlier attempt settles the job.
- When the WebSocket ends, each job that waits for a reply becomes unsure: the first frames of the
  next connection may still bring the reply. A job that has to go again is unsure no longer.
"""

from __future__ import annotations

from rtmpump.core.outbound.job import Job, Stage


class ReplyTracker:
    """The written ids and their jobs. One thread owns it; `in` may be asked by any."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        # Keys of a dict: they keep their order.
        self._unsure: dict[Job, None] = {}

    def __contains__(self, id: int) -> bool:
        return id in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def unsure(self) -> list[Job]:
        """The jobs whose connection ended before the reply, in the order of their writes."""
        return list(self._unsure)

    def expect(self, id: int, job: Job) -> None:
        """Expect a reply to this id. Call it before the write: the reply may be faster.

        Raises:
            ValueError: a reply to this id is expected already.
        """
        if id in self._jobs:
            raise ValueError(f"a reply to id {id} is expected already")
        job.ids.append(id)
        self._jobs[id] = job

    def unwritten(self, id: int) -> None:
        """Expect no reply to this id: it was not written after all."""
        self._jobs.pop(id).ids.remove(id)

    def job(self, id: int) -> Job | None:
        """Return the job that was written with this id."""
        return self._jobs.get(id)

    def is_unsure(self, job: Job) -> bool:
        """Return whether its connection ended before the reply."""
        return job in self._unsure

    def goes_again(self, job: Job) -> None:
        """Note that the job is to be written again; its earlier ids stay known."""
        self._unsure.pop(job, None)

    def forget(self, job: Job) -> None:
        """Expect no reply to any attempt of this job."""
        for id in job.ids:
            self._jobs.pop(id, None)
        self._unsure.pop(job, None)

    def link_down(self) -> list[Job]:
        """Make all that wait for a reply unsure, for the WebSocket ended; return them."""
        self._unsure = dict.fromkeys(
            job
            for id, job in self._jobs.items()
            if job.stage is Stage.WRITTEN and job.ids[-1] == id
        )
        return self.unsure
