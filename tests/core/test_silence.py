"""Facts about the silence of a peer."""

from __future__ import annotations

import pytest

from rtmpump.core.silence import Silence

pytestmark = pytest.mark.quick


def test_silence_lasts_until_something_comes() -> None:
    """It counts from the last look that found something new; what came may be as old as that."""
    silence = Silence()
    assert silence.lasts(5, 100.0) == 0.0
    assert [silence.lasts(5, at) for at in (101.0, 103.5)] == [1.0, 3.5]
    assert silence.lasts(6, 104.0) == 0.5
    assert silence.lasts(6, 106.0) == 2.0


def test_a_process_that_stood_still_heard_nothing() -> None:
    """What it finds in the buffer may have come right after it stopped."""
    silence = Silence()
    silence.lasts(5, 100.0)
    assert silence.lasts(6, 130.0) == 30.0
    assert silence.lasts(7, 131.0) == 1.0
