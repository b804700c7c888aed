"""The end of a command: its dead letter, its result, and only then its ack.

Laws:

- A dead letter is published first and the result after the broker's word on it, so that a
  connection that ends in between repeats the letter and not the answer.
- A dead letter that is refused (queue full, no leader) is tried again until it is taken; who waits
  for the result has it meanwhile. A result that is refused is tried again for half a minute.
- What is refused for long is tried on a new connection, less often each time: a channel that met a
  quorum queue while it had no leader can refuse for ever (RabbitMQ 3.10).
- After a dead letter came back no confirm counts any more: its own ack is among them, and the
  command would be gone.

What must not live here: why a command ended, and what happens to the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from rtmpump.config import Outbound
from rtmpump.core.outbound import outcome as outcomes
from rtmpump.core.outbound.job import Job
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.refusals import Refusals
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties

_REFUSED_AGAIN: Final = 1.0
_RESULT_PATIENCE: Final = 30.0
_RENEW_AFTER: Final = 3.0
_NOT_KEPT: Final = ("CC", "BCC", "x-delivery-count")
# A content header has to fit into one frame, of 131,072 bytes unless configured otherwise, and the
# broker ends a connection that breaks this; ours are small, so what is left is the producer's.
_HEADERS_MAX: Final = 98_304


class Results:
    """Publishes and acks on the connection of the last `begin`.

    `acked` hears of each end, `buried` of the error code of each dead letter that is safe.
    """

    def __init__(
        self, outbound: Outbound, *, acked: Callable[[Job], None], buried: Callable[[str], None]
    ) -> None:
        self._outbound = outbound
        self._acked = acked
        self._buried = buried
        self._rabbit: BrokerConnection
        self._confirms: dict[int, Callable[[bool], None]] = {}
        self._next = 1
        self._returned = False
        self._refusals = Refusals(_RENEW_AFTER, factor=2.0)

    def begin(self, rabbit: BrokerConnection) -> None:
        """A new connection: what was published on the one before and not confirmed is forgotten."""
        self._rabbit = rabbit
        self._confirms.clear()
        self._refusals.forget_all()
        self._next = 1
        self._returned = False

    @property
    def is_idle(self) -> bool:
        """Whether no confirm is waited for."""
        return not self._confirms

    def deliver(self, job: Job, outcome: Outcome) -> None:
        """Publish what is still to be published for a settled job; its ack follows."""
        if outcome.ok or job.dead_confirmed:
            self._answer(job, outcome)
        else:
            self._bury(job, outcome, self._answer)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """The broker's ack or nack of publishes up to, or just, `tag`."""
        if self._returned:
            return
        for one in self._upto(tag) if multiple else [tag]:
            confirm = self._confirms.pop(one, None)
            if confirm is not None:
                confirm(ok)

    def returned(self) -> None:
        """Only dead letters are mandatory: their queue is gone, and a new run declares it."""
        self._returned = True
        queue = self._outbound.dead_queue
        self._rabbit.fail("not_found", f"the queue {queue} is not there", at_once=True)

    def _upto(self, tag: int) -> list[int]:
        tags = []
        for one in self._confirms:
            if one > tag:
                break
            tags.append(one)
        return tags

    def _bury(self, job: Job, outcome: Outcome, then: Callable[[Job, Outcome], None]) -> None:
        headers = outcomes.dead_headers(
            outcome.code, outcome.message, job.attempts, int(time.time() * 1000)
        )
        if job.uncertain:
            headers["rtmpump-uncertain"] = True

        def confirmed(ok: bool) -> None:
            job.dead_confirmed = ok
            self._note(job, ok)
            if ok:
                self._buried(outcome.code)
            else:
                self._rabbit.later(
                    _REFUSED_AGAIN, lambda: self._bury(job, outcome, self._ack_if_safe)
                )
            then(job, outcome)

        properties = dead_properties(job.properties, headers)
        self._publish(self._outbound.dead_queue, job.body, properties, True, confirmed)

    def _answer(self, job: Job, outcome: Outcome) -> None:
        queue = job.fingerprint.reply_to
        if not queue or job.result_confirmed:
            self._ack_if_safe(job, outcome)
            return

        def confirmed(ok: bool) -> None:
            self._note(job, ok)
            now = time.monotonic()
            job.result_due_by = job.result_due_by or now + _RESULT_PATIENCE
            # Refused for so long: who waits for it named a queue that takes no more.
            job.result_confirmed = ok or now >= job.result_due_by
            if not job.result_confirmed:
                self._rabbit.later(_REFUSED_AGAIN, lambda: self._answer(job, outcome))
            self._ack_if_safe(job, outcome)

        properties = Properties(
            content_type="application/json",
            correlation_id=job.fingerprint.correlation_id,
            app_id="rtmpump",
            type="rtmpump.result",
        )
        self._publish(queue, _result(job, outcome), properties, False, confirmed)

    def _note(self, job: Job, ok: bool) -> None:
        """Taken or refused; begin a new connection when it was refused for long on this one."""
        if ok:
            self._refusals.taken(job)
        elif lasted := self._refusals.refused(time.monotonic(), job):
            detail = f"a result or dead letter was refused for {lasted:.0f} s; is a queue full?"
            self._rabbit.fail("nacked", detail, at_once=True)

    def _publish(
        self,
        queue: str,
        body: bytes,
        properties: Properties,
        mandatory: bool,
        confirmed: Callable[[bool], None],
    ) -> None:
        self._rabbit.publish("", queue, body, properties, mandatory)
        self._confirms[self._next] = confirmed
        self._next += 1

    def _ack_if_safe(self, job: Job, outcome: Outcome) -> None:
        buried = outcome.ok or job.dead_confirmed
        answered = job.result_confirmed or not job.fingerprint.reply_to
        if buried and answered and job.tag is not None:
            self._refusals.forget(job)
            self._rabbit.ack(job.tag)
            self._acked(job)


