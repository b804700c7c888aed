"""Sends frames to one program, and ends the connection of one that takes nothing of them.

One timer for the connection, and none for each frame: that took a twentieth of the time of an
envelope.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from aiohttp import web

READ_WITHIN: float = 30.0
"""For how long a program may take nothing of what is sent to it (seconds)."""
_LOOKS: Final = 10
"""How often it is looked in that time, so that it is noticed a tenth too late at most."""


class FrameWriter:
    """Made on the loop; `cut` ends the connection at once, `stalled` is called before."""

    def __init__(
        self, socket: web.WebSocketResponse, cut: Callable[[], None], stalled: Callable[[], None]
    ) -> None:
        self._socket = socket
        self._cut = cut
        self._stalled = stalled
        self._loop = asyncio.get_running_loop()
        self._since = math.inf
        self._is_cut = False
        self._timer = self._next_look()

    async def send(self, frame: str) -> None:
        """Send a text frame; it waits while the program takes nothing.

        Raises:
            ConnectionError: the connection is over.
        """
        self._since = self._loop.time()
        await self._socket.send_str(frame)
        if self._is_cut:
            raise ConnectionResetError
        self._since = math.inf

    def close(self) -> None:
        """Watch no longer. Where a frame waits, cut: aiohttp would wait with it, for ever."""
        self._timer.cancel()
        if self._since < math.inf:
            self._cut()

    def _next_look(self) -> asyncio.TimerHandle:
        return self._loop.call_later(READ_WITHIN / _LOOKS, self._look)

    def _look(self) -> None:
        if self._loop.time() - self._since >= READ_WITHIN:
            self._is_cut = True
            self._stalled()
            self._cut()
        else:
            self._timer = self._next_look()
