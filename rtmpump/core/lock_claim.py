"""One pump's claim on the lock: which tokens prove that it is the active one, and for how long.

Two pumps consume the lock queue, and RabbitMQ gives its messages to one of them only (single active
consumer). A pump publishes lock tokens to that queue. If it gets one of its own tokens back, it was
the active one at some moment between the two. Laws:

- A claim is good for `lasts` seconds from when the newest token that came back was *sent*: RabbitMQ
  had our bytes at that time or later, and counts its heartbeats from then on. It can't give the
  lock to another before twice the heartbeat has passed, and `lasts` is shorter than that.
- A claim that ran out is over for good, whatever comes back later.
- The newest token is kept unacknowledged and given back only after the next one came. So when its
  holder dies RabbitMQ hands the token to the next pump at once, which thereby learns the watermark
  of the old one. No token is kept for long, so `consumer_timeout` and delivery limits never matter.
- A token of another pump proves nothing by itself: it may have waited in our socket. It comes
  before each token that we publish after the first delivery to us. So only such a token elects us,
  and by then we know all that the pump before us left.

One `LockClaim` for one connection. No socket, no clock: `now` comes in, tokens go out. Times are
seconds of a clock that never goes back, except the watermark (milliseconds since 1970).
"""

from __future__ import annotations

from typing import Any

import msgspec

from rtmpump.core.watermark import later

_TOKENS_KEPT = 1000


class LockToken(msgspec.Struct, frozen=True, rename={"watermark_ms": "covered_until_ms"}):
    """A message of the lock queue: who wrote it, its number, and what its writer knew.

    `watermark_ms` is also that of a time in which no pump was to read. `host` is for people. On the
    wire the watermark is called `covered_until_ms`, as pumps of older versions have it.
    """

    by: str
    number: int
    watermark_ms: int | None = None
    host: str = ""


class LockClaim:
    """The claim of the pump `me`, a name that can not be guessed, new for each connection."""

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
        self.watermark_ms: int | None = None
        """The latest watermark in the tokens of other pumps."""
        self.before = ""
        """The host of the last token of another pump."""

    def token(self, now: float, watermark_ms: int | None) -> bytes:
        """Make the next token, which is to be published at once."""
        self._number += 1
        self._sent[self._number] = now
        if len(self._sent) > _TOKENS_KEPT:
            del self._sent[next(iter(self._sent))]
        known = later(self.watermark_ms, watermark_ms)
        return msgspec.json.encode(LockToken(self._me, self._number, known, self._host))

    def received(self, body: bytes, tag: int, now: float) -> list[int]:
        """Take in what the queue gave us; return the delivery tags that can be acked now."""
        if self._counts_from is None:
            self._counts_from = self._number + 1
        token = _read(body)
        if token is None:
            return [tag]
        if token.by != self._me:
            self._learn(token)
            # It is given up when a token of ours is here that has all that it has.
            self._kept[tag] = self._number + 1
            return []
        sent_at = self._sent.get(token.number)
        if sent_at is None:
            return [tag]
        self._sent = {number: at for number, at in self._sent.items() if number > token.number}
        if token.number >= self._counts_from:
            self._extend(sent_at, now)
        given_up = [kept for kept, number in self._kept.items() if number <= token.number]
        for kept in given_up:
            del self._kept[kept]
        self._kept[tag] = token.number + 1
        return given_up

    def extend(self, now: float) -> None:
        """Learn that something else than a token shows that the lock is still ours.

        It counts only if the queue gave us something before.
        """
        if self._counts_from is not None:
            self._extend(now, now)

    def is_held(self, now: float) -> bool:
        """Return whether we are the active one for certain; a claim that ran out never is again."""
        if self._until is not None and now >= self._until:
            self._is_over = True
        return self._until is not None and not self._is_over

    def held_until(self, now: float) -> float:
        """Return when the claim runs out; 0.0 if it is not held now."""
        return self._until if self._until is not None and self.is_held(now) else 0.0

    @property
    def is_over(self) -> bool:
        """Whether it was held and ran out."""
        return self._is_over

    def _extend(self, since: float, now: float) -> None:
        self.is_held(now)
        until = since + self._lasts
        if not self._is_over and until > now:
            self._until = until if self._until is None else max(self._until, until)

    def _learn(self, token: LockToken) -> None:
        self.watermark_ms = later(self.watermark_ms, token.watermark_ms)
        self.before = token.host


def _read(body: bytes) -> LockToken | None:
    try:
        token: Any = msgspec.json.decode(body, type=LockToken)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return token if isinstance(token, LockToken) else None
