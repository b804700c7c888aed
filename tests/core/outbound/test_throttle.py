"""Facts about what holds back the commands of one way to Slack."""

from __future__ import annotations

import math

import pytest

from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.core.outbound.throttle import Pauses, Rest, Throttle

PAUSES = Pauses(0.5, 60.0)
LIMITED, AWAY = Trouble.LIMITED, Trouble.AWAY


def fails(
    throttle: Throttle, trouble: Trouble | None, now: float, command: int = 1, wait: float = 0.0
) -> Rest | None:
    """A command goes and meets trouble."""
    ticket = throttle.enter(now)
    throttle.leave(ticket)
    return throttle.failed(ticket, command, trouble, now, wait)


def works(throttle: Throttle, now: float) -> int:
    """A command goes and succeeds."""
    ticket = throttle.enter(now)
    throttle.leave(ticket)
    return throttle.worked(ticket)


def limited(throttle: Throttle, now: float = 0.0) -> None:
    """Slack limits so many commands in a row that all rest."""
    for command in range(3):
        fails(throttle, LIMITED, now, command)


def test_pauses_grow_to_the_longest() -> None:
    """Each is twice the one before, however many there were."""
    assert [PAUSES.after(n) for n in (1, 2, 3, 7, 8, 5_000)] == [0.5, 1.0, 2.0, 32.0, 60.0, 60.0]


def test_without_trouble_all_may_go() -> None:
    """As many as may be under way at once."""
    assert Throttle(PAUSES).opens_at() == -math.inf
    narrow = Throttle(PAUSES, at_once=2)
    first, _ = narrow.enter(0.0), narrow.enter(0.0)
    assert narrow.opens_at() == math.inf
    narrow.leave(first)
    assert narrow.opens_at() <= 0.0


def test_a_closed_one_lets_nothing_go() -> None:
    """Until it is open again."""
    throttle = Throttle(PAUSES)
    throttle.is_closed = True
    assert throttle.opens_at() == math.inf


def test_after_a_rest_one_goes_as_a_probe() -> None:
    """And the next when it succeeded; when it failed, after a longer rest."""
    throttle = Throttle(PAUSES)
    assert fails(throttle, AWAY, 0.0) == Rest(0.5, 1, True)
    assert throttle.opens_at() == 0.5
    ticket = throttle.enter(0.5)
    assert throttle.opens_at() == math.inf
    throttle.leave(ticket)
    assert throttle.failed(ticket, 2, AWAY, 0.6, 0.0) == Rest(1.6, 2, True)
    assert throttle.opens_at() == 1.6
    assert works(throttle, 1.6) == 2
    assert throttle.opens_at() <= 1.6
    assert works(throttle, 1.6) == 0
    assert fails(throttle, AWAY, 9.0) == Rest(9.5, 1, True)


def test_a_probe_of_which_nothing_is_learned_is_followed_by_another() -> None:
    """It could not be written, for example."""
    throttle = Throttle(PAUSES)
    fails(throttle, AWAY, 0.0)
    throttle.leave(throttle.enter(0.5))
    assert throttle.opens_at() == 0.5


def test_what_was_under_way_when_a_rest_began_says_nothing_new() -> None:
    """Neither its failure nor its success; but a time that Slack named holds."""
    throttle = Throttle(PAUSES)
    tickets = [throttle.enter(0.0) for _ in range(5)]
    for ticket in tickets:
        throttle.leave(ticket)
    throttle.failed(tickets[0], 0, AWAY, 0.0, 0.0)
    assert throttle.failed(tickets[1], 1, AWAY, 0.2, 0.0) == Rest(0.5, 1, False)
    assert throttle.worked(tickets[2]) == 0
    assert throttle.opens_at() == 0.5
    assert throttle.failed(tickets[3], 3, LIMITED, 0.2, 30.0) == Rest(30.2, 1, False)
    assert throttle.failed(tickets[4], 4, LIMITED, 0.3, 10.0) == Rest(30.2, 1, False)
    works(throttle, 31.0)
    assert throttle.failed(tickets[4], 4, AWAY, 32.0, 0.0) is None


