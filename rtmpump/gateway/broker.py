"""The gateway's connection to RabbitMQ, made again until the gateway stops."""

from __future__ import annotations

import asyncio
from typing import Final

from rtmpump import config, log
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.loop_connection import LoopConnection
from rtmpump.links.retry import AttemptPauses

LINK: Final = "gateway"
# For commands, what is dropped, depths, and queues that are declared.
_SPARE: Final = 8

_log = log.get("gateway")


class BrokerLink:
    """One connection that all faces share; `run` keeps it."""

    def __init__(self, broker: config.Broker, policy: config.Retry) -> None:
        self._broker = broker
        self._policy = policy
        self._connection: LoopConnection | None = None
        self._channels_max: int | None = None
        self._changed = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    def has_room(self, channels: int) -> bool:
        """Return whether one more than so many lasting channels leaves some for all else."""
        return self._channels_max is None or channels < self._channels_max - _SPARE

    async def run(self) -> None:
        """Connect again and again, until this is cancelled; then close."""
        pauses = AttemptPauses(self._policy)
        while True:
            try:
                error = await self._serve()
            except LinkError as refused:
                error = refused
            attempt, wait = pauses.attempt, pauses.after(error)
            _log.warning(
                "broker.disconnected",
                reason=error.reason,
                detail=error.detail,
                attempt=attempt,
                retry_in=round(wait, 3),
            )
            await asyncio.sleep(wait)

    async def connection(self) -> LoopConnection:
        """Wait for a connection."""
        while (connection := self._connection) is None or connection.ended.done():
            if connection is None:
                await self._changed.wait()
            else:
                # `run` learns of its end in the same turn of the loop, and must get its turn.
                await asyncio.sleep(0)
        return connection

    async def _serve(self) -> LinkError:
        connection = await LoopConnection.open(LINK, self._broker)
        self._connection = connection
        self._channels_max = connection.channels_max
        self._changed.set()
        _log.info("broker.connected", where=connection.where)
        try:
            return await asyncio.shield(connection.ended)
        except asyncio.CancelledError:
            await connection.close()
            raise
        finally:
            self._connection = None
            self._changed.clear()
