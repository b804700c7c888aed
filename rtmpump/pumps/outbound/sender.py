"""From the outbound queue to Slack: each command settled, answered once, and only then acked.

Laws:

- A command is acked only after its outcome is safe: Slack's reply came and the result is confirmed,
  or the dead letter is confirmed. An error is both dead-lettered and answered.
- Order inside a channel begins at the queue: `NameResolution` keeps it while names are looked up.
- When the connection to the broker dies, what was sent already is remembered (`Orphans`) and not
  sent again when RabbitMQ delivers it again; what was not sent is forgotten, for it comes again.

`rtm_writer` (RTM) and `api_caller` (Web API) bring a command to Slack; `links.rabbitmq.results`
reports its end to the broker. One thread, one connection. `tell` is the one method for other
threads.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.frames import Reply
from rtmpump.core.outbound import api_calls, command_parsing, commands
from rtmpump.core.outbound.job import Job, Orphans, Stage, fingerprint
from rtmpump.core.outbound.mailbox import (
    Called,
    Close,
    Finish,
    Found,
    LinkDown,
    LinkUp,
    Mailbox,
    Note,
)
from rtmpump.core.outbound.name_resolution import NameResolution
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.outbound.redelivery import Redelivery
from rtmpump.core.session import MessageIds
from rtmpump.errors import CommandRejected
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.connection import BrokerConnection, Delivery, Properties
from rtmpump.links.rabbitmq.results import Results
from rtmpump.links.retry import keep_trying
from rtmpump.metrics import Metrics
from rtmpump.pumps.outbound.api_caller import Caller, Submit
from rtmpump.pumps.outbound.rtm_writer import Send, Writer

__all__ = ["LINK", "Close", "Finish", "Found", "LinkDown", "LinkUp", "Note", "Sender"]

LINK: Final = "broker_commands"
# RabbitMQ delivers again first of all; an orphan that did not come within this is gone for good,
# and must not be taken for a command of the same content that comes much later.
_ORPHANS_COME: Final = 60.0
# An ack that was written so long ago did arrive: heartbeats find a dead connection sooner.
_ACK_ARRIVES: Final = 60.0
# It puts back what an ended connection had within milliseconds, once it knows of the end.
_RETURNS_COME: Final = 2.0
_PROGRESS_EVERY: Final = 1.0
# A list of channels takes a second or two; a directory that Slack doesn't answer must stop nobody.
_NAMES_COME: Final = 5.0

_log = log.get("sender")

Lookup = Callable[[str, Callable[[str | None, str], None]], str | None]


class Sender:
    """The pump of the outbound trip; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        *,
        send: Send,
        submit: Submit,
        lookup: Lookup,
        ids: MessageIds,
        lifecycle: Lifecycle,
    ) -> None:
        self._config = config
        self._outbound = config.outbound
        self._metrics = metrics
        self._lookup = lookup
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._rabbit = BrokerConnection(LINK, config.broker, self)
        self._results = Results(config.outbound, acked=self._acked, buried=metrics.dead_letter)
        self._writer = Writer(config, send=send, ids=ids, settled=self._settled)
        self._is_socket_mode = config.slack.mode == "socket"
        self._caller = Caller(config, submit=submit, tell=self.tell, settled=self._settled)
        self._mailbox = Mailbox()
        self._mailbox_lock = Lock()
        self._woken = False
        self._jobs: dict[int, Job] = {}
        self._arrivals: NameResolution[Job] = NameResolution(_NAMES_COME, self._outbound.prefetch)
        self._orphans = Orphans(4 * self._outbound.prefetch)
        self._acked_jobs: deque[tuple[float, Job]] = deque(maxlen=self._outbound.prefetch)
        self._redelivery: Redelivery[Delivery] = Redelivery(_RETURNS_COME)
        self._finishing = False
        self._consuming_since: float | None = None
        self._timer: tuple[float, Callable[[], None]] | None = None

    def run(self) -> None:
        """Send until `stop` is set or `Finish` was told and nothing is under way."""
        keep_trying(self._session, policy=self._config.retry, lifecycle=self.lifecycle)

    def tell(self, note: Note) -> None:
        """Bring a note to this pump; from any thread, also while the broker is away."""
        if isinstance(note, Reply) and not self._writer.awaits(note.reply_to):
            _log.debug("reply.unmatched", reply_to=note.reply_to)
            return
        is_end = isinstance(note, Finish | Close)
        self._finishing = self._finishing or is_end
        with self._mailbox_lock:
            self._mailbox.put(note)
            # One wake-up for all until they are read; an end is heard even while we connect.
            wakes = is_end or not self._woken
            self._woken = True
        if wakes:
            self._rabbit.call(self._read_mailbox)

    @property
    def waiting(self) -> int:
        """How many commands are in the pump."""
        return len(self._jobs)

    def _session(self) -> None:
        self.lifecycle.progress()
        self._timer = None
        self._rabbit = BrokerConnection(LINK, self._config.broker, self)
        self._results.begin(self._rabbit)
        with self._mailbox_lock:
            self._woken = False
        # After these lines `tell` reaches the new connection; what was told before is seen here.
        if self._stop.is_set() or self._finishing:
            return
        try:
            self._rabbit.run()
        finally:
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
        self._consuming_since = now = time.monotonic()
        if self._redelivery.begun(now) is not None:
            self._rabbit.later(_RETURNS_COME, self._take_late)
        self._metrics.link(LINK, True)
        self.lifecycle.listener.link_up(LINK, self._rabbit.node)
        self._tick()
        self._read_mailbox()

    def _tick(self) -> None:
        self.lifecycle.progress()
        self._rabbit.later(_PROGRESS_EVERY, self._tick)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """A result or a dead letter was confirmed, or refused."""
        self._results.settled(tag, multiple, ok)
        self._end_if_quiet()

    def returned(self, properties: Properties) -> None:
        """A dead letter came back."""
        self._results.returned()

    def blocked(self, is_blocked: bool) -> None:
        """Results are small; pika keeps the few that are due until the alarm is over."""

    def delivered(self, delivery: Delivery) -> None:
        """Take a command on, or let it wait for those that were here before."""
        now = time.monotonic()
        for one in self._redelivery.take(delivery, now, again=delivery.redelivered):
            self._take_on(one)

    def _take_late(self) -> None:
        for one in self._redelivery.late(math.inf):
            self._take_on(one)

    def _take_on(self, delivery: Delivery) -> None:
        given = delivery.properties
        known_by = fingerprint(
            delivery.body, given.message_id, given.correlation_id, given.reply_to
        )
        job = self._orphans.adopt(known_by) if delivery.redelivered else None
        if job is not None:
            self._adopt(job, delivery)
            return
        job = Job(delivery.tag, known_by, given, delivery.body, time.monotonic())
        self._jobs[delivery.tag] = job
        try:
            job.command = command_parsing.parse(delivery.body, socket_mode=self._is_socket_mode)
            command_parsing.require_allowed(job.command, self._outbound.api_methods)
            job.expires_at = _expiry(job)
        except CommandRejected as rejected:
            self._writer.fail(job, rejected.code, rejected.message)
            return
        self._route(job)
        self._go_on()

    # One command.

    def _adopt(self, job: Job, delivery: Delivery) -> None:
        """Go on where this command was when the broker went away."""
        job.tag, job.properties, job.body = delivery.tag, delivery.properties, delivery.body
        self._jobs[delivery.tag] = job
        if job.outcome is not None:
            self._results.deliver(job, job.outcome)
        elif job.stage is Stage.WRITTEN:
            self._way_of(job).put_back(job)
        else:
            self._way_of(job).watch_expiry(job)
            self._arrivals.add(job, job.lane, time.monotonic())
        self._go_on()

    def _way_of(self, job: Job) -> Writer | Caller:
        """By which of the two it goes to Slack."""
        by_call = self._is_socket_mode or isinstance(job.command, commands.Api)
        return self._caller if by_call else self._writer

    def _route(self, job: Job) -> None:
        """Let it wait for its turn."""
        self._way_of(job).watch_expiry(job)
        if not isinstance(job.command, commands.Api):
            self._find_channel(job)
        elif commands.is_channel_id(lane := api_calls.lane(job.command)):
            self._arrivals.add(job, lane, time.monotonic())
        else:
            self._caller.place(job, lane)

    def _find_channel(self, job: Job) -> None:
        channel = getattr(job.command, "channel", "")
        now = time.monotonic()
        if not channel:
            self._writer.place(job, channel)
        elif commands.is_channel_id(channel):
            self._arrivals.add(job, channel, now)
        else:
            name = commands.channel_name(channel)
            if self._arrivals.add_unknown(job, name, now):
                self._look_up(name)

    def _look_up(self, name: str) -> None:
        id = self._lookup(name, lambda id, why: self.tell(Found(name, id, why)))
        if id is not None:
            self._found(Found(name, id, ""))

    def _found(self, found: Found) -> None:
        if found.channel_id is not None:
            for job, lane in self._arrivals.found(found.name, found.channel_id):
                self._way_of(job).place(job, lane)
            return
        first, more = self._arrivals.not_found(found.name)
        if first is not None:
            self._writer.fail(first, "channel_not_found", found.why)
        if more:
            # They came later, and may be luckier: they are owed a question of their own.
            self._look_up(found.name)

    def _settled(self, job: Job, outcome: Outcome) -> None:
        """It has its outcome; a job without a tag waits for its message to come again."""
        self._metrics.command(job.kind, "ok" if outcome.ok else outcome.code)
        self._metrics.command_latency(time.monotonic() - job.received_at)
        if job.tag is not None:
            self._results.deliver(job, outcome)

    def _acked(self, job: Job) -> None:
        """Nothing more is to be done; but it may come again, if the ack doesn't arrive."""
        if job.tag is not None:
            del self._jobs[job.tag]
        job.tag, job.body = None, b""
        if job.outcome is not None:
            # It may be large, and was told.
            job.outcome = job.outcome._replace(response=None)
        if job.fingerprint.is_named:
            self._acked_jobs.append((time.monotonic(), job))

    # The turn of the loop.

    def _link_down(self) -> None:
        self._writer.link_down()
        if self._finishing:
            self._writer.decide_soon()

    def _read_mailbox(self) -> None:
        with self._mailbox_lock:
            self._woken = False
            notes = self._mailbox.take() if self._consuming_since is not None else []
        for note in notes:
            match note:
                case Reply():
                    self._writer.reply(note)
                case LinkUp(connection):
                    self._writer.link_up(connection)
                case LinkDown():
                    self._link_down()
                case Called():
                    self._caller.answered(note)
                case Found():
                    self._found(note)
                case Finish(within):
                    self._finish()
                    if within is not None:
                        self._rabbit.later(within, self._rabbit.close)
                case Close():
                    self._rabbit.close()
                    return
        if self._consuming_since is not None:
            self._go_on()
        elif self._finishing:
            self._rabbit.close()

    def _go_on(self) -> None:
        """Do all that is due, and come back when the next thing is."""
        for job, lane in self._arrivals.release(time.monotonic()):
            self._way_of(job).place(job, lane)
        writes = not self._finishing
        times = (
            self._arrivals.next_at(),
            self._writer.go_on(writes=writes),
            self._caller.go_on(writes=writes),
        )
        at = min((one for one in times if one is not None), default=None)
        if at is not None and (self._timer is None or at < self._timer[0]):
            if self._timer is not None:
                self._timer[1]()
            wait = max(0.0, at - time.monotonic())
            self._timer = at, self._rabbit.later(wait, self._timer_fired)
        self._end_if_quiet()

    def _timer_fired(self) -> None:
        self._timer = None
        self._go_on()

    def _finish(self) -> None:
        """Take nothing more; what waits unsent goes back to the queue when the channel closes."""
        if not self._writer.is_connected:
            self._writer.decide_soon()
        self._rabbit.cancel(self._outbound.queue, self._end_if_quiet)

    def _end_if_quiet(self) -> None:
        if not self._finishing or not self._results.is_idle:
            return
        if not any(job.stage is Stage.WRITTEN for job in self._jobs.values()):
            self._rabbit.close()

    def _keep_what_was_sent(self) -> None:
        """The broker is away: all deliveries come again; remember those that Slack has seen."""
        since, self._consuming_since = self._consuming_since, None
        if since is not None and time.monotonic() - since > _ORPHANS_COME:
            for job in self._orphans.take_all():
                self._writer.forget(job)
        # Those that come again for certain stand before equal ones that only may come.
        sent = [job for job in self._jobs.values() if job.attempts or job.done]
        for job in [*sent, *self._maybe_unacked()]:
            forgotten = self._orphans.add(job)
            if forgotten is not None:
                self._writer.forget(forgotten)
        self._redelivery.ended(len(self._jobs))
        self._acked_jobs.clear()
        self._jobs.clear()
        self._arrivals.clear()
        self._writer.leave_all()
        self._caller.leave_all()

    def _maybe_unacked(self) -> list[Job]:
        """Those whose ack may be lost, but for the twins of what was not sent.

        Of two that are equal, one sent and one not, it is the latter that comes for certain.
        """
        since = time.monotonic() - _ACK_ARRIVES
        unsent = {job.fingerprint for job in self._jobs.values() if not (job.attempts or job.done)}
        return [j for at, j in self._acked_jobs if at > since and j.fingerprint not in unsent]


def _expiry(job: Job) -> float | None:
    """When its `expiration` ends it; RabbitMQ counted up to the delivery, we go on from there."""
    given = job.properties.expiration
    if given is None:
        return None
    if not str(given).isdecimal():
        problem = f"the property expiration is {given!r}; give milliseconds as a string"
        raise CommandRejected("invalid_command", problem)
    return job.received_at + int(given) / 1000
