"""How long an event is on its way at 500 a second: from the socket write to the consumer."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import Queue, log, script, told
from tests.bench.subjects import Subject, subjects

RATE = 500
_WARM_UP = 0.1

Found = dict[str, list[float]]


def run(seconds: float, rounds: int) -> Found:
    """All latencies in milliseconds, of all rounds, without the first tenth of each."""
    found: Found = {}
    with RabbitNode() as node:
        for number in range(rounds):
            for subject in subjects():
                one = _round(subject, node.url, seconds)
                found.setdefault(subject.name, []).extend(one)
                told_ = f"p50 {quantile(one, 0.5):.2f} ms, p99 {quantile(one, 0.99):.2f} ms"
                log(f"latency, round {number + 1}, {subject.name}: {told_}")
    return found


def _round(subject: Subject, url: str, seconds: float) -> list[float]:
    count = int(RATE * seconds)
    queue = Queue(url, "bench.latency", subject.exchange, "message.#")
    with (
        tempfile.TemporaryDirectory() as folder,
        script("receiver", url, queue.name, str(count)) as receiver,
        script("paced", str(RATE), str(seconds)) as paced,
    ):
        told(receiver)
        with subject.start(told(paced), url, Path(folder)):
            latencies: list[float] = told(receiver)["latencies"]
    queue.delete()
    return latencies[int(_WARM_UP * count) :]


def quantile(values: list[float], part: float) -> float:
    """The value below which this part of all is."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]
