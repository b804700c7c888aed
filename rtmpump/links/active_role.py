"""Whether this pump may act as the active one, for all threads that ask."""

from __future__ import annotations

import math
from typing import Final

from rtmpump.links import clock

_SHORTEST: Final = 3.0


class ActiveRole:
    """Until when this pump may act as the active one, in seconds of `CLOCK_BOOTTIME`.

    The lease sets `until`, any thread may ask. Without a lease it is for ever.
    """

    def __init__(self) -> None:
        self.until = math.inf

    def is_held(self) -> bool:
        """Return whether this pump is the active one at this moment."""
        return clock.elapsed() < self.until


def claim_lasts(heartbeat: int) -> float:
    """Return for how long one proof is good, in seconds: a quarter of `broker.heartbeat`."""
    return max(_SHORTEST, heartbeat / 4)
