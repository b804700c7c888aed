"""Tickets: the right to open one WebSocket, good once and for 30 seconds, as Slack's are."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from typing import Final, Literal, NamedTuple, TypeAlias

GOOD_FOR: Final = 30.0
"""Seconds."""
_MOST: Final = 10_000

Face: TypeAlias = Literal["socket", "rtm"]


class WebSocketTicket(NamedTuple):
    """Whose it is, and for what."""

    client: str
    face: Face
    until: float


class Tickets:
    """The tickets that were not used yet; the oldest go where there are too many."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, WebSocketTicket] = OrderedDict()

    def issue(self, client: str, face: Face) -> str:
        """Return a new ticket."""
        now = time.monotonic()
        while self._issued:
            oldest = next(iter(self._issued))
            if self._issued[oldest].until > now and len(self._issued) < _MOST:
                break
            del self._issued[oldest]
        word = secrets.token_urlsafe(24)
        self._issued[word] = WebSocketTicket(client, face, now + GOOD_FOR)
        return word

    def redeem(self, word: str, face: Face) -> str | None:
        """Use a ticket up; return whose it was, None if it is unknown, used, or too old."""
        ticket = self._issued.pop(word, None)
        if ticket is None or ticket.face != face or ticket.until < time.monotonic():
            return None
        return ticket.client
