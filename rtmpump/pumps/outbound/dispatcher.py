"""Commands on their way to Slack: channel, order, rate, expiration, another attempt, the end.

Laws:

- Inside a channel order is kept, whichever way a command takes: one is under way at a time.
  Channels never wait for each other.
- Order begins when a command comes: `NameResolution` keeps it while names are looked up.
- What Slack surely did not do goes again, `outbound.max_attempts` times at most. Where it is not
  known whether Slack did it, `outbound.on_uncertain` decides.
- A job has one deadline at a time: its expiration while it waits, the end of the wait for Slack's
  reply once it was sent.

`rtm_writer` and `api_caller` transmit one command each; what they have in common is here. What must
not live here: where a command comes from, and how its end is reported.

All of it belongs to one thread. Times in seconds of `now`, a clock that never goes back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.frames import Reply
from rtmpump.core.outbound.channel_queues import ChannelQueues
from rtmpump.core.outbound.commands import (
    Api,
    Command,
    channel_name,
    is_channel_id,
    is_message,
    queue_key,
)
from rtmpump.core.outbound.deadlines import Deadlines
from rtmpump.core.outbound.job import Job, Stage
from rtmpump.core.outbound.mailbox import Called, Found, FromSlack, LinkDown, LinkUp
from rtmpump.core.outbound.name_resolution import NameResolution
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.outbound.reply_tracker import ReplyTracker
from rtmpump.core.rate_limit import RateLimit
from rtmpump.core.session import MessageIds
from rtmpump.pumps.outbound.api_caller import ApiCaller
from rtmpump.pumps.outbound.rtm_writer import RtmWriter
from rtmpump.pumps.outbound.way import ChannelIds, Failed, Listener, NotNow, Slack, Verdict, Way

# After a reconnect the first frames may answer the last message of the connection before.
_LATE_REPLY: Final = 1.0
# A list of channels takes a second or two; a directory that Slack doesn't answer must stop nobody.
_NAMES_COME: Final = 5.0
# Thirty doublings are more than any wait; a float ends at a thousand.
_DOUBLINGS_MAX: Final = 30

_log = log.get("sender")


class Dispatcher:
    """The commands that are under way; the listener hears once of the end of each."""

    def __init__(
        self,
        config: Config,
        slack: Slack,
        channel_ids: ChannelIds,
        message_ids: MessageIds,
        listener: Listener,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbound = config.outbound
        self._retry = config.retry
        self._is_socket_mode = config.slack.mode == "socket"
        self._channel_ids = channel_ids
        self._listener = listener
        self._now = now
        self._names: NameResolution[Job] = NameResolution(_NAMES_COME, config.outbound.prefetch)
        self._deadlines: Deadlines[Job] = Deadlines()
        self._queues: ChannelQueues[Job] = ChannelQueues(
            RateLimit(config.outbound.rate, config.outbound.burst)
        )
        self._replies = ReplyTracker()
        self._rtm = RtmWriter(config.outbound, slack, message_ids, self._replies, now)
        self._api = ApiCaller(slack, listener)
        self._ways: dict[str, Way] = {way.gate: way for way in (self._rtm, self._api)}
        self._queues.close(self._rtm.gate)

    def awaits(self, reply: Reply) -> bool:
        """Return whether a job waits for this reply. From any thread."""
        return reply.reply_to in self._replies

    def take(self, job: Job, command: Command) -> None:
        """Bring a new command to Slack, in its turn."""
        job.command = command
        is_call = isinstance(command, Api)
        job.gate = (self._api if is_call or self._is_socket_mode else self._rtm).gate
        job.costs, key = is_message(command), queue_key(command)
        self._watch_expiration(job)
        now = self._now()
        if is_channel_id(key):
            self._place_in_turn(job, key, now)
        elif is_call or not key:
            self._place(job, key, now)
        elif self._names.add_unknown(job, name := channel_name(key), now):
            self._look_up(name)

    def take_back(self, job: Job) -> None:
        """Go on with a job that waited or was sent when the broker went away."""
        if job.stage is Stage.WRITTEN:
            self._queues.add_sent(job.queue_key, job)
        else:
            self._watch_expiration(job)
            self._place_in_turn(job, job.queue_key, self._now())

    def reject(self, job: Job, code: str, message: str) -> None:
        """End a job that can't be sent."""
        _log.warning("command.failed", type=job.kind, code=code)
        self._settle(job, Outcome(False, "", code, message))

    def handle(self, note: FromSlack) -> None:
        """Take in what another thread has of Slack."""
        match note:
            case Reply():
                if (read := self._rtm.read(note)) is not None:
                    self._conclude(*read)
            case Called(job, _):
                if (verdict := self._api.read(note)) is not None:
                    self._conclude(job, verdict)
            case Found():
                self._found(note)
            case LinkUp(connection):
                self._rtm.link_up(connection)
                self._queues.open(self._rtm.gate)
                self.decide_soon()
            case LinkDown():
                self._rtm.link_down()
                self._queues.close(self._rtm.gate)
                for job in self._replies.link_down():
                    self._deadlines.drop(job)

    def finish(self) -> None:
        """Wait for no hello any more: what the WebSocket left uncertain is decided soon."""
        if not self._rtm.is_open:
            self.decide_soon()

    def go_on(self, *, sends: bool) -> float:
        """Do all that is due; return the time at which the next thing is. `sends`: send too."""
        now = self._now()
        if self._names.line:
            for job, key in self._names.release(now):
                self._place(job, key, now)
        for job in self._deadlines.passed(now):
            self._deadline_passed(job)
        if sends:
            for job in self._queues.due(now):
                self._transmit(job)
        next_send = self._queues.next_at() if sends else math.inf
        next_name = self._names.next_at() if self._names.line else math.inf
        return min(next_send, next_name, self._deadlines.next_at())

    def forget(self, job: Job) -> None:
        """Expect nothing for this job any more: it never comes back from the broker."""
        self._deadlines.drop(job)
        self._replies.forget(job)

    def leave_all(self, jobs: Iterable[Job]) -> None:
        """Let go of all jobs, these, for the broker went away.

        What was not sent comes again; what was sent still has its reply due, and may end.
        """
        for job in jobs:
            if job.stage is not Stage.WRITTEN:
                self._deadlines.drop(job)
        self._names.clear()
        self._queues.clear()

    # The channel's id.

    def _look_up(self, name: str) -> None:
        id = self._channel_ids.lookup(name, partial(self._looked_up, name))
        if id is not None:
            self._found(Found(name, id, ""))

    def _looked_up(self, name: str, id: str | None, why: str) -> None:
        """Bring the answer to the sender's thread. On the thread of the directory."""
        self._listener.tell(Found(name, id, why))

    def _found(self, found: Found) -> None:
        if found.channel_id is not None:
            for job, key in self._names.found(found.name, found.channel_id):
                self._place(job, key, self._now())
            return
        first, more = self._names.not_found(found.name)
        if first is not None:
            self.reject(first, "channel_not_found", found.why)
        if more:
            # They came later, and may be luckier: they are owed a question of their own.
            self._look_up(found.name)

    def _place_in_turn(self, job: Job, key: str, now: float) -> None:
        """Place it after all that came before and may be for the same channel."""
        if self._names.line:
            self._names.add(job, key, now)
        else:
            self._place(job, key, now)

    def _place(self, job: Job, key: str, now: float) -> None:
        """Send it after those of its channel; all of presence is one channel, ""."""
        job.queue_key = key
        if not isinstance(job.command, Api):
            job.channel_id = key
        self._queues.add(key, job, now)

    # One attempt.

    def _transmit(self, job: Job) -> None:
        """Send it now; its queue is ours until the job is settled or must go again."""
        now = self._now()
        if job.stage is Stage.WRITTEN or job.command is None:
            return
        if job.is_late(now):
            self._fail_late(job)
            return
        way = self._ways[job.gate]
        answer = way.transmit(job, job.command)
        if not way.is_open:
            self._queues.close(way.gate)
        if isinstance(answer, NotNow):
            self._queues.again(job.queue_key, job, now + answer.wait)
        elif answer is not None:
            self._conclude(job, answer)
        else:
            job.stage = Stage.WRITTEN
            self._await_answer(job, way)

    def _await_answer(self, job: Job, way: Way) -> None:
        if way.reply_timeout is None:
            self._deadlines.drop(job)
        else:
            self._deadlines.set(job, self._now() + way.reply_timeout)

    def _deadline_passed(self, job: Job) -> None:
        if job.stage is Stage.WAITING:
            self._fail_late(job)
        elif (verdict := self._ways[job.gate].unanswered(job)) is not None:
            self._conclude(job, verdict)

    def _conclude(self, job: Job, verdict: Verdict) -> None:
        """Settle the job, or send it again."""
        if isinstance(verdict, Failed):
            job.uncertain = job.uncertain or not verdict.certain
            end = self._end_of(job, verdict)
            if end is None:
                self._send_again(job, verdict)
            else:
                self._fail(job, end)
        elif verdict.ok:
            self._settle(job, verdict)
        else:
            self._fail(job, verdict)

    def _end_of(self, job: Job, failed: Failed) -> Outcome | None:
        """Return the end of a job whose attempt failed; None if it goes again."""
        timed_out = not failed.certain and failed.code == "timeout"
        if not failed.certain and self._outbound.on_uncertain == "dead-letter":
            code = "timeout" if timed_out else "uncertain"
            return Outcome(False, "", code, f"{failed.why}; it is not known whether Slack took it")
        if job.attempts >= self._outbound.max_attempts:
            code = "timeout" if timed_out else "max_attempts"
            return Outcome(False, "", code, f"{job.attempts} attempts: {failed.why}")
        return None

    def _send_again(self, job: Job, failed: Failed) -> None:
        """Send it once more; a late reply to an earlier attempt still settles it."""
        job.stage = Stage.WAITING
        job.failures += 1
        wait = failed.wait
        if failed.backs_off:
            doublings = min(job.failures - 1, _DOUBLINGS_MAX)
            wait = max(wait, min(self._retry.initial * 2**doublings, self._retry.max))
        self._ways[job.gate].log_again(job, failed, wait)
        self._deadlines.drop(job)
        if job.tag is not None:
            self._watch_expiration(job)
            self._queues.again(job.queue_key, job, self._now() + wait)

    def _watch_expiration(self, job: Job) -> None:
        if job.expires_at is not None:
            self._deadlines.set(job, job.expires_at)

    def decide_soon(self) -> None:
        """Decide about the unsure in a moment: late replies come now or never."""
        for job in self._replies.unsure:
            self._deadlines.set(job, self._now() + _LATE_REPLY)

    # The end.

    def _fail_late(self, job: Job) -> None:
        message = "its expiration passed before it could be sent"
        self._fail(job, Outcome(False, "", "timeout", message))

    def _fail(self, job: Job, outcome: Outcome) -> None:
        fields: dict[str, Any] = self._ways[job.gate].log_fields(job)
        _log.warning("command.failed", type=job.kind, code=outcome.code, **fields)
        self._settle(job, outcome)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        job.stage, job.outcome = Stage.SETTLED, outcome
        self._deadlines.drop(job)
        self._replies.forget(job)
        self._queues.settle(job.queue_key, job, self._now())
        self._listener.ended(job, outcome)
