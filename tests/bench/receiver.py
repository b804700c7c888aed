"""A consumer that says how long each event was on its way.

python receiver.py BROKER_URL QUEUE COUNT. Says `ready`, and at the end the latencies in
milliseconds, from the write of the workspace to here; both clocks are the machine's own.
"""

from __future__ import annotations

import json
import sys
import time

import pika


def main() -> None:
    """Run until all came."""
    url, queue, count = sys.argv[1:]
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.basic_qos(prefetch_count=1000)
    latencies: list[float] = []

    def got(_channel: object, method: pika.spec.Basic.Deliver, _properties: object, body: bytes):
        now = time.monotonic_ns()
        latencies.append((now - int(json.loads(body)["text"])) / 1e6)
        channel.basic_ack(method.delivery_tag)
        if len(latencies) == int(count):
            channel.stop_consuming()

    channel.basic_consume(queue, got)
    print(json.dumps({"ready": True}), flush=True)
    channel.start_consuming()
    print(json.dumps({"latencies": latencies}), flush=True)


main()
