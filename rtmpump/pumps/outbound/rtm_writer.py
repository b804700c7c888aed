"""Commands to Slack: order, rate, one frame each, and Slack's reply or its absence.

Laws:

- Inside a channel order is kept: one message under way at a time. Channels never wait for others.
- When the WebSocket dies between write and reply nobody knows what Slack did: the job waits a
  short while for a late reply on the next connection, then `outbound.on_uncertain` decides.
- What is never answered (typing, presence) can be sent twice without harm, so it is sent again
  when its write broke.

What must not live here: where a command came from, who is told of its end and how.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.frames import Reply
from rtmpump.core.outbound import commands
from rtmpump.core.outbound.channel_queues import ChannelQueues
from rtmpump.core.outbound.deadlines import Deadlines
from rtmpump.core.outbound.job import Job, Stage
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.outbound.reply_tracker import ReplyTracker
from rtmpump.core.rate_limit import RateLimit
from rtmpump.core.session import MessageIds
from rtmpump.errors import CommandRejected, NotConnected, WriteFailed

# After a reconnect the first frames may answer the last message of the connection before.
_LATE_REPLY: Final = 1.0
# Slack asks for a typing indicator at most every three seconds; it shows for about five.
_TYPING_EVERY: Final = 3.0
_SLOW_DOWN: Final = "-1"

_log = log.get("sender")

Send = Callable[[bytes, int], None]


class Writer:
    """The commands that are under way; `settled` hears once of the end of each.

    All of it belongs to one thread, but for `awaits`. Times in seconds of `time.monotonic`.
    """

    def __init__(
        self,
        config: Config,
        *,
        send: Send,
        ids: MessageIds,
        settled: Callable[[Job, Outcome], None],
    ) -> None:
        self._retry = config.retry
        self._outbound = config.outbound
        self._send = send
        self._ids = ids
        self._settled = settled
        self._connection: int | None = None
        self._awaited = ReplyTracker(_LATE_REPLY)
        self._expiring: Deadlines[Job] = Deadlines()
        self._lanes: ChannelQueues[Job] = ChannelQueues(
            RateLimit(self._outbound.rate, self._outbound.burst)
        )
        self._typed_at: dict[tuple[str, str | None], float] = {}

    def awaits(self, id: int) -> bool:
        """Whether a reply to this id means anything. From any thread."""
        return id in self._awaited

    def watch_expiry(self, job: Job) -> None:
        """End the job when it expires before it could be sent."""
        if job.expires_at is not None and job.tag is not None:
            self._expiring.forget(job.tag)
            self._expiring.add(job.tag, job, job.expires_at)

    def place(self, job: Job, channel_id: str) -> None:
        """Send it after those of its channel; all of presence is one channel, ""."""
        job.channel_id = job.lane = channel_id
        self._lanes.add(job.lane, job, time.monotonic())

    def put_back(self, job: Job) -> None:
        """Go on with a job that was written when the broker went away."""
        self._lanes.add_sent(job.lane, job)

    def fail(self, job: Job, code: str, message: str) -> None:
        """End it with an error."""
        _log.warning("command.failed", type=job.kind, code=code)
        self._settle(job, Outcome(False, "", code, message))

    def forget(self, job: Job) -> None:
        """It never comes back from the broker."""
        self._awaited.forget(job)

    def leave_all(self) -> None:
        """The broker is away: what is not written comes again, what is written has its reply due.

        What the rate limit granted stays counted.
        """
        self._expiring = Deadlines()
        self._lanes.clear()

    def link_up(self, connection: int) -> None:
        """Slack said hello."""
        self._connection = connection
        self.decide_soon()

    def link_down(self) -> None:
        """What waits for a reply is uncertain from now on, until a late reply or a decision."""
        self._connection = None
        self._awaited.link_down()

    def decide_soon(self) -> None:
        """Late replies come now or never."""
        self._awaited.decide_soon(time.monotonic())

    @property
    def is_connected(self) -> bool:
        """Whether commands can be written as far as is known."""
        return self._connection is not None

    def reply(self, reply: Reply) -> None:
        """Slack answered."""
        job = self._awaited.job(reply.reply_to)
        if job is None:
            return
        if reply.ok:
            self._succeed(job, reply.ts)
        elif job.stage is Stage.WRITTEN and reply.reply_to == job.ids[-1]:
            self._refused(job, reply)

    def go_on(self, *, writes: bool) -> float | None:
        """Do all that is due; gives the time at which the next thing is. `writes`: send too."""
        now = time.monotonic()
        for _, job in self._expiring.expired(now):
            if job.stage is Stage.WAITING:
                self._fail_late(job)
        for job in self._awaited.unanswered(now):
            seconds = self._outbound.reply_timeout
            self._unanswered(job, "timeout", f"no reply from Slack within {seconds:g} s")
        for job in self._awaited.undecided(now):
            self._unanswered(job, "uncertain", "the connection ended before Slack's reply")
        if writes:
            self._write_due(now)
        times = [self._awaited.next_at(), self._expiring.next_deadline()]
        if writes and self._connection is not None:
            times.append(self._lanes.next_at())
        return min((at for at in times if at is not None), default=None)

    def _write_due(self, now: float) -> None:
        if self._connection is None:
            return
        for _, job in self._lanes.due(now):
            self._write(job, self._connection)
            if self._connection is None:
                return

    def _write(self, job: Job, connection: int) -> None:
        """Write one frame; its lane is ours until the job is settled or must go again."""
        now = time.monotonic()
        if job.stage is Stage.WRITTEN or job.command is None:
            return
        if job.is_late(now):
            self._fail_late(job)
        elif self._still_shows(job, now):
            job.attempts += 1
            self._succeed(job, "")
        else:
            self._write_frame(job, job.command, connection)

    def _write_frame(self, job: Job, command: commands.Command, connection: int) -> None:
        id = self._ids.next()
        try:
            frame = commands.encode(command, id=id, channel_id=job.channel_id)
        except CommandRejected as rejected:
            self.fail(job, rejected.code, rejected.message)
            return
        if command.awaits_reply:
            self._awaited.expect(id, job)
        try:
            self._send(frame, connection)
        except NotConnected:
            self._connection = None
            if command.awaits_reply:
                self._awaited.unwritten(id)
            self._lanes.again(job.lane, job, time.monotonic())
        except WriteFailed:
            # The reader will find the connection ended, and the job is uncertain from then on.
            self._connection = None
            self._wrote(job, command, id, whole=False)
        else:
            self._wrote(job, command, id, whole=True)

    def _wrote(self, job: Job, command: commands.Command, id: int, *, whole: bool) -> None:
        job.attempts += 1
        now = time.monotonic()
        if command.awaits_reply:
            self._awaited.wrote(id, now + self._outbound.reply_timeout)
        elif whole:
            if isinstance(command, commands.Typing):
                self._typed_at[job.channel_id, command.thread_ts] = now
            self._succeed(job, "")
        elif job.attempts >= self._outbound.max_attempts:
            self.fail(job, "max_attempts", f"{job.attempts} attempts: each write failed")
        else:
            self._lanes.again(job.lane, job, now)

    def _still_shows(self, job: Job, now: float) -> bool:
        """Whether it is an indicator like one that Slack was just given."""
        if not isinstance(job.command, commands.Typing):
            return False
        fresh = now - _TYPING_EVERY
        if len(self._typed_at) > self._outbound.prefetch:
            self._typed_at = {key: at for key, at in self._typed_at.items() if at > fresh}
        return self._typed_at.get((job.channel_id, job.command.thread_ts), fresh) > fresh

    def _refused(self, job: Job, reply: Reply) -> None:
        code = "unknown" if reply.error_code in (None, "") else str(reply.error_code)
        if code != _SLOW_DOWN:
            self.fail(job, f"slack_{code}", reply.error_msg)
        elif job.attempts >= self._outbound.max_attempts:
            self.fail(job, "max_attempts", f"{job.attempts} attempts: {reply.error_msg}")
        else:
            policy = self._retry
            # Thirty doublings are more than any wait; a float ends at a thousand.
            wait = min(policy.initial * 2 ** min(job.attempts - 1, 30), policy.max)
            _log.warning("slack.slow_down", channel=job.channel_id, wait=wait)
            self._again(job, time.monotonic() + wait)

    def _unanswered(self, job: Job, code: str, what: str) -> None:
        """No reply came and nobody knows whether Slack took it."""
        job.uncertain = True
        if self._outbound.on_uncertain == "dead-letter":
            self.fail(job, code, f"{what}; nobody knows whether Slack took it")
        elif job.attempts >= self._outbound.max_attempts:
            last = "timeout" if code == "timeout" else "max_attempts"
            self.fail(job, last, f"{what}, after {job.attempts} attempts")
        else:
            self._again(job, time.monotonic())

    def _again(self, job: Job, at: float) -> None:
        """Send it once more; a late reply to an earlier attempt still settles it."""
        job.stage = Stage.WAITING
        self._awaited.wait_no_more(job)
        if job.tag is not None:
            self.watch_expiry(job)
            self._lanes.again(job.lane, job, at)

    def _succeed(self, job: Job, ts: str) -> None:
        self._settle(job, Outcome(True, ts))

    def _fail_late(self, job: Job) -> None:
        self.fail(job, "timeout", "its expiration passed before it could be sent")

    def _settle(self, job: Job, outcome: Outcome) -> None:
        job.stage, job.outcome = Stage.SETTLED, outcome
        self._awaited.forget(job)
        if job.tag is not None:
            self._expiring.forget(job.tag)
        self._lanes.settle(job.lane, job, time.monotonic())
        self._settled(job, outcome)
