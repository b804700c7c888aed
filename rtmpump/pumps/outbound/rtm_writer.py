"""The way to Slack over RTM: one frame for each command, and Slack's reply to it.

Laws:

- When the WebSocket ends between write and reply, it is not known what Slack did. The first frames
  of the next connection may still bring the reply, so the decision waits for them.
- What is never answered (typing, presence) can be sent twice without harm, so it is sent again when
  its write broke.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rtmpump import log
from rtmpump.config import Outbound
from rtmpump.core.frames import Reply
from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.core.outbound.commands import Command, Typing, encode
from rtmpump.core.outbound.job import Job, Stage
from rtmpump.core.outbound.outcome import Outcome, refused_by_rtm
from rtmpump.core.outbound.reply_tracker import ReplyTracker
from rtmpump.core.session import MessageIds
from rtmpump.errors import CommandRejected, NotConnected, WriteFailed
from rtmpump.pumps.outbound.way import Failed, Held, NotNow, SlackAccess, Verdict, Way

# Slack asks for a typing indicator at most every three seconds; it shows for about five.
_TYPING_EVERY: Final = 3.0
_SLOW_DOWN: Final = "-1"
_LINK_ENDED: Final = Failed(
    "uncertain", "the connection ended before Slack's reply", certain=False, backs_off=False
)
_WRITE_FAILED: Final = Failed("write_failed", "each write failed", backs_off=False)

_log = log.get("sender")


class RtmWriter(Way):
    """Writes commands to the WebSocket."""

    tells_trouble = False

    def __init__(
        self,
        outbound: Outbound,
        slack: SlackAccess,
        ids: MessageIds,
        replies: ReplyTracker,
        now: Callable[[], float],
    ) -> None:
        self.is_open = False
        self.reply_timeout = outbound.reply_timeout
        self._late = Failed(
            "timeout",
            f"no reply from Slack within {outbound.reply_timeout:g} s",
            certain=False,
            backs_off=False,
        )
        self._typed_most = outbound.prefetch
        self._slack = slack
        self._ids = ids
        self._now = now
        self._connection = 0
        self._replies = replies
        self._typed_at: dict[tuple[str, str | None], float] = {}

    def link_up(self, connection: int) -> None:
        """Write to this connection from now on: Slack said hello."""
        self._connection = connection
        self.is_open = True

    def link_down(self) -> None:
        """Write no more: the WebSocket ended."""
        self.is_open = False

    def transmit(self, job: Job, command: Command) -> Verdict | None:
        """Write one frame."""
        if isinstance(command, Typing) and self._still_shows(job.channel_id, command):
            job.attempts += 1
            return Outcome(True)
        id = self._ids.next()
        try:
            frame = encode(command, id=id, channel_id=job.channel_id)
        except CommandRejected as rejected:
            return Outcome(False, "", rejected.code, rejected.message)
        if command.awaits_reply:
            self._replies.expect(id, job)
        try:
            self._slack.send(frame, self._connection)
        except NotConnected:
            self.is_open = False
            if command.awaits_reply:
                self._replies.unwritten(id)
            return NotNow()
        except WriteFailed:
            # The reader will find the connection ended, and the job is unsure from then on.
            self.is_open = False
        job.attempts += 1
        return None if command.awaits_reply else self._written(job.channel_id, command)

    def read(self, reply: Reply) -> tuple[Job, Verdict] | None:
        """Return the job that Slack answered and what became of it; None if it says nothing new."""
        job = self._replies.job(reply.reply_to)
        if job is None:
            return None
        if reply.ok:
            return job, Outcome(True, reply.ts)
        if job.stage is not Stage.WRITTEN or reply.reply_to != job.ids[-1]:
            return None
        code = "unknown" if reply.error_code in (None, "") else str(reply.error_code)
        if code == _SLOW_DOWN:
            return job, Held(Trouble.LIMITED, "slow_down", reply.error_msg)
        return job, refused_by_rtm(code, reply.error_msg)

    def unanswered(self, job: Job) -> Verdict:
        """Return what became of a job to which no reply came in time."""
        return _LINK_ENDED if self._replies.is_unsure(job) else self._late

    def log_again(self, job: Job, failed: Failed | Held, wait: float) -> None:
        """Log that Slack asked us to slow down; the other failures are logged by the reader."""
        if isinstance(failed, Held):
            _log.warning("slack.slow_down", channel=job.channel_id, wait=wait)

    def _written(self, channel_id: str, command: Command) -> Verdict:
        """Return what became of a command that Slack never answers."""
        if not self.is_open:
            return _WRITE_FAILED
        if isinstance(command, Typing):
            self._typed_at[channel_id, command.thread_ts] = self._now()
        return Outcome(True)

    def _still_shows(self, channel_id: str, command: Typing) -> bool:
        """Return whether Slack was given an equal indicator just now."""
        fresh = self._now() - _TYPING_EVERY
        if len(self._typed_at) > self._typed_most:
            self._typed_at = {key: at for key, at in self._typed_at.items() if at > fresh}
        return self._typed_at.get((channel_id, command.thread_ts), fresh) > fresh
