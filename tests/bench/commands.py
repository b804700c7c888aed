"""Commands: how many a second to distinct channels, and how long one takes at 50 a second."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pika
import pika.exceptions

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import CHANNELS, log, pump, script, told, wait

_REPLIES = "amq.rabbitmq.reply-to"
_FREE = "[outbound]\nrate = 100000.0\nburst = 1000\nprefetch = 2000\n"


def run(commands: int, seconds: float) -> dict[str, float]:
    """A rush of `commands`, then 50 a second for `seconds`."""
    with (
        RabbitNode() as node,
        tempfile.TemporaryDirectory() as folder,
        script("paced", "1", "0") as slack,
        pump(Path(folder), told(slack), node.url, _FREE),
    ):
        one = Sender(node.url)
        one.send(1)
        one.wait(1)
        rate = one.rush(commands)
        latencies = sorted(one.paced(50, seconds))
    p50, p99 = (latencies[int(part * len(latencies))] for part in (0.5, 0.99))
    found = {"rate": round(rate), "p50_ms": round(p50, 2), "p99_ms": round(p99, 2)}
    log(f"commands: {found}")
    return found


class Sender:
    """A service that sends commands and takes the results."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._sent: list[float] = []
        self._came: dict[int, float] = {}
        wait(self._is_consumed)
        self._channel.basic_consume(_REPLIES, self._result, auto_ack=True)

    def _is_consumed(self) -> bool:
        """A quorum queue that is still being made takes messages, and loses them."""
        try:
            declared = self._channel.queue_declare("rtm.outbound", passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            self._channel = self._connection.channel()
            return False
        return declared.method.consumer_count > 0

    def _result(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        if not json.loads(body)["ok"]:
            raise SystemExit(f"a command failed: {body!r}")
        self._came[int(properties.correlation_id)] = time.monotonic()

    def send(self, count: int) -> None:
        """Enqueue so many, to the channels in turn."""
        for _ in range(count):
            number = len(self._sent)
            body = json.dumps({"channel": f"C{number % CHANNELS:04d}", "text": f"number {number}"})
            properties = pika.BasicProperties(reply_to=_REPLIES, correlation_id=str(number))
            self._sent.append(time.monotonic())
            self._channel.basic_publish("", "rtm.outbound", body.encode(), properties)

    def wait(self, count: int) -> None:
        """Until so many results came, in all."""
        while len(self._came) < count:
            self._connection.process_data_events(1)

    def rush(self, count: int) -> float:
        """All at once; commands a second."""
        began = time.monotonic()
        self.send(count)
        self.wait(len(self._sent))
        return count / (time.monotonic() - began)

    def paced(self, rate: float, seconds: float) -> list[float]:
        """Milliseconds from the enqueueing to the result."""
        first = len(self._sent)
        for number in range(int(rate * seconds)):
            self.send(1)
            self._connection.process_data_events(0)
            until = self._sent[first] + (number + 1) / rate
            while (left := until - time.monotonic()) > 0:
                self._connection.process_data_events(left)
        self.wait(len(self._sent))
        return [1000 * (self._came[n] - self._sent[n]) for n in range(first, len(self._sent))]
