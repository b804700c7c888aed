"""For services beside rtmpump: events of Slack as a loop, messages to Slack as a call.

    from rtmpump.client import Client

    with Client() as client:
        for event in client.events("message", queue="consumer.greeter"):
            message = event.json()
            if message["text"] == "hello":
                client.send(message["channel"], "Hi!", thread_ts=message["ts"])

It needs RabbitMQ alone, and no token of Slack. docs/client.md has more.

- `client` holds `Client`, `stream` the events of one queue, `event` one of them, `replay` how far a
  RabbitMQ stream is read.
- `commands` publishes and finds results, `result` reads them; `link` is the thread of the one
  connection; `interrupts` ends a loop on a signal; `errors` says what can go wrong.
- `slackclient` is the face of the library slackclient 1.
"""

from rtmpump.client.client import Client
from rtmpump.client.commands import Asked
from rtmpump.client.errors import (
    BrokerUnavailable,
    ClientError,
    CommandFailed,
    NotAnswerable,
    ResultMissing,
)
from rtmpump.client.event import Event
from rtmpump.client.link import LOGGER
from rtmpump.client.result import Result
from rtmpump.client.stream import EventStream

__all__ = [
    "LOGGER",
    "Asked",
    "BrokerUnavailable",
    "Client",
    "ClientError",
    "CommandFailed",
    "Event",
    "EventStream",
    "NotAnswerable",
    "Result",
    "ResultMissing",
]
