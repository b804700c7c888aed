"""The envelopes of Socket Mode that wait for a consumer's answer, with their connections.

One thread owns it. Without `slack.answered` nothing waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from rtmpump.core.envelopes import Envelope
from rtmpump.core.routes import is_listed
from rtmpump.links.answers import Answers

_Member = TypeVar("_Member")


class HeldEnvelope(NamedTuple, Generic[_Member]):
    """An envelope and the connection on which it came."""

    member: _Member
    envelope: Envelope


class Asking(Generic[_Member]):
    """Opens questions and keeps what is to be acknowledged with their answers."""

    def __init__(self, answers: Answers, answered: frozenset[str]) -> None:
        self._answers = answers
        self._answered = answered
        self._held: dict[str, HeldEnvelope[_Member]] = {}
        self._by_identity: dict[str, str] = {}

    def take(self, member: _Member, envelope: Envelope, received_ms: int) -> None:
        """Open a question if this envelope asks one and somebody may answer it in time."""
        if (
            envelope.takes_answer
            and is_listed(envelope.type, envelope.subtype, self._answered)
            and self._answers.open(envelope.id, received_ms)
        ):
            self._held[envelope.id] = HeldEnvelope(member, envelope)
            self._by_identity[envelope.identity] = envelope.id

    def forget(self, envelope: Envelope) -> None:
        """Close the question of an envelope that was not stored."""
        if self._let_go(envelope.id) is not None:
            self._answers.withdraw(envelope.id)

    def keeps(self, member: _Member, envelope: Envelope) -> bool:
        """Return whether this envelope waits, or an earlier copy; the answer goes to the newest."""
        first = self._by_identity.get(envelope.identity)
        if first is None:
            return False
        self._held[first] = HeldEnvelope(member, envelope)
        return True

    def due(self) -> Iterator[tuple[HeldEnvelope[_Member], bytes | None]]:
        """Yield what is to be acknowledged now: with a payload, or None where nobody answered."""
        if self._held:
            for answer in self._answers.take():
                held = self._let_go(answer.envelope_id)
                if held is not None:
                    yield held, answer.payload

    def wait(self, now: float) -> float:
        """Return the seconds until `due` has something by time alone."""
        return self._answers.wait(now) if self._held else float("inf")

    def _let_go(self, envelope_id: str) -> HeldEnvelope[_Member] | None:
        held = self._held.pop(envelope_id, None)
        if held is not None:
            self._by_identity.pop(held.envelope.identity, None)
        return held
