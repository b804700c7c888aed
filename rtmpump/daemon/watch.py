"""Looks at the three trips from outside, and says which one stands still and why.

Laws:

- `look` waits for nothing: no lock, no disk, no other thread. So it also sees a disk that hangs.
- A pump's own word says why; that something waits and nothing is done is found out here. So a trip
  that stands still is noticed whatever the reason, and whether or not its pump still says anything.
- What a standby does not do does not stand still.

One thread calls `look`, a few times a second; any thread may call the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from rtmpump.core.standstill import (
    COMMANDS,
    HANGS,
    NOT_CONNECTED,
    PATIENCE,
    PUBLISHING,
    READING,
    Halt,
    Motion,
)
from rtmpump.daemon.election import CurrentTerm
from rtmpump.daemon.link_states import LinkStates
from rtmpump.pumps import publisher as publishing
from rtmpump.pumps import reader as reading
from rtmpump.pumps.lease import Lease
from rtmpump.pumps.outbound import sender as sending
from rtmpump.pumps.publisher import Publisher
from rtmpump.pumps.reader import Reader
from rtmpump.spool import Spool

# RabbitMQ delivers what waits within this time after a sender began to consume.
_COMMANDS_COME: Final = 2.0
_UNKNOWN: Final = "unknown"


class Watched(NamedTuple):
    """What is looked at."""

    states: LinkStates
    spool: Spool
    reader: Reader
    publisher: Publisher
    current: CurrentTerm
    lease: Lease | None = None


class Watch:
    """Keeps since when each trip has stood still."""

    def __init__(self, watched: Watched, clock: Callable[[], float] = time.monotonic) -> None:
        self._watched = watched
        self._clock = clock
        self._publishing = Motion()
        self._commands = Motion()
        self._up_since: float | None = None
        self._away_since: float | None = None
        self._said: tuple[Halt, ...] = ()

    def look(self) -> None:
        """Look whether anything gets done."""
        now, spool = self._clock(), self._watched.spool
        if self._watched.states.is_up(reading.LINK):
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
        self._publishing.look(spool.has_unconfirmed, spool.confirmed_upto, now)
        sender = self._watched.current.term.sender
        self._commands.look(self._commands_wait(sender, now), sender.let_go, now)
        if sender.lifecycle.halts or self._commands.still_since is None:
            self._said = sender.lifecycle.halts

    def halts(self) -> dict[str, list[Halt]]:
        """Return by trip what stands still now; `Halt.has_failed` says whether that is too long."""
        now = self._clock()
        found = {
            READING: self._reading(now),
            PUBLISHING: self._publishing_halts(now),
            COMMANDS: self._commands_halts(now),
        }
        return {trip: halts for trip, halts in found.items() if halts}

    def stopped(self) -> dict[str, list[str]]:
        """Return the trips that have failed, each with the reasons."""
        now = self._clock()
        failed = {
            trip: list(dict.fromkeys(halt.reason for halt in halts if halt.has_failed(now)))
            for trip, halts in self.halts().items()
        }
        return {trip: reasons for trip, reasons in failed.items() if reasons}

    def _commands_wait(self, sender: sending.Sender, now: float) -> bool | None:
        if not self._watched.states.is_up(sending.LINK):
            # The commands that were here come again.
            self._up_since = None
            return False if self._is_standby else None
        if self._up_since is None:
            self._up_since = now
        return bool(sender.waiting) or (None if now - self._up_since < _COMMANDS_COME else False)

    @property
    def _is_standby(self) -> bool:
        return self._watched.states.role == "standby"

    def _reading(self, now: float) -> list[Halt]:
        if self._is_standby:
            lease = self._watched.lease
            return [] if lease is None else list(lease.lifecycle.halts)
        lifecycle = self._watched.reader.lifecycle
        if not self._watched.states.is_up(reading.LINK):
            return [Halt(NOT_CONNECTED, now if self._away_since is None else self._away_since)]
        if now - lifecycle.last_progress > PATIENCE:
            return [Halt(HANGS, lifecycle.last_progress)]
        return list(lifecycle.halts)

    def _publishing_halts(self, now: float) -> list[Halt]:
        since, publisher = self._publishing.still_since, self._watched.publisher
        if since is None:
            return []
        hangs = now - publisher.lifecycle.last_progress > PATIENCE
        is_up = self._watched.states.is_up(publishing.LINK)
        return [Halt(HANGS if hangs and is_up else publisher.obstacle, since)]

    def _commands_halts(self, now: float) -> list[Halt]:
        sender, since = self._watched.current.term.sender, self._commands.still_since
        if self._is_standby:
            return []
        if not self._watched.states.is_up(sending.LINK):
            return [] if since is None else [Halt(NOT_CONNECTED, since, "", sender.waiting)]
        if sender.waiting and now - sender.lifecycle.last_progress > PATIENCE:
            return [Halt(HANGS, sender.lifecycle.last_progress, "", sender.waiting)]
        halts = list(sender.lifecycle.halts)
        if since is None or any(halt.is_lenient for halt in halts):
            return halts
        # The connection may end again and again: then what the sender says is always new, and what
        # it said before still holds.
        said = halts or [halt for halt in self._said if not halt.is_lenient]
        return [halt._replace(since=min(halt.since, since)) for halt in said] or [
            Halt(_UNKNOWN, since, "", sender.waiting)
        ]
