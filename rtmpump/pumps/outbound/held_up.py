"""What the commands in the pump wait for, and since when, for those who watch it.

Laws:

- A channel's commands wait since the channel last moved, not since the last attempt: an attempt
  that fails is no progress.
- It looks once a second, on the sender's thread, at the head of each queue and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.core.outbound.channel_queues import ChannelQueues
from rtmpump.core.outbound.job import Job, Part
from rtmpump.core.outbound.name_resolution import NameResolution
from rtmpump.core.outbound.throttles import SLACK_AWAY, WEB_API, Throttles
from rtmpump.core.standstill import RATE_LIMIT, SLACK_PAUSE, Halt, oldest
from rtmpump.pumps.outbound.second_look import SecondLook

_CHANNEL_LIST: Final = "channel_list"
_OF_TROUBLE: Final = {
    Trouble.LIMITED: SLACK_PAUSE,
    Trouble.AWAY: SLACK_AWAY,
    Trouble.TOKEN: WEB_API,
    Trouble.UNREACHABLE: WEB_API,
}


class HeldUp:
    """Looks at the parts of one dispatcher."""

    def __init__(
        self,
        names: NameResolution[Job],
        queues: ChannelQueues[Job],
        throttles: Throttles,
        second_look: SecondLook,
    ) -> None:
        self._names = names
        self._queues = queues
        self._throttles = throttles
        self._second_look = second_look

    def halts(self, now: float) -> tuple[Halt, ...]:
        """Return what commands on their way to Slack wait for."""
        return oldest(self._all(now))

    def _all(self, now: float) -> Iterator[Halt]:
        since = self._names.oldest()
        if since is not None:
            yield Halt(_CHANNEL_LIST, since, "", len(self._names))
        for job, since, waiting in self._queues.heads(now):
            yield Halt(self._why(job, now), since, job.throttle, waiting)

    def _why(self, job: Job, now: float) -> str:
        if job.was_written:
            return "no_answer"
        if job in self._second_look:
            return _CHANNEL_LIST
        if why := self._throttles.why(job.throttle, now):
            return why
        if job.trouble is not None:
            return _OF_TROUBLE[job.trouble]
        return "slack_error" if job.failures else RATE_LIMIT


def unreported(jobs: Iterable[Job]) -> Iterator[Halt]:
    """Give the commands that are done, and that RabbitMQ has not let go: one `Halt` for each.

    A result that its queue refuses, or that no queue takes, is not ours to wait for.
    """
    for job in jobs:
        outcome, report = job.outcome, job.report
        if job.settled_at is None or outcome is None:
            continue
        if not (outcome.ok or Part.LETTER in report.done):
            reason = "dead_queue" if report.refused else "no_confirm"
            yield Halt(reason, job.settled_at, "", 1)
        elif report.retry_until is None:
            yield Halt("no_confirm", job.settled_at, "", 1)
