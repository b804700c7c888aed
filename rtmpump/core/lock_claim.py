"""One pump's claim on the lock: which notes prove that it is the active one, and for how long.

Two pumps consume the lock queue, and RabbitMQ gives its messages to one of them only (single active
consumer). So whoever gets a note back that it published itself was the active one between the two
moments. Laws:

- A claim is good for `lasts` seconds from when the newest note that came back was *sent*: RabbitMQ
  had our bytes at that time or later, and counts its heartbeats from then on. It can't give the
  lock to another before twice the heartbeat has passed, and `lasts` is shorter than that.
- A claim that ran out is over for good, whatever comes back later.
- The newest note is kept unacknowledged and given back only after the next one came. So when its
  holder dies RabbitMQ hands it to the next one at once, who thereby also learns up to when the old
  one had all. No note is kept for long, so `consumer_timeout` and delivery limits never matter.
- The note of another proves nothing by itself: it may have waited in our socket. It comes before
  each note that we publish once we were given anything at all; so only such a note elects us, and
  we know by then all that the one before us left.

One `Claim` for one connection. No socket, no clock: `now` comes in, notes go out. Times are seconds
of a clock that never goes back, but for `covered_until_ms` (milliseconds since 1970).
"""

from __future__ import annotations

from typing import Any

import msgspec

_NOTES_KEPT = 1000


class Note(msgspec.Struct, frozen=True):
    """What lies in the lock queue: who wrote it, its number, and what its writer knew.

    `covered_until_ms`: all that Slack sent up to then was stored, told by a gap, or nobody's to
    read. `host` is for people.
    """

    by: str
    number: int
    covered_until_ms: int | None = None
    host: str = ""


class Claim:
    """`me` is a name that nobody can guess, new for each connection."""

    def __init__(self, me: str, host: str, lasts: float) -> None:
        self._me = me
        self._host = host
        self._lasts = lasts
        self._sent: dict[int, float] = {}
        self._number = 0
        self._kept: dict[int, int] = {}
        self._counts_from: int | None = None
        self._until: float | None = None
        self._is_over = False
        self.covered_until_ms: int | None = None
        self.before = ""
        """The host of the last note of another."""

    def ask(self, now: float, covered_until_ms: int | None) -> bytes:
        """Make the next note, which is to be published at once."""
        self._number += 1
        self._sent[self._number] = now
        if len(self._sent) > _NOTES_KEPT:
            del self._sent[next(iter(self._sent))]
        covered = later(self.covered_until_ms, covered_until_ms)
        return msgspec.json.encode(Note(self._me, self._number, covered, self._host))

    def received(self, body: bytes, tag: int, now: float) -> list[int]:
        """Take in what the queue gave us; returns the delivery tags that can be acked now."""
        if self._counts_from is None:
            self._counts_from = self._number + 1
        note = _read(body)
        if note is None:
            return [tag]
        if note.by != self._me:
            self._learn(note)
            # It is given up when a note of ours is here that says all that it says.
            self._kept[tag] = self._number + 1
            return []
        sent_at = self._sent.get(note.number)
        if sent_at is None:
            return [tag]
        self._sent = {number: at for number, at in self._sent.items() if number > note.number}
        if note.number >= self._counts_from:
            self._extend(sent_at, now)
        given_up = [kept for kept, number in self._kept.items() if number <= note.number]
        for kept in given_up:
            del self._kept[kept]
        self._kept[tag] = note.number + 1
        return given_up

    def extend(self, now: float) -> None:
        """Something else than a note shows that the lock is still ours, if we were given any."""
        if self._counts_from is not None:
            self._extend(now, now)

    def is_held(self, now: float) -> bool:
        """Whether we are the active one for certain; once it was and is no more, it never is."""
        if self._until is not None and now >= self._until:
            self._is_over = True
        return self._until is not None and not self._is_over

    @property
    def is_over(self) -> bool:
        """Whether it was held and ran out."""
        return self._is_over

    def _extend(self, since: float, now: float) -> None:
        self.is_held(now)
        until = since + self._lasts
        if not self._is_over and until > now:
            self._until = until if self._until is None else max(self._until, until)

    def _learn(self, note: Note) -> None:
        self.covered_until_ms = later(self.covered_until_ms, note.covered_until_ms)
        self.before = note.host


def later(one: int | None, other: int | None) -> int | None:
    """The later of two times, of which each may be unknown."""
    known = [at for at in (one, other) if at is not None]
    return max(known, default=None)


def _read(body: bytes) -> Note | None:
    try:
        note: Any = msgspec.json.decode(body, type=Note)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return note if isinstance(note, Note) else None
