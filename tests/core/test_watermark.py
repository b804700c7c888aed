"""Facts about the watermark."""

from __future__ import annotations

from rtmpump.core.watermark import later


def test_later() -> None:
    """A time that is known beats one that is not."""
    assert later(None, None) is None
    assert later(1, None) == later(None, 1) == 1
    assert later(1, 2) == later(2, 1) == 2
