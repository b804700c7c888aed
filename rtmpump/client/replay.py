"""How far a RabbitMQ stream is read, and what of it is wanted: RabbitMQ gives all that it kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final

from rtmpump.client.event import received_at
from rtmpump.core.topics import fits
from rtmpump.links.rabbitmq.subscription import Arrival, Subscription

_OFFSET: Final = "x-stream-offset"


class Replay:
    """The events since so many seconds ago whose routing key one of the `patterns` takes."""

    def __init__(self, since: float, patterns: Sequence[str]) -> None:
        self._begin_at = time.time() - since
        self._patterns = patterns
        # With the subscription that it belongs to, so that the thread of the connection can forget.
        self._read: tuple[Subscription, int] | None = None
        self._gone: Subscription | None = None

    @property
    def start(self) -> int | str:
        """Where a connection begins: behind what was handed out, or at a time before now."""
        ago = max(1, math.ceil(time.time() - self._begin_at))
        return f"{ago}s" if (next := self._next) is None else next

    def take(self, arrival: Arrival) -> bool:
        """Return whether an arrival is handed out; note how far the stream is read."""
        offset = (arrival.properties.headers or {}).get(_OFFSET)
        if isinstance(offset, int):
            if (next := self._next) is not None and offset < next:
                return False
            self._read = arrival.subscription, offset + 1
        if not any(fits(pattern, arrival.key) for pattern in self._patterns):
            return False
        at = received_at(arrival)
        # An event without a time is handed out: it is not known to be too old.
        return at is None or at >= self._begin_at

    def forget(self, subscription: Subscription) -> None:
        """Begin anew: its stream was deleted, and the next one counts from 0 again."""
        self._gone = subscription

    @property
    def _next(self) -> int | None:
        read = self._read
        return None if read is None or read[0] is self._gone else read[1]
