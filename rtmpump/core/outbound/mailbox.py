"""What other threads have for the sender, kept small while the sender can't look.

Laws:

- Of the replies to one message one is kept, however often Slack repeats it. A reply that says "ok"
  is never replaced by one that doesn't.
- Of the connections and ends of the WebSocket only the last ones are kept.

It has no lock: a caller with several threads holds its own.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from rtmpump.core.frames import Reply
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.outbound.job import Job, Part


class LinkUp(NamedTuple):
    """Slack said hello on the WebSocket connection of this number."""

    connection: int


class LinkDown(NamedTuple):
    """The WebSocket ended."""


class NameAnswered(NamedTuple):
    """The directory knows the id of the channel of this name, or why there is none."""

    name: str
    channel_id: str | None
    why: str


class NameChecked(NamedTuple):
    """The directory's second answer, after Slack refused the channel's id: the same id or another.

    `channel_id` is None if there is no such channel any more.
    """

    job: Job
    channel_id: str | None


class CallAnswered(NamedTuple):
    """The call of the Web API that carries out this job has ended."""

    job: Job
    answer: CallAnswer


class TrialAnswered(NamedTuple):
    """The call ended that finds out whether the Web API can be used."""

    answer: CallAnswer


class BrokerAnswer(Enum):
    """What became of a message for the broker: `LEFT_OUT` is what ended its connection twice."""

    TAKEN = "taken"
    REFUSED = "refused"
    RETURNED = "returned"
    LEFT_OUT = "left out"


class PublishedAlone(NamedTuple):
    """What became of the result or dead letter of a job that went out alone."""

    job: Job
    part: Part
    answer: BrokerAnswer


class Finish(NamedTuple):
    """Take no more commands, wait for the replies under way, at most `within` seconds, and end."""

    within: float | None = None


class Close(NamedTuple):
    """End now."""


FromSlack: TypeAlias = (
    Reply | LinkUp | LinkDown | NameAnswered | NameChecked | CallAnswered | TrialAnswered
)
Note: TypeAlias = FromSlack | PublishedAlone | Finish | Close


class Mailbox:
    """Notes in the order in which they came, but replies before all others."""

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
