"""Counts the events that a full queue of a program has dropped.

RabbitMQ dead-letters them to one queue, which keeps them until a gateway has counted them. At most
100,000 are kept there, so what is dropped while no gateway runs is counted up to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from rtmpump import log
from rtmpump.config import GatewayClient
from rtmpump.errors import LinkError
from rtmpump.gateway.broker import BrokerLink
from rtmpump.gateway.counts import OTHER, GatewayCounts
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.rabbitmq.loop_connection import LoopChannel, LoopConnection
from rtmpump.links.rabbitmq.topology import NO_DELIVERY_LIMIT, Arguments

DROPPED: Final = "rtm.gateway.dropped"
"""The name of that queue; no client's queue may have it."""
COUNTED_AFTER: float = 30.0
"""How long after the start the first is counted (seconds): Prometheus has to see the zero first."""
_PREFETCH: Final = 200
_AGAIN: Final = 5.0
_ARGUMENTS: Final[Arguments] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": NO_DELIVERY_LIMIT,
    "x-max-length": 100_000,
    "x-overflow": "drop-head",
}

_log = log.get("gateway")


async def count_dropped(
    broker: BrokerLink, counts: GatewayCounts, clients: Iterable[GatewayClient]
) -> None:
    """Count until this is cancelled."""
    names = {client.queue_name: client.name for client in clients}
    begin = asyncio.get_running_loop().time() + COUNTED_AFTER
    while True:
        connection = await broker.connection()
        try:
            error = await _count(connection, counts, names, begin)
        except LinkError as refused:
            error = refused
        if not connection.ended.done():
            _log.warning("gateway.dropped_unknown", problem=error.problem)
            await asyncio.sleep(_AGAIN)


async def _count(
    connection: LoopConnection, counts: GatewayCounts, names: dict[str, str], begin: float
) -> LinkError:
    channel: LoopChannel = await connection.channel()
    await channel.declare_queue(DROPPED, _ARGUMENTS)
    await asyncio.sleep(begin - asyncio.get_running_loop().time())

    def take(_key: str, delivery: Delivery) -> None:
        queue = str((delivery.properties.headers or {}).get("x-first-death-queue", ""))
        client = names.get(queue, OTHER)
        counts.dropped.labels(client).inc()
        fix = "have the program keep up, or raise its max_messages"
        counts.told("gateway.dropped", client, queue=queue, fix=fix)
        channel.ack(delivery.tag)

    await channel.consume(DROPPED, _PREFETCH, take)
    return await asyncio.shield(channel.ended)
