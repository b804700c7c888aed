"""The publishes in flight on one channel with confirms: a go-back-N window.

Laws:

- Tags rise by one from 1 on a channel (RabbitMQ, "Publisher Confirms"); each is answered once, by
  an ack or a nack of itself or of a later one with `multiple`.
- An event is settled by the ack of a publish that the broker did not return, by nothing else. A
  `basic.return` comes before the ack of the same publish. A returned event is published again,
  to the exchange for the unrouted, and the ack of that publish settles it.
- After a nack nothing new is sent. When all in flight has been answered the caller goes back to
  the first event that was nacked and sends it and all that follow it again: a later event never
  comes instead of an earlier one. So an event can be confirmed twice.
- It then starts with few in flight and doubles them with each such number confirmed, for a broker
  that just said no.
- `confirmed_upto` never passes an event that isn't settled.

What must not live here: pika, the spool, and what to publish. Only seqs and tags.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import Final, NamedTuple

import msgspec

_FLYING: Final = 0
_RETURNED: Final = 1
_HELD: Final = 2
_RESENT: Final = 3
_SETTLED: Final = 4
_FAILED: Final = 5

_AFTER_NACK = 1


class Acked(NamedTuple):
    """What an ack did: `confirmed` as (seq, received_ms) settled, `resend` as seqs to send again.

    Each of `resend` was returned; it stays in flight until `resent` and its ack, or `settle`.
    """

    confirmed: list[tuple[int, int]]
    resend: list[int]


class _Sent(msgspec.Struct, gc=False):
    seq: int
    received_ms: int
    sent_at: float
    state: int = _FLYING


class ConfirmWindow:
    """What is in flight and what is confirmed; see the laws above."""

    __slots__ = (
        "_confirmed",
        "_events",
        "_first_failed",
        "_last_seq",
        "_limit",
        "_low_tag",
        "_size",
        "_unanswered",
        "confirmed_upto",
        "in_flight",
    )

    def __init__(self, size: int) -> None:
        """Take the greatest number of events in flight; ValueError below 1."""
        if size < 1:
            raise ValueError(f"a window of size {size} lets nothing through")
        self._size = size
        self._limit = size
        self._confirmed = 0
        self.confirmed_upto = 0
        self._begin(0)

    def _begin(self, after: int) -> None:
        self.in_flight = 0
        self._last_seq = after
        self._first_failed: int | None = None
        # In the order of seq, from the first unsettled on; in the order of tag, None if answered.
        self._events: deque[_Sent] = deque()
        self._unanswered: deque[_Sent | None] = deque()
        self._low_tag = 1

    def room(self) -> int:
        """How many events may be sent now: 0 while a nack waits for the rest to be answered."""
        return max(0, self._limit - self.in_flight) if self._first_failed is None else 0

    def sent(self, seq: int, now: float, received_ms: int = 0) -> int:
        """Count an event as published with `mandatory`; gives the delivery tag of that publish.

        ValueError without room, or when `seq` does not come after the one sent before.
        """
        if seq <= self._last_seq:
            raise ValueError(f"seq {seq} sent after {self._last_seq}")
        if self._first_failed is not None or self.in_flight >= self._limit:
            raise ValueError(f"seq {seq} sent without room")
        event = _Sent(seq, received_ms, now)
        self._last_seq = seq
        self.in_flight += 1
        self._events.append(event)
        self._unanswered.append(event)
        return self._low_tag + len(self._unanswered) - 1

    def returned(self, seq: int) -> bool:
        """Mark an event that no queue took; False, and nothing done, if it is not in flight."""
        event = self._find(seq)
        if event is None or event.state not in (_FLYING, _RETURNED):
            return False
        event.state = _RETURNED
        return True

    def resent(self, seq: int, now: float) -> int:
        """Count a returned event as published again, not `mandatory`; gives the new delivery tag.

        Needs no room, for the event is in flight already. ValueError if `ack` did not ask for it.
        """
        event = self._held(seq)
        event.state = _RESENT
        event.sent_at = now
        self._unanswered.append(event)
        return self._low_tag + len(self._unanswered) - 1

    def settle(self, seq: int) -> None:
        """Let go of a returned event that nobody wants; ValueError if `ack` did not ask for it."""
        self._held(seq).state = _SETTLED
        self._count_settled(1)

    def ack(self, tag: int, multiple: bool) -> Acked:
        """Take the broker's `basic.ack`; ValueError, and nothing done, if it answers nothing."""
        done = Acked([], [])
        confirmed = done.confirmed
        for event in self._answered(tag, multiple):
            if event.state == _RETURNED:
                event.state = _HELD
                done.resend.append(event.seq)
            else:
                event.state = _SETTLED
                confirmed.append((event.seq, event.received_ms))
        self._count_settled(len(confirmed))
        return done

    def nack(self, tag: int, multiple: bool) -> int:
        """Take the broker's `basic.nack`, give how many it refused; ValueError as with `ack`."""
        failed = self._answered(tag, multiple)
        for event in failed:
            event.state = _FAILED
        first = min(event.seq for event in failed)
        if self._first_failed is None or first < self._first_failed:
            self._first_failed = first
        self.in_flight -= len(failed)
        return len(failed)

    def rewind(self) -> int | None:
        """Give the first nacked seq, from which on all is to be sent again, and forget the nack.

        None while something is still in flight, or when nothing was nacked.
        """
        first = self._first_failed
        if first is None or self.in_flight:
            return None
        self._first_failed = None
        self._last_seq = first - 1
        self._events.clear()
        self._limit = min(self._size, _AFTER_NACK)
        self._confirmed = 0
        return first

    def reset(self, after: int) -> None:
        """Begin on a new channel with the event that follows `after`; what was in flight is lost.

        `confirmed_upto` stays; ValueError if `after` is before it.
        """
        if after < self.confirmed_upto:
            raise ValueError(f"reset to {after}, before the confirmed {self.confirmed_upto}")
        self._begin(after)

    def oldest_sent(self) -> float | None:
        """Give the `now` of the oldest publish without an answer."""
        event = self._unanswered[0] if self._unanswered else None
        return None if event is None else event.sent_at

    def _answered(self, tag: int, multiple: bool) -> list[_Sent]:
        """Take away the publishes that this tag answers; at least one, or ValueError."""
        waiting = self._unanswered
        place = tag - self._low_tag
        if not 0 <= place < len(waiting):
            raise ValueError(f"tag {tag} is not in flight")
        if multiple:
            self._low_tag = tag + 1
            take = waiting.popleft
            answered = [event for event in [take() for _ in range(place + 1)] if event is not None]
        else:
            only = waiting[place]
            if only is None:
                raise ValueError(f"tag {tag} was answered before")
            waiting[place] = None
            answered = [only]
        self._drop_answered_prefix()
        return answered

    def _drop_answered_prefix(self) -> None:
        """Keep the law of `_unanswered`: its first one has no answer yet."""
        waiting = self._unanswered
        while waiting and waiting[0] is None:
            waiting.popleft()
            self._low_tag += 1

    def _count_settled(self, number: int) -> None:
        self.in_flight -= number
        events = self._events
        while events and events[0].state == _SETTLED:
            self.confirmed_upto = events.popleft().seq
        if self._limit < self._size:
            self._grow(number)

    def _grow(self, number: int) -> None:
        self._confirmed += number
        while self._confirmed >= self._limit < self._size:
            self._confirmed -= self._limit
            self._limit = min(self._size, 2 * self._limit)

    def _held(self, seq: int) -> _Sent:
        event = self._find(seq)
        if event is None or event.state != _HELD:
            raise ValueError(f"seq {seq} was not returned and acked")
        return event

    def _find(self, seq: int) -> _Sent | None:
        place = bisect_left(self._events, seq, key=_seq)
        if place == len(self._events) or self._events[place].seq != seq:
            return None
        return self._events[place]


def _seq(event: _Sent) -> int:
    return event.seq
