"""Slack RTM as a source of events: one WebSocket after the other, and the way out for commands.

Its laws:
- A connection has a number, and each write names it: a frame made for the old connection never goes
  out on the new one.
- One `read` at a time; any thread may call `send`, `say_goodbye`, `wake` and `close`.
"""

from __future__ import annotations

import threading

from rtmpump.config import Slack
from rtmpump.core import frames
from rtmpump.core.session import MessageIds, Session
from rtmpump.errors import NotConnected
from rtmpump.links.slack.event_source import new_session
from rtmpump.links.slack.web_api import SignIn, SlackApi
from rtmpump.links.slack.websocket import SlackConnection


class RtmSource:
    """The EventSource of RTM; connections follow each other, numbered 1, 2, 3 and so on.

    A connection that has ended keeps its socket until `close` or the next `open`.
    """

    name = ""
    parse = staticmethod(frames.parse)

    def __init__(self, slack: Slack, api: SlackApi, ids: MessageIds) -> None:
        self._slack = slack
        self._api = api
        self._ids = ids
        self._guard = threading.Lock()
        self._connection: SlackConnection | None = None
        self._number = 0

    @property
    def current(self) -> int | None:
        """The number of the connection that takes frames now."""
        with self._guard:
            connection, number = self._connection, self._number
        return number if connection is not None and connection.is_writable else None

    @property
    def connections(self) -> int:
        """See `EventSource.connections`: one or none."""
        return int(self.current is not None)

    @property
    def received_ms(self) -> int:
        """See `EventSource.received_ms`; 0 if nothing is open."""
        connection = self._connection
        return 0 if connection is None else connection.received_ms

    @property
    def heard(self) -> bool:
        """See `EventSource.heard`."""
        connection = self._connection
        return connection is not None and connection.heard

    def sign_in(self) -> SignIn:
        """Call rtm.connect; see `EventSource.sign_in`."""
        return self._api.sign_in()

    def new_session(self, now: float) -> Session:
        """See `EventSource.new_session`."""
        return new_session(now, self._slack, self._ids)

    def open(self, url: str) -> int:
        """Connect to a URL of rtm.connect; what was open is closed first."""
        self.close()
        connection = SlackConnection.open(url, self._slack)
        with self._guard:
            self._number += 1
            self._connection = connection
            return self._number

    def read(self, wait: float) -> list[bytes]:
        """Give the frames that are ready; see `SlackConnection.read`."""
        connection = self._connection
        if connection is None:
            raise _not_connected("nothing is open")
        return connection.read(wait)

    def accepted(self) -> None:
        """Do nothing: RTM has no way to acknowledge an event."""

    def give_answers(self) -> None:
        """Do nothing: RTM asks nothing."""

    def ping(self, frame: bytes, *, connection: int) -> None:
        """Write RTM's own ping, which is a frame like any other."""
        self.send(frame, connection=connection)

    def send(self, frame: bytes, *, connection: int) -> None:
        """Write one text frame, whole, on the connection of that number. Any thread.

        Raises:
            NotConnected: that connection takes no frames; nothing was written.
            WriteFailed: it broke on the way, or the peer took nothing for 5 s; it is shut down.
        """
        with self._guard:
            now, number = self._connection, self._number
        if now is None or number != connection:
            raise _not_connected(f"connection {connection} is over")
        now.send(frame)

    def say_goodbye(self) -> None:
        """Begin the end of the connection, if one is open. Any thread."""
        connection = self._connection
        if connection is not None:
            connection.say_goodbye()

    def wake(self) -> None:
        """End the wait of a `read`. Any thread."""
        with self._guard:
            if self._connection is not None:
                self._connection.wake()

    def close(self) -> None:
        """End and free the connection; waits of other threads end at once. Any thread."""
        with self._guard:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _not_connected(detail: str) -> NotConnected:
    return NotConnected("slack", "not_connected", detail)
