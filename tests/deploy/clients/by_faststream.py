"""Declares the exchanges as FastStream's subscriber does; then prints events until the last."""

import asyncio
import sys
from typing import Any

from faststream import FastStream
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue

url, mode = sys.argv[1:]
broker = RabbitBroker(url)
app = FastStream(broker)
events = RabbitExchange("rtm.events", type=ExchangeType.TOPIC)
messages = RabbitExchange("rtm.message", type=ExchangeType.TOPIC)


@broker.subscriber(RabbitQueue("by-faststream", routing_key="#"), events)
async def got(body: Any) -> None:
    """Take one event: an object if it is JSON, else bytes."""
    print(body, flush=True)
    if "last" in str(body):
        app.exit()


async def declare() -> None:
    """Declare all, and end."""
    await broker.start()
    await broker.declare_exchange(messages)
    await broker.stop()


asyncio.run(app.run() if mode == "consume" else declare())
