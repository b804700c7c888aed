"""A service that consumes so many events: with the client, or with pika in the obvious way.

python -m tests.bench.service client|pika BROKER_URL QUEUE COUNT. Says `ready`, then takes the first
event, and says how long all took (seconds) and what it cost (seconds of processor time).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import pika

from rtmpump.client import Client


def main() -> None:
    """Run until all came and are acknowledged."""
    kind, url, queue, count = sys.argv[1:]
    print(json.dumps({"ready": True}), flush=True)
    began, spent = time.monotonic(), time.process_time()
    bodies = _by_client(url, queue) if kind == "client" else _by_pika(url, queue)
    characters = 0
    for _, body in zip(range(int(count)), bodies, strict=False):
        characters += len(json.loads(body)["text"])
    took, cost = time.monotonic() - began, time.process_time() - spent
    print(json.dumps({"seconds": took, "cpu": cost, "characters": characters}), flush=True)


def _by_client(url: str, queue: str) -> Iterator[bytes]:
    with Client(url) as client:
        for event in client.events(queue=queue):
            yield event.body


def _by_pika(url: str, queue: str) -> Iterator[bytes]:
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.basic_qos(prefetch_count=200)
    for method, _, body in channel.consume(queue):
        yield body
        channel.basic_ack(method.delivery_tag or 0)


if __name__ == "__main__":
    main()
