"""How many events wait in the queue of each program: asked of RabbitMQ every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Final

from rtmpump.config import GatewayClient
from rtmpump.errors import LinkError
from rtmpump.gateway.broker import BrokerLink
from rtmpump.gateway.counts import GatewayCounts
from rtmpump.links.rabbitmq.loop_connection import LoopConnection

_EVERY: Final = 10.0


class QueueDepths:
    """Keeps the gauges; a queue that is not declared yet has none."""

    def __init__(
        self, broker: BrokerLink, counts: GatewayCounts, clients: Iterable[GatewayClient]
    ) -> None:
        self._broker = broker
        self._counts = counts
        self._clients = list(clients)

    async def run(self) -> None:
        """Ask until this is cancelled."""
        while True:
            connection = await self._broker.connection()
            for client in self._clients:
                await self._ask(connection, client)
            await asyncio.sleep(_EVERY)

    async def _ask(self, connection: LoopConnection, client: GatewayClient) -> None:
        try:
            with closing(await connection.channel()) as channel:
                waiting = await channel.declare_queue(client.queue_name, {}, passive=True)
        except LinkError:
            # An old number would look like a queue that stands still.
            for gauge in (self._counts.waiting, self._counts.most):
                with suppress(KeyError):
                    gauge.remove(client.name)
            return
        self._counts.waiting.labels(client.name).set(waiting)
        self._counts.most.labels(client.name).set(client.max_messages)
