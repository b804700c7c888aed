"""The questions of `answers` without Slack and pump: what RabbitMQ and the answerer take alone.

python -m tests.bench.bare_asker BROKER_URL EVENTS QUESTIONS SECONDS. Publishes so many of each a
second, as the pump does: to the same exchange, to disk, mandatory, with confirms. Says at the end
how long each question took to its answer (`times`, milliseconds).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pika
from pika.channel import Channel

from tests.bench.flow import EXCHANGE, events

_KEY = "interactive.view_submission"


def main() -> None:
    """Ask until the time is over and all is answered."""
    url, events_a_second, questions_a_second, seconds = sys.argv[1:]
    asker = _Asker(int(events_a_second), int(questions_a_second), float(seconds))
    connection = pika.SelectConnection(pika.URLParameters(url), on_open_callback=asker.begin)
    connection.ioloop.start()
    print(json.dumps({"times": asker.times}), flush=True)


class _Asker:
    def __init__(self, rate: int, questions: int, seconds: float) -> None:
        self.times: list[float] = []
        self._rate = rate
        self._every = rate // questions
        self._count = int(rate * seconds)
        self._events = events(self._count)
        self._next = 0
        self._open: dict[str, float] = {}

    def begin(self, connection: Any) -> None:
        self._loop = connection.ioloop
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.confirm_delivery(lambda _: None)
        channel.queue_declare("", exclusive=True, callback=self._declared)

    def _declared(self, frame: Any) -> None:
        self._queue = frame.method.queue
        self._channel.basic_consume(
            self._queue, self._answered, auto_ack=True, callback=self._consuming
        )

    def _consuming(self, _frame: object) -> None:
        self._began = time.monotonic()
        self._publish()

    def _publish(self) -> None:
        while self._next < self._count:
            due = self._began + self._next / self._rate
            if (wait := due - time.monotonic()) > 0:
                self._loop.call_later(wait, self._publish)
                return
            key, body, properties = next(self._events)
            self._channel.basic_publish(EXCHANGE, key, body, properties, mandatory=True)
            if self._next % self._every == 0:
                self._ask(str(self._next // self._every))
            self._next += 1
        self._end_if_done()

    def _ask(self, text: str) -> None:
        asked = pika.BasicProperties(
            delivery_mode=2, reply_to=self._queue, correlation_id=text, type=_KEY
        )
        body = json.dumps({"type": "view_submission", "view": text}).encode()
        self._open[text] = time.monotonic()
        self._channel.basic_publish(EXCHANGE, _KEY, body, asked, mandatory=True)

    def _answered(self, _channel: Any, _method: Any, answer: Any, body: bytes) -> None:
        began = self._open.pop(answer.correlation_id)
        assert json.loads(body) == {"view": answer.correlation_id}
        self.times.append(1000 * (time.monotonic() - began))
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._next == self._count and not self._open:
            self._loop.stop()


if __name__ == "__main__":
    main()