def dead_properties(given: Properties, headers: dict[str, Any]) -> Properties:
    """Keep the properties of a dead command, but for those that would hurt it where it lies.

    An `expiration` would delete it, a `user_id` other than ours is refused by RabbitMQ, and CC or
    BCC headers would deliver it once more to whom they name (`x-delivery-count` is the queue's own
    remark, not the producer's). Headers that can't be written, or not
    in one frame, are left out: else the command would end each connection, for ever.
    """
    kept = {k: v for k, v in (given.headers or {}).items() if k not in _NOT_KEPT}
    if given.expiration is not None:
        kept["rtmpump-expiration"] = given.expiration
    if given.user_id is not None:
        kept["rtmpump-user-id"] = given.user_id
    whole = _with_headers(given, kept | headers)
    return whole if can_be_written(whole) else _with_headers(given, headers)


def _with_headers(given: Properties, headers: dict[str, Any]) -> Properties:
    return Properties(
        content_type=given.content_type,
        content_encoding=given.content_encoding,
        headers=headers,
        delivery_mode=2,
        priority=given.priority,
        correlation_id=given.correlation_id,
        reply_to=given.reply_to,
        message_id=given.message_id,
        timestamp=given.timestamp,
        type=given.type,
        app_id=given.app_id,
    )


def can_be_written(properties: Properties) -> bool:
    """Whether pika can write all of it, and in one frame."""
    try:
        size = sum(len(piece) for piece in properties.encode())
    except Exception:
        # pika reads more kinds of values than it writes, and says so in many ways.
        return False
    return size <= _HEADERS_MAX


def _result(job: Job, outcome: Outcome) -> bytes:
    if outcome.response is not None:
        return outcomes.api_result(outcome.response, job.attempts, job.uncertain)
    if outcome.ok:
        channel, ts = job.channel_id or None, outcome.ts or None
        return outcomes.ok_result(channel, ts, job.attempts, job.uncertain)
    return outcomes.error_result(outcome.code, outcome.message, job.attempts, job.uncertain)
