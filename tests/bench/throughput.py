"""Events a second and processor time an event: who is first, in turns, in one run."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import (
    Meter,
    Process,
    Queue,
    Slack,
    cpu,
    log,
    script,
    told,
    wait,
    workspace,
)
from tests.bench.subjects import Subject, subjects

Rounds = dict[str, list[dict[str, float]]]


def run(events: int, rounds: int) -> Rounds:
    """Each subject in each round, so that all of them meet the same disturbances."""
    found: Rounds = {}
    with RabbitNode() as node:
        for number in range(rounds):
            for subject in subjects():
                one = one_round(subject, node, max(10_000, int(events * subject.share)))
                keep(found, number, subject.name, one)
            keep(found, number, "raw", _raw(node, events))
            keep(found, number, "generator", _generator(events))
    return found


def keep(found: Rounds, number: int, name: str, one: dict[str, float]) -> None:
    """Enter the figures of one round, and say them."""
    found.setdefault(name, []).append(one)
    log(f"round {number + 1}, {name}: {one}")


def one_round(subject: Subject, node: RabbitNode, events: int) -> dict[str, float]:
    """Have one subject bring so many events into a queue; return the figures."""
    # Messages only: hello and the pump's own events are not in the count.
    queue = Queue(node.url, f"bench.{subject.name}", subject.exchange, "message.#")
    with (
        tempfile.TemporaryDirectory() as folder,
        workspace(events) as slack,
        subject.start(slack, node.url, Path(folder)) as one,
    ):
        return _measure(queue, node, one, events, {"generator": slack["process"].pid})


def _raw(node: RabbitNode, events: int) -> dict[str, float]:
    queue = Queue(node.url, "bench.raw", "bench.raw", "#")
    with script("raw", node.url, "bench.raw", str(events)) as one:
        return _measure(queue, node, one, events, {})


def _measure(
    queue: Queue, node: RabbitNode, one: Process, events: int, more: dict[str, int]
) -> dict[str, float]:
    """From the first tenth to all of them, as they come into the queue."""
    wait(lambda: queue.count() >= events // 10)
    meter, first = Meter(process=one.pid, broker=node.pid, **more), queue.count()
    wait(lambda: queue.count() >= events)
    figures = meter.read(events - first)
    # Of its whole life: what reads ahead has done much of its work before the first tenth arrived.
    figures["process_us"] = round(1e6 * cpu(one.pid) / events, 2)
    queue.delete()
    return figures


def _generator(events: int) -> dict[str, float]:
    with workspace(events) as slack, _drain(slack):
        figures: dict[str, Any] = told(slack["process"])
        return {"rate": figures["rate"]}


def _drain(slack: Slack) -> AbstractContextManager[Process]:
    return script("drain", slack["api_url"], slack["token"])
