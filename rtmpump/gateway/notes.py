"""What the gateway must know of its earlier runs: which queues it has bound, and with what.

AMQP has no way to list bindings. So they stand in one message of a queue of their own. Who changes
it reads all messages, writes one that replaces them, and acknowledges the old ones only then: a
crash, or a second gateway, leaves more than one, and what all of them say counts.
"""

from __future__ import annotations

import json
import secrets
from typing import Final, NamedTuple

from rtmpump.errors import LinkError
from rtmpump.gateway.broker import LINK
from rtmpump.links.rabbitmq.listener import Properties
from rtmpump.links.rabbitmq.loop_connection import LoopChannel
from rtmpump.links.rabbitmq.topology import NO_DELIVERY_LIMIT, Arguments

QUEUE: Final = "rtm.gateway"
_ARGUMENTS: Final[Arguments] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": NO_DELIVERY_LIMIT,
}

Bound = dict[str, set[str]]
"""The patterns of each queue, by its name."""


class GatewayNotes(NamedTuple):
    """What the messages say together, and their tags."""

    bound: Bound
    tags: list[int]


async def read(channel: LoopChannel) -> GatewayNotes:
    """Take the notes out of their queue, until `write` or the end of the channel.

    Raises:
        LinkError: the broker refuses it; the channel is over.
    """
    await channel.declare_queue(QUEUE, _ARGUMENTS)
    notes = GatewayNotes({}, [])
    while (taken := await channel.take_one(QUEUE)) is not None:
        tag, body = taken
        notes.tags.append(tag)
        for queue, patterns in _parsed(body).items():
            notes.bound.setdefault(queue, set()).update(patterns)
    return notes


async def write(channel: LoopChannel, notes: GatewayNotes) -> None:
    """Put what `notes.bound` says now in the place of what was read.

    Raises:
        LinkError: the broker refuses it; the old notes stay.
    """
    body = json.dumps({queue: sorted(patterns) for queue, patterns in notes.bound.items()})
    properties = Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id=secrets.token_hex(16),
        app_id="rtmpump",
    )
    if await channel.publish(QUEUE, body.encode(), properties) != "taken":
        raise LinkError(LINK, "refused", f"RabbitMQ did not take a message for {QUEUE}")
    for tag in notes.tags:
        channel.ack(tag)
    notes.tags.clear()


def _parsed(body: bytes) -> Bound:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(queue): {str(pattern) for pattern in patterns}
        for queue, patterns in found.items()
        if isinstance(patterns, list)
    }
