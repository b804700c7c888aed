"""Commands on their way to Slack: channel, order, rate, expiration, another attempt, the end.

Laws:

- The order of a channel is kept, whichever way its commands take: one is under way at a time.
  Channels never wait for each other.
- Order begins when a command comes: `NameResolution` keeps it while names are looked up, and
  `NamedJobs` where a name moves to another channel.
- Trouble costs no attempt: what Slack surely did not do because of a limit, an outage or a refused
  token waits, as long as its expiration allows.
- What failed otherwise goes again, up to `outbound.max_attempts` attempts. Where it is not known
  whether Slack did it, `outbound.on_uncertain` decides.
- A job has one deadline at a time: its expiration while it waits, the end of the wait for Slack's
  reply after it was sent.

`rtm_writer` and `api_caller` transmit one command; all that they have in common is here. Who goes
first is decided by `channel_queues`, and how much may go by `throttles`. What must not live here:
where a command comes from, and how its end is reported.

One thread owns it. Times are seconds of `now`, a clock that never goes back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.frames import Reply
from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.core.outbound.channel_queues import ChannelQueues
from rtmpump.core.outbound.commands import (
    Api,
    Command,
    channel_name,
    is_channel_id,
    is_message,
    may_be_name,
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
    TrialAnswered,
)
from rtmpump.core.outbound.name_resolution import NameResolution
from rtmpump.core.outbound.named_jobs import NamedJobs
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.outbound.reply_tracker import ReplyTracker
from rtmpump.core.outbound.throttle import Pauses
from rtmpump.core.outbound.throttles import WEBSOCKET, Throttles, throttle_of
from rtmpump.core.rate_limit import RateLimit
from rtmpump.core.session import MessageIds
from rtmpump.pumps.outbound.api_caller import ApiCaller
from rtmpump.pumps.outbound.held_up import HeldUp
from rtmpump.pumps.outbound.name_lookups import NameLookups
from rtmpump.pumps.outbound.rtm_writer import RtmWriter
from rtmpump.pumps.outbound.second_look import PATIENCE, SecondLook
from rtmpump.pumps.outbound.trouble_watch import TroubleWatch
from rtmpump.pumps.outbound.way import (
    ChannelIds,
    DispatchListener,
    Failed,
    Held,
    NotNow,
    SlackAccess,
    Verdict,
    Way,
    end_after,
)

# After a reconnect the first frames may answer the last message of the connection before.
_LATE_REPLY: Final = 1.0
# A list of channels takes a second or two. While Slack doesn't answer the directory, commands for
# other channels must not wait longer than this.
_NAMES_COME: Final = 5.0

_TOO_LATE: Final = Outcome(False, "", "timeout", "its expiration passed before it could be sent")

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
        outbound = self._outbound = config.outbound
        self._pauses = Pauses(config.retry.initial, config.retry.max)
        self._is_socket_mode = config.slack.mode == "socket"
        self._lookups = NameLookups(channel_ids, listener)
        self._second_look = SecondLook(channel_ids, listener)
        self._listener = listener
        self._now = now
        self._names: NameResolution[Job] = NameResolution(_NAMES_COME, outbound.prefetch)
        self._named = NamedJobs(self._second_look.lets_move)
        self._deadlines: Deadlines[Job] = Deadlines()
        calls = RateLimit(outbound.api_rate, outbound.burst)
        self._throttles = Throttles(self._pauses, calls)
        self._queues: ChannelQueues[Job] = ChannelQueues(
            RateLimit(outbound.rate, outbound.burst), self._throttles
        )
        self._replies = ReplyTracker()
        self._rtm = RtmWriter(outbound, slack, message_ids, self._replies, now)
        self._api = ApiCaller(slack, listener)
        self._trouble = TroubleWatch(self._throttles, slack, listener, now)
        self.held_up = HeldUp(self._names, self._queues, self._throttles, self._second_look)
        self._throttles.close(WEBSOCKET)

    @property
    def next_trial_at(self) -> float:
        """When the Web API is tried again; infinity if there is no need."""
        return self._trouble.next_trial_at()

    def awaits(self, reply: Reply) -> bool:
        """Return whether the reply is to a frame of ours. From any thread."""
        return reply.reply_to in self._replies

    def take(self, job: Job, command: Command) -> None:
        """Bring a new command to Slack, in its turn."""
        job.throttle = throttle_of(command, is_socket_mode=self._is_socket_mode)
        job.costs, key = is_message(command), queue_key(command)
        self._watch_expiration(job)
        now = self._now()
        if is_channel_id(key):
            self._place_in_turn(job, key, now)
        elif not key or (isinstance(command, Api) and not (job.costs and may_be_name(key))):
            self._place(job, key, now)
        else:
            name = job.name = channel_name(key)
            self._named.arrive(job)
            if self._second_look.holds(name) and not self._names.awaits(name):
                self._place_in_turn(job, self._named.meaning(name), now)
            elif self._names.add_unknown(job, name, now):
                self._look_up(name)

    def take_back(self, job: Job) -> None:
        """Go on with a job that was here when the connection to the broker ended."""
        if job.stage is Stage.WRITTEN:
            self._named.arrive_sent(job)
            self._queues.add_sent(job.queue_key, job)
        else:
            self._watch_expiration(job)
            self._named.arrive(job)
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
            case TrialAnswered(answer):
                self._trouble.tried(answer)
            case NameAnswered():
                self._name_answered(note)
            case NameChecked():
                self._name_checked(note)
            case LinkUp(connection):
                self._rtm.link_up(connection)
                self._throttles.open(WEBSOCKET)
                self._decide_soon()
            case LinkDown():
                self._rtm.link_down()
                self._throttles.close(WEBSOCKET)
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
        next_name = self._names.next_at() if self._names.line else math.inf
        if not sends:
            return min(next_name, self._deadlines.next_at())
        self._trouble.try_out()
        for job in self._queues.due(now):
            self._transmit(job)
        next_send = min(self._queues.next_at(), self._trouble.next_trial_at())
        return min(next_send, next_name, self._deadlines.next_at())

    def forget(self, job: Job) -> None:
        """Forget a job whose message will not be delivered again."""
        self._deadlines.drop(job)
        self._replies.forget(job)
        self._throttles.leave(job)

    def leave_all(self, jobs: Iterable[Job]) -> None:
        """Let go of `jobs`, which are all: the connection to the broker ended.

        What was not sent is delivered again. What was sent still waits for its reply, and may end.
        """
        for job in jobs:
            if not job.was_sent:
                self.forget(job)
            elif job.stage is not Stage.WRITTEN:
                self._deadlines.drop(job)
        self._names.clear()
        self._named.clear()
        self._queues.clear()
        self._second_look.clear()

    # The channel's id.

    def _look_up(self, name: str) -> None:
        if (answer := self._lookups.ask(name)) is not None:
            self._name_answered(answer)

    def _name_answered(self, answer: NameAnswered) -> None:
        if answer.channel_id is not None:
            self._named.learn(answer.name, answer.channel_id)
            self._gather(answer.name)
            for job, key in self._names.found(answer.name, answer.channel_id):
                self._place(job, key, self._now())
            return
        first, more = self._names.not_found(answer.name)
        if first is not None and isinstance(first.command, Api):
            # Slack may know what we can't list. Until it answers, the name stands for the channel.
            if not self._names.goes_by_name(first, answer.name):
                self._place(first, answer.name, self._now())
        elif first is not None:
            self.reject(first, "channel_not_found", answer.why)
        if more:
            # They came later, when there may have been such a channel: ask once more for them.
            self._look_up(answer.name)

    def _look_again(self, job: Job, outcome: Outcome) -> None:
        """Hold a job that Slack refused, and its queue, until the directory has looked again."""
        self._replies.goes_again(job)
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
        _log.warning("channel.moved", name=job.name, was=job.channel_id, now=id)
        self._watch_expiration(job)
        self._named.learn(job.name, id)
        self._gather(job.name, at_once=True)

    def _place_in_turn(self, job: Job, key: str, now: float) -> None:
        """Place it behind all that came earlier and may be for the same channel."""
        if self._names.line:
            self._names.add(job, key, now)
        else:
            self._place(job, key, now)

    def _place(self, job: Job, key: str, now: float) -> None:
        """Queue it behind those of its channel, and of its name; all of presence is one channel."""
        self._queue(job, self._named.place(job, key), now)
        self._gather(job.name)

    def _gather(self, name: str, *, at_once: bool = False) -> None:
        """Bring the jobs of a name to the channel that it means, as soon as none is under way."""
        moves = dict.fromkeys(self._named.to_move(name, at_once=at_once))
        for key in dict.fromkeys(job.queue_key for job in moves):
            for job in self._queues.take_out(key, moves.__contains__, self._now()):
                self._queue(job, self._named.meaning(name), self._now())

    def _queue(self, job: Job, key: str, now: float) -> None:
        job.queue_key = key
        if not isinstance(job.command, Api):
            job.channel_id = key
        if job.came_back and job.costs:
            # Whoever had it may just have sent others to this channel.
            self._queues.use_up(key, now)
        self._queues.add(key, job, now)

    # One attempt.

    def _way_of(self, job: Job) -> Way:
        return self._rtm if job.throttle == WEBSOCKET else self._api

    def _transmit(self, job: Job) -> None:
        """Make one attempt; the job holds its queue until it is settled or has to go again."""
        if job.command is None:
            return
        if job.is_late(self._now()):
            self._fail(job, _TOO_LATE)
            return
        way = self._way_of(job)
        verdict = way.transmit(job, job.command)
        if not way.is_open:
            self._throttles.close(job.throttle)
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
            self._fail(job, _TOO_LATE)
        elif (verdict := self._way_of(job).unanswered(job)) is not None:
            self._conclude(job, verdict)

    def _conclude(self, job: Job, verdict: Verdict) -> None:
        """Settle the job, or have it go again."""
        match verdict:
            case NotNow(wait):
                self._queues.unused(job.queue_key, job)
                self._go_again(job, wait)
            case Held():
                self._hold(job, verdict)
            case Failed():
                self._failed(job, verdict)
            case Outcome():
                if job.was_written:
                    self._trouble.worked(job)
                self._answered(job, verdict)

    def _answered(self, job: Job, outcome: Outcome) -> None:
        """End a job that needs no other attempt, unless a second look at its channel may help."""
        if outcome.ok:
            self._settle(job, outcome)
        elif not self._second_look.may_help(job, outcome):
            self._fail(job, outcome)
        elif job.tag is None:  # It has no queue until it comes again, and has its look then.
            self._go_again(job, 0.0)
        else:
            self._look_again(job, outcome)

    def _hold(self, job: Job, held: Held) -> None:
        """Have a job go again whose attempt doesn't count."""
        if held.trouble is Trouble.TOKEN and self._trouble.refuses_a_good_token(job):
            failed = Failed(held.code, f"{held.code} ({held.detail})", detail=held.detail)
            self._failed(job, failed, held.trouble)
            return
        job.attempts -= 1
        if self._trouble.rests(job, held.trouble, held):
            # It stands behind those that have not been tried, so each gets its turn as a probe.
            self._go_again(job, held.wait)
        else:
            self._try_again(job, held)

    def _failed(self, job: Job, failed: Failed, trouble: Trouble | None = None) -> None:
        """Count an attempt that failed; end the job, or have it go again."""
        job.uncertain = job.uncertain or not failed.certain
        rests = self._way_of(job).tells_trouble and self._trouble.rests(job, trouble, failed)
        if rests and failed.certain and trouble is None:
            # Others fail in the same way, so it is not this one's fault.
            job.attempts -= 1
        end = end_after(job.attempts, failed, self._outbound)
        if end is not None:
            self._fail(job, end)
        elif rests:
            self._go_again(job, 0.0)
        else:
            self._try_again(job, failed)

    def _try_again(self, job: Job, failed: Failed | Held) -> None:
        """Have a job go again after a wait of its own."""
        job.failures += 1
        wait = failed.wait
        if isinstance(failed, Held) or failed.backs_off:
            wait = max(wait, self._pauses.after(job.failures))
        self._way_of(job).log_again(job, failed, wait)
        self._go_again(job, wait)

    def _go_again(self, job: Job, wait: float) -> None:
        """Make another attempt; a late reply to an earlier one still settles the job."""
        job.stage = Stage.WAITING
        self._replies.goes_again(job)
        self._throttles.leave(job)
        self._deadlines.drop(job)
        if job.tag is not None:
            self._watch_expiration(job)
            self._queues.again(job.queue_key, job, self._now() + wait)
            self._gather(job.name)

    def _watch_expiration(self, job: Job) -> None:
        if job.expires_at is None:
            self._deadlines.drop(job)
        else:
            self._deadlines.set(job, job.expires_at)

    def _decide_soon(self) -> None:
        """Wait a moment for late replies to the unsure jobs: they come now or never."""
        for job in self._replies.unsure:
            self._deadlines.set(job, self._now() + _LATE_REPLY)

    # The end.

    def _fail(self, job: Job, outcome: Outcome) -> None:
        fields: dict[str, Any] = self._way_of(job).log_fields(job)
        _log.warning("command.failed", type=job.kind, **fields, code=outcome.code)
        self._settle(job, outcome)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        job.stage, job.outcome = Stage.SETTLED, outcome
        self._throttles.leave(job)
        self._deadlines.drop(job)
        self._replies.forget(job)
        self._second_look.end(job)
        self._queues.settle(job.queue_key, job, self._now())
        self._named.settle(job)
        self._gather(job.name)
        self._listener.ended(job, outcome)
