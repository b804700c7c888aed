"""Deliveries that were with us when the connection to the broker ended: they come again first.

RabbitMQ can give a new connection a message that nobody had before those of the old one, which it
puts back only when it knows that the old one is gone. So what is new is held back until all that
was with us came again, but for `patience` seconds at most: an old connection can stay unnoticed.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Redelivery(Generic[T]):
    """The deliveries of one consumer; all times are seconds of the caller's clock."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._owed = 0
        self._held: list[T] = []
        self._until = 0.0

    def ended(self, with_us: int) -> None:
        """The connection ended with so many deliveries that were taken and not acknowledged."""
        self._owed += with_us + len(self._held)
        self._held.clear()

    def begun(self, now: float) -> float | None:
        """A new one consumes; gives the time at which `late` has to be asked, if at all."""
        self._until = now + self._patience
        return self._until if self._owed else None

    def take(self, delivery: T, now: float, *, again: bool) -> list[T]:
        """Give what may be taken on now, in order; `again` says that it was delivered before."""
        if again:
            self._owed = max(0, self._owed - 1)
        elif self._owed and now < self._until:
            self._held.append(delivery)
            return []
        return [delivery, *self.late(now)]

    def late(self, now: float) -> list[T]:
        """Give what was held back, if nothing is owed any more or it was waited for long enough."""
        if self._owed and now < self._until:
            return []
        self._owed = 0
        held, self._held = self._held, []
        return held
