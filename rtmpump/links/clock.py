"""The clocks of the machine, as one value; tests move them here."""

from __future__ import annotations

import time
from typing import Final

from rtmpump.core.watermark import Instant

# CLOCK_MONOTONIC stands still while the machine sleeps. Only Linux has one that does not.
_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return the seconds since the boot, with those of sleep; never goes back."""
    return time.clock_gettime(_SINCE_BOOT)


def instant() -> Instant:
    """Return this moment by both clocks."""
    return Instant(elapsed(), time.time_ns() // 1_000_000)
