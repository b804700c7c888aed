"""A process that answers at once whatever is asked: `python -m tests.bench.answerer URL QUEUE`."""

from __future__ import annotations

import json
import sys

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic


def main() -> None:
    """Consume and answer until the process is ended."""
    url, queue = sys.argv[1:]
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()

    def answer(
        channel: BlockingChannel, _: Basic.Deliver, asked: pika.BasicProperties, body: bytes
    ) -> None:
        if asked.reply_to:
            given = pika.BasicProperties(correlation_id=asked.correlation_id)
            answer = json.dumps({"view": json.loads(body)["view"]}).encode()
            channel.basic_publish("", asked.reply_to, answer, given)

    channel.basic_consume(queue, answer, auto_ack=True)
    print(json.dumps({"ready": True}), flush=True)
    channel.start_consuming()


if __name__ == "__main__":
    main()
