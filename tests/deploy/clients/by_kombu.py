"""Declares the exchanges with kombu, in its ordinary way; then prints events until the last."""

import sys
from typing import Any

import kombu

url, mode = sys.argv[1:]
events = kombu.Exchange("rtm.events", type="topic")
messages = kombu.Exchange("rtm.message", type="topic")
bindings = [kombu.binding(messages, "#"), kombu.binding(events, "unknown")]
queue = kombu.Queue("by-kombu", bindings=bindings)
seen: list[Any] = []


def got(body: Any, message: Any) -> None:
    """Take one event: an object if it is JSON, else text."""
    seen.append(body)
    message.ack()
    print(body, flush=True)


with kombu.Connection(url) as connection:
    channel = connection.channel()
    for exchange in (events, messages):
        exchange(channel).declare()
    queue(channel).declare()
    with connection.Consumer(queue, callbacks=[got], channel=channel):
        while mode == "consume" and "last" not in str(seen):
            connection.drain_events(timeout=100)
