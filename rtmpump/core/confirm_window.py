"""The publishes in flight on one channel with confirms: a go-back-N window.

Laws:

- Tags rise by one from 1 on a channel (RabbitMQ, "Publisher Confirms"); each is answered once, by
  an ack or a nack of itself or of a later one with `multiple`.
- Only one thing settles an event: the ack of a publish that the broker did not return. A
  `basic.return` comes before the ack of the same publish. A returned event is published again, to
  the exchange for unrouted events, and the ack of that publish settles it. If that publish is
  returned too, the caller either lets the event go or fails it, which is like a nack.
- After a nack nothing new is sent. When all in flight has been answered, the caller goes back to
  the first nacked event and sends it and all that follow it again: a later event never comes
  instead of an earlier one. So an event can be confirmed twice.
- The caller then starts with few in flight, because the broker has just refused. The number doubles
  each time that as many were confirmed.
- `confirmed_upto` never passes an event that isn't settled.

What must not be here: pika, the spool, and what to publish. Only seqs and tags.
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
_LOST: Final = 6

_AFTER_NACK = 1


class Acked(NamedTuple):
    """What an ack did: `confirmed` are settled (seq, received_ms), `resend` seqs to send again.

    Each of `resend` was returned; it stays in flight until `resent` and its ack, or `settle`. Each
    of `homeless` was returned again; it stays in flight until `settle` or `fail`.
    """

    confirmed: list[tuple[int, int]]
    resend: list[int]
    homeless: list[int]


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
        """Begin with nothing in flight; `size` is the greatest number of events in flight.

        Raises:
            ValueError: `size` is below 1.
        """
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
        """Return how many events may be sent now; 0 after a nack, until all are answered."""
        return max(0, self._limit - self.in_flight) if self._first_failed is None else 0

    def sent(self, seq: int, now: float, received_ms: int = 0) -> int:
        """Count an event as published with `mandatory`; return the delivery tag of that publish.

        Raises:
            ValueError: there is no room, or `seq` does not come after the one sent before.
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
        """Mark an event that no queue took; return whether it is so for the first time."""
        event = self._find(seq)
        if event is None or event.state not in (_FLYING, _RESENT):
            return False
        is_first = event.state == _FLYING
        event.state = _RETURNED if is_first else _LOST
        return is_first

    def resent(self, seq: int, now: float) -> int:
        """Count a returned event as published again, with `mandatory`; return the new tag.

        It needs no room, because the event is in flight already.

        Raises:
            ValueError: `ack` did not ask for it.
        """
        event = self._held(seq)
        event.state = _RESENT
        event.sent_at = now
        self._unanswered.append(event)
        return self._low_tag + len(self._unanswered) - 1

    def settle(self, seq: int) -> None:
        """Settle a returned event that is not to be sent again.

        Raises:
            ValueError: `ack` did not ask for it.
        """
        self._held(seq).state = _SETTLED
        self._count_settled(1)

    def fail(self, seq: int) -> None:
        """Take an event that was returned twice for refused: it is sent again after a `rewind`.

        Raises:
            ValueError: `ack` did not ask for it.
        """
        self._held(seq).state = _FAILED
        self._fail(seq)
        self.in_flight -= 1

    def ack(self, tag: int, multiple: bool) -> Acked:
        """Take the broker's `basic.ack`.

        Raises:
            ValueError: it answers nothing; nothing was changed.
        """
        done = Acked([], [], [])
        confirmed = done.confirmed
        for event in self._answered(tag, multiple):
            if event.state == _RETURNED:
                event.state = _HELD
                done.resend.append(event.seq)
            elif event.state == _LOST:
                event.state = _HELD
                done.homeless.append(event.seq)
            else:
                event.state = _SETTLED
                confirmed.append((event.seq, event.received_ms))
        self._count_settled(len(confirmed))
        return done

    def nack(self, tag: int, multiple: bool) -> int:
        """Take the broker's `basic.nack`; return how many events it refused.

        Raises:
            ValueError: it answers nothing; nothing was changed.
        """
        failed = self._answered(tag, multiple)
        for event in failed:
            event.state = _FAILED
        self._fail(min(event.seq for event in failed))
        self.in_flight -= len(failed)
        return len(failed)

    def rewind(self) -> int | None:
        """Return the first nacked seq, from which all is to be sent again, and forget the nack.

        None while something is still in flight, or if nothing was nacked.
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
        """Begin on a new channel with the event that follows `after`; forget what was in flight.

        Raises:
            ValueError: `after` is before `confirmed_upto`, which stays.
        """
        if after < self.confirmed_upto:
            raise ValueError(f"reset to {after}, before the confirmed {self.confirmed_upto}")
        self._begin(after)

    def oldest_sent(self) -> float | None:
        """Return the `now` of the oldest publish without an answer; None if all are answered."""
        event = self._unanswered[0] if self._unanswered else None
        return None if event is None else event.sent_at

    def _answered(self, tag: int, multiple: bool) -> list[_Sent]:
        """Remove the publishes that this tag answers, and return them; ValueError if none."""
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
        """Make sure that the first of `_unanswered` has no answer yet."""
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

    def _fail(self, seq: int) -> None:
        if self._first_failed is None or seq < self._first_failed:
            self._first_failed = seq

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
