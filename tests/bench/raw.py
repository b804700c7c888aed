"""The ceiling: pika's SelectConnection and ready-made messages, with confirms; no Slack, no disk.

python -m tests.bench.raw BROKER_URL EXCHANGE EVENTS
"""

from __future__ import annotations

import sys
from typing import Any

import pika

from tests.bench.common import messages

WINDOW = 1024
PERSISTENT = pika.BasicProperties(content_type="application/json", delivery_mode=2)


class Publisher:
    """Keeps a window full until all is confirmed, then waits to be ended."""

    def __init__(self, channel: Any, exchange: str, events: int) -> None:
        self._channel = channel
        self._exchange = exchange
        self._bodies = messages(events)
        self._sent = self._confirmed = 0
        channel.confirm_delivery(self._settled, lambda _frame: self._fill())

    def _fill(self) -> None:
        while self._sent - self._confirmed < WINDOW:
            body = next(self._bodies, None)
            if body is None:
                return
            self._channel.basic_publish(self._exchange, "message", body, PERSISTENT)
            self._sent += 1

    def _settled(self, frame: Any) -> None:
        method = frame.method
        self._confirmed = method.delivery_tag if method.multiple else self._confirmed + 1
        self._fill()


def main() -> None:
    """Run until it is ended."""
    url, exchange, events = sys.argv[1:]

    def opened(connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=lambda ch: Publisher(ch, exchange, int(events)))

    connection = pika.SelectConnection(pika.URLParameters(url), on_open_callback=opened)
    connection.ioloop.start()


if __name__ == "__main__":
    main()
