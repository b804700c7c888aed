"""What other threads have to tell the sender, kept small while it can't look.

Laws:

- At most one reply for each message that is waited for is kept, however often Slack repeats it; a
  reply that says "ok" is never given up for one that doesn't.
- Of the WebSocket's comings and goings only the last matter.

Who calls this from several threads holds a lock.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from rtmpump.core.frames import Reply
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.outbound.job import Job


class LinkUp(NamedTuple):
    """Slack said hello on this connection."""

    connection: int


class LinkDown(NamedTuple):
    """The WebSocket ended."""


class NameAnswered(NamedTuple):
    """The directory's answer: the id of the channel of this name, or None and why."""

    name: str
    channel_id: str | None
    why: str


class CallAnswered(NamedTuple):
    """A call of the Web API ended."""

    job: Job
    answer: CallAnswer


class Finish(NamedTuple):
    """Take no more commands, wait for the replies under way, end; `within` seconds, if told."""

    within: float | None = None


class Close(NamedTuple):
    """End now."""


FromSlack: TypeAlias = Reply | LinkUp | LinkDown | NameAnswered | CallAnswered
Note: TypeAlias = FromSlack | Finish | Close


class Mailbox:
    """Notes in the order of their coming, replies before all others."""

    def __init__(self) -> None:
        self._replies: dict[int, Reply] = {}
        self._notes: list[Note] = []

    def __len__(self) -> int:
        return len(self._replies) + len(self._notes)

    def put(self, note: Note) -> None:
        """Keep a note until `take`."""
        if isinstance(note, Reply):
            kept = self._replies.get(note.reply_to)
            if kept is None or (note.ok and not kept.ok):
                self._replies[note.reply_to] = note
            return
        if isinstance(note, LinkDown):
            while self._notes and isinstance(self._notes[-1], LinkUp | LinkDown):
                self._notes.pop()
        self._notes.append(note)

    def take(self) -> list[Note]:
        """Take out all notes."""
        taken: list[Note] = [*self._replies.values(), *self._notes]
        self._replies.clear()
        self._notes.clear()
        return taken
