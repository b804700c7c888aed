"""Passes on what the reader meets to the pumps that it concerns."""

from __future__ import annotations

from rtmpump.core.channel_events import concerned
from rtmpump.core.frames import Reply
from rtmpump.daemon.election import CurrentTerm
from rtmpump.pumps.backfill.pump import Backfill
from rtmpump.pumps.directory import Directory
from rtmpump.pumps.outbound import sender as sending
from rtmpump.pumps.publisher import Publisher


class PumpsListener:
    """The listener of the reader; see `pumps.reader.ReaderListener`."""

    def __init__(
        self,
        publisher: Publisher,
        current: CurrentTerm,
        directory: Directory,
        backfill: Backfill | None,
    ) -> None:
        self._publisher = publisher
        self._current = current
        self._directory = directory
        self._backfill = backfill

    def stored(self) -> None:
        """Let the publisher look into the spool."""
        self._publisher.wake()

    def replied(self, reply: Reply) -> None:
        """Bring Slack's answer to the sender."""
        self._current.notify_sender(reply)

    def connected(self, connection: int) -> None:
        """Let commands go out."""
        # Channels may have changed while nothing was read.
        self._directory.changed()
        self._current.notify_sender(sending.LinkUp(connection))

    def disconnected(self) -> None:
        """Let no command go out."""
        self._current.notify_sender(sending.LinkDown())

    def channels_changed(self, frame: bytes) -> None:
        """Have the names that this event is about looked up anew."""
        self._directory.changed(concerned(frame))

    def missed(self, from_ms: int, to_ms: int, team: str, bot: str) -> None:
        """Have the gap filled."""
        if self._backfill is not None:
            self._backfill.missed(from_ms, to_ms, team, bot)
