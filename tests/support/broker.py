"""A client of RabbitMQ: for tests that consume, and for those that send commands."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from tests.support.waiting import SECONDS, wait_until


class Message(NamedTuple):
    """One message as a consumer sees it."""

    body: bytes
    exchange: str
    key: str
    properties: pika.BasicProperties

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def headers(self) -> dict[str, Any]:
        """The headers; empty if there are none."""
        return dict(self.properties.headers or {})


class Broker:
    """A client of one vhost: for consumers, and for those who send commands."""

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        # Tests are often busy elsewhere for longer than a heartbeat.
        parameters.heartbeat = 0
        self.connection = pika.BlockingConnection(parameters)
        self.channel: BlockingChannel = self.connection.channel()
        self.channel.confirm_delivery()
        self._replies = ""
        self._results: dict[str, list[Message]] = {}

    def queue(self, *bindings: tuple[str, str], name: str = "", **arguments: object) -> str:
        """A durable queue, bound to each (exchange, key); returns its name."""
        name = name or f"q-{secrets.token_hex(4)}"
        self.channel.queue_declare(
            name, durable=True, arguments={key.replace("_", "-"): v for key, v in arguments.items()}
        )
        for exchange, key in bindings:
            self.bind(name, exchange, key)
        return name

    def all_from_now_on(self) -> str:
        """A queue that gets all events but those with which a fresh pump begins.

        Those may still be on their way when its links are up: they go where nobody takes them.
        """
        wait_until(lambda: self.count("rtm.unrouted") >= 2, what="for hello and connected")
        return self.queue(("rtm.events", "#"))

    def bind(self, queue: str, exchange: str, key: str = "#") -> None:
        """Binds a queue to an exchange."""
        self.channel.queue_bind(queue, exchange, key)

    def exists(self, *, exchange: str = "", queue: str = "") -> bool:
        """Whether an exchange or a queue is there."""
        channel = self.connection.channel()
        try:
            if exchange:
                channel.exchange_declare(exchange, passive=True)
            if queue:
                channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        channel.close()
        return True

    def wait_for_exchange(self, exchange: str) -> None:
        """Waits until an exchange is there."""
        wait_until(lambda: self.exists(exchange=exchange), what=f"for exchange {exchange}")

    def count(self, queue: str) -> int:
        """How many messages wait in a queue."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def get(self, queue: str, timeout: float = SECONDS) -> Message:
        """The next message of a queue; fails if none comes."""
        message = self.poll(queue)
        deadline = time.monotonic() + timeout
        while message is None:
            assert time.monotonic() < deadline, f"nothing came to {queue}"
            time.sleep(0.02)
            message = self.poll(queue)
        return message

    def poll(self, queue: str) -> Message | None:
        """The next message of a queue, or None if it is empty now."""
        method, properties, body = self.channel.basic_get(queue, auto_ack=True)
        return None if method is None else _message(method, properties, body)

    def take(
        self, queue: str, count: int, timeout: float = SECONDS, *, enough: bool = True
    ) -> list[Message]:
        """The next `count` messages; fewer come only after `timeout`, and then it fails.

        Without `enough` it returns what came in the time.
        """
        return self.take_until(queue, lambda got: len(got) >= count, timeout, enough=enough)

    def take_until(
        self,
        queue: str,
        done: Callable[[list[Message]], bool],
        timeout: float = SECONDS,
        *,
        enough: bool = True,
        arguments: Mapping[str, Any] | None = None,
    ) -> list[Message]:
        """The next messages, until `done` says of those that came so far that it has all."""
        got: list[Message] = []
        channel = self.connection.channel()
        channel.basic_qos(prefetch_count=500)
        deadline = time.monotonic() + timeout
        last = 0
        for method, properties, body in channel.consume(
            queue, inactivity_timeout=0.1, arguments=arguments
        ):
            if method is not None:
                last = method.delivery_tag or 0
                got.append(_message(method, properties, body))
            is_over = done(got) or time.monotonic() > deadline
            # Not each by itself, which costs more than all the rest.
            if last and (is_over or len(got) % 100 == 0 or not channel.get_waiting_message_count()):
                channel.basic_ack(last, multiple=True)
                last = 0
            if is_over:
                break
        channel.cancel()
        channel.close()
        assert not enough or done(got), f"only {len(got)} came to {queue}: {got[-5:]}"
        return got

    def drain(self, queue: str) -> list[Message]:
        """All that is in a queue now."""
        return list(iter(lambda: self.poll(queue), None))

    def publish(
        self,
        body: object,
        *,
        queue: str = "rtm.outbound",
        exchange: str = "",
        **properties: Any,
    ) -> None:
        """Publishes persistently and waits for the confirm; fails if no queue takes it."""
        given = pika.BasicProperties(**{"delivery_mode": 2, **properties})
        self.channel.basic_publish(exchange, queue, _as_body(body), given, mandatory=True)

    def command(self, body: object, **properties: Any) -> str:
        """Sends a command that asks for a result; returns its correlation id."""
        if not self._replies:
            self._replies = self.channel.queue_declare("", exclusive=True).method.queue
        correlation = secrets.token_hex(8)
        self.publish(body, reply_to=self._replies, correlation_id=correlation, **properties)
        return correlation

    def result(self, correlation: str, timeout: float = SECONDS) -> Message:
        """Waits for the result of a command; others that come meanwhile are kept."""
        deadline = time.monotonic() + timeout
        while not self._results.get(correlation):
            assert time.monotonic() < deadline, f"no result; have {self._results}"
            self._take_results()
            time.sleep(0.01)
        return self._results[correlation].pop(0)

    def more_results(self, correlation: str) -> list[Message]:
        """Results of a command beyond those that were taken: there should be none."""
        self._take_results()
        return self._results.get(correlation, [])

    def ask(self, body: object, timeout: float = SECONDS, **properties: Any) -> Any:
        """Sends a command, and returns its result as it was in JSON."""
        return self.result(self.command(body, **properties), timeout).json

    def dead(self, timeout: float = SECONDS) -> Message:
        """The next dead letter."""
        return self.get("rtm.outbound.dead", timeout)

    def close(self) -> None:
        """Closes the connection, if the broker has not done so."""
        if self.connection.is_open:
            self.connection.close()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_results(self) -> None:
        while (message := self.poll(self._replies)) is not None:
            correlation = message.properties.correlation_id or ""
            self._results.setdefault(correlation, []).append(message)


def _message(method: Any, properties: Any, body: Any) -> Message:
    return Message(body, method.exchange, method.routing_key, properties)


def _as_body(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
