"""What ends the poll of another thread."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

_CHUNK: Final = 4096


class Waker:
    """Register it with a poll for input: after `wake` that poll returns, until `clear` is called.

    Any thread may call `wake`; the other methods are for the thread that polls.
    """

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        """Return the file descriptor to poll."""
        return self._receiver.fileno()

    def wake(self) -> None:
        """End the poll."""
        # A full buffer means that it is awake already.
        with suppress(OSError):
            self._sender.send(b"!")

    def clear(self) -> None:
        """Let the next poll wait again."""
        with suppress(BlockingIOError):
            while self._receiver.recv(_CHUNK):
                pass

    def close(self) -> None:
        """Free both ends; nothing may be called after it."""
        self._receiver.close()
        self._sender.close()
