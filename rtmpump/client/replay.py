"""How far a RabbitMQ stream is read, and what of it is wanted: RabbitMQ gives all that it kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final

from rtmpump.client.event import received_at
from rtmpump.core.topics import fits
from rtmpump.links.rabbitmq.subscription import Arrival

_OFFSET: Final = "x-stream-offset"


class Replay:
    """The events since so many seconds ago whose routing key one of the `patterns` takes."""

    def __init__(self, since: float, patterns: Sequence[str]) -> None:
        self._begin_at = time.time() - since
        self._patterns = patterns
        self._next: int | None = None

    @property
    def start(self) -> int | str:
        """Where a connection begins: behind what was handed out, or at a time before now."""
        ago = max(1, math.ceil(time.time() - self._begin_at))
        return f"{ago}s" if self._next is None else self._next

    def take(self, arrival: Arrival) -> bool:
        """Return whether an arrival is handed out; note how far the stream is read."""
        offset = (arrival.properties.headers or {}).get(_OFFSET)
        if isinstance(offset, int):
            if self._next is not None and offset < self._next:
                return False
            self._next = offset + 1
        if not any(fits(pattern, arrival.key) for pattern in self._patterns):
            return False
        at = received_at(arrival)
        # An event without a time is handed out: it is not known to be too old.
        return at is None or at >= self._begin_at
