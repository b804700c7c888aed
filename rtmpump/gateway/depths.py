"""How many events wait in the queue of each program: asked of RabbitMQ every few seconds."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from typing import Final

from prometheus_client import Gauge

from rtmpump.config import GatewayClient
from rtmpump.errors import LinkError
from rtmpump.gateway.shared import Shared
from rtmpump.links.rabbitmq.loop_connection import LoopConnection

_EVERY: Final = 10.0


class ProgramBacklogs:
    """Keeps the gauges of queues; a queue that is not declared yet has none."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def run(self) -> None:
        """Ask until this is cancelled."""
        while True:
            connection = await self._shared.broker.connection()
            for client in self._shared.config.gateway.clients:
                self._set(client, await _depth(connection, client.queue_name))
            left = self._shared.queues.left
            for queue in list(left):
                if await _depth(connection, queue) is None and not connection.ended.done():
                    left.discard(queue)
            self._shared.counts.queues_left.set(len(left))
            await asyncio.sleep(_EVERY)

    def _set(self, client: GatewayClient, waiting: int | None) -> None:
        counts = self._shared.counts
        if waiting is not None:
            counts.waiting.labels(client.name).set(waiting)
        else:
            # An old number would look like a queue that stands still.
            _remove(counts.waiting, client.name)
        if waiting is not None and client.name in self._shared.queues.as_configured:
            counts.most.labels(client.name).set(client.max_messages)
        else:
            _remove(counts.most, client.name)


def _remove(gauge: Gauge, client: str) -> None:
    with suppress(KeyError):
        gauge.remove(client)


async def _depth(connection: LoopConnection, queue: str) -> int | None:
    """Return how many messages wait in a queue, None where it is not there."""
    try:
        with closing(await connection.channel()) as channel:
            return await channel.declare_queue(queue, {}, passive=True)
    except LinkError:
        return None
