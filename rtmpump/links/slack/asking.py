"""The envelopes of Socket Mode that wait for a consumer's answer, with their connections.

Law: `due` gives only what was `kept`: its event is on the disk. An answer that comes before that is
kept for it; a question that ends without one is acknowledged with all others that were stored.

One thread owns it; `write` alone is called by others too. Without `slack.answered` nothing waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from rtmpump.core.envelopes import Envelope
from rtmpump.core.routes import is_listed
from rtmpump.links.answers import UNDELIVERED, Answers, QuestionEnd

_Member = TypeVar("_Member")


class HeldEnvelope(NamedTuple, Generic[_Member]):
    """An envelope and the connection on which it came."""

    member: _Member
    envelope: Envelope


class DueAnswer(NamedTuple, Generic[_Member]):
    """What is to be acknowledged now: with a payload, or None where nobody answered."""

    member: _Member
    envelope: Envelope
    payload: bytes | None
    result: str


class Asking(Generic[_Member]):
    """Opens questions and keeps what is to be acknowledged with their answers.

    `answered` are the keys that are asked, `ignored` those that nobody gets.
    """

    def __init__(
        self,
        answers: Answers | None = None,
        answered: frozenset[str] = frozenset(),
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        self._answers = Answers(0.0, lambda _: None) if answers is None else answers
        self._answered = answered
        self._ignored = ignored
        self._held: dict[str, HeldEnvelope[_Member]] = {}
        self._by_identity: dict[str, str] = {}
        self._kept: set[str] = set()
        self._early: list[QuestionEnd] = []
        self.is_closing = False
        """Whether nothing is asked any more: the connections are about to end."""
        self.write: Callable[[_Member, Envelope, bytes], bool] = lambda *_: False
        """Acknowledges with an answer; returns whether it could. From any thread."""

    def take(self, member: _Member, envelope: Envelope, received_ms: int) -> None:
        """Open a question if this envelope asks one and somebody may answer it in time."""
        names = envelope.type, envelope.subtype
        if (
            envelope.takes_answer
            and not self.is_closing
            and is_listed(*names, self._answered)
            and not is_listed(*names, self._ignored)
            and self._answers.open(envelope.id, received_ms)
        ):
            self._held[envelope.id] = HeldEnvelope(member, envelope)
            self._by_identity[envelope.identity] = envelope.id

    def keeps(self, member: _Member, envelope: Envelope) -> bool:
        """Return whether this envelope, which is stored, waits, or an earlier copy of it.

        The answer goes to the newest.
        """
        first = self._by_identity.get(envelope.identity)
        if first is None:
            return False
        if not self._answers.stored(first, partial(self.write, member, envelope)):
            return False
        self._held[first] = HeldEnvelope(member, envelope)
        self._kept.add(first)
        return True

    def forget(self, envelope: Envelope) -> None:
        """Close the question of an envelope that was not stored."""
        if self._let_go(envelope.id) is not None:
            self._answers.withdraw(envelope.id)

    def waits_on(self, member: _Member) -> bool:
        """Return whether an envelope of this connection waits."""
        return any(held.member is member for held in self._held.values())

    def due(self) -> Iterator[DueAnswer[_Member]]:
        """Yield what is to be acknowledged now; each is counted by `ended`."""
        ends, self._early = self._early, []
        if self._held:
            ends += self._answers.take()
        for end in ends:
            if end.is_told:
                self._let_go(end.envelope_id)
                continue
            is_kept = end.envelope_id in self._kept
            if not is_kept and end.payload is not None and end.envelope_id in self._held:
                self._early.append(end)
                continue
            held = self._let_go(end.envelope_id)
            if held is not None and is_kept:
                yield DueAnswer(*held, end.payload, end.result)
            elif held is not None or end.payload is not None:
                self._answers.ended(UNDELIVERED if end.payload is not None else end.result)

    def free(self, member: _Member | None = None) -> Iterator[DueAnswer[_Member]]:
        """Yield all that waits, or all of one connection, for it is about to end."""
        for id in [id for id in self._kept if member in (None, self._held[id].member)]:
            held = self._let_go(id)
            if self._answers.withdraw(id) and held is not None:
                yield DueAnswer(*held, None, "nobody")

    def ended(self, due: DueAnswer[_Member], *, is_written: bool) -> None:
        """Count one that `due` or `free` gave, now that Slack was told or could not be."""
        self._answers.ended(due.result if is_written else UNDELIVERED)

    def wait(self, now: float) -> float:
        """Return the seconds until `due` has something by time alone."""
        return self._answers.wait(now) if self._held else math.inf

    def _let_go(self, envelope_id: str) -> HeldEnvelope[_Member] | None:
        held = self._held.pop(envelope_id, None)
        self._kept.discard(envelope_id)
        if held is not None:
            self._by_identity.pop(held.envelope.identity, None)
        return held
