"""Terms: with `ha.enabled` sender, reader and backfill work only while this pump is the active one.

Laws:

- A new term has a new sender, and new lifecycles for the reader and the backfill, which keep what
  they know. So the end of one term never ends the next one.
- Without `ha.enabled` there is one term, which ends with the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rtmpump.daemon.service_status import ServiceStatus
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.slack.event_source import EventSource
from rtmpump.pumps.backfill.pump import Backfill
from rtmpump.pumps.outbound import sender as sending
from rtmpump.pumps.terms import Terms

# How long commands under way have when the lease was lost: their connection may be dead.
_STEP_DOWN: Final = 3.0


class Term(NamedTuple):
    """What is new in each term; all that Slack sent up to `watermark_ms` is stored or announced."""

    sender: sending.Sender
    reading: Lifecycle
    filling: Lifecycle
    watermark_ms: int | None


class CurrentTerm:
    """The term that runs, for those that outlive it."""

    def __init__(self, first: Term, backfill: Backfill | None) -> None:
        self.term = first
        self._backfill = backfill

    def commands_waiting(self) -> int:
        """Return how many commands the sender has."""
        return self.term.sender.waiting

    def commands_turn(self) -> bool | None:
        """Return whether RabbitMQ gives the commands to this pump; None if unknown."""
        return self.term.sender.has_turn

    def notify_sender(self, note: sending.Note) -> None:
        """Send a note to the sender."""
        self.term.sender.notify(note)

    def stop_reading(self) -> None:
        """End the reading of this term, also if it has not begun yet."""
        self.term.reading.stop.set()

    def stop_filling(self) -> None:
        """End the backfill of this term."""
        self.term.filling.stop.set()
        if self._backfill is not None:
            self._backfill.wake()


class Election:
    """The listener of the lease: it begins and ends terms, on the thread of the lease."""

    def __init__(
        self,
        current: CurrentTerm,
        new_term: Callable[[int | None], Term],
        pumps: Sequence[Terms[Term]],
        source: EventSource,
        status: ServiceStatus,
    ) -> None:
        self._current = current
        self._new_term = new_term
        self._pumps = pumps
        self._source = source
        self._status = status

    def elected(self, watermark_ms: int | None) -> None:
        """Begin a term."""
        # The sender is there before the reader can report a connection to it.
        self._current.term = self._new_term(watermark_ms)
        for pump in self._pumps:
            pump.offer(self._current.term)
        self._status.take_role("active")

    def deposed(self, why: str) -> None:
        """End the term: read no more, write no more, fetch no more."""
        term = self._current.term
        self._current.stop_reading()
        self._source.wake()
        self._current.stop_filling()
        term.sender.notify(sending.Finish(within=_STEP_DOWN))
        if not self._status.states.is_up(sending.LINK):
            term.sender.lifecycle.stop.set()
        self._status.take_role("standby")
