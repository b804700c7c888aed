"""The queue at which consumers answer, on the connection that publishes the events.

Laws:

- It belongs to this connection alone and ends with it. Whoever answers to an earlier one meets no
  queue; a direct reply address would in RabbitMQ 3.10 end the connection of who answers.
- It is never worth an event: it has a channel of its own, and if the broker refuses the queue, that
  is logged once, and nobody answers.

One thread owns it: that of the publisher.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

import msgspec
from pika.channel import Channel

from rtmpump import log
from rtmpump.core.routes import Route
from rtmpump.errors import LinkError
from rtmpump.links.answers import ANSWER_MAX, Answers
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.large_bodies import DroppedBody, drop_large_bodies

PREFIX: Final = "rtm.answers."

_log = log.get("answers")


class AnswerQueue:
    """Puts questions to consumers with their events, and takes the answers."""

    def __init__(self, answers: Answers | None) -> None:
        """Take None where no event is answered; then nothing here does anything."""
        self._answers = answers
        self._connection: BrokerConnection | None = None
        self._channel: Channel | None = None
        self._name = ""
        self._is_consuming = self._is_blocked = False
        self._told = ""

    def connected(self, connection: BrokerConnection) -> None:
        """Have the queue made on a connection that is open, on a channel of its own."""
        if self._answers is not None:
            self._connection = connection
            self._name = f"{PREFIX}{secrets.token_hex(8)}"
            connection.open_beside(self._opened, self._closed)

    def _opened(self, channel: Channel) -> None:
        if (connection := self._connection) is None:
            return
        self._channel = channel
        drop_large_bodies(channel, ANSWER_MAX)
        declared = connection.guarded(self._declared)
        channel.queue_declare(self._name, exclusive=True, auto_delete=True, callback=declared)

    def _declared(self, _frame: Any) -> None:
        if self._channel is not None and self._connection is not None:
            guarded = self._connection.guarded
            self._channel.basic_consume(
                self._name, guarded(self._given), auto_ack=True, callback=guarded(self._began)
            )

    def _began(self, _frame: Any) -> None:
        self._told, self._is_consuming = "", True
        self._serve()
        _log.info("answers.on", queue=self._name)

    def _closed(self, error: LinkError) -> None:
        """Do without answers: the broker refused the queue, or it was deleted."""
        self._stop()
        if error.detail != self._told:
            self._told = error.detail
            fix = "let the pump configure and read queues called rtm.answers.…"
            _log.error("answers.off", problem=error.detail, fix=fix)

    def _serve(self) -> None:
        if self._answers is not None and self._is_consuming and not self._is_blocked:
            self._answers.serve(self._name)

    def _stop(self) -> None:
        self._is_consuming, self._channel = False, None
        if self._answers is not None:
            self._answers.serve("")

    def ended(self) -> None:
        """Learn that the connection is over: nobody can answer what was asked on it."""
        self._connection, self._is_blocked = None, False
        self._stop()

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

    def _given(self, _channel: Any, _method: Any, properties: Properties, body: bytes) -> None:
        """Take what came to the queue."""
        if self._answers is not None:
            correlation_id = properties.correlation_id or ""
            too_large = isinstance(body, DroppedBody)
            self._answers.answered(correlation_id, body, is_too_large=too_large)
