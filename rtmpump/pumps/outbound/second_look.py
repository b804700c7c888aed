"""A second look at a channel's name, where Slack refused the id that the directory gave for it.

A name can change without an event. If Slack knows no such channel any more, another one may have
the name by now. Slack surely posted nothing then, so the message may go there.

`Dispatcher` moves the jobs; here is when a second look may help, and what waits for one.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from rtmpump.core.outbound.job import Job, Stage
from rtmpump.core.outbound.mailbox import NameChecked
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.pumps.outbound.way import ChannelIds, DispatchListener

PATIENCE: Final = 60.0
"""How long to wait for the directory, in seconds: the refusal is an end as it is."""
# Code 4 is all that RTM says of a channel.
_REFUSED: Final = ("slack_channel_not_found", "slack_is_archived", "slack_4")


class SecondLook:
    """The jobs that wait for one, each with the end that it has if that brings nothing."""

    def __init__(self, channel_ids: ChannelIds, listener: DispatchListener) -> None:
        self._channel_ids = channel_ids
        self._listener = listener
        self._ends: dict[Job, Outcome] = {}

    def may_help(self, job: Job, outcome: Outcome) -> bool:
        """Return whether another channel may have the name by now, and nothing was sent yet."""
        is_first = not (job.looked_again or job.uncertain)
        # Slack itself looks up the name in a call.
        return is_first and outcome.code in _REFUSED and bool(job.name and job.channel_id)

    def begin(self, job: Job, outcome: Outcome) -> NameChecked | None:
        """Ask the directory anew; return the answer if it is known, else it comes as a note."""
        job.looked_again, job.stage = True, Stage.LOOKING
        self._ends[job] = outcome
        asked = partial(self._answered, job)
        id = self._channel_ids.lookup(job.name, asked, not_id=job.channel_id)
        return None if id is None else NameChecked(job, id)

    def holds(self, name: str) -> bool:
        """Return whether a job of this name waits for one; then all of the name wait for it."""
        return any(job.name == name for job in self._ends)

    def lets_move(self, job: Job) -> bool:
        """Return whether a job may change its queue: nothing is awaited for it, nor in doubt."""
        return job.stage is Stage.WAITING and not job.uncertain

    def __contains__(self, job: Job) -> bool:
        """Return whether a job waits for one."""
        return job in self._ends

    def end(self, job: Job) -> Outcome | None:
        """Return the end of a job that waits for a second look no longer; None if it did not."""
        if job.stage is Stage.LOOKING:
            job.stage = Stage.WAITING
        return self._ends.pop(job, None)

    def clear(self) -> None:
        """Forget every job; each may have its second look when it comes again."""
        for job in self._ends:
            job.looked_again, job.stage = False, Stage.WAITING
        self._ends.clear()

    def _answered(self, job: Job, id: str | None, _why: str) -> None:
        """Bring the answer to the sender's thread. On the thread of the directory."""
        self._listener.notify(NameChecked(job, id))
