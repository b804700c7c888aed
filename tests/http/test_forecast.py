"""Facts about the time until the spool is full."""

from __future__ import annotations

import pytest

from rtmpump.http.forecast import Forecast
from rtmpump.metrics import SpoolStatus

pytestmark = pytest.mark.quick


class Growing:
    """A spool and a clock that are moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bytes = 100
        self.forecast = Forecast(lambda: self.bytes, lambda: self.now)

    def grow(self, seconds: int, each: int) -> float | None:
        """Let seconds pass in which so many bytes come; return when it is full at 10,000."""
        for _ in range(seconds):
            self.now += 1.0
            self.bytes += each
            self.forecast.tick()
        percent = min(self.bytes / 100, 100.0)
        return self.forecast.full_in(
            SpoolStatus(
                events=1, bytes=self.bytes, max_bytes=10_000, percent=percent, oldest_seconds=1
            )
        )


def test_the_present_rate_counts() -> None:
    """What came in the last minute says how long there is room, whatever came before."""
    spool = Growing()
    assert spool.grow(4, 10) is None
    assert spool.grow(60, 10) == (10_000 - spool.bytes) / 10
    assert spool.grow(65, 20) == (10_000 - spool.bytes) / 20


def test_a_spool_that_does_not_grow() -> None:
    """It has room for ever; one that is full has none, and needs no forecast."""
    spool = Growing()
    assert spool.grow(120, 0) is None
    assert spool.grow(120, 100) is None
    assert spool.forecast.full_in(None) is None
