"""How long there is room in the spool, if it goes on as in the last minute.

It keeps a few sizes of the spool; one thread calls `tick`, any may read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from rtmpump.metrics import SpoolStatus

_STEP: Final = 5.0
_SPAN: Final = 60.0
_KEPT: Final = int(_SPAN / _STEP) + 1


class _Size(NamedTuple):
    at: float
    bytes: int


class Forecast:
    """The sizes of the last minute."""

    def __init__(
        self, read: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin now; `read` returns the bytes in use, and waits for nothing."""
        self._read = read
        self._clock = clock
        self._sizes: tuple[_Size, ...] = (_Size(clock(), read()),)

    def tick(self) -> None:
        """Keep the size if it is time."""
        now = self._clock()
        if now - self._sizes[-1].at >= _STEP:
            self._sizes = (*self._sizes, _Size(now, self._read()))[-_KEPT:]

    def full_in(self, spool: SpoolStatus | None) -> float | None:
        """Return after how many seconds the spool is full; None if it is, or does not grow."""
        first, last = self._sizes[0], self._sizes[-1]
        if spool is None or spool.percent >= 100 or last.bytes <= first.bytes:
            return None
        rate = (last.bytes - first.bytes) / (last.at - first.at)
        return round(max(spool.max_bytes - spool.bytes, 0) / rate, 1)
