"""Commands that are carried out as calls of the Web API: order, rate, the answer or its absence.

Laws:

- Inside a lane order is kept: one call under way at a time. ChannelQueues never wait for others.
- A call that was surely not carried out is made again: after the time that Slack named, or with
  the backoff of `[retry]`. One that never reached Slack is no attempt; it waits as a message waits
  for the WebSocket.
- Where nobody knows what Slack did, `outbound.on_uncertain` decides.
- The WebSocket is not needed for any of it: in Socket Mode messages go this way too.

What must not live here: how a call is made (`web_api_workers`), who is told of its end and how.
All of it belongs to one thread; answers come by `answered`. Times in seconds of `time.monotonic`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.outbound import commands
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.outbound.channel_queues import ChannelQueues
from rtmpump.core.outbound.commands import Api, Message
from rtmpump.core.outbound.deadlines import Deadlines
from rtmpump.core.outbound.job import Job, Stage
from rtmpump.core.outbound.mailbox import Called
from rtmpump.core.outbound.outcome import Outcome, bounded
from rtmpump.core.rate_limit import RateLimit

Submit = Callable[[str, Mapping[str, str], Callable[[CallAnswer], None]], float]

_log = log.get("sender")


class Caller:
    """The calls that are under way; `settled` hears once of the end of each.

    `submit` is that of WebApiWorkers; its answers go to `tell`, from a thread of theirs.
    """

    def __init__(
        self,
        config: Config,
        *,
        submit: Submit,
        tell: Callable[[Called], None],
        settled: Callable[[Job, Outcome], None],
    ) -> None:
        self._retry = config.retry
        self._outbound = config.outbound
        self._submit = submit
        self._tell = tell
        self._settled = settled
        self._expiring: Deadlines[Job] = Deadlines()
        self._lanes: ChannelQueues[Job] = ChannelQueues(
            RateLimit(self._outbound.rate, self._outbound.burst)
        )

    def watch_expiry(self, job: Job) -> None:
        """End the job when it expires before it could be called."""
        if job.expires_at is not None and job.tag is not None:
            self._expiring.forget(job.tag)
            self._expiring.add(job.tag, job, job.expires_at)

    def place(self, job: Job, lane: str) -> None:
        """Call after those of its lane."""
        job.lane = lane
        if isinstance(job.command, Message):
            job.channel_id = lane
        self._lanes.add(lane, job, time.monotonic())

    def put_back(self, job: Job) -> None:
        """Go on with a job whose call was under way when the broker went away."""
        self._lanes.add_sent(job.lane, job)

    def leave_all(self) -> None:
        """The broker is away: what was not called comes again, what was has its answer due."""
        self._expiring = Deadlines()
        self._lanes.clear()

    def go_on(self, *, writes: bool) -> float | None:
        """Do all that is due; gives the time at which the next thing is. `writes`: call too."""
        now = time.monotonic()
        for _, job in self._expiring.expired(now):
            if job.stage is Stage.WAITING:
                self._fail_late(job)
        if writes:
            for _, job in self._lanes.due(now):
                self._call(job)
        times = (self._expiring.next_deadline(), self._lanes.next_at() if writes else None)
        return min((at for at in times if at is not None), default=None)

    def answered(self, called: Called) -> None:
        """Slack answered, or surely never will."""
        job, answer = called
        if job.stage is not Stage.WRITTEN:
            return
        if not answer.made:
            job.attempts -= 1
        if answer.response is not None:
            self._settle(job, _success(job, answer.response))
        elif not answer.again:
            self._fail(job, f"slack_{answer.code}", answer.detail)
        elif answer.certain:
            self._not_done(job, answer)
        else:
            self._unanswered(job, answer)

    def _call(self, job: Job) -> None:
        """Make one call; its lane is ours until the job is settled or must go again."""
        now = time.monotonic()
        call = _call_of(job)
        if job.stage is Stage.WRITTEN or call is None:
            return
        if job.is_late(now):
            self._fail_late(job)
            return
        # Before the call, for the answer may be faster.
        job.stage = Stage.WRITTEN
        job.attempts += 1
        wait = self._submit(
            call.method,
            call.arguments,
            lambda answer: self._tell(Called(job, answer)),
        )
        if wait:
            job.stage = Stage.WAITING
            job.attempts -= 1
            self._lanes.again(job.lane, job, now + wait)

    def _not_done(self, job: Job, answer: CallAnswer) -> None:
        """Slack did nothing for certain."""
        if job.attempts >= self._outbound.max_attempts:
            self._fail(job, "max_attempts", f"{job.attempts} attempts: {_why(answer)}")
        else:
            self._again(job, answer)

    def _unanswered(self, job: Job, answer: CallAnswer) -> None:
        job.uncertain = True
        code = "timeout" if answer.code == "timeout" else "uncertain"
        if self._outbound.on_uncertain == "dead-letter":
            self._fail(job, code, f"{_why(answer)}; nobody knows whether Slack did it")
        elif job.attempts >= self._outbound.max_attempts:
            last = "timeout" if code == "timeout" else "max_attempts"
            self._fail(job, last, f"{_why(answer)}, after {job.attempts} attempts")
        else:
            self._again(job, answer)

    def _again(self, job: Job, answer: CallAnswer) -> None:
        job.stage = Stage.WAITING
        job.failures += 1
        # Thirty doublings are more than any wait; a float ends at a thousand.
        backoff = self._retry.initial * 2 ** min(job.failures - 1, 30)
        wait = max(min(backoff, self._retry.max), answer.retry_after or 0.0)
        _log.warning("call.again", reason=answer.code, detail=answer.detail, wait=wait)
        if job.tag is not None:
            self.watch_expiry(job)
            self._lanes.again(job.lane, job, time.monotonic() + wait)

    def _fail_late(self, job: Job) -> None:
        self._fail(job, "timeout", "its expiration passed before it could be sent")

    def _fail(self, job: Job, code: str, message: str) -> None:
        call = _call_of(job)
        method = call.method if call is not None else ""
        _log.warning("command.failed", type=job.kind, method=method, code=code)
        self._settle(job, Outcome(False, "", code, message))

    def _settle(self, job: Job, outcome: Outcome) -> None:
        job.stage, job.outcome = Stage.SETTLED, outcome
        if job.tag is not None:
            self._expiring.forget(job.tag)
        self._lanes.settle(job.lane, job, time.monotonic())
        self._settled(job, outcome)


def _call_of(job: Job) -> Api | None:
    """The call that carries it out."""
    if isinstance(job.command, Message):
        return commands.post(job.command, job.channel_id)
    return job.command if isinstance(job.command, Api) else None


def _success(job: Job, response: dict[str, Any]) -> Outcome:
    """What Slack said yes to; of a message its `ts` alone, as over RTM."""
    if isinstance(job.command, Message):
        ts = response.get("ts")
        return Outcome(True, ts if isinstance(ts, str) else "")
    return Outcome(True, response=bounded(response))


def _why(answer: CallAnswer) -> str:
    return f"{answer.code} ({answer.detail})" if answer.detail else answer.code
