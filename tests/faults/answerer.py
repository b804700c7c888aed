"""A process that answers whatever is asked, as long as it lives: `… URL QUEUE`."""

from __future__ import annotations

import sys
import time
from typing import Final

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic

from tests.faults.questions import body

_AGAIN: Final = 0.2


def main() -> None:
    """Connect again and again, for RabbitMQ is restarted."""
    url, queue = sys.argv[1:]
    while True:
        try:
            _answer_all(url, queue)
        except (AMQPError, OSError):
            time.sleep(_AGAIN)


def _answer_all(url: str, queue: str) -> None:
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()

    def answer(
        channel: BlockingChannel, given: Basic.Deliver, asked: pika.BasicProperties, event: bytes
    ) -> None:
        if asked.reply_to:
            properties = pika.BasicProperties(correlation_id=asked.correlation_id)
            channel.basic_publish("", asked.reply_to, body(event), properties)
        channel.basic_ack(given.delivery_tag or 0)

    channel.basic_qos(prefetch_count=100)
    channel.basic_consume(queue, answer)
    channel.start_consuming()


if __name__ == "__main__":
    main()
