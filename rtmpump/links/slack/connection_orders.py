"""The connections that Socket Mode wants and the dialer opens: how many, and those that are there.

Laws:

- An order stands until a connection was delivered for it, however long that takes.
- A connection that is delivered while Socket Mode is not open is closed at once.
- Any thread may call any method; `waker` ends the poll of the thread that reads.
"""

from __future__ import annotations

import threading

from rtmpump.links.slack.waker import Waker
from rtmpump.links.slack.websocket import SlackConnection


class ConnectionOrders:
    """Socket Mode places orders and takes what was delivered; the dialer delivers."""

    def __init__(self) -> None:
        self.waker = Waker()
        self._changed = threading.Condition()
        self._is_open = False
        self._ordered = 0
        self._delivered: list[SlackConnection] = []

    @property
    def ordered(self) -> int:
        """How many connections are still to be delivered."""
        return self._ordered

    @property
    def pending(self) -> int:
        """How many are ordered, or delivered and not taken yet."""
        with self._changed:
            return self._ordered + len(self._delivered)

    def open(self) -> None:
        """Accept orders and deliveries from now on."""
        with self._changed:
            self._is_open = True

    def close(self) -> None:
        """Accept neither orders nor deliveries any more; `take` gives what came before."""
        with self._changed:
            self._is_open = False

    def order(self, count: int) -> None:
        """Order so many more connections; none while this is not open."""
        with self._changed:
            if self._is_open:
                self._ordered += max(0, count)
                self._changed.notify_all()

    def take(self) -> list[SlackConnection]:
        """Take all that was delivered."""
        with self._changed:
            delivered, self._delivered = self._delivered, []
        return delivered

    def wait(self, seconds: float) -> bool:
        """Wait for an order; False if there is none after so many seconds, or `wake_dialer`."""
        with self._changed:
            if not self._ordered:
                self._changed.wait(seconds)
            return bool(self._ordered)

    def wake_dialer(self) -> None:
        """End the wait for an order."""
        with self._changed:
            self._changed.notify_all()

    def deliver(self, connection: SlackConnection) -> None:
        """Hand over the connection of one order."""
        with self._changed:
            self._ordered = max(0, self._ordered - 1)
            is_open = self._is_open
            if is_open:
                self._delivered.append(connection)
        if not is_open:
            connection.close()
        self.waker.wake()
