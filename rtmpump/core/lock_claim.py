"""One pump's claim on the lock: what proves that it is the active one, and from when until when.

Two pumps consume the lock queue, and RabbitMQ gives its messages to one of them only (single active
consumer). The pump that is given a lock token gives it back to the queue again and again. Each time
the queue's leader writes that down with a majority of its members, and then delivers the token once
more, to whoever is the active consumer at that moment. Laws:

- A claim is good for `lasts` seconds from when the newest token that came back was *given back*:
  the leader took us for the active one at that time or later. Nothing else extends it.
- RabbitMQ may make another pump the active one at any time, such as when it loses the node that the
  first one is on, and nobody can tell the first one. So whoever is given the lock acts only after
  `lasts` seconds, when every older claim has run out.
- It may act at once where the one before it has said that it is done (a *last* token), and the
  token shows that nobody had it in between.
- RabbitMQ counts how often a token was delivered. A number that another pump must have raised,
  while we thought that we were the active one, begins everything anew.
- A claim that ran out while we acted is over for good, whatever comes back later.
- One token is kept always, the one with the latest watermark. When its holder dies, RabbitMQ hands
  it to the next pump, which thereby learns the watermark of the old one. Giving back publishes
  nothing, so all of this holds while RabbitMQ has an alarm.

One `LockClaim` for one connection. No socket, no clock: `now` comes in, tokens go out. Times are
seconds of a clock that never goes back, except in tokens (milliseconds since 1970).
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from rtmpump.core.watermark import later

# Two clocks that run at a different speed, and a thread that waits for the processor.
_LONGER: Final = 1.1


class Kind(Enum):
    """What a lock token says: a question says nothing, and the last one that its writer is done."""

    NOTE = "note"
    QUESTION = "question"
    LAST = "last"


class LockToken(msgspec.Struct, frozen=True, rename={"watermark_ms": "covered_until_ms"}):
    """A message of the lock queue: who wrote it, its number, and what its writer knew.

    `watermark_ms` is also that of a time in which no pump was to read. `written_ms` is the time of
    day of its writer. `host` is for people. `deliveries` says in a last token how often the one
    that its writer kept had been delivered.
    """

    by: str
    number: int
    watermark_ms: int | None = None
    host: str = ""
    written_ms: int = 0
    kind: Kind = Kind.NOTE
    deliveries: int = 0


class Given(NamedTuple):
    """A message of the lock queue; `deliveries` is how often it was delivered before."""

    body: bytes
    tag: int
    deliveries: int = 0


class _Kept(NamedTuple):
    token: LockToken
    tag: int
    deliveries: int


class _Out(NamedTuple):
    token: LockToken
    deliveries: int
    at: float


class LockClaim:
    """The claim of the pump `me`, a name that can not be guessed, new for each connection."""

    def __init__(self, me: str, host: str, lasts: float) -> None:
        self._me = me
        self._host = host
        self._lasts = lasts
        self._number = 0
        # Our tokens up to this number lack something that others know.
        self._lacking = 0
        self._kept: _Kept | None = None
        self._out: _Out | None = None
        self._given_at: float | None = None
        self._until: float | None = None
        self._proved_at: float | None = None
        self._acts = False
        self._is_over = False
        self._before: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._done_at: float | None = None
        self.watermark_ms: int | None = None
        """The latest watermark in the tokens of other pumps."""
        self.before = ""
        """The host of the last note of another pump."""
        self.others: list[LockToken] = []
        """Questions of other pumps that came fresh; whoever reads them clears the list."""

    @property
    def is_given(self) -> bool:
        """Whether RabbitMQ takes us for the active one, as far as is known."""
        return self._given_at is not None

    @property
    def is_over(self) -> bool:
        """Whether it ran out, or was lost, while we acted."""
        return self._is_over

    @property
    def keeps_own_note(self) -> bool:
        """Whether the next pump will learn what we wrote."""
        token = self._kept.token if self._kept else self._out.token if self._out else None
        return token is not None and token.by == self._me and token.kind is Kind.NOTE

    @property
    def awaited_since(self) -> float | None:
        """When the token was given back that has not come again; None if we have one."""
        return None if self._out is None else self._out.at

    def token(self, kind: Kind, now_ms: int, watermark_ms: int | None = None) -> bytes:
        """Make the next token, which is to be published at once."""
        self._number += 1
        deliveries = self._deliveries_kept()
        return msgspec.json.encode(
            LockToken(self._me, self._number, watermark_ms, self._host, now_ms, kind, deliveries)
        )

    def received(self, given: Given, now: float) -> list[int]:
        """Take in what the queue gave us; return the delivery tags that can be acknowledged now."""
        token = _read(given.body)
        if token is None:
            return [given.tag]
        self._look_again(now)
        out = self._out if self._out is not None and _same(self._out.token, token) else None
        is_expected = given.deliveries == (0 if out is None else out.deliveries + 1)
        if not is_expected:
            # Another consumer had it, so it may have been the active one meanwhile.
            self._begin_anew()
        if self._given_at is None:
            self._given_at = now
        if out is not None:
            self._out = None
            self._prove(out.at, now)
        if out is None or not is_expected:
            self._learn(token, given)
        return self._choose(_Kept(token, given.tag, given.deliveries), now)

    def give_back(self, now: float) -> int | None:
        """Return the delivery tag that is to be given back to the queue now; None if none is."""
        if self._kept is None or self._out is not None:
            return None
        token, tag, deliveries = self._kept
        self._kept, self._out = None, _Out(token, deliveries, now)
        return tag

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

    def _look_again(self, now: float) -> None:
        if self._until is not None and now >= self._until:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._is_over = self._is_over or self._acts
        self._given_at = self._until = self._proved_at = None

    def _prove(self, since: float, now: float) -> None:
        until = since + self._lasts
        if until > now:
            self._until, self._proved_at = until, since

    def _learn(self, token: LockToken, given: Given) -> None:
        if token.by == self._me:
            return
        if (newest := later(self.watermark_ms, token.watermark_ms)) != self.watermark_ms:
            self.watermark_ms, self._lacking = newest, self._number
        if token.kind is Kind.LAST:
            self._done[token.by] = token.deliveries
        elif token.kind is Kind.NOTE:
            self._before[token.by] = max(given.deliveries, self._before.get(token.by, 0))
            self.before = token.host
        elif not given.deliveries:
            self.others.append(token)

    def _choose(self, new: _Kept, now: float) -> list[int]:
        """Keep the best token that is here or comes back; return the tags of the others."""
        out = None if self._out is None else _Kept(self._out.token, 0, self._out.deliveries)
        best = max((one for one in (new, self._kept, out) if one), key=self._rank)
        given_up = [one for one in (new, self._kept) if one is not None and one is not best]
        if best is out:
            self._kept = None
        else:
            self._kept = best
        if any(one.token.kind is Kind.LAST for one in given_up):
            self._done_at = now
        return [one.tag for one in given_up]

    def _rank(self, kept: _Kept) -> tuple[int, int]:
        """Tell how much the next pump learns from a token."""
        token = kept.token
        if token.kind is Kind.LAST:
            return 0, 0
        if token.by == self._me and token.kind is Kind.NOTE and token.number > self._lacking:
            return 2, token.number
        return 1, -1 if token.watermark_ms is None else token.watermark_ms

    def _is_handed_over(self) -> bool:
        """Return whether the one before us is done, and nobody can be told so once more.

        The last token is acknowledged, and a token that was given back after that has come again.
        Somebody who acted in between has given the token back at least once, and RabbitMQ has.
        """
        if self._done_at is None or self._proved_at is None or self._proved_at < self._done_at:
            return False
        return bool(self._before) and all(
            one in self._done and deliveries <= self._done[one] + 1
            for one, deliveries in self._before.items()
        )

    def _deliveries_kept(self) -> int:
        if self._kept is not None:
            return self._kept.deliveries
        return 0 if self._out is None else self._out.deliveries + 1


def _same(one: LockToken, other: LockToken) -> bool:
    return (one.by, one.number) == (other.by, other.number)


def _read(body: bytes) -> LockToken | None:
    try:
        token: Any = msgspec.json.decode(body, type=LockToken)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return token if isinstance(token, LockToken) else None
