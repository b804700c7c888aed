"""Where Slack's events come from, as the reader sees it."""

from __future__ import annotations

from typing import Protocol

from rtmpump.config import Slack
from rtmpump.core.frames import Frame
from rtmpump.core.session import MessageIds, Session
from rtmpump.links.slack.web_api import SignIn


class EventSource(Protocol):
    """RTM's WebSocket (`rtm`), or those of Socket Mode that look like one (`socket_mode`).

    There is one connection at a time, and it has a number. One thread calls `open`, `read`,
    `accepted` and `ping`; any thread may call the other methods.
    """

    @property
    def name(self) -> str:
        """What the spool keeps as the source of an event; "" for RTM."""

    @property
    def connections(self) -> int:
        """How many WebSockets are open and serve. From any thread."""

    @property
    def received_ms(self) -> int:
        """When what the last `read` gave was taken from the socket (milliseconds since 1970)."""

    @property
    def heard(self) -> bool:
        """Whether the last `read` took anything at all from Slack, a part of a frame too."""

    def sign_in(self) -> SignIn:
        """Ask Slack for a single-use URL, and who the bot is.

        Raises:
            LinkError: another try may help.
            TokenRefused: no try can ever help.
        """

    def new_session(self, now: float) -> Session:
        """Return the state of a connection that is opened at `now` (seconds, monotonic)."""

    def open(self, url: str) -> int:
        """Connect to a URL of `sign_in`, and return the number of the connection.

        Raises:
            LinkError: see `SlackConnection.open`.
        """

    def read(self, wait: float) -> list[bytes]:
        """Give the frames that are ready, in order; wait `wait` seconds at most for the first.

        Raises:
            LinkError: the connection has ended; all that came before was given.
            NotConnected: nothing is open.
            TokenRefused: no new connection can help.
        """

    def parse(self, body: bytes) -> Frame:
        """Say what a frame of `read` is."""

    def accepted(self) -> None:
        """Learn that what the last `read` gave is on the disk."""

    def give_answers(self) -> None:
        """Tell Slack what consumers answered, while nothing is read."""

    def ping(self, frame: bytes, *, connection: int) -> None:
        """Send a ping, made by `core.frames.ping`; `read` will give the pong to its id.

        Raises:
            NotConnected: that connection is over; nothing was written.
            WriteFailed: the connection broke on the way.
        """

    def say_goodbye(self) -> None:
        """Begin the end of the connection; `read` goes on until Slack's answer. Never raises."""

    def wake(self) -> None:
        """Make a `read` that waits return soon, or the next one that would wait."""

    def close(self) -> None:
        """End and free the connection."""


def new_session(now: float, slack: Slack, ids: MessageIds, *, leave_after: float = 1.0) -> Session:
    """Return the state of a connection with the timeouts of the configuration.

    `leave_after`: the seconds that it may stay open after Slack's goodbye.
    """
    return Session(
        now,
        hello_timeout=slack.hello_timeout,
        ping_interval=slack.ping_interval,
        ping_timeout=slack.ping_timeout,
        ids=ids,
        leave_after=leave_after,
    )
