"""What the reader has read in one turn."""

from __future__ import annotations

from rtmpump.core.channel_events import changes_channels
from rtmpump.core.frames import Event, Reply
from rtmpump.core.routes import is_listed


class ReadBatch:
    """What was read in one turn: `events` in order, for the spool, and what else it means."""

    __slots__ = (
        "_ignore",
        "channel_events",
        "events",
        "greeted",
        "ignored",
        "now_ms",
        "replies",
        "types",
    )

    def __init__(self, now_ms: int, ignore: frozenset[str]) -> None:
        self.now_ms = now_ms
        self._ignore = ignore
        self.events: list[tuple[int, bytes]] = []
        self.types: dict[str, int] = {}
        self.replies: list[Reply] = []
        self.channel_events: list[bytes] = []
        self.greeted = False
        self.ignored = 0

    def take(self, event: Event, body: bytes) -> None:
        """Count an event and keep it, unless its kind is to be ignored."""
        type = event.type
        self.types[type] = self.types.get(type, 0) + 1
        if changes_channels(type):
            self.channel_events.append(body)
        if self._ignore and is_listed(type, event.subtype, self._ignore):
            self.ignored += 1
        else:
            self.events.append((self.now_ms, body))
