"""How many events a second a service takes and acknowledges, one by one, from a full queue."""

from __future__ import annotations

import statistics

import pika

from rtmpump.core.routes import route
from rtmpump.links.rabbitmq.event_properties import event_properties
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import Queue, log, messages, script, told, wait

KINDS = ("client", "pika")


def run(events: int, rounds: int) -> dict[str, float]:
    """Medians: events a second, and microseconds of processor time an event."""
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with RabbitNode() as node:
        for _ in range(rounds):
            for kind, figures in found.items():
                figures.append(_once(node.url, kind, events))
                log(f"client: {kind} {figures[-1][0]:,.0f} events/s")
    return {
        f"{kind}_{name}": round(statistics.median(one[at] for one in figures), digits)
        for kind, figures in found.items()
        for at, (name, digits) in enumerate((("rate", 0), ("us", 1)))
    }


def _once(url: str, kind: str, events: int) -> tuple[float, float]:
    queue = Queue(url, f"bench.{kind}", "rtm.events", "#", **{"x-delivery-limit": 1_000_000})
    _fill(url, events)
    # What RabbitMQ has not taken yet, a service could wait for in vain.
    wait(lambda: queue.count() == events)
    with script("service", kind, url, queue.name, str(events)) as service:
        told(service)
        took = told(service)
    queue.delete()
    return events / took["seconds"], 1e6 * took["cpu"] / events


def _fill(url: str, events: int) -> None:
    """Publish events as the pump names them."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for seq, body in enumerate(messages(events)):
        name = route(body, seq=seq, received_ms=seq, team="T1", bot="U1", epoch="bench")
        channel.basic_publish("rtm.events", name.routing_key, body, event_properties(name))
    connection.close()
