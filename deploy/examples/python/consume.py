"""Print the events of one type, each once, as they come: python consume.py reaction_added."""

import json
import os
import sys

import pika

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2F")
TYPE = sys.argv[1] if len(sys.argv) > 1 else "message"
QUEUE = f"example-python.{TYPE}"
REMEMBERED = 10_000

seen: dict[str, None] = {}


def is_new(message_id: str) -> bool:
    """Say whether this event comes for the first time; a repeat has the same message_id."""
    if message_id in seen:
        return False
    seen[message_id] = None
    if len(seen) > REMEMBERED:
        del seen[next(iter(seen))]
    return True


def on_event(channel, method, properties, body):
    """Handle one event; acknowledge it only when that is done."""
    if is_new(properties.message_id):
        print(method.routing_key, json.dumps(json.loads(body), ensure_ascii=False), flush=True)
    channel.basic_ack(method.delivery_tag)


connection = pika.BlockingConnection(pika.URLParameters(URL))
channel = connection.channel()
# Durable, so that events wait here while this program is away.
channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
channel.queue_bind(QUEUE, exchange=f"rtm.{TYPE}", routing_key="#")
channel.basic_qos(prefetch_count=100)
channel.basic_consume(QUEUE, on_event)
print(f"waiting for events in {QUEUE}", file=sys.stderr)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    connection.close()
