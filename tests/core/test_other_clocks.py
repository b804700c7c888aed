"""Whose clock differs, by the times in a few tokens."""

from __future__ import annotations

import pytest

from rtmpump.core.other_clocks import OtherClocks

NOW = 1_700_000_000_000
HOUR = 3_600_000


def learn(clocks: OtherClocks, by: str, ages: list[int]) -> list[int | None]:
    """Take in tokens that seem to be so many milliseconds old."""
    return [clocks.learn(by, NOW - age, NOW) for age in ages]


def test_clocks_that_agree_are_not_told_of() -> None:
    """Nor those that differ by no more than they may."""
    clocks = OtherClocks()
    assert learn(clocks, "b", [0, 20, -5_000, 5_000, 3]) == [None] * 5
    assert clocks.behind_ms == 0


def test_a_clock_that_is_ahead_is_known_at_once() -> None:
    """No token comes before it is written; for our watermark it means nothing."""
    clocks = OtherClocks()
    assert learn(clocks, "b", [-HOUR]) == [HOUR]
    assert clocks.behind_ms == 0


def test_a_clock_that_is_behind_is_known_after_three_tokens() -> None:
    """The first ones may have been on their way for long."""
    clocks = OtherClocks()
    assert learn(clocks, "b", [HOUR + 500, HOUR + 20]) == [None, None]
    assert clocks.behind_ms == 0
    assert learn(clocks, "b", [HOUR + 90]) == [-HOUR - 20]
    assert clocks.behind_ms == HOUR + 20


def test_tokens_that_were_late_say_nothing() -> None:
    """One that came soon shows that its clock is right."""
    clocks = OtherClocks()
    assert learn(clocks, "b", [HOUR, HOUR, 30, HOUR, HOUR]) == [None] * 5
    assert clocks.behind_ms == 0


@pytest.mark.parametrize("ages", [[-HOUR] * 9, [HOUR] * 9])
def test_a_pump_is_told_of_once(ages: list[int]) -> None:
    """However many tokens it writes."""
    told = [one for one in learn(OtherClocks(), "b", ages) if one is not None]
    assert told == [-ages[0]]


def test_the_slowest_clock_counts() -> None:
    """Whoever comes next must find our watermark in its past."""
    clocks = OtherClocks()
    learn(clocks, "b", [HOUR] * 3)
    learn(clocks, "c", [2 * HOUR] * 3)
    learn(clocks, "d", [-HOUR] * 3)
    assert clocks.behind_ms == 2 * HOUR


def test_a_clock_that_is_put_right_counts_no_more() -> None:
    """Its newest tokens say so."""
    clocks = OtherClocks()
    learn(clocks, "b", [HOUR] * 3)
    assert clocks.behind_ms == HOUR
    learn(clocks, "b", [10])
    assert clocks.behind_ms == 0


def test_pumps_take_no_more_and_more_memory() -> None:
    """Each connection has a name of its own; the oldest are forgotten, with what they said."""
    clocks = OtherClocks()
    learn(clocks, "b", [HOUR] * 3)
    for number in range(100):
        learn(clocks, str(number), [0] * 3)
    assert len(clocks._ages) == 32
    assert clocks.behind_ms == 0
