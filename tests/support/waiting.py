"""Waits until something is so, and says what it waited for in vain."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 100.0


def wait_until(
    true: Callable[[], object], seconds: float = SECONDS, what: str | Callable[[], str] = ""
) -> None:
    """Returns when `true()` is; fails after `seconds`, and says then what was waited for."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {seconds:.0f} s in vain {told}")
        time.sleep(0.02)
