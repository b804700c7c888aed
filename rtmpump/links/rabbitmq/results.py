"""The end of a command: its dead letter, its result, and only then its ack.

Laws:

- The result is published after the broker confirmed or refused the dead letter. So a connection
  that ends in between repeats the letter and not the result.
- A dead letter that is refused (queue full, no leader) is tried again until it is taken; the result
  does not wait for that. A result that is refused is tried again for half a minute.
- What is refused for long is tried on a new connection, less often each time: a channel that met a
  quorum queue without a leader can refuse for ever (RabbitMQ 3.10).
- After a dead letter was returned no confirm counts any more: one of them is for the letter itself,
  and its command would be lost.

What must not live here: why a command ended, and what happens to the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from rtmpump.config import Outbound
from rtmpump.core.outbound import outcome as outcomes
from rtmpump.core.outbound.job import Job
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.refusals import Refusals
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.dead_letters import dead_properties
from rtmpump.metrics import Metrics

_REFUSED_AGAIN: Final = 1.0
_RESULT_PATIENCE: Final = 30.0
_RENEW_AFTER: Final = 3.0


class AckListener(Protocol):
    """Who is called when a command is acknowledged."""

    def acked(self, job: Job, tag: int) -> None:
        """Let go of the job; its delivery had this tag."""


class Results:
    """Publish results and dead letters, and acknowledge, on the connection of the last `begin`."""

    def __init__(self, outbound: Outbound, metrics: Metrics, listener: AckListener) -> None:
        self._dead_queue = outbound.dead_queue
        self._metrics = metrics
        self._listener = listener
        self._connection: BrokerConnection
        self._confirms: dict[int, Callable[[bool], None]] = {}
        self._next = 1
        self._returned = False
        self._refusals = Refusals(_RENEW_AFTER, factor=2.0)

    def begin(self, connection: BrokerConnection) -> None:
        """Use a new connection; forget what was published on the old one and not confirmed."""
        self._connection = connection
        self._confirms.clear()
        self._refusals.forget_all()
        self._next = 1
        self._returned = False

    @property
    def is_idle(self) -> bool:
        """Whether the broker has answered for all that was published."""
        return not self._confirms

    def deliver(self, job: Job, outcome: Outcome) -> None:
        """Publish for a settled job what is not published yet, then acknowledge it."""
        if outcome.ok or job.dead_confirmed:
            self._answer(job, outcome)
        else:
            self._bury(job, outcome, self._answer)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Take the broker's ack or nack for the publish `tag`, or for all up to it."""
        if self._returned:
            return
        for one in self._upto(tag) if multiple else [tag]:
            confirm = self._confirms.pop(one, None)
            if confirm is not None:
                confirm(ok)

    def returned(self) -> None:
        """End the connection: only dead letters are mandatory, so their queue must be declared."""
        self._returned = True
        queue = self._dead_queue
        self._connection.fail("not_found", f"the queue {queue} is not there", at_once=True)

    def _upto(self, tag: int) -> list[int]:
        tags = []
        for one in self._confirms:
            if one > tag:
                break
            tags.append(one)
        return tags

    def _bury(self, job: Job, outcome: Outcome, then: Callable[[Job, Outcome], None]) -> None:
        """Publish the dead letter, then do `then`."""
        headers = outcomes.dead_headers(
            outcome.code, outcome.message, job.attempts, int(time.time() * 1000)
        )
        if job.uncertain:
            headers["rtmpump-uncertain"] = True
        properties = dead_properties(job.properties, headers)
        confirmed = partial(self._letter_settled, job, outcome, then)
        self._publish(self._dead_queue, job.body, properties, True, confirmed)

    def _letter_settled(
        self, job: Job, outcome: Outcome, then: Callable[[Job, Outcome], None], ok: bool
    ) -> None:
        job.dead_confirmed = ok
        self._count_refusals(job, ok)
        if ok:
            self._metrics.dead_letter(outcome.code)
        else:
            # The result is on its way by then.
            again = partial(self._bury, job, outcome, self._ack_if_safe)
            self._connection.later(_REFUSED_AGAIN, again)
        then(job, outcome)

    def _answer(self, job: Job, outcome: Outcome) -> None:
        """Publish the result, if its producer wants one."""
        queue = job.fingerprint.reply_to
        if not queue or job.result_confirmed:
            self._ack_if_safe(job, outcome)
            return
        properties = Properties(
            content_type="application/json",
            correlation_id=job.fingerprint.correlation_id,
            app_id="rtmpump",
            type="rtmpump.result",
        )
        confirmed = partial(self._result_settled, job, outcome)
        self._publish(queue, _result(job, outcome), properties, False, confirmed)

    def _result_settled(self, job: Job, outcome: Outcome, ok: bool) -> None:
        self._count_refusals(job, ok)
        now = time.monotonic()
        job.result_due_by = job.result_due_by or now + _RESULT_PATIENCE
        # Refused for so long, the queue that the producer named takes no more.
        job.result_confirmed = ok or now >= job.result_due_by
        if not job.result_confirmed:
            self._connection.later(_REFUSED_AGAIN, partial(self._answer, job, outcome))
        self._ack_if_safe(job, outcome)

    def _count_refusals(self, job: Job, ok: bool) -> None:
        """End the connection when it has refused for long, so that a new one begins."""
        if ok and not job.refused:
            return
        job.refused = True
        if ok:
            self._refusals.taken(job)
        elif lasted := self._refusals.refused(time.monotonic(), job):
            detail = f"a result or dead letter was refused for {lasted:.0f} s; is a queue full?"
            self._connection.fail("nacked", detail, at_once=True)

    def _publish(
        self,
        queue: str,
        body: bytes,
        properties: Properties,
        mandatory: bool,
        confirmed: Callable[[bool], None],
    ) -> None:
        self._connection.publish("", queue, body, properties, mandatory)
        self._confirms[self._next] = confirmed
        self._next += 1

    def _ack_if_safe(self, job: Job, outcome: Outcome) -> None:
        is_buried = outcome.ok or job.dead_confirmed
        is_answered = job.result_confirmed or not job.fingerprint.reply_to
        if is_buried and is_answered and job.tag is not None:
            if job.refused:
                self._refusals.forget(job)
            self._connection.ack(job.tag)
            self._listener.acked(job, job.tag)


def _result(job: Job, outcome: Outcome) -> bytes:
    if outcome.response is not None:
        return outcomes.api_result(outcome.response, job.attempts, job.uncertain)
    if outcome.ok:
        channel, ts = job.channel_id or None, outcome.ts or None
        return outcomes.ok_result(channel, ts, job.attempts, job.uncertain)
    return outcomes.error_result(outcome.code, outcome.message, job.attempts, job.uncertain)
