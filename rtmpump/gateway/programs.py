"""The programs that may connect, each by its name: who it is, and what its connections hold."""

from __future__ import annotations

import hmac
import random
from collections.abc import Iterable
from typing import Final, Protocol

from rtmpump.config import GatewayClient
from rtmpump.config.secrets import without_prefix
from rtmpump.core.recent_ids import RecentIds

RTM_MAX: Final = 50
"""How many WebSockets of RTM one name may have: each has a queue of its own."""
_REMEMBERED: Final = 10_000


class ProgramConnection(Protocol):
    """A WebSocket of a program, as the server knows it."""

    @property
    def holds(self) -> int:
        """How many messages it holds."""

    async def disconnect(self, reason: str) -> None:
        """Tell the program that this connection ends soon; no more messages come on it."""

    async def close(self) -> None:
        """Close it."""


class EnvelopeHolder(ProgramConnection, Protocol):
    """A WebSocket of Socket Mode."""

    def send_for(self, holder: EnvelopeHolder, id: str, frame: str) -> None:
        """Send an envelope that `holder` holds, unless it is acknowledged first."""

    def is_held(self, id: str) -> bool:
        """Return whether it holds an envelope."""

    def acknowledged(self, id: str, payload: object) -> None:
        """Take the acknowledgement of an envelope that it holds."""


class Program:
    """One name: its connections share what is here, those of Socket Mode most of it."""

    def __init__(self, client: GatewayClient) -> None:
        self.client = client
        self.name = client.name
        self.token = client.token
        """Without Slack's prefix; a reload may replace it."""
        self.sockets: list[EnvelopeHolder] = []
        self.rtm: list[ProgramConnection] = []
        self.holders: dict[str, EnvelopeHolder] = {}
        """Which connection holds an envelope, by its id."""
        self.settled = RecentIds(_REMEMBERED)
        """The message ids that programs acknowledged; RabbitMQ may not know of the last ones."""
        self._lost: dict[str, str] = {}

    def other(self, one: EnvelopeHolder) -> EnvelopeHolder:
        """Return a connection that an envelope is sent to again: another one, if there is one."""
        others = [socket for socket in self.sockets if socket is not one]
        return random.choice(others) if others else one  # noqa: S311 - no secret

    def lose(self, envelope_id: str, message_id: str) -> None:
        """Remember an envelope whose message RabbitMQ has taken back."""
        if message_id:
            self._lost[envelope_id] = message_id
            while len(self._lost) > _REMEMBERED:
                del self._lost[next(iter(self._lost))]

    def acknowledged_late(self, envelope_id: str) -> bool:
        """Take an acknowledgement of such an envelope; return whether it is one."""
        message_id = self._lost.pop(envelope_id, None)
        if message_id is not None:
            self.settled.add([message_id])
        return message_id is not None


class Programs:
    """All names, by their tokens."""

    def __init__(self, clients: Iterable[GatewayClient]) -> None:
        self.by_name = {client.name: Program(client) for client in clients}

    @property
    def websockets(self) -> int:
        """How many all names have open; each consumes on a channel of its own."""
        return sum(len(one.sockets) + len(one.rtm) for one in self.by_name.values())

    def of_token(self, token: str) -> Program | None:
        """Return whose token it is; the time that takes says nothing about it."""
        given = without_prefix(token).encode("utf-8", "replace")
        found: Program | None = None
        for program in self.by_name.values():
            if hmac.compare_digest(given, program.token.reveal().encode()):
                found = program
        return found
