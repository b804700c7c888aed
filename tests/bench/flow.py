"""Events as the pump publishes them, at a pace, with the time at which RabbitMQ confirmed each.

python -m tests.bench.flow BROKER_URL RATE COUNT. Says `ready`, waits for a line, and says at the
end when each event was published and confirmed (`published`, `confirmed`: monotonic seconds).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import pika
from pika.channel import Channel

from rtmpump.core.routes import route
from rtmpump.links.rabbitmq.event_properties import event_properties
from tests.bench.common import SIZE

EXCHANGE: Final = "rtm.events"
NUMBER: Final = "n"
"""The member of an event that numbers it."""


def token(number: int) -> str:
    """Return the token of a name of the gateway."""
    return f"Bench-Token-of-name-{number:03d}-0123456789"


def events(count: int) -> Iterator[tuple[str, bytes, pika.BasicProperties]]:
    """Return routing key, body and properties of so many events."""
    for number in range(count):
        event = {"type": "message", "channel": "C0GENERAL", "user": "U0ALICE", NUMBER: number}
        ts = f"17{number:08d}.000001"
        body = json.dumps(event | {"ts": ts, "text": "x" * (SIZE - 100)}).encode()
        name = route(body, seq=number, received_ms=number, team="T1", bot="U1", epoch="bench")
        yield name.routing_key, body, event_properties(name)


def main() -> None:
    """Publish all."""
    url, rate, count = sys.argv[1:]
    flow = _Flow(float(rate), int(count))
    parameters = pika.URLParameters(url)
    connection = pika.SelectConnection(parameters, on_open_callback=flow.begin)
    connection.ioloop.start()
    print(json.dumps({"published": flow.published, "confirmed": flow.confirmed}), flush=True)


class _Flow:
    def __init__(self, rate: float, count: int) -> None:
        self.published: list[float] = []
        self.confirmed: list[float] = [0.0] * count
        self._rate = rate
        self._count = count
        self._events = events(count)
        self._upto = 0
        self._open: set[int] = set(range(count))

    def begin(self, connection: Any) -> None:
        self._connection = connection
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.confirm_delivery(self._confirmed, callback=self._ready)

    def _ready(self, _frame: object) -> None:
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.readline()
        self._began = time.monotonic()
        self._publish()

    def _publish(self) -> None:
        while len(self.published) < self._count:
            due = self._began + len(self.published) / self._rate
            if (wait := due - time.monotonic()) > 0:
                self._connection.ioloop.call_later(wait, self._publish)
                return
            key, body, properties = next(self._events)
            self.published.append(time.monotonic())
            self._channel.basic_publish(EXCHANGE, key, body, properties, mandatory=True)

    def _confirmed(self, frame: Any) -> None:
        assert isinstance(frame.method, pika.spec.Basic.Ack), frame
        now, tag = time.monotonic(), frame.method.delivery_tag
        ours = range(self._upto, tag) if frame.method.multiple else range(tag - 1, tag)
        for number in self._open.intersection(ours):
            self.confirmed[number] = now
            self._open.discard(number)
        if frame.method.multiple:
            self._upto = tag
        if not self._open:
            self._connection.ioloop.stop()


if __name__ == "__main__":
    main()
