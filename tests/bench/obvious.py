"""The script that one would write first: receive, decode, publish, wait for the confirm.

python obvious.py API_URL TOKEN BROKER_URL EXCHANGE
"""

from __future__ import annotations

import json
import sys
import urllib.request

import pika
import websocket


def main() -> None:
    """Run until it is ended."""
    api_url, token, broker_url, exchange = sys.argv[1:]
    request = urllib.request.Request(  # noqa: S310
        f"{api_url}rtm.connect", data=b"", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        url = json.load(response)["url"]
    channel = pika.BlockingConnection(pika.URLParameters(broker_url)).channel()
    channel.confirm_delivery()
    socket = websocket.create_connection(url)
    persistent = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    while True:
        body = socket.recv()
        event = json.loads(body)
        key = ".".join(event[part] for part in ("type", "subtype") if event.get(part))
        channel.basic_publish(exchange, key or "unknown", body, persistent)


main()
