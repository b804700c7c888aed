"""The durable queue of each name: declared, and its bindings brought in line and reported.

A queue that exists with other arguments is used as it is, and that is logged. One thing at a time
is done here, for all names share the notes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import closing
from typing import Final

from rtmpump import log
from rtmpump.config import GatewayClient
from rtmpump.errors import LinkError
from rtmpump.gateway import notes
from rtmpump.gateway.dropped import DROPPED
from rtmpump.links.rabbitmq.loop_connection import LoopConnection
from rtmpump.links.rabbitmq.topology import NO_DELIVERY_LIMIT, Arguments

_EXISTS_OTHERWISE: Final = ("precondition_failed", "access_refused")

_log = log.get("gateway")


class ProgramQueues:
    """Knows what was declared since the gateway started."""

    def __init__(self, exchange: str, clients: Iterable[GatewayClient]) -> None:
        self._exchange = exchange
        self._clients = list(clients)
        self._in_line: set[str] = set()
        self.left: set[str] = set()
        """Queues that an earlier run has bound, and that no name has any more."""
        self.as_configured: set[str] = set()
        """The names whose queue has our arguments; any other keeps as many as it was made for."""
        self._lock = asyncio.Lock()

    async def begin(self, connection: LoopConnection) -> None:
        """Declare the queues that the file names; bring all in line that an earlier run has bound.

        Raises:
            LinkError: the broker refuses it, or the connection ended.
        """
        async with self._lock:
            found = await _notes(connection)
            by_queue = {client.queue_name: client for client in self._clients}
            self.left = {
                queue
                for queue in sorted(found.keys() - by_queue.keys())
                if await self._is_left(connection, queue, found[queue])
            }
            at_once = [queue for queue, one in by_queue.items() if one.queue or queue in found]
        for queue in at_once:
            await self.ensure(connection, by_queue[queue])

    async def ensure(self, connection: LoopConnection, client: GatewayClient) -> None:
        """Declare the queue of a name and bind it, if that has to be done.

        Raises:
            LinkError: the broker refuses it, or the connection ended.
        """
        async with self._lock:
            if await _is_there(connection, client.queue_name) and client.name in self._in_line:
                return
            await self._declare(connection, client)
            await self._bring_in_line(connection, client)
            self._in_line.add(client.name)

    async def _declare(self, connection: LoopConnection, client: GatewayClient) -> None:
        self.as_configured.discard(client.name)
        with closing(await connection.channel()) as channel:
            try:
                await channel.declare_queue(client.queue_name, _arguments(client))
                self.as_configured.add(client.name)
            except LinkError as error:
                if error.reason not in _EXISTS_OTHERWISE:
                    raise
                if not await _is_there(connection, client.queue_name):
                    raise
                fix = "it is used as it is; to change it, have it emptied and delete it"
                _log.warning(
                    "gateway.queue_differs", queue=client.queue_name, problem=error.detail, fix=fix
                )

    async def _bring_in_line(self, connection: LoopConnection, client: GatewayClient) -> None:
        queue, wanted = client.queue_name, set(client.events)
        await self.have_exchange(connection)
        with closing(await connection.channel()) as channel:
            await channel.confirm_publishes()
            known = await notes.read(channel)
            before = known.bound.get(queue)
            for pattern in client.events:
                await channel.bind(queue, self._exchange, pattern)
            for pattern in sorted((before or set()) - wanted):
                await channel.unbind(queue, self._exchange, pattern)
            if before != wanted:
                known.bound[queue] = wanted
                await notes.write(channel, known)
                self._report_change(client, before)

    @property
    def exchange(self) -> str:
        """The exchange that gets all events."""
        return self._exchange

    async def have_exchange(self, connection: LoopConnection) -> None:
        """Declare the exchange of the events, as any consumer may.

        Raises:
            LinkError: the broker refuses it for another reason than our rights.
        """
        with closing(await connection.channel()) as channel:
            try:
                await channel.declare_exchange(self._exchange)
            except LinkError as error:
                # Who may only consume can't declare it; the binding says whether it is there.
                if error.reason not in _EXISTS_OTHERWISE:
                    raise

    def _report_change(self, client: GatewayClient, before: set[str] | None) -> None:
        _log.info(
            "gateway.queue_bound" if before is None else "gateway.bindings_changed",
            client=client.name,
            queue=client.queue_name,
            added=sorted(set(client.events) - (before or set())),
            removed=sorted((before or set()) - set(client.events)),
        )

    async def _is_left(self, connection: LoopConnection, queue: str, patterns: set[str]) -> bool:
        """Name a queue that no name has any more, or forget it once it is gone."""
        if await _is_there(connection, queue):
            fix = f"it fills up: delete it with rabbitmqctl delete_queue {queue}"
            _log.warning("gateway.queue_left", queue=queue, patterns=sorted(patterns), fix=fix)
            return True
        with closing(await connection.channel()) as channel:
            await channel.confirm_publishes()
            known = await notes.read(channel)
            known.bound.pop(queue, None)
            await notes.write(channel, known)
        return False


def _arguments(client: GatewayClient) -> Arguments:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": NO_DELIVERY_LIMIT,
        "x-max-length": client.max_messages,
        "x-overflow": "drop-head",
        # What is dropped is only counted there: `dropped`.
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": DROPPED,
    }


async def _notes(connection: LoopConnection) -> notes.Bound:
    with closing(await connection.channel()) as channel:
        return (await notes.read(channel)).bound


async def _is_there(connection: LoopConnection, queue: str) -> bool:
    with closing(await connection.channel()) as channel:
        try:
            await channel.declare_queue(queue, {}, passive=True)
        except LinkError as error:
            if error.reason != "not_found":
                raise
            return False
    return True
