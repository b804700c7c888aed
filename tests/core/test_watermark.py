"""Facts about the watermark, and the gaps that it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpump.core.watermark import Instant, TimeRange, Watermark, by_another_clock, later

SECOND, HOUR = 1000, 3_600_000
DAY = 24 * HOUR
NOON = 1_700_000_000_000
"""The time of day when the machine has run for a thousand seconds."""


def at(seconds: float, *, frozen: float = 0.0, wrong_ms: int = 0) -> Instant:
    """So many seconds after noon, of which the clocks may not have seen all."""
    elapsed = 1000 + seconds - frozen
    return Instant(elapsed, NOON + round(1000 * (seconds - frozen)) + wrong_ms)


def gap_of(mark: Watermark, hello: Instant) -> TimeRange | None:
    """Give the gap at a hello that is taken in at once."""
    return mark.gap(hello, hello.wall_ms)


def live(ms: int | None = None) -> Watermark:
    """One that was connected at noon, and whose ping of the 10th second was answered."""
    mark = Watermark(ms)
    mark.begun(at(0))
    gap_of(mark, at(1))
    mark.pinged(at(10))
    mark.move(mark.reach(at(10).elapsed, at(11)))
    return mark


def test_later() -> None:
    """A time that is known beats one that is not."""
    assert later(None, None) is None
    assert later(1, None) == later(None, 1) == 1
    assert later(1, 2) == later(2, 1) == 2


def test_it_is_the_last_answered_ping() -> None:
    """Before the first one it is the beginning of the connection; an unanswered ping is nothing."""
    mark = Watermark(None)
    mark.begun(at(0))
    assert mark.reach(None, at(5)) == NOON
    mark.pinged(at(10))
    assert mark.reach(None, at(11)) == NOON
    assert mark.reach(at(10).elapsed, at(12)) == NOON + 10 * SECOND
    mark.pinged(at(20))
    assert mark.reach(at(10).elapsed, at(21)) == NOON + 10 * SECOND
    assert Watermark(None).reach(None, at(0)) is None


def test_where_nothing_was_read_before_there_is_no_gap() -> None:
    """The very first hello of a pump."""
    mark = Watermark(None)
    mark.begun(at(0))
    assert gap_of(mark, at(1)) is None
    assert mark.gap_of_jump(at(2, wrong_ms=HOUR)) is None


def test_a_machine_that_slept() -> None:
    """A frame that was still in the socket does not make the gap shorter."""
    mark = live()
    mark.move(mark.reach(at(10).elapsed, at(3610)))
    assert mark.ms == NOON + 10 * SECOND
    assert gap_of(mark, at(3612)) == TimeRange(NOON + 10 * SECOND, NOON + 3612 * SECOND)


def test_a_hello_that_waited() -> None:
    """The gap ends when it came, and the time until it was read is no jump of the clock."""
    mark = live()
    assert mark.gap(at(50), at(30).wall_ms) == TimeRange(NOON + 10 * SECOND, NOON + 30 * SECOND)
    assert mark.gap_of_jump(at(51)) is None


def test_a_machine_that_was_frozen() -> None:
    """Its clocks stood still; when the time of day is right again, the gap covers all of it."""
    mark = live()
    mark.move(mark.reach(at(10).elapsed, at(3611, frozen=3600)))
    assert gap_of(mark, at(3613, frozen=3600)) == TimeRange(NOON + 10 * SECOND, NOON + 13 * SECOND)
    right = mark.gap_of_jump(Instant(1014, NOON + 3614 * SECOND))
    assert right == TimeRange(NOON + 10 * SECOND, NOON + 3613 * SECOND)
    assert mark.gap_of_jump(Instant(1015, NOON + 3615 * SECOND)) is None


@pytest.mark.parametrize("wrong_ms", [HOUR, -HOUR])
def test_a_clock_that_was_set_since_the_last_ping(wrong_ms: int) -> None:
    """The gap is never shorter than the time that has passed, and never turned round."""
    mark = live()
    gap = gap_of(mark, at(30, wrong_ms=wrong_ms))
    assert gap is not None
    assert gap.to_ms == at(30, wrong_ms=wrong_ms).wall_ms
    assert gap.from_ms == min(NOON + 10 * SECOND, gap.to_ms - 20 * SECOND)


@pytest.mark.parametrize("wrong_ms", [HOUR, -HOUR])
def test_a_clock_that_is_set_after_the_hello(wrong_ms: int) -> None:
    """Nobody can know which time was right: the gap is told again, and covers both."""
    mark = live()
    gap_of(mark, at(30))
    assert mark.gap_of_jump(at(31)) is None
    jumped = mark.gap_of_jump(at(32, wrong_ms=wrong_ms))
    first, last = NOON + 10 * SECOND, NOON + 30 * SECOND
    assert jumped == TimeRange(min(first, first + wrong_ms), max(last, last + wrong_ms))
    assert mark.gap_of_jump(at(33, wrong_ms=wrong_ms)) is None


def test_a_clock_that_is_set_hours_later_says_nothing_of_the_gap() -> None:
    """And a clock that is corrected by little is no jump."""
    mark = live()
    gap_of(mark, at(30))
    assert mark.gap_of_jump(at(31, wrong_ms=1500)) is None
    assert mark.gap_of_jump(at(30 + 3601, wrong_ms=HOUR)) is None


def test_a_jump_before_the_next_hello_is_part_of_that_gap() -> None:
    """It is not told as well."""
    mark = live()
    gap_of(mark, at(30))
    mark.begun(at(40))
    assert mark.gap_of_jump(at(41, wrong_ms=HOUR)) is None


@pytest.mark.parametrize(
    ("ahead_ms", "back_ms"),
    [
        (-HOUR, HOUR),
        (0, 0),
        (1, 60 * SECOND),
        (5 * SECOND, 60 * SECOND),
        (5 * SECOND + 1, DAY),
        (HOUR, DAY),
        (3 * DAY, 3 * DAY),
    ],
)
def test_a_watermark_of_the_future(ahead_ms: int, back_ms: int) -> None:
    """A clock was wrong, by how much nobody knows: a day, or as much as it is surely ahead."""
    assert by_another_clock(NOON + ahead_ms, NOON) == NOON - back_ms
    mark = Watermark(NOON + ahead_ms)
    mark.begun(at(0))
    assert gap_of(mark, at(0)) == TimeRange(NOON - back_ms, NOON)


def test_the_watermark_of_another_pump() -> None:
    """The later one counts; a clock that is ahead makes the gap wider."""
    mark = live()
    mark.take_over(NOON)
    assert mark.ms == NOON + 10 * SECOND
    mark.take_over(NOON + 20 * SECOND)
    assert gap_of(mark, at(30)) == TimeRange(NOON + 20 * SECOND, NOON + 30 * SECOND)
    mark.take_over(NOON + HOUR)
    assert gap_of(mark, at(30)) == TimeRange(NOON + 30 * SECOND - DAY, NOON + 30 * SECOND)


times = st.integers(-2 * DAY, 2 * DAY)


@given(st.integers(0, HOUR), times, times, times)
def test_no_gap_ends_before_it_begins(passed: int, one: int, two: int, three: int) -> None:
    """Whatever becomes of the time of day; and it is as long as the time that has passed."""
    mark = Watermark(NOON + three)
    mark.begun(at(0, wrong_ms=one))
    gap_of(mark, at(1, wrong_ms=one))
    mark.move(mark.reach(None, at(2, wrong_ms=one)))
    then = Instant(1002 + passed / 1000, NOON + 2 * SECOND + passed + two)
    gap = gap_of(mark, then)
    assert gap is not None
    assert gap.to_ms - gap.from_ms >= passed
    again = mark.gap_of_jump(then._replace(elapsed=then.elapsed + 1, wall_ms=then.wall_ms + one))
    assert again is None or (again.from_ms <= gap.from_ms and again.to_ms >= gap.to_ms)
