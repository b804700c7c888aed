"""An echo bot in ten lines: it says in a thread what people say in its channels."""

import os

from rtmpump.client import Client

with Client(os.environ.get("AMQP_URL", "")) as client:
    for event in client.events("message", queue="consumer.echo"):
        said = event.json()
        if said.get("text") and "bot_id" not in said and said.get("user") != event.headers["bot"]:
            client.send(said["channel"], said["text"], thread_ts=said["ts"])
