"""Commands on their way to Slack: channel, order, rate, expiration, another attempt, the end.

Laws:

- The order of a channel is kept, whichever way its commands take: one is under way at a time.
  Channels never wait for each other.
- Order begins when a command comes: `NameResolution` keeps it while names are looked up.
- What Slack surely did not do goes again, up to `outbound.max_attempts` attempts. Where it is not
  known whether Slack did it, `outbound.on_uncertain` decides.
- A job has one deadline at a time: its expiration while it waits, the end of the wait for Slack's
  reply after it was sent.

`rtm_writer` and `api_caller` transmit one command; all that they have in common is here. What must
not live here: where a command comes from, and how its end is reported.

One thread owns it. Times are seconds of `now`, a clock that never goes back.
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
    given_name,
    is_channel_id,
    is_message,
    queue_key,
)
from rtmpump.core.outbound.deadlines import Deadlines
from rtmpump.core.outbound.job import Job, Stage
from rtmpump.core.outbound.mailbox import (
    CallAnswered,
    FromSlack,
    LinkDown,
    LinkUp,
    NameAnswered,
    NameChecked,
)
from rtmpump.core.outbound.name_resolution import NameResolution
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.outbound.reply_tracker import ReplyTracker
from rtmpump.core.rate_limit import RateLimit
from rtmpump.core.session import MessageIds
from rtmpump.pumps.outbound.api_caller import ApiCaller
from rtmpump.pumps.outbound.rtm_writer import RtmWriter
from rtmpump.pumps.outbound.second_look import PATIENCE, SecondLook
from rtmpump.pumps.outbound.way import (
    ChannelIds,
    DispatchListener,
    Failed,
    NotNow,
    SlackAccess,
    Verdict,
    Way,
)

# After a reconnect the first frames may answer the last message of the connection before.
_LATE_REPLY: Final = 1.0
# A list of channels takes a second or two. While Slack doesn't answer the directory, commands for
# other channels must not wait longer than this.
_NAMES_COME: Final = 5.0
# Thirty doublings are more than any wait; a float ends at a thousand.
_DOUBLINGS_MAX: Final = 30

_log = log.get("sender")


class Dispatcher:
    """The commands that are under way; the listener is called once for the end of each."""

    def __init__(
        self,
        config: Config,
        slack: SlackAccess,
        channel_ids: ChannelIds,
        message_ids: MessageIds,
        listener: DispatchListener,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbound = config.outbound
        self._retry = config.retry
        self._is_socket_mode = config.slack.mode == "socket"
        self._channel_ids = channel_ids
        self._second_look = SecondLook(channel_ids, listener)
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
        self._ways: dict[str, Way] = {way.name: way for way in (self._rtm, self._api)}
        self._queues.close(self._rtm.name)

    def awaits(self, reply: Reply) -> bool:
        """Return whether the reply is to a frame of ours. From any thread."""
        return reply.reply_to in self._replies

    def take(self, job: Job, command: Command) -> None:
        """Bring a new command to Slack, in its turn."""
        is_call = isinstance(command, Api)
        job.way = (self._api if is_call or self._is_socket_mode else self._rtm).name
        job.costs, key = is_message(command), queue_key(command)
        self._watch_expiration(job)
        now = self._now()
        if is_channel_id(key):
            self._place_in_turn(job, key, now)
        elif is_call or not key:
            self._place(job, key, now)
        elif held := self._second_look.holds(name := channel_name(key)):
            self._place_in_turn(job, held, now)
        elif self._names.add_unknown(job, name, now):
            self._look_up(name)

    def take_back(self, job: Job) -> None:
        """Go on with a job that was here when the connection to the broker ended."""
        if job.stage is Stage.WRITTEN:
            self._queues.add_sent(job.queue_key, job)
        else:
            self._watch_expiration(job)
            self._place_in_turn(job, job.queue_key, self._now())

    def reject(self, job: Job, code: str, message: str) -> None:
        """End a job that can never be sent."""
        _log.warning("command.failed", type=job.kind, code=code)
        self._settle(job, Outcome(False, "", code, message))

    def handle(self, note: FromSlack) -> None:
        """Take in what came from Slack."""
        match note:
            case Reply():
                if (read := self._rtm.read(note)) is not None:
                    self._conclude(*read)
            case CallAnswered(job, _):
                if (verdict := self._api.read(note)) is not None:
                    self._conclude(job, verdict)
            case NameAnswered():
                self._name_answered(note)
            case NameChecked():
                self._name_checked(note)
            case LinkUp(connection):
                self._rtm.link_up(connection)
                self._queues.open(self._rtm.name)
                self._decide_soon()
            case LinkDown():
                self._rtm.link_down()
                self._queues.close(self._rtm.name)
                for job in self._replies.link_down():
                    self._deadlines.drop(job)

    def await_no_hello(self) -> None:
        """Decide soon about what the WebSocket left unsure, also without a new connection."""
        if not self._rtm.is_open:
            self._decide_soon()

    def go_on(self, *, sends: bool) -> float:
        """Do all that is due, and return the time at which the next thing is.

        Without `sends` no attempt is begun.
        """
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
        """Forget a job whose message will not be delivered again."""
        self._deadlines.drop(job)
        self._replies.forget(job)

    def leave_all(self, jobs: Iterable[Job]) -> None:
        """Let go of `jobs`, which are all: the connection to the broker ended.

        What was not sent is delivered again. What was sent still waits for its reply, and may end.
        """
        for job in jobs:
            if job.stage is not Stage.WRITTEN:
                self._deadlines.drop(job)
        self._names.clear()
        self._queues.clear()
        self._second_look.clear()

    # The channel's id.

    def _look_up(self, name: str) -> None:
        id = self._channel_ids.lookup(name, partial(self._looked_up, name))
        if id is not None:
            self._name_answered(NameAnswered(name, id, ""))

    def _looked_up(self, name: str, id: str | None, why: str) -> None:
        """Bring the answer to the sender's thread. On the thread of the directory."""
        self._listener.notify(NameAnswered(name, id, why))

    def _name_answered(self, answer: NameAnswered) -> None:
        if answer.channel_id is not None:
            for job, key in self._names.found(answer.name, answer.channel_id):
                self._place(job, key, self._now())
            return
        first, more = self._names.not_found(answer.name)
        if first is not None:
            self.reject(first, "channel_not_found", answer.why)
        if more:
            # They came later, when there may have been such a channel: ask once more for them.
            self._look_up(answer.name)

    def _look_again(self, job: Job, outcome: Outcome) -> None:
        """Hold a job that Slack refused, and its queue, until the directory has looked again."""
        job.stage = Stage.WAITING
        wait_until = self._now() + PATIENCE
        self._deadlines.set(job, min(wait_until, job.expires_at or wait_until))
        if (checked := self._second_look.begin(job, outcome)) is not None:
            self._name_checked(checked)

    def _name_checked(self, checked: NameChecked) -> None:
        """Move a job, and those of its name behind it, to the channel that has the name now."""
        job, id = checked
        end = self._second_look.end(job)
        if end is None:
            return
        if id is None or id == job.channel_id:
            self._fail(job, end)
            return
        name, now = given_name(job.command), self._now()
        _log.warning("channel.moved", name=name, was=job.channel_id, now=id)
        self._deadlines.drop(job)
        self._watch_expiration(job)
        for one in self._queues.take_out(job.queue_key, partial(_waits_for, name), now):
            self._place(one, id, now)

    def _place_in_turn(self, job: Job, key: str, now: float) -> None:
        """Place it behind all that came earlier and may be for the same channel."""
        if self._names.line:
            self._names.add(job, key, now)
        else:
            self._place(job, key, now)

    def _place(self, job: Job, key: str, now: float) -> None:
        """Queue it behind those of its channel; all of presence is one channel, ""."""
        job.queue_key = key
        if not isinstance(job.command, Api):
            job.channel_id = key
        self._queues.add(key, job, now)

    # One attempt.

    def _transmit(self, job: Job) -> None:
        """Make one attempt; the job holds its queue until it is settled or has to go again."""
        if job.stage is Stage.WRITTEN or job.command is None:
            return
        if job.is_late(self._now()):
            self._fail_late(job)
            return
        way = self._ways[job.way]
        verdict = way.transmit(job, job.command)
        if not way.is_open:
            self._queues.close(way.name)
        if verdict is None:
            self._await_answer(job, way)
        else:
            self._conclude(job, verdict)

    def _await_answer(self, job: Job, way: Way) -> None:
        job.stage = Stage.WRITTEN
        if way.reply_timeout is None:
            self._deadlines.drop(job)
        else:
            self._deadlines.set(job, self._now() + way.reply_timeout)

    def _deadline_passed(self, job: Job) -> None:
        if (end := self._second_look.end(job)) is not None:
            self._fail(job, end)
        elif job.stage is Stage.WAITING:
            self._fail_late(job)
        elif (verdict := self._ways[job.way].unanswered(job)) is not None:
            self._conclude(job, verdict)

    def _conclude(self, job: Job, verdict: Verdict) -> None:
        """Settle the job, or have it go again."""
        match verdict:
            case NotNow(wait):
                self._go_again(job, wait)
            case Failed():
                job.uncertain = job.uncertain or not verdict.certain
                end = self._end_after(job, verdict)
                if end is None:
                    self._try_again(job, verdict)
                else:
                    self._fail(job, end)
            case Outcome(ok=True):
                self._settle(job, verdict)
            case _ if self._second_look.may_help(job, verdict):
                self._look_again(job, verdict)
            case _:
                self._fail(job, verdict)

    def _end_after(self, job: Job, failed: Failed) -> Outcome | None:
        """Return the end of a job after a failed attempt; None if it goes again."""
        timed_out = not failed.certain and failed.code == "timeout"
        if not failed.certain and self._outbound.on_uncertain == "dead-letter":
            code = "timeout" if timed_out else "uncertain"
            return Outcome(False, "", code, f"{failed.why}; it is not known whether Slack took it")
        if job.attempts >= self._outbound.max_attempts:
            code = "timeout" if timed_out else "max_attempts"
            return Outcome(False, "", code, f"{job.attempts} attempts: {failed.why}")
        return None

    def _try_again(self, job: Job, failed: Failed) -> None:
        job.failures += 1
        wait = failed.wait
        if failed.backs_off:
            doublings = min(job.failures - 1, _DOUBLINGS_MAX)
            wait = max(wait, min(self._retry.initial * 2**doublings, self._retry.max))
        self._ways[job.way].log_again(job, failed, wait)
        self._go_again(job, wait)

    def _go_again(self, job: Job, wait: float) -> None:
        """Make another attempt; a late reply to an earlier one still settles the job."""
        job.stage = Stage.WAITING
        self._replies.goes_again(job)
        self._deadlines.drop(job)
        if job.tag is not None:
            self._watch_expiration(job)
            self._queues.again(job.queue_key, job, self._now() + wait)

    def _watch_expiration(self, job: Job) -> None:
        if job.expires_at is not None:
            self._deadlines.set(job, job.expires_at)

    def _decide_soon(self) -> None:
        """Wait a moment for late replies to the unsure jobs: they come now or never."""
        for job in self._replies.unsure:
            self._deadlines.set(job, self._now() + _LATE_REPLY)

    # The end.

    def _fail_late(self, job: Job) -> None:
        message = "its expiration passed before it could be sent"
        self._fail(job, Outcome(False, "", "timeout", message))

    def _fail(self, job: Job, outcome: Outcome) -> None:
        fields: dict[str, Any] = self._ways[job.way].log_fields(job)
        _log.warning("command.failed", type=job.kind, **fields, code=outcome.code)
        self._settle(job, outcome)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        job.stage, job.outcome = Stage.SETTLED, outcome
        self._deadlines.drop(job)
        self._replies.forget(job)
        self._second_look.end(job)
        self._queues.settle(job.queue_key, job, self._now())
        self._listener.ended(job, outcome)


def _waits_for(name: str, job: Job) -> bool:
    """Return whether a job is not under way, and gives its channel by this name."""
    return job.stage is Stage.WAITING and given_name(job.command) == name
