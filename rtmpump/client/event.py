"""One event, as a service sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Protocol

from rtmpump.client.errors import NotAnswerable
from rtmpump.links.rabbitmq.subscription import Arrival


class Answerer(Protocol):
    """What carries an answer to the pump."""

    def answer(self, to: str, correlation_id: str, body: bytes) -> bool:
        """Return whether the pump's queue took it."""


class Event:
    """An event of Slack, or of the pump itself; docs/consume.md has all that it holds.

    `type` is Slack's word (`message`), `subtype` what follows it in the routing key `key`, or "".
    `body` are the bytes that Slack sent. Repeats have the same `message_id`; it is "" for what was
    not published by rtmpump. `redelivered`: RabbitMQ has delivered it to a consumer before.
    """

    __slots__ = ("_answerer", "_arrival", "_headers", "body", "key", "message_id", "redelivered")

    def __init__(self, arrival: Arrival, answerer: Answerer) -> None:
        self._arrival = arrival
        self._answerer = answerer
        self._headers: Mapping[str, Any] | None = None
        self.key = arrival.key
        self.body = arrival.body
        self.message_id = id_of(arrival)
        self.redelivered = arrival.redelivered

    @property
    def type(self) -> str:
        """Slack's type, such as `message`, `reaction_added`, `slash_command` or `interactive`."""
        return self.key.partition(".")[0]

    @property
    def subtype(self) -> str:
        """What the type is more exactly: `channel_join`, `block_actions` …, or ""."""
        return self.key.partition(".")[2]

    @property
    def headers(self) -> Mapping[str, Any]:
        """The AMQP headers, such as `team`, `bot`, `channel`, `user`, `received_at` and `seq`."""
        if self._headers is None:
            self._headers = self._arrival.properties.headers or {}
        return self._headers

    @property
    def received_at(self) -> float | None:
        """When the pump received it (seconds since 1970); None if that is not said."""
        return received_at(self._arrival)

    @property
    def answer_by(self) -> float | None:
        """The time (seconds since 1970) by which Slack must have an answer; None if it wants none.

        It is told by the clock of the pump's machine.
        """
        by = self.headers.get("answer_by")
        return by / 1000 if isinstance(by, int) and self._arrival.properties.reply_to else None

    def json(self) -> Any:
        """Return the body as the object that it is.

        Raises:
            ValueError: it is no JSON; then its key is `unknown`.
        """
        return json.loads(self.body)

    def answer(self, payload: Mapping[str, Any] | None = None) -> bool:
        """Give Slack this payload, or none, inside the acknowledgement of the event.

        Returns:
            Whether the pump got it in time. If not, Slack has got a plain acknowledgement.

        Raises:
            NotAnswerable: the event asks for no answer.
            ClientError: RabbitMQ did not take it.
        """
        properties = self._arrival.properties
        if not properties.reply_to:
            problem = f"{self.key} asks for no answer; name it in slack.answered of the pump"
            raise NotAnswerable("no_reply_to", problem)
        body = b"" if payload is None else json.dumps(payload).encode()
        correlation = str(properties.correlation_id or "")
        taken = self._answerer.answer(str(properties.reply_to), correlation, body)
        by = self.answer_by
        return taken and (by is None or time.time() <= by)

    def __repr__(self) -> str:
        return f"<Event {self.key} {self.message_id}>"


def received_at(arrival: Arrival) -> float | None:
    """Return when the pump received it, in seconds since 1970, or None."""
    at, coarse = (arrival.properties.headers or {}).get("received_at"), arrival.properties.timestamp
    return at / 1000 if isinstance(at, int) else coarse


def id_of(arrival: Arrival) -> str:
    """Return the id by which repeats are known, or ""."""
    id = arrival.properties.message_id
    return id if isinstance(id, str) else ""
