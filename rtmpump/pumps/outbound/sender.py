"""From the outbound queue to Slack: each command is settled, answered once, and then acknowledged.

Laws:

- A command is acknowledged only when its outcome is safe: the result of Slack's reply, or the dead
  letter, is confirmed. A command that fails gets both, a dead letter and a result.
- When the connection to the broker ends, the sender remembers what was sent to Slack (`Orphans`),
  so that it is not sent again when RabbitMQ delivers it again. It forgets what was not sent.

`Dispatcher` brings a command to Slack and says how it ended. `links.rabbitmq.results` reports that
to the broker. One thread owns it, with one connection; other threads call `notify` alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.frames import Reply
from rtmpump.core.outbound.command_body import BODY_MAX, require_size
from rtmpump.core.outbound.command_parsing import parse, require_allowed
from rtmpump.core.outbound.holding_limit import HoldingLimit, weight
from rtmpump.core.outbound.job import Fingerprint, Job, Stage, expiry, fingerprint
from rtmpump.core.outbound.mailbox import (
    BrokerAnswer,
    Close,
    Finish,
    LinkDown,
    LinkUp,
    Mailbox,
    Note,
    PublishedAlone,
)
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.outbound.redelivery import Orphans, Redelivery, in_hand
from rtmpump.core.session import MessageIds
from rtmpump.core.silence import Silence
from rtmpump.core.standstill import oldest
from rtmpump.errors import CommandRejected
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.rabbitmq.one_by_one import OneByOne, Parcel
from rtmpump.links.rabbitmq.queue_depths import Depth
from rtmpump.links.rabbitmq.results import Results
from rtmpump.links.retry import keep_trying
from rtmpump.metrics import Metrics
from rtmpump.pumps.outbound.dispatcher import Dispatcher
from rtmpump.pumps.outbound.held_up import unreported
from rtmpump.pumps.outbound.way import ChannelIds, SlackAccess

__all__ = ["LINK", "Close", "Finish", "LinkDown", "LinkUp", "Note", "Sender"]

LINK: Final = "broker_commands"
# RabbitMQ delivers again before all else. An orphan that does not come in this time is gone for
# good, and must not be taken for an equal command that comes much later.
_ORPHANS_COME: Final = 60.0
# RabbitMQ puts back what an ended connection held within milliseconds after it knows of the end.
_RETURNS_COME: Final = 2.0
_PROGRESS_EVERY: Final = 1.0
# RabbitMQ gives our commands to another pump two to three heartbeats after the last that it hears.
_HEARTBEATS: Final = 1.25
_DEPTHS_EVERY: Final = 5.0

_log = log.get("sender")


class Sender:
    """The pump of the outbound trip; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        slack: SlackAccess,
        channel_ids: ChannelIds,
        message_ids: MessageIds,
        lifecycle: Lifecycle,
    ) -> None:
        self._config = config
        self._outbound = config.outbound
        self._metrics = metrics
        self.lifecycle = lifecycle
        self._is_socket_mode = config.slack.mode == "socket"
        self._connection = BrokerConnection(LINK, config.broker, self)
        self._one_by_one = OneByOne(config.broker, config.retry, self._published_alone)
        self._results = Results(config.outbound, metrics, self, self._one_by_one)
        self._dispatcher = Dispatcher(config, slack, channel_ids, message_ids, self)
        self._mailbox = Mailbox()
        self._mailbox_lock = Lock()
        self._woken = False
        self._jobs: dict[int, Job] = {}
        self._orphans = Orphans(4 * self._outbound.prefetch, self._outbound.prefetch)
        self._limit = HoldingLimit()
        self._redelivery: Redelivery[Delivery] = Redelivery(_RETURNS_COME)
        self._finishing = False
        self._consuming_since: float | None = None
        self._timer: tuple[float, Callable[[], None]] | None = None
        self._was_given = False
        self._is_blocked = False
        self._silence = Silence()
        self._depths_at = -math.inf
        self.let_go = 0
        """How many commands were acknowledged. Any thread may read it."""

    def run(self) -> None:
        """Send until `stop` is set, or until nothing is under way after a `Finish`."""
        try:
            keep_trying(self._session, policy=self._config.retry, lifecycle=self.lifecycle)
        finally:
            self._one_by_one.close()

    def notify(self, note: Note) -> None:
        """Bring a note to this pump. From any thread, also without a connection to the broker."""
        if isinstance(note, Reply) and not self._dispatcher.awaits(note):
            _log.debug("reply.unmatched", reply_to=note.reply_to)
            return
        is_end = isinstance(note, Finish | Close)
        if is_end:
            # Never the other way: several threads come here, and none may undo this.
            self._finishing = True
        with self._mailbox_lock:
            self._mailbox.put(note)
            # One wake-up is enough until all are read; an end also stops an attempt to connect.
            wakes = is_end or not self._woken
            self._woken = True
        if wakes:
            self._connection.call(self._read_mailbox)

    @property
    def next_trial_at(self) -> float | None:
        """When the Web API is tried again (monotonic); None if it is not. From any thread."""
        at = self._dispatcher.next_trial_at
        return None if at == math.inf else at

    @property
    def waiting(self) -> int:
        """How many commands are in the pump."""
        return len(self._jobs) + self._limit.postponed

    @property
    def has_turn(self) -> bool | None:
        """Whether this pump is the one of several that gets the commands; None if unknown.

        RabbitMQ does not say so to a consumer. It is, if a command was delivered. It was not, if
        the queue had a consumer before ours; and if that one is gone, the next command will show.
        """
        if self._was_given or self._consuming_since is None:
            return self._was_given or None
        return False if self._connection.consumers.get(self._outbound.queue) else None

    def _session(self) -> None:
        self.lifecycle.progress()
        self._timer, self._was_given, self._is_blocked = None, False, False
        self._connection = BrokerConnection(
            LINK, self._config.broker, self, self.lifecycle.progress
        )
        self._results.begin(self._connection)
        with self._mailbox_lock:
            self._woken = False
        # From here on `notify` wakes the new connection; an earlier end is seen in the next line.
        if self.lifecycle.stop.is_set() or self._finishing:
            return
        try:
            self._connection.run()
        finally:
            self._metrics.link(LINK, False)
            self._keep_what_was_sent()

    # What the connection calls.

    def ready(self) -> None:
        """Declare the queues, then consume."""
        mode = self._config.broker.declare
        if mode == "none":
            self._declared()
        else:
            items = topology.outbound(self._outbound)
            self._connection.declare(items, passive=mode == "passive", done=self._declared)

    def _declared(self) -> None:
        if self.lifecycle.stop.is_set():
            # It came while the connection was being made.
            self._connection.close()
            return
        self._connection.consume(self._outbound.queue, self._outbound.prefetch, BODY_MAX)
        self._consuming_since = now = time.monotonic()
        if self._redelivery.begun(now) is not None:
            self._connection.later(_RETURNS_COME, self._take_late)
        self._metrics.link(LINK, True)
        self.lifecycle.listener.link_up(LINK, self._connection.node)
        # It counts from here on; to connect may have taken long.
        self._silence = Silence()
        self._tick()
        self._read_mailbox()

    def _tick(self) -> None:
        self.lifecycle.progress()
        if self.lifecycle.stop.is_set():
            self._connection.close()
        if self._end_if_cut_off():
            return
        self._one_by_one.check()
        if self._is_blocked:
            self._results.be_patient()
        self._results.look_for_late_ones()
        self._limit.second_passed()
        self._put_back()
        now = time.monotonic()
        under_way = self._dispatcher.held_up.halts(now)
        self.lifecycle.halts = oldest([*under_way, *unreported(self._jobs.values())])
        if now >= self._depths_at:
            self._depths_at = now + _DEPTHS_EVERY
            self._connection.ask_depths((self._outbound.dead_queue,), self._depth_told)
        self._connection.later(_PROGRESS_EVERY, self._tick)

    def _end_if_cut_off(self) -> bool:
        """End the connection before RabbitMQ may have given our commands to another pump."""
        limit = _HEARTBEATS * self._config.broker.heartbeat
        is_cut_off = 0 < limit < (silent := self._silent_for())
        if is_cut_off:
            self._connection.fail("heartbeat", f"the broker sent nothing for {silent:.1f} s")
        return is_cut_off

    def _silent_for(self) -> float:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return self._silence.lasts(self._connection.received, now)

    def _depth_told(self, queue: str, depth: Depth | None) -> None:
        """Take in how many dead letters there are, or that there is no such queue."""
        self._metrics.dead_letters_waiting = None if depth is None else depth.messages

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Take the broker's word on results and dead letters."""
        self._results.settled(tag, multiple, ok)
        if self._finishing:
            self._close_if_quiet()

    def returned(self, properties: Properties) -> None:
        """Learn that no queue takes a result or a dead letter."""
        self._results.returned(properties)

    def blocked(self, is_blocked: bool) -> None:
        """Be patient: results are small, and pika keeps the few that are due until it is over."""
        self._is_blocked = is_blocked

    def delivered(self, delivery: Delivery) -> None:
        """Take a command on, or hold it back until those that were here before came again."""
        self._was_given = True
        for one in self._redelivery.take(delivery, time.monotonic(), again=delivery.redelivered):
            self._take_on(one)

    def _take_late(self) -> None:
        for one in self._redelivery.late(math.inf):
            self._take_on(one)

    # One command.

    def _take_on(self, delivery: Delivery) -> None:
        given, now = delivery.properties, time.monotonic()
        body = b"%d" % delivery.dropped if delivery.dropped else delivery.body
        known_by = fingerprint(body, given.message_id, given.correlation_id, given.reply_to)
        if delivery.redelivered:
            self._forget_late_orphans(now)
        job = self._orphans.adopt(known_by) if delivery.redelivered else None
        if job is None and self._was_taken_back(delivery, known_by):
            before = delivery.deliveries
            if (mine := in_hand(self._jobs.values(), known_by, before)) is not None:
                self._renew(mine, delivery)
                return
            job = self._orphans.adopt_acked(known_by, before, now)
        if job is not None:
            self._limit.more(delivery.size)
            self._adopt(job, delivery)
        elif self._finishing:
            # It goes back to the queue with all others that were not begun.
            return
        elif self._limit.take(delivery.tag, known_by, delivery.size):
            job = Job(delivery.tag, known_by, given, delivery.body, now, delivery.redelivered)
            job.size, job.dropped = delivery.size, delivery.dropped
            job.deliveries = delivery.deliveries
            self._jobs[delivery.tag] = job
            self._begin(job)
        self._put_back()
        self._go_on()

    def _was_taken_back(self, delivery: Delivery, known_by: Fingerprint) -> bool:
        """Return whether the queue may have taken this command back while the connection lived."""
        return delivery.redelivered and known_by.is_named and not self._limit.went_back(known_by)

    def _renew(self, job: Job, delivery: Delivery) -> None:
        """Go on with a command under its new tag; the old one counts no more for the queue."""
        if job.tag is not None:
            # But it does for the prefetch of the channel.
            self._connection.ack(job.tag)
            del self._jobs[job.tag]
        job.tag, job.deliveries = delivery.tag, delivery.deliveries
        self._jobs[delivery.tag] = job

    def _put_back(self) -> None:
        """Give back what was postponed, if it is time; at the end all of it goes back together."""
        if self._finishing:
            return
        for tag in self._limit.due():
            self._connection.put_back(tag)

    def _begin(self, job: Job) -> None:
        """Have a new command sent, or reject it."""
        try:
            require_size(job.dropped)
            command = job.command = parse(
                job.body,
                content_encoding=job.properties.content_encoding,
                socket_mode=self._is_socket_mode,
            )
            require_allowed(command, self._outbound.api_methods)
            job.expires_at = expiry(job, time.time())
            self._count(job, weight(command))
        except CommandRejected as rejected:
            self._dispatcher.reject(job, rejected.code, rejected.message)
        else:
            self._dispatcher.take(job, command)

    def _adopt(self, job: Job, delivery: Delivery) -> None:
        """Go on where this command was when the connection to the broker ended."""
        job.tag, job.properties, job.body = delivery.tag, delivery.properties, delivery.body
        job.size, job.deliveries = delivery.size, delivery.deliveries
        self._jobs[delivery.tag] = job
        if job.outcome is not None:
            job.settled_at = time.monotonic()
            self._results.deliver(job)
        else:
            self._dispatcher.take_back(job)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Report the outcome; for a job without a tag that waits until its message comes again."""
        self._metrics.command(job.kind, "ok" if outcome.ok else outcome.code)
        job.settled_at = time.monotonic()
        self._metrics.command_latency(job.settled_at - job.received_at)
        if job.tag is not None:
            self._results.deliver(job)

    def acked(self, job: Job, tag: int) -> None:
        """Let go of a job; its message comes again if the ack does not arrive."""
        self.let_go += 1
        del self._jobs[tag]
        self._limit.less(job.size)
        job.tag = None
        job.let_go()
        if job.outcome is not None:
            # Slack's response may be large, and it was reported.
            job.outcome = job.outcome._replace(response=None)
        self._orphans.acked(job, time.monotonic())
        self._put_back()

    def _count(self, job: Job, size: int) -> None:
        """Count what was read of a command as held, as long as the job is."""
        job.size += size
        self._limit.more(size)

    def _published_alone(self, parcel: Parcel, answer: BrokerAnswer) -> None:
        """Bring the news to the sender's thread. On the thread of the other connection."""
        self.notify(PublishedAlone(parcel.job, parcel.part, answer))

    # The turn of the loop.

    def _read_mailbox(self) -> None:
        with self._mailbox_lock:
            self._woken = False
            notes = self._mailbox.take() if self._consuming_since is not None else []
        for note in notes:
            match note:
                case Finish(within):
                    self._finish(within)
                case Close():
                    self._connection.close()
                    return
                case PublishedAlone():
                    self._results.settled_alone(note)
                case _:
                    self._dispatcher.handle(note)
                    if self._finishing and isinstance(note, LinkDown):
                        self._dispatcher.await_no_hello()
        if self._consuming_since is not None:
            self._go_on()
        elif self._finishing:
            self._connection.close()

    def _go_on(self) -> None:
        """Do all that is due, and come back when the next thing is."""
        if self._end_if_cut_off():
            return
        at = self._dispatcher.go_on(sends=not self._finishing)
        if at < (math.inf if self._timer is None else self._timer[0]):
            if self._timer is not None:
                self._timer[1]()
            wait = max(0.0, at - time.monotonic())
            self._timer = at, self._connection.later(wait, self._timer_fired)
        if self._finishing:
            self._close_if_quiet()

    def _timer_fired(self) -> None:
        self._timer = None
        self._go_on()

    def _finish(self, within: float | None) -> None:
        """Begin no more commands; those not begun go back when the connection ends.

        The consumer is not cancelled: RabbitMQ would make the next pump's the active one at once,
        and give it what comes behind all that we hold.
        """
        self._dispatcher.await_no_hello()
        self._results.finish()
        if within is not None:
            self._connection.later(within, self._connection.close)

    def _close_if_quiet(self) -> None:
        """End once nothing is under way, to Slack or to the broker."""
        waits = any(job.stage is Stage.WRITTEN for job in self._jobs.values())
        if not waits and self._results.is_idle:
            self._connection.close()

    def _keep_what_was_sent(self) -> None:
        """Remember the commands that Slack has seen: all deliveries come again."""
        self._depths_at = -math.inf
        self._metrics.dead_letters_waiting = None
        self.lifecycle.go_on()
        now, jobs = time.monotonic(), list(self._jobs.values())
        self._forget_late_orphans(now)
        self._consuming_since = None
        self._dispatcher.leave_all(jobs)
        for job in self._orphans.connection_ended(jobs, now):
            self._dispatcher.forget(job)
        self._redelivery.ended(len(jobs) + self._limit.postponed)
        self._limit.connection_ended()
        self._jobs.clear()

    def _forget_late_orphans(self, now: float) -> None:
        """Forget the orphans that did not come in their time: another pump has settled them."""
        if self._consuming_since is not None and now - self._consuming_since > _ORPHANS_COME:
            for job in self._orphans.take_all():
                self._dispatcher.forget(job)
