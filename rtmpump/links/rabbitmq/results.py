"""The end of a command: its dead letter, its result, and only then its ack.

Laws:

- The result is published after the broker confirmed or refused the dead letter. So a connection
  that ends in between repeats the letter and not the result.
- A dead letter that is refused (queue full, no leader) is tried again until it is taken; the result
  does not wait for that. A result that is refused, or that no queue takes, is tried again for half
  a minute; then it is given up, counted and logged.
- What was not confirmed when a connection ended goes alone from then on (`one_by_one`): it may have
  been the cause. A result for a direct reply address goes that way too, until this address took one
  since the connection began.
- What is not confirmed in time is tried alone on another connection: a confirm can get lost where
  RabbitMQ's nodes lose each other for a moment.
- What is refused for long is tried on a new connection, less often each time: a channel that met a
  quorum queue without a leader can refuse for ever (RabbitMQ 3.10).
- A command whose body was too large to be kept has no dead letter of ours: after its result it is
  rejected, and RabbitMQ moves it to the dead queue as it is.
- After a dead letter was returned no confirm counts any more: one of them is for the letter itself,
  and its command would be lost.

What must not live here: why a command ended, and what happens to the next one.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, Protocol

from rtmpump import log
from rtmpump.config import Outbound
from rtmpump.core.outbound import outcome as outcomes
from rtmpump.core.outbound.job import Job, Part
from rtmpump.core.outbound.mailbox import BrokerAnswer, PublishedAlone
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.refusals import Refusals
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.dead_letters import Version, first_that_fits, letter_versions
from rtmpump.links.rabbitmq.one_by_one import OneByOne, Parcel, is_direct, note_left_out
from rtmpump.metrics import Metrics

RESULT_TYPE: Final = "rtmpump.result"
"""The property `type` of a result."""
_AGAIN: Final = 1.0
_PATIENCE: Final = 30.0
_RENEW_AFTER: Final = 3.0
_PROVED_MAX: Final = 4096
_CONFIRM_WITHIN: Final = 20.0

_log = log.get("sender")


class _Published(NamedTuple):
    job: Job
    part: Part
    at: float


class AckListener(Protocol):
    """Who is called when a command is acknowledged."""

    def acked(self, job: Job, tag: int) -> None:
        """Let go of the job; its delivery had this tag."""


class Results:
    """Publish results and dead letters, and acknowledge, on the connection of the last `begin`."""

    def __init__(
        self,
        outbound: Outbound,
        metrics: Metrics,
        listener: AckListener,
        one_by_one: OneByOne,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dead_queue = outbound.dead_queue
        # Results that nobody takes must not fill the prefetch window: other commands wait then.
        self._most_waiting = max(1, outbound.prefetch // 2)
        self._metrics = metrics
        self._listener = listener
        self._one_by_one = one_by_one
        self._now = now
        self._connection: BrokerConnection
        self._confirms: dict[int, _Published] = {}
        self._patient_until = 0.0
        self._next = 1
        self._letter_returned = False
        self._results_returned: Counter[str] = Counter()
        self._alone = 0
        # Keys of a dict: the oldest is forgotten first.
        self._proved: dict[str, None] = {}
        self._waiting: dict[Job, None] = {}
        self._finishing = False
        self._refusals = Refusals(_RENEW_AFTER, factor=2.0)

    def begin(self, connection: BrokerConnection) -> None:
        """Use a new connection; what was published on the old one and not confirmed goes alone."""
        self._connection = connection
        for job, part, _ in self._confirms.values():
            job.report.alone = True
            job.report.under_way.discard(part)
        self._confirms.clear()
        self._proved.clear()
        self._results_returned.clear()
        self._waiting.clear()
        self._refusals.forget_all()
        self._next = 1
        self._letter_returned = False

    def finish(self) -> None:
        """Give up from now on each result that is refused: its command would be sent once more."""
        self._finishing = True
        for job in list(self._waiting):
            self._give_up(job, "the pump stops")

    @property
    def is_idle(self) -> bool:
        """Whether the broker has answered for all that was published."""
        return not self._confirms and not self._alone

    def deliver(self, job: Job) -> None:
        """Publish for a settled job what is not published yet, then acknowledge it."""
        if _is_buried(job):
            self._answer(job)
        else:
            self._bury(job)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Take the broker's ack or nack for the publish `tag`, or for all up to it."""
        if self._letter_returned:
            return
        for one in self._upto(tag) if multiple else [tag]:
            confirm = self._confirms.pop(one, None)
            if confirm is not None:
                job, part, _ = confirm
                job.report.under_way.discard(part)
                self._part_settled(job, part, self._answer_to(job, part, ok))

    def look_for_late_ones(self) -> None:
        """End the connection if the broker has said nothing for long of what was published."""
        oldest = next(iter(self._confirms.values()), None)
        if oldest is None:
            return
        lasts = self._now() - max(oldest.at, self._patient_until)
        if lasts > _CONFIRM_WITHIN:
            detail = f"RabbitMQ has not confirmed a result or dead letter for {lasts:.0f} s"
            self._connection.fail("confirm_timeout", detail, at_once=True)

    def be_patient(self) -> None:
        """Wait anew: the broker takes nothing now."""
        self._patient_until = self._now()

    def settled_alone(self, note: PublishedAlone) -> None:
        """Take the word of the other connection on what went out alone."""
        job, part, answer = note
        self._alone -= 1
        job.report.under_way.discard(part)
        job.report.alone = False
        if part is Part.RESULT and answer is BrokerAnswer.TAKEN:
            self._prove(job.fingerprint.reply_to)
        if part is Part.LETTER and answer is BrokerAnswer.RETURNED:
            self._dead_queue_is_gone()
        else:
            self._part_settled(job, part, answer)

    def returned(self, properties: Properties) -> None:
        """Note that no queue takes a result, or end the connection for a dead letter."""
        id = properties.message_id
        if properties.type == RESULT_TYPE and any(
            part is Part.RESULT and job.report.result_id == id
            for job, part, _ in self._confirms.values()
        ):
            self._results_returned[str(id)] += 1
        else:
            self._letter_returned = True
            self._dead_queue_is_gone()

    def _dead_queue_is_gone(self) -> None:
        """End the connection, so that a new one declares the queue."""
        detail = f"the queue {self._dead_queue} is not there"
        self._connection.fail("not_found", detail, at_once=True)

    def _upto(self, tag: int) -> list[int]:
        tags = []
        for one in self._confirms:
            if one > tag:
                break
            tags.append(one)
        return tags

    def _answer_to(self, job: Job, part: Part, ok: bool) -> BrokerAnswer:
        id = job.report.result_id
        if part is Part.RESULT and self._results_returned[id] > 0:
            self._results_returned[id] -= 1
            return BrokerAnswer.RETURNED
        return BrokerAnswer.TAKEN if ok else BrokerAnswer.REFUSED

    def _part_settled(self, job: Job, part: Part, answer: BrokerAnswer) -> None:
        if answer is BrokerAnswer.TAKEN or answer is BrokerAnswer.REFUSED:
            self._count_refusals(job, answer is BrokerAnswer.TAKEN)
        if part is Part.LETTER:
            self._letter_settled(job, answer)
        else:
            self._result_settled(job, answer)

    # The dead letter.

    def _bury(self, job: Job) -> None:
        outcome, report = _outcome(job), job.report
        if Part.LETTER in report.under_way or job.tag is None:
            return
        headers = outcomes.dead_headers(
            outcome.code, outcome.message, job.attempts, int(time.time() * 1000)
        )
        if job.uncertain:
            headers["rtmpump-uncertain"] = True
        self._publish(
            job, Part.LETTER, self._dead_queue, letter_versions(job.properties, job.body, headers)
        )

    def _letter_settled(self, job: Job, answer: BrokerAnswer) -> None:
        if answer is BrokerAnswer.TAKEN:
            job.report.done.add(Part.LETTER)
            self._metrics.dead_letter(_outcome(job).code)
        elif job.tag is not None:
            self._connection.later(_AGAIN, partial(self._bury, job))
        self._answer(job)

    # The result.

    def _answer(self, job: Job) -> None:
        """Publish the result, if its producer wants one, and it is not on its way."""
        queue, report = job.fingerprint.reply_to, job.report
        self._waiting.pop(job, None)
        if job.tag is None or Part.RESULT in report.under_way:
            return
        if not queue or Part.RESULT in report.done:
            self._ack_if_safe(job)
            return
        report.result_id = report.result_id or _result_id(job)
        properties = Properties(
            content_type="application/json",
            correlation_id=job.fingerprint.correlation_id,
            message_id=report.result_id,
            app_id="rtmpump",
            type=RESULT_TYPE,
        )
        self._publish(job, Part.RESULT, queue, (Version(properties, _result(job)),))

    def _result_settled(self, job: Job, answer: BrokerAnswer) -> None:
        report, now = job.report, self._now()
        report.retry_until = report.retry_until or now + _PATIENCE
        if answer is BrokerAnswer.TAKEN:
            report.done.add(Part.RESULT)
        elif answer is BrokerAnswer.LEFT_OUT:
            self._give_up(job, "it ends the connection to RabbitMQ")
        elif self._finishing or now >= report.retry_until:
            self._give_up(job, _why(answer))
        elif job.tag is not None:
            self._try_again(job, answer)
        self._ack_if_safe(job)

    def _try_again(self, job: Job, answer: BrokerAnswer) -> None:
        """Wait a moment; of too many that wait, the oldest is given up."""
        self._waiting[job] = None
        self._connection.later(_AGAIN, partial(self._answer_again, job))
        if len(self._waiting) > self._most_waiting:
            self._give_up(next(iter(self._waiting)), _why(answer))

    def _answer_again(self, job: Job) -> None:
        if job in self._waiting:
            self._answer(job)

    def _give_up(self, job: Job, why: str) -> None:
        self._waiting.pop(job, None)
        job.report.done.add(Part.RESULT)
        self._metrics.result_undeliverable()
        _log.warning(
            "result.undeliverable",
            why=why,
            reply_to=str(job.fingerprint.reply_to),
            message_id=str(job.fingerprint.message_id or ""),
            result_id=job.report.result_id,
            ok=_outcome(job).ok,
        )
        self._ack_if_safe(job)

    def _prove(self, queue: str | None) -> None:
        """Trust a direct reply address that took a result, as long as this connection lives."""
        if queue is None or not is_direct(queue):
            return
        self._proved[queue] = None
        if len(self._proved) > _PROVED_MAX:
            del self._proved[next(iter(self._proved))]

    # Both.

    def _publish(self, job: Job, part: Part, queue: str, versions: tuple[Version, ...]) -> None:
        job.report.under_way.add(part)
        if job.report.alone or (is_direct(queue) and queue not in self._proved):
            self._alone += 1
            self._one_by_one.submit(Parcel(job, part, queue, versions))
            return
        properties, body, left_out = versions[first_that_fits(versions, self._connection.frame_max)]
        if left_out:
            note_left_out(job, left_out)
        # RabbitMQ returns all that is mandatory and goes to a direct reply address.
        self._connection.publish("", queue, body, properties, mandatory=not is_direct(queue))
        self._confirms[self._next] = _Published(job, part, self._now())
        self._next += 1

    def _count_refusals(self, job: Job, ok: bool) -> None:
        """End the connection when it has refused for long, so that a new one begins."""
        report = job.report
        if ok and not report.refused:
            return
        report.refused = True
        if ok:
            self._refusals.taken(job)
        elif lasted := self._refusals.refused(time.monotonic(), job):
            detail = f"a result or dead letter was refused for {lasted:.0f} s; is a queue full?"
            self._connection.fail("nacked", detail, at_once=True)

    def _ack_if_safe(self, job: Job) -> None:
        is_answered = Part.RESULT in job.report.done or not job.fingerprint.reply_to
        if not _is_buried(job) or not is_answered or job.tag is None:
            return
        if job.report.refused:
            self._refusals.forget(job)
        if job.dropped:
            self._metrics.dead_letter(_outcome(job).code)
            self._connection.refuse(job.tag)
        else:
            self._connection.ack(job.tag)
        self._listener.acked(job, job.tag)


def _is_buried(job: Job) -> bool:
    """Return whether the job needs no dead letter of ours, or no more."""
    return _outcome(job).ok or job.dropped > 0 or Part.LETTER in job.report.done


def _outcome(job: Job) -> Outcome:
    if job.outcome is None:
        raise ValueError("the job has not ended")
    return job.outcome


def _result_id(job: Job) -> str:
    """Return the `message_id` of a result: the same whenever this command is answered."""
    known_by = job.fingerprint
    return f"r:{known_by.hash if known_by.is_named else secrets.token_hex(16)}"


def _why(answer: BrokerAnswer) -> str:
    return "no such queue" if answer is BrokerAnswer.RETURNED else "the queue refuses it"


def _result(job: Job) -> bytes:
    outcome = _outcome(job)
    if outcome.ok:
        channel, ts = job.channel_id or None, outcome.ts or None
        return outcomes.ok_result(channel, ts, job.attempts, job.uncertain, outcome.response)
    return outcomes.error_result(outcome.code, outcome.message, job.attempts, job.uncertain)
