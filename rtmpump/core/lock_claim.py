"""One pump's claim on the lock: what proves that it is the active one, and from when until when.

Two pumps consume the lock queue, and RabbitMQ gives its messages to one of them only (single active
consumer). The pump that is given a lock token gives it back to the queue again and again. Each time
the queue's leader writes that down with a majority of its members, and then delivers the token once
more, to whoever is the active consumer at that moment. Laws:

- A claim is good for `lasts` seconds from the moment at which all that was on its way to us had
  been asked for, before the token was given back that came again. The leader took us for the active
  one at that time or later. Nothing else extends it.
- RabbitMQ may make another pump the active one at any time, such as when it loses the node that the
  first one is on, and nobody can tell the first one. So whoever is given the lock acts only after
  `lasts` seconds, when every older claim has run out.
- It may act at once where the one before it has said that it is done (a *last* token), and the
  tokens show that nobody had them in between.
- RabbitMQ counts how often a token was delivered. A number that another pump must have raised,
  while we thought that we were the active one, begins everything anew.
- A claim that ran out while we acted is over for good, whatever comes back later.
- A token is acknowledged only when one that says more has just come again: what is in our hands may
  be in those of others too. So the queue is never empty, and when the holder of its token dies,
  RabbitMQ hands it to the next pump, which thereby learns the watermark of the old one.
- Giving back publishes nothing, so all of this holds while RabbitMQ has an alarm.

One `LockClaim` for one connection. No socket, no clock: `now` comes in, tokens go out. Times are
seconds of a clock that never goes back, except in tokens (milliseconds since 1970). No token is
ever published twice.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from rtmpump.core.watermark import later

# Two clocks that run at a different speed, and a thread that waits for the processor.
_LONGER: Final = 1.1
_Key: TypeAlias = tuple[str, int]


class TokenKind(Enum):
    """What a lock token says: a question says nothing, and the last one that its writer is done."""

    NOTE = "note"
    QUESTION = "question"
    LAST = "last"


class LockToken(msgspec.Struct, frozen=True, rename={"watermark_ms": "covered_until_ms"}):
    """A message of the lock queue: who wrote it, its number, and what its writer knew.

    `watermark_ms` is also that of a time in which no pump was to read. `written_ms` is the time of
    day of its writer. `host` is for people. `kept` is in a last token only: how often the notes
    of its writer had been delivered that were in the queue, by their numbers.
    """

    by: str
    number: int
    watermark_ms: int | None = None
    host: str = ""
    written_ms: int = 0
    kind: TokenKind = TokenKind.NOTE
    kept: dict[int, int] = {}

    @property
    def key(self) -> _Key:
        """What no other token has."""
        return self.by, self.number


class TokenDelivery(NamedTuple):
    """A message of the lock queue; `deliveries` is how often it was delivered before."""

    body: bytes
    tag: int
    deliveries: int = 0


class _Held(NamedTuple):
    """A token in our hands, or one that was given back; `since` counts for the claim then."""

    token: LockToken
    tag: int
    deliveries: int
    since: float = 0.0


class LockClaim:
    """The claim of the pump `me`, a name that can not be guessed, new for each connection."""

    def __init__(self, me: str, host: str, lasts: float) -> None:
        self._me = me
        self._host = host
        self._lasts = lasts
        self._number = 0
        # Our notes up to this number lack something that others know.
        self._lacking = 0
        self._hand: dict[_Key, _Held] = {}
        self._given_back: dict[_Key, _Held] = {}
        self._given_at: float | None = None
        self._until: float | None = None
        self._proved_since: float | None = None
        self._acts = False
        self._is_over = False
        self._before: dict[_Key, int] = {}
        self._done: dict[str, LockToken] = {}
        self._done_at: float | None = None
        self.watermark_ms: int | None = None
        """The latest watermark in the tokens of other pumps."""
        self.before = ""
        """The host of the last note of another pump."""
        self.others: list[LockToken] = []
        """Questions of other pumps that came fresh; whoever reads them clears the list."""

    @property
    def is_given(self) -> bool:
        """Whether RabbitMQ takes us for the active one, or took us for it."""
        return self._given_at is not None or bool(self._hand or self._given_back)

    @property
    def is_over(self) -> bool:
        """Whether it ran out, or was lost, while we acted."""
        return self._is_over

    @property
    def keeps_own_note(self) -> bool:
        """Whether the next pump will learn what we wrote."""
        return bool(self._own_notes())

    def token(self, kind: TokenKind, now_ms: int, watermark_ms: int | None = None) -> bytes:
        """Make the next token, which is to be published at once."""
        self._number += 1
        kept = self._own_notes() if kind is TokenKind.LAST else {}
        return msgspec.json.encode(
            LockToken(self._me, self._number, watermark_ms, self._host, now_ms, kind, kept)
        )

    def received(self, given: TokenDelivery, now: float) -> list[int]:
        """Take in what the queue gave us; return the delivery tags that can be acknowledged now."""
        token = _read(given.body)
        if token is None:
            return [given.tag]
        self._look_again(now)
        answered = self._given_back.get(token.key)
        if not self._is_expected(token, given, answered):
            self._begin_anew()
            answered = None
        if self._given_at is None or (given.deliveries and answered is None):
            self._given_at = now
        self._hand[token.key] = _Held(token, given.tag, given.deliveries)
        if answered is None:
            self._learn(token, given)
            return []
        del self._given_back[token.key]
        self._prove(answered.since, now)
        return self._give_up_for(token, now)

    def give_back(self, since: float) -> int | None:
        """Return the delivery tag that is to be given back to the queue now; None if none is.

        What had been sent to us until `since` has all been `received`.
        """
        if not self._hand:
            return None
        held = max(self._hand.values(), key=lambda held: self._rank(held.token))
        del self._hand[held.token.key]
        self._given_back[held.token.key] = held._replace(since=since)
        return held.tag

    def held_until(self, now: float) -> float:
        """Return when the claim runs out; 0.0 if it is not held now."""
        self._look_again(now)
        return self._until if self._until is not None and not self._is_over else 0.0

    def may_act(self, now: float) -> bool:
        """Return whether no other pump acts any more; `act` is to be called then."""
        if not self.held_until(now) or self._given_at is None:
            return False
        return now >= self._given_at + self._lasts * _LONGER or self._is_handed_over()

    def act(self) -> None:
        """Note that we are the active one from now on."""
        self._acts = True

    def _is_expected(self, token: LockToken, given: TokenDelivery, answered: _Held | None) -> bool:
        """Return whether no other consumer can have had the token since we were given the lock."""
        if answered is not None:
            return given.deliveries == answered.deliveries + 1
        if token.key in self._hand:
            return False
        # What others had before us comes before the first that we have given back.
        return not given.deliveries or self._proved_since is None

    def _look_again(self, now: float) -> None:
        if self._until is not None and now >= self._until:
            self._run_out()

    def _run_out(self) -> None:
        self._is_over = self._is_over or self._acts
        self._given_at = self._until = self._proved_since = None

    def _begin_anew(self) -> None:
        """Let go of all that RabbitMQ has given to others."""
        self._run_out()
        self._hand.clear()
        self._given_back.clear()

    def _prove(self, since: float, now: float) -> None:
        if since + self._lasts > now:
            self._until, self._proved_since = since + self._lasts, since

    def _learn(self, token: LockToken, given: TokenDelivery) -> None:
        if token.by == self._me:
            return
        if (newest := later(self.watermark_ms, token.watermark_ms)) != self.watermark_ms:
            self.watermark_ms, self._lacking = newest, self._number
        if token.kind is TokenKind.LAST:
            self._done[token.by] = token
        elif token.kind is TokenKind.NOTE:
            self._before[token.key] = max(given.deliveries, self._before.get(token.key, 0))
            self.before = token.host
        elif not given.deliveries:
            self.others.append(token)

    def _give_up_for(self, proved: LockToken, now: float) -> list[int]:
        """Let go of what says less than a token that has just come again; return the tags."""
        rank = self._rank(proved)
        less = [one for one in self._hand.values() if self._rank(one.token) < rank]
        for one in less:
            del self._hand[one.token.key]
            if one.token.kind is TokenKind.LAST:
                self._done_at = now
        return [one.tag for one in less]

    def _rank(self, token: LockToken) -> tuple[int, int, int]:
        """Tell how much the next pump learns from a token."""
        if token.kind is TokenKind.LAST:
            return 0, 0, token.number
        if token.by == self._me and token.kind is TokenKind.NOTE:
            return (2, token.number, 0) if token.number > self._lacking else (1, -1, token.number)
        return 1, -1 if token.watermark_ms is None else token.watermark_ms, token.number

    def _is_handed_over(self) -> bool:
        """Return whether the one before us is done, and nobody can be told so once more.

        The last token is acknowledged, and a token that was given back after that has come again.
        """
        if self._done_at is None or self._proved_since is None or not self._before:
            return False
        return self._proved_since >= self._done_at and all(map(self._is_done, self._before))

    def _is_done(self, note: _Key) -> bool:
        """Return whether the writer of a note is done, and nobody has had the note since then.

        To have it a pump gives it back at least once, and RabbitMQ does so once for each of them.
        """
        by, number = note
        last = self._done.get(by)
        if last is None or not last.kept:
            return False
        deliveries = last.kept.get(number, 0)
        return self._before[note] <= deliveries + 1 and number >= min(last.kept)

    def _own_notes(self) -> dict[int, int]:
        """Return how often our notes in the queue were delivered, as far as known."""
        return {
            held.token.number: held.deliveries + was_given_back
            for was_given_back, some in enumerate((self._hand, self._given_back))
            for held in some.values()
            if held.token.by == self._me and held.token.kind is TokenKind.NOTE
        }


def _read(body: bytes) -> LockToken | None:
    try:
        token: Any = msgspec.json.decode(body, type=LockToken)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return token if isinstance(token, LockToken) else None
