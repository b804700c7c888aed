"""The connection of `tail` and `send`, which are clients as services are.

Laws: what is wrong at the first connection ends the command at once. Of what goes wrong the words
are those for whom has the configuration, and not the client's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rtmpump.client import Client, ClientError
from rtmpump.config import Config
from rtmpump.errors import LinkError, ServiceUnreachable


@contextmanager
def connected(name: str, config: Config) -> Iterator[Client]:
    """Connect to RabbitMQ, which shows this connection as `name`, until the end of the context.

    Raises:
        ServiceUnreachable: no node can be used, or the client failed later.
    """
    client = Client(
        config.broker,
        name=name,
        exchange=config.events.exchange,
        commands_queue=config.outbound.queue,
    )
    with client, usable():
        client.connect_once()
        yield client


@contextmanager
def usable(fix: str = "") -> Iterator[None]:
    """Turn an error of the client into ServiceUnreachable for RabbitMQ."""
    try:
        yield
    except ClientError as error:
        cause = error.__cause__
        detail = cause.problem if isinstance(cause, LinkError) else error.message
        raise ServiceUnreachable("RabbitMQ", detail, fix) from error
