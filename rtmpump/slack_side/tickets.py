"""Tickets: the right to open one WebSocket, good once and for a time. The caller locks."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from typing import Final, Generic, TypeVar

GOOD_FOR: Final = 30.0
"""Seconds."""
SOCKET_MODE_PATH: Final = "/link/"
"""Its ticket stands in the query."""
RTM_PATH: Final = "/websocket/"
"""Its ticket stands in the path: slack-go replaces the query before it connects."""
_MOST: Final = 10_000

_Right = TypeVar("_Right")


class Tickets(Generic[_Right]):
    """The tickets that were not used yet, and the right of each; the oldest make room."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, tuple[_Right, float]] = OrderedDict()

    def issue(self, right: _Right) -> str:
        """Return a new ticket."""
        while len(self._issued) >= _MOST:
            self._issued.popitem(last=False)
        word = secrets.token_urlsafe(24)
        self._issued[word] = (right, time.monotonic())
        return word

    def redeem(self, word: str, good_for: float = GOOD_FOR) -> _Right | None:
        """Use a ticket up; return its right, None if it is unknown, used, or too old (seconds)."""
        if word not in self._issued:
            return None
        right, issued = self._issued.pop(word)
        return right if time.monotonic() - issued < good_for else None
