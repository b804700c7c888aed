"""A consumer that says how long each event was on its way.

python -m tests.bench.receiver BROKER_URL QUEUE COUNT. Says `ready`, and at the end the latencies in
milliseconds, from the write of the workspace to here; both clocks are the machine's own.
"""

from __future__ import annotations

import json
import sys
import time

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties


def main() -> None:
    """Run until all came."""
    url, queue, count = sys.argv[1:]
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.basic_qos(prefetch_count=1000)
    latencies: list[float] = []

    def got(
        _channel: BlockingChannel, method: Basic.Deliver, _properties: BasicProperties, body: bytes
    ) -> None:
        now = time.monotonic_ns()
        latencies.append((now - int(json.loads(body)["text"])) / 1e6)
        channel.basic_ack(method.delivery_tag or 0)
        if len(latencies) == int(count):
            channel.stop_consuming()

    channel.basic_consume(queue, got)
    print(json.dumps({"ready": True}), flush=True)
    channel.start_consuming()
    print(json.dumps({"latencies": latencies}), flush=True)


if __name__ == "__main__":
    main()
