"""What all pumps share: the stop flag, the listener of their links, progress and what halts them.

Laws: the thread that runs the pump is the only one that writes `last_progress` and `halts`; any
thread may read them, and any thread may set `stop`. A listener is called on the thread of the pump.
"""

from __future__ import annotations

import time
from threading import Event
from typing import NamedTuple, Protocol

from rtmpump.core.standstill import Halt


class RetryDetails(NamedTuple):
    """A link ended for the `attempt`th time in a row; the next try comes in `wait` seconds."""

    link: str
    reason: str
    detail: str
    attempt: int
    wait: float


class LinkListener(Protocol):
    """Who is called when a link changes; for a short time."""

    def link_up(self, link: str, where: str) -> None:
        """Learn that a link was made; `where` names the other end."""

    def link_down(self, retry: RetryDetails) -> None:
        """Learn that a link ended or was not made, before the wait for the next try begins."""


class NoListener:
    """The listener of a pump that reports no links."""

    def link_up(self, link: str, where: str) -> None:
        """Do nothing."""

    def link_down(self, retry: RetryDetails) -> None:
        """Do nothing."""


class Lifecycle:
    """The `stop` flag of one run of a pump, its `listener`, its `last_progress` and its `halts`."""

    def __init__(self, listener: LinkListener | None = None, stop: Event | None = None) -> None:
        """Begin with a flag of its own that is not set, unless `stop` is given."""
        self.listener = NoListener() if listener is None else listener
        self.stop = Event() if stop is None else stop
        self.last_progress = time.monotonic()
        """When the loop last went round (seconds, monotonic); ahead of now during a rest."""
        self.halts: tuple[Halt, ...] = ()
        """What stands still, as far as the pump knows; the tuple never changes."""

    def progress(self) -> None:
        """Note that the loop goes round."""
        self.last_progress = time.monotonic()

    def rest(self, seconds: float) -> None:
        """Announce that no progress is expected for so many seconds."""
        self.last_progress = time.monotonic() + seconds

    def halt(self, reason: str, detail: str = "") -> None:
        """Note what the pump waits for; it has stood still since the first call."""
        since = self.halts[0].since if self.halts else time.monotonic()
        self.halts = (Halt(reason, since, detail),)

    def go_on(self) -> None:
        """Note that the pump waits for nothing."""
        if self.halts:
            self.halts = ()


class Pump(Protocol):
    """The body of a thread."""

    @property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle of the present run."""

    def run(self) -> None:
        """Work until a stop."""
