"""The queue at which consumers answer, on the connection that publishes the events.

Laws:

- It belongs to this connection alone and ends with it. Whoever answers to an earlier one meets no
  queue; a direct reply address would in RabbitMQ 3.10 end the connection of who answers.
- It is never worth an event: if it can't be declared, that is logged once, and nobody answers.

One thread owns it: that of the publisher.
"""

from __future__ import annotations

import secrets
import time
from typing import Final

import msgspec

from rtmpump import log
from rtmpump.core.routes import Route
from rtmpump.links.answers import ANSWER_MAX, Answers
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.declaring import OwnQueue, Refusal
from rtmpump.links.rabbitmq.listener import Delivery

PREFIX: Final = "rtm.answers."
_PREFETCH: Final = 1000
_GROUP: Final = "answers"

_log = log.get("answers")


class AnswerQueue:
    """Puts questions to consumers with their events, and takes the answers."""

    def __init__(self, answers: Answers | None) -> None:
        """Take None where no event is answered; then nothing here does anything."""
        self._answers = answers
        self._connection: BrokerConnection | None = None
        self._name = ""
        self._is_blocked = False
        self._told = ""

    def connected(self, connection: BrokerConnection) -> None:
        """Have the queue made on a connection that is open."""
        if self._answers is None:
            return
        self._connection, self._is_blocked = connection, False
        self._name = f"{PREFIX}{secrets.token_hex(8)}"
        connection.declare_groups({_GROUP: [OwnQueue(self._name)]}, self._declared)

    def _declared(self, refusals: list[Refusal]) -> None:
        if self._connection is None:
            return
        if refusals:
            (refusal,) = refusals
            if refusal.detail != self._told:
                self._told = refusal.detail
                fix = "let the pump configure and read queues called rtm.answers.…"
                _log.error("answers.off", problem=refusal.detail, fix=fix)
            return
        self._told = ""
        self._connection.consume(self._name, _PREFETCH, ANSWER_MAX, self._began)

    def _began(self) -> None:
        _log.info("answers.on", queue=self._name)
        self._serve()

    def _serve(self) -> None:
        if self._answers is not None and self._connection is not None and not self._is_blocked:
            self._answers.serve(self._name)

    def ended(self) -> None:
        """Learn that the connection is over: nobody can answer what was asked on it."""
        self._connection = None
        if self._answers is not None:
            self._answers.serve("")

    def blocked(self, is_blocked: bool) -> None:
        """Ask nobody while the broker takes no events."""
        self._is_blocked = is_blocked
        if self._answers is not None and is_blocked:
            self._answers.serve("")
        else:
            self._serve()

    def behind(self, received_ms: int) -> None:
        """Learn when the event was received that is published now."""
        if self._answers is not None:
            self._answers.behind(time.time() - received_ms / 1000)

    def idle(self) -> None:
        """Learn that no event waits."""
        if self._answers is not None:
            self._answers.behind(0.0)

    def asked(self, name: Route) -> Route:
        """Return how an event is published: with its question, if one is open."""
        if self._answers is None or not name.asks:
            return name
        question = self._answers.question(name.asks)
        if question is None:
            return name
        return msgspec.structs.replace(
            name,
            reply_to=question.reply_to,
            correlation_id=question.correlation_id,
            facts={**(name.facts or {}), "answer_by": question.answer_by_ms},
        )

    def returned(self, properties: Properties) -> None:
        """Learn that no queue took an event."""
        if self._answers is not None and properties.correlation_id:
            self._answers.nobody(properties.correlation_id)

    def delivered(self, delivery: Delivery) -> None:
        """Take what came to the queue."""
        if self._answers is not None and self._connection is not None:
            self._connection.ack(delivery.tag)
            correlation_id = delivery.properties.correlation_id or ""
            self._answers.answered(
                correlation_id, delivery.body, is_too_large=bool(delivery.dropped)
            )