def test_an_answer_from_an_earlier_rest_says_nothing_new() -> None:
    """Its probe was let go, and another one failed since."""
    throttle = Throttle(PAUSES)
    limited(throttle)
    early = throttle.enter(0.5)
    throttle.leave(early)
    assert fails(throttle, AWAY, 0.5, command=9) == Rest(1.5, 2, True)
    assert throttle.worked(early) == 0
    assert throttle.failed(early, 1, AWAY, 0.6, 0.0) == Rest(1.5, 2, False)


def test_a_time_that_slack_named_is_waited_for() -> None:
    """Also where it is longer than any pause."""
    throttle = Throttle(PAUSES)
    assert fails(throttle, AWAY, 0.0, wait=300.0) == Rest(300.0, 1, True)
    assert fails(throttle, AWAY, 300.0, wait=0.1) == Rest(301.0, 2, True)


@pytest.mark.parametrize("trouble", [LIMITED, None])
def test_three_commands_in_a_row_are_no_coincidence(trouble: Trouble | None) -> None:
    """Fewer are, and one that fails again and again, and those with successes between them."""
    throttle = Throttle(PAUSES)
    for _ in range(10):
        assert fails(throttle, trouble, 0.0, command=1) is None
    assert fails(throttle, trouble, 0.0, command=2) is None
    works(throttle, 0.0)
    assert fails(throttle, trouble, 0.0, command=1) is None
    assert fails(throttle, trouble, 0.0, command=2) is None
    rest = fails(throttle, trouble, 0.0, command=3)
    assert rest == Rest(0.5, 1, True)


def test_a_method_that_is_limited_as_a_whole_rests_at_once() -> None:
    """Not where a command failed otherwise."""
    throttle = Throttle(PAUSES, several=1)
    assert fails(throttle, None, 0.0) is None
    assert fails(throttle, LIMITED, 0.0, wait=7.0) == Rest(7.0, 1, True)


def test_after_a_limit_the_pace_grows_with_each_success() -> None:
    """From one in half a second, until it is free; an outage does not slow it down."""
    throttle = Throttle(PAUSES)
    limited(throttle)
    now, gaps = 0.5, []
    for _ in range(70):
        works(throttle, now)
        gaps.append(max(throttle.opens_at(), now) - now)
        now += gaps[-1]
    assert gaps[0] == pytest.approx(0.5)
    assert gaps[1] == pytest.approx(0.475)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == 0.0
    assert 9.0 < now < 11.0
    away = Throttle(PAUSES)
    fails(away, AWAY, 0.0)
    works(away, 0.5)
    works(away, 0.5)
    assert away.opens_at() <= 0.5


def test_a_limit_on_the_way_slows_it_down_again() -> None:
    """One is enough then, but only the time between two is waited, not what Slack named for one."""
    throttle = Throttle(PAUSES)
    limited(throttle)
    works(throttle, 0.5)
    rest = fails(throttle, LIMITED, 1.0, command=9, wait=30.0)
    assert rest == Rest(1.0 + 0.475 * 1.5, 1, True)
    rest = fails(throttle, LIMITED, 2.0, command=9)
    assert rest == Rest(3.0, 2, True)


def test_the_time_between_two_is_never_longer_than_the_longest_pause() -> None:
    """However often Slack limits us."""
    throttle = Throttle(Pauses(0.5, 2.0))
    limited(throttle)
    now = 0.5
    for _ in range(50):
        works(throttle, now)
        rest = fails(throttle, LIMITED, now, command=9)
        assert rest is not None
        now = rest.until
    assert rest is not None
    works(throttle, now)
    assert throttle.opens_at() == pytest.approx(now + 2.0)


def test_a_probe_on_request() -> None:
    """It ends no time that Slack named."""
    throttle = Throttle(PAUSES)
    throttle.probe(5.0)
    assert throttle.opens_at() == 5.0
    throttle.enter(5.0)
    assert throttle.opens_at() == math.inf
    fails(throttle, AWAY, 0.0, wait=60.0)
    throttle.probe(5.0)
    assert throttle.opens_at() == 60.0
