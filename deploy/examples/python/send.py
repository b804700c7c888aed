"""Send a message to Slack and wait for its result: python send.py general 'Hello world'."""

import json
import os
import sys
import time
import uuid

import pika

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2F")
SECONDS = 30

if len(sys.argv) != 3:
    sys.exit("usage: python send.py CHANNEL TEXT")
command = {"type": "message", "channel": sys.argv[1], "text": sys.argv[2]}
id = str(uuid.uuid4())
results = {}


def on_result(_channel, _method, properties, body):
    """Keep a result under the id of its command."""
    results[properties.correlation_id] = json.loads(body)


connection = pika.BlockingConnection(pika.URLParameters(URL))
channel = connection.channel()
channel.confirm_delivery()
# RabbitMQ's direct reply-to: no queue to declare. It must be consumed before the command goes.
channel.basic_consume("amq.rabbitmq.reply-to", on_result, auto_ack=True)
channel.basic_publish(
    exchange="",
    routing_key="rtm.outbound",
    body=json.dumps(command),
    properties=pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        message_id=id,
        correlation_id=id,
        reply_to="amq.rabbitmq.reply-to",
        # After that time this program no longer waits for the result.
        expiration=str(SECONDS * 1000),
    ),
    # Raises UnroutableError if there is no queue rtm.outbound.
    mandatory=True,
)
deadline = time.monotonic() + SECONDS
while id not in results and time.monotonic() < deadline:
    connection.process_data_events(time_limit=1)
connection.close()

if id not in results:
    sys.exit(f"no result within {SECONDS} s")
print(json.dumps(results[id]))
sys.exit(0 if results[id]["ok"] else 1)
