"""The script that one would write first: receive, decode, publish, wait for the confirm.

python -m tests.bench.obvious API_URL TOKEN BROKER_URL EXCHANGE
"""

from __future__ import annotations

import json
import sys

import pika
import websocket

from tests.bench.common import rtm_connect


def main() -> None:
    """Run until it is ended."""
    api_url, token, broker_url, exchange = sys.argv[1:]
    channel = pika.BlockingConnection(pika.URLParameters(broker_url)).channel()
    channel.confirm_delivery()
    socket = websocket.create_connection(rtm_connect(api_url, token))
    persistent = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    while True:
        body = socket.recv()
        event = json.loads(body)
        key = ".".join(event[part] for part in ("type", "subtype") if event.get(part))
        channel.basic_publish(exchange, key or "unknown", body, persistent)


if __name__ == "__main__":
    main()
