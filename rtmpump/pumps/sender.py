"""From the outbound queue to Slack: each command settled, answered once, and only then acked.

Laws:

- A command is acked only after its outcome is safe: Slack's reply came and the result is confirmed,
  or the dead letter is confirmed. An error is both dead-lettered and answered.
- Inside a channel order is kept: one message under way at a time. Channels never wait for others.
- When the WebSocket dies between write and reply nobody knows what Slack did: the job waits a
  short while for a late reply on the next connection, then `outbound.on_uncertain` decides.
- When the connection to the broker dies, what was sent already is remembered (`Orphans`) and not
  sent again when RabbitMQ delivers it again; what was not sent is forgotten, for it comes again.

One thread, one connection. `tell` is the one method for other threads.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from threading import Event
from typing import Any, Final, NamedTuple

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core import commands
from rtmpump.core.bucket import Bucket
from rtmpump.core.frames import Reply
from rtmpump.core.job import Fingerprint, Job, Orphans, Outcome, Stage
from rtmpump.core.lanes import Lanes
from rtmpump.core.pending import Pending
from rtmpump.core.session import MessageIds
from rtmpump.errors import CommandRejected, NotConnected, WriteFailed
from rtmpump.links import topology
from rtmpump.links.rabbit import Delivery, Properties, Rabbit
from rtmpump.links.retry import Retry, hold
from rtmpump.metrics import Metrics

LINK: Final = "broker_commands"
# After a reconnect the first frames may answer the last message of the connection before.
_LATE_REPLY: Final = 1.0
# Slack asks for a typing indicator at most every three seconds; it shows for about five.
_TYPING_EVERY: Final = 3.0
_SLOW_DOWN: Final = "-1"
_REFUSED_AGAIN: Final = 1.0

_log = log.get("sender")


class LinkUp(NamedTuple):
    """Slack said hello on this connection."""

    connection: int


class LinkDown(NamedTuple):
    """The WebSocket ended."""


class Found(NamedTuple):
    """The directory's answer for a job: the channel's id, or None and why."""

    job: Job
    channel_id: str | None
    why: str


class Finish(NamedTuple):
    """Take no more commands, wait for the replies under way, end."""


class Close(NamedTuple):
    """End now."""


Note = Reply | LinkUp | LinkDown | Found | Finish | Close
Send = Callable[[bytes, int], None]
Lookup = Callable[[str, Callable[[str | None, str], None]], str | None]


class Sender:
    """The pump of the outbound trip; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        *,
        send: Send,
        lookup: Lookup,
        ids: MessageIds,
        stop: Event,
        up: Callable[[str, str], None],
        down: Callable[[Retry], None],
    ) -> None:
        self._config = config
        self._outbound = config.outbound
        self._metrics = metrics
        self._send = send
        self._lookup = lookup
        self._ids = ids
        self._stop = stop
        self._up = up
        self._down = down
        self._rabbit = Rabbit(LINK, config.broker, self)
        self._inbox: deque[Note] = deque()
        self._connection: int | None = None
        self._jobs: dict[int, Job] = {}
        self._written: dict[int, Job] = {}
        self._timeouts: Pending[Job] = Pending()
        self._unsure: list[Job] = []
        self._unsure_until: float | None = None
        self._expiring: list[tuple[float, int]] = []
        self._lanes: Lanes[Job] = Lanes(Bucket(self._outbound.rate, self._outbound.burst))
        self._orphans = Orphans(4 * self._outbound.prefetch)
        self._acked: deque[Job] = deque(maxlen=self._outbound.prefetch)
        self._typed_at: dict[str, float] = {}
        self._publishes: dict[int, Callable[[bool], None]] = {}
        self._next_publish = 1
        self._finishing = False
        self._consuming = False
        self._timer: Callable[[], None] | None = None

    def run(self) -> None:
        """Send until `stop` is set or `Finish` was told and nothing is under way."""
        hold(self._session, policy=self._config.retry, stop=self._stop, told=self._down)

    def tell(self, note: Note) -> None:
        """Bring a note to this pump; from any thread, also while the broker is away."""
        self._inbox.append(note)
        if isinstance(note, Finish | Close):
            self._finishing = True
        self._rabbit.call(self._read_inbox)

    @property
    def waiting(self) -> int:
        """How many commands are in the pump."""
        return len(self._jobs)

    def _session(self) -> None:
        if self._stop.is_set() or self._finishing:
            return
        self._publishes.clear()
        self._next_publish = 1
        self._timer = None
        self._rabbit = Rabbit(LINK, self._config.broker, self)
        try:
            self._rabbit.run()
        finally:
            self._consuming = False
            self._metrics.link(LINK, False)
            self._keep_what_was_sent()

    # What the connection tells us.

    def ready(self) -> None:
        """Declare the queues, then consume."""
        mode = self._config.broker.declare
        if mode == "none":
            self._declared()
        else:
            items = topology.outbound(self._outbound)
            self._rabbit.declare(items, passive=mode == "passive", done=self._declared)

    def _declared(self) -> None:
        self._rabbit.consume(self._outbound.queue, self._outbound.prefetch)
        self._consuming = True
        self._metrics.link(LINK, True)
        self._up(LINK, self._rabbit.node)
        self._read_inbox()

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """A result or a dead letter was confirmed, or refused."""
        tags = [tag]
        if multiple:
            tags = [one for one in self._publishes if one <= tag]
        for one in tags:
            done = self._publishes.pop(one, None)
            if done is not None:
                done(ok)

    def returned(self, properties: Properties) -> None:
        """Only dead letters are mandatory: their queue is gone, so declare it again."""
        queue = self._outbound.dead_queue
        self._rabbit.fail("not_found", f"the queue {queue} is not there", at_once=True)

    def blocked(self, is_blocked: bool) -> None:
        """Results are small; pika keeps the few that are due until the alarm is over."""

    def delivered(self, delivery: Delivery) -> None:
        """Take a command on."""
        fingerprint = _fingerprint(delivery)
        job = self._orphans.adopt(fingerprint) if delivery.redelivered else None
        if job is not None:
            self._adopt(job, delivery)
            return
        now = time.monotonic()
        job = Job(delivery.tag, fingerprint, delivery.properties, now)
        self._jobs[delivery.tag] = job
        try:
            job.command = commands.parse(delivery.body)
            self._expire_later(job, delivery.tag)
        except CommandRejected as rejected:
            self._fail(job, rejected.code, rejected.message)
            return
        self._find_channel(job)
        self._go_on()

    # One command.

    def _adopt(self, job: Job, delivery: Delivery) -> None:
        """Go on where this command was when the broker went away."""
        job.tag = delivery.tag
        self._jobs[delivery.tag] = job
        if job.outcome is not None:
            self._deliver(job, job.outcome)
        elif job.stage is Stage.WRITTEN:
            self._lanes.add_sent(job.lane, job)
        else:
            self._expire_later(job, delivery.tag)
            self._lanes.add(job.lane, job, time.monotonic())
        self._go_on()

    def _expire_later(self, job: Job, tag: int) -> None:
        expiration = job.properties.expiration
        if expiration is None:
            return
        if not str(expiration).isdecimal():
            problem = f"the property expiration is {expiration!r}; give milliseconds as a string"
            raise CommandRejected("invalid_command", problem)
        expires_at = job.received_at + int(expiration) / 1000
        heappush(self._expiring, (expires_at, tag))

    def _find_channel(self, job: Job) -> None:
        channel = getattr(job.command, "channel", "")
        if not channel or commands.is_channel_id(channel):
            self._place(job, channel)
            return
        name = commands.channel_name(channel)
        found = self._lookup(name, lambda id, why: self.tell(Found(job, id, why)))
        if found is not None:
            self._place(job, found)

    def _place(self, job: Job, channel_id: str) -> None:
        job.channel_id = job.lane = channel_id
        self._lanes.add(job.lane, job, time.monotonic())

    def _found(self, found: Found) -> None:
        job = found.job
        if job.done or job.tag is None or self._jobs.get(job.tag) is not job:
            return
        if found.channel_id is None:
            self._fail(job, "channel_not_found", found.why)
        else:
            self._place(job, found.channel_id)

    def _write(self, lane: str, job: Job) -> None:
        """Write one frame; its lane is ours until the job is settled or must go again."""
        if job.stage is Stage.WRITTEN:
            return
        command, connection, now = job.command, self._connection, time.monotonic()
        if command is None or connection is None:
            self._lanes.again(lane, now)
            return
        if isinstance(command, commands.Typing) and self._shows_typing(lane, now):
            job.attempts += 1
            self._succeed(job, "")
            return
        id = self._ids.next()
        try:
            frame = commands.encode(command, id=id, channel_id=job.channel_id)
            self._send(frame, connection)
        except CommandRejected as rejected:
            self._fail(job, rejected.code, rejected.message)
        except NotConnected:
            self._connection = None
            self._lanes.again(lane, now)
        except WriteFailed:
            self._connection = None
            # The reader will find the connection ended, and the job is uncertain from then on.
            self._wrote(job, id, now)
        else:
            self._wrote(job, id, now)

    def _wrote(self, job: Job, id: int, now: float) -> None:
        job.attempts += 1
        if not job.command or not job.command.awaits_reply:
            self._succeed(job, "")
            return
        job.stage = Stage.WRITTEN
        job.ids.append(id)
        self._written[id] = job
        self._timeouts.add(id, job, now + self._outbound.reply_timeout)

    def _shows_typing(self, channel: str, now: float) -> bool:
        """Whether an indicator that Slack was just given still shows in this channel."""
        if len(self._typed_at) > self._outbound.prefetch:
            fresh = now - _TYPING_EVERY
            self._typed_at = {key: at for key, at in self._typed_at.items() if at > fresh}
        if now - self._typed_at.get(channel, -_TYPING_EVERY) < _TYPING_EVERY:
            return True
        self._typed_at[channel] = now
        return False

    # Slack's replies, and their absence.

    def _reply(self, reply: Reply) -> None:
        job = self._written.get(reply.reply_to)
        if job is None:
            _log.debug("reply.unmatched", reply_to=reply.reply_to)
        elif reply.ok:
            self._succeed(job, reply.ts)
        elif job.stage is Stage.WRITTEN and reply.reply_to == job.ids[-1]:
            self._refused(job, reply)

    def _refused(self, job: Job, reply: Reply) -> None:
        code = str(reply.error_code)
        if code != _SLOW_DOWN:
            self._fail(job, f"slack_{code or 'unknown'}", reply.error_msg)
        elif job.attempts >= self._outbound.max_attempts:
            self._fail(job, "max_attempts", f"{job.attempts} attempts: {reply.error_msg}")
        else:
            policy = self._config.retry
            wait = min(policy.initial * 2 ** (job.attempts - 1), policy.max)
            _log.warning("slack.slow_down", channel=job.channel_id, wait=wait)
            self._again(job, time.monotonic() + wait)

    def _unanswered(self, job: Job, code: str, what: str) -> None:
        """No reply came and nobody knows whether Slack took it."""
        job.uncertain = True
        if self._outbound.on_uncertain == "dead-letter":
            self._fail(job, code, f"{what}; nobody knows whether Slack took it")
        elif job.attempts >= self._outbound.max_attempts:
            last = "timeout" if code == "timeout" else "max_attempts"
            self._fail(job, last, f"{what}, after {job.attempts} attempts")
        else:
            self._again(job, time.monotonic())

    def _again(self, job: Job, at: float) -> None:
        """Send it once more; a late reply to an earlier attempt still settles it."""
        job.stage = Stage.WAITING
        self._timeouts.forget(job.ids[-1])
        if job.tag is not None:
            self._lanes.again(job.lane, at)

    def _link_down(self) -> None:
        """What waits for a reply is uncertain from now on, until a late reply or a decision."""
        self._connection = self._unsure_until = None
        self._unsure.extend(job for _, job in self._timeouts.take_all())

    def _link_up(self, connection: int) -> None:
        self._connection = connection
        self._unsure_until = time.monotonic() + _LATE_REPLY if self._unsure else None

    def _decide(self, now: float) -> None:
        if self._unsure_until is None or now < self._unsure_until:
            return
        self._unsure_until = None
        unsure, self._unsure = self._unsure, []
        for job in unsure:
            if job.stage is Stage.WRITTEN:
                self._unanswered(job, "uncertain", "the connection ended before Slack's reply")

    # The end of a command.

    def _succeed(self, job: Job, ts: str) -> None:
        self._settle(job, Outcome(True, ts))

    def _fail(self, job: Job, code: str, message: str) -> None:
        self._settle(job, Outcome(False, "", code, message))

    def _settle(self, job: Job, outcome: Outcome) -> None:
        job.stage, job.outcome = Stage.SETTLED, outcome
        for id in job.ids:
            self._written.pop(id, None)
            self._timeouts.forget(id)
        now = time.monotonic()
        self._metrics.command(job.kind, "ok" if outcome.ok else outcome.code)
        self._metrics.command_latency(now - job.received_at)
        self._lanes.settle(job.lane, job, now)
        if not outcome.ok:
            _log.warning("command.failed", type=job.kind, code=outcome.code)
        if job.tag is not None:
            self._deliver(job, outcome)

    def _deliver(self, job: Job, outcome: Outcome) -> None:
        """Publish dead letter and result; the ack follows when the broker has confirmed them."""
        if not outcome.ok and not job.dead_confirmed:
            self._publish_dead(job, outcome)
        if job.fingerprint.reply_to and not job.result_confirmed:
            self._publish_result(job, outcome)
        self._ack_if_safe(job)

    def _publish_dead(self, job: Job, outcome: Outcome) -> None:
        headers = commands.dead_headers(
            outcome.code, outcome.message, job.attempts, int(time.time() * 1000)
        )
        properties = _dead_properties(job.properties, headers)

        def confirmed(ok: bool) -> None:
            if ok:
                job.dead_confirmed = True
                self._ack_if_safe(job)
            else:
                # The queue is full or has no leader: the command stays unacked, and we try again.
                self._rabbit.later(_REFUSED_AGAIN, lambda: self._publish_dead(job, outcome))

        self._publish(self._outbound.dead_queue, job.fingerprint.body, properties, True, confirmed)

    def _publish_result(self, job: Job, outcome: Outcome) -> None:
        if outcome.ok:
            channel, ts = job.channel_id or None, outcome.ts or None
            body = commands.ok_result(channel, ts, job.attempts, job.uncertain)
        else:
            body = commands.error_result(outcome.code, outcome.message, job.attempts, job.uncertain)
        properties = Properties(
            content_type="application/json",
            correlation_id=job.fingerprint.correlation_id,
            app_id="rtmpump",
            type="rtmpump.result",
        )

        def confirmed(_ok: bool) -> None:
            # Refused or not: who waits for it named a queue that takes no more.
            job.result_confirmed = True
            self._ack_if_safe(job)

        self._publish(job.fingerprint.reply_to or "", body, properties, False, confirmed)

    def _publish(
        self,
        queue: str,
        body: bytes,
        properties: Properties,
        mandatory: bool,
        confirmed: Callable[[bool], None],
    ) -> None:
        self._rabbit.publish("", queue, body, properties, mandatory)
        self._publishes[self._next_publish] = confirmed
        self._next_publish += 1

    def _ack_if_safe(self, job: Job) -> None:
        outcome = job.outcome
        if outcome is None or job.tag is None:
            return
        if not outcome.ok and not job.dead_confirmed:
            return
        if job.fingerprint.reply_to and not job.result_confirmed:
            return
        self._rabbit.ack(job.tag)
        del self._jobs[job.tag]
        job.tag = None
        if job.fingerprint.is_named:
            self._acked.append(job)
        self._end_if_quiet()

    # The turn of the loop.

    def _read_inbox(self) -> None:
        if not self._consuming:
            if self._finishing:
                self._rabbit.close()
            return
        while self._inbox:
            note = self._inbox.popleft()
            match note:
                case Reply():
                    self._reply(note)
                case LinkUp(connection):
                    self._link_up(connection)
                case LinkDown():
                    self._link_down()
                case Found():
                    self._found(note)
                case Finish():
                    self._finish()
                case Close():
                    self._rabbit.close()
                    return
        self._go_on()

    def _go_on(self) -> None:
        """Do all that is due, and come back when the next thing is."""
        now = time.monotonic()
        self._expire(now)
        for _, job in self._timeouts.expired(now):
            seconds = self._outbound.reply_timeout
            self._unanswered(job, "timeout", f"no reply from Slack within {seconds:g} s")
        self._decide(now)
        if self._connection is not None and not self._finishing:
            for lane, job in self._lanes.due(now):
                self._write(lane, job)
                if self._connection is None:
                    break
        self._plan(now)

    def _expire(self, now: float) -> None:
        while self._expiring and self._expiring[0][0] <= now:
            _, tag = heappop(self._expiring)
            job = self._jobs.get(tag)
            if job is not None and job.stage is Stage.WAITING:
                self._fail(job, "timeout", "its expiration passed before it could be sent")

    def _plan(self, now: float) -> None:
        if self._timer is not None:
            self._timer()
            self._timer = None
        times = [self._timeouts.next_deadline(), self._unsure_until]
        if self._connection is not None and not self._finishing:
            times.append(self._lanes.next_at())
        if self._expiring:
            times.append(self._expiring[0][0])
        known = [at for at in times if at is not None]
        if known:
            self._timer = self._rabbit.later(max(0.0, min(known) - now), self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._go_on()

    def _finish(self) -> None:
        """Take nothing more; what waits unsent goes back to the queue when the channel closes."""
        self._rabbit.cancel(self._outbound.queue, self._end_if_quiet)

    def _end_if_quiet(self) -> None:
        if not self._finishing or self._publishes:
            return
        if not any(job.stage is Stage.WRITTEN for job in self._jobs.values()):
            self._rabbit.close()

    def _keep_what_was_sent(self) -> None:
        """The broker is away: all deliveries come again; remember those that Slack has seen."""
        for job in self._acked:
            self._orphans.add(job)
        for job in self._jobs.values():
            if job.attempts or job.done:
                self._orphans.add(job)
        self._acked.clear()
        self._jobs.clear()
        self._expiring.clear()
        self._lanes.clear()


def _fingerprint(delivery: Delivery) -> Fingerprint:
    properties = delivery.properties
    return Fingerprint(
        delivery.body, properties.message_id, properties.correlation_id, properties.reply_to
    )


def _dead_properties(given: Properties, headers: dict[str, Any]) -> Properties:
    """Keep the properties of a dead command, but for those that would hurt it where it lies.

    An `expiration` would delete it, a `user_id` other than ours is refused by RabbitMQ, and CC or
    BCC headers would deliver it once more to whom they name.
    """
    kept = {k: v for k, v in (given.headers or {}).items() if k not in ("CC", "BCC")}
    if given.expiration is not None:
        kept["rtmpump-expiration"] = given.expiration
    if given.user_id is not None:
        kept["rtmpump-user-id"] = given.user_id
    return Properties(
        content_type=given.content_type,
        content_encoding=given.content_encoding,
        headers=kept | headers,
        delivery_mode=2,
        priority=given.priority,
        correlation_id=given.correlation_id,
        reply_to=given.reply_to,
        message_id=given.message_id,
        timestamp=given.timestamp,
        type=given.type,
        app_id=given.app_id,
    )
