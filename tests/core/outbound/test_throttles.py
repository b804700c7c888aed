"""Facts about the throttles of all ways to Slack."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from rtmpump.core.outbound.api_calls import POSTS_AT_ONCE, SPARE_CALLS, Trouble
from rtmpump.core.outbound.commands import POST
from rtmpump.core.outbound.throttle import Pauses, Rest
from rtmpump.core.outbound.throttles import WEBSOCKET, Throttles
from rtmpump.core.rate_limit import RateLimit

SLOW = ("a.slow", "b.slow", "c.slow")


@dataclass(eq=False)
class Job:
    """A job that knows no more than a throttle has to know."""

    throttle: str
    ticket: int | None = None


def throttles(rate: float = 1_000.0, burst: int = 1_000) -> Throttles:
    """New throttles."""
    return Throttles(Pauses(0.5, 60.0), RateLimit(rate, burst))


def enter(some: Throttles, name: str, now: float = 0.0) -> Job:
    """A job goes."""
    assert some.opens_at(name) <= now
    some.enter(job := Job(name), now)
    return job


def is_open(some: Throttles, name: str, now: float = 0.0) -> bool:
    """Whether a job may go."""
    return some.opens_at(name) <= now


def test_slow_methods_hold_up_only_themselves() -> None:
    """Each has a worker of its own, the first has the spare ones too, and messages have theirs."""
    some = throttles()
    first = [enter(some, SLOW[0]) for _ in range(1 + SPARE_CALLS)]
    assert not is_open(some, SLOW[0])
    for name in SLOW[1:]:
        enter(some, name)
        assert not is_open(some, name)
    for _ in range(POSTS_AT_ONCE):
        enter(some, POST)
    assert not is_open(some, POST)
    assert is_open(some, WEBSOCKET)
    some.leave(first[0])
    assert is_open(some, SLOW[1])
    enter(some, SLOW[1])
    for job in first[1:]:
        some.leave(job)
        some.leave(job)
    assert [is_open(some, name) for name in SLOW] == [True, True, True]
    assert some._spare_under_way == 1


def test_each_method_has_its_pace() -> None:
    """Two at once, then one in ten seconds; messages are paced by their channels."""
    some = throttles(rate=0.1, burst=2)
    for _ in range(2):
        some.leave(enter(some, "a.b"))
    assert some.opens_at("a.b") == pytest.approx(10.0)
    assert is_open(some, "c.d")
    for _ in range(50):
        some.leave(enter(some, POST))
        some.leave(enter(some, WEBSOCKET))
    assert is_open(some, POST)
    assert is_open(some, WEBSOCKET)


@pytest.mark.parametrize("trouble", [Trouble.TOKEN, Trouble.UNREACHABLE])
def test_trouble_of_all_methods_is_found_out_by_a_trial(trouble: Trouble) -> None:
    """No method is called before it succeeds, also no new one; then each begins with a probe."""
    some = throttles()
    jobs = [enter(some, POST), enter(some, POST), enter(some, "a.b")]
    assert some.failed(jobs[0], trouble, 1.0, 0.0) == Rest(1.5, 1, True)
    assert some.failed(jobs[2], trouble, 1.2, 0.0) == Rest(1.5, 1, False)
    assert [is_open(some, name, 9.0) for name in (POST, "a.b", "new.one")] == [False] * 3
    assert is_open(some, WEBSOCKET)
    trial = some.trial
    assert trial.next_at() == 1.5
    trial.under_way()
    assert trial.next_at() == math.inf
    assert trial.failed(1.6, 7.0) == Rest(8.6, 2, True)
    trial.postpone(9.0)
    assert trial.next_at() == 9.0
    some.trial_succeeded(10.0)
    assert (trial.next_at(), trial.is_on, trial.passed) == (math.inf, False, 1)
    probe = enter(some, POST, 10.0)
    assert not is_open(some, POST, 99.0)
    assert some.worked(jobs[1]) == 0
    assert not is_open(some, POST, 99.0)
    some.worked(probe)
    assert is_open(some, POST, 10.0)
    assert some.failed(enter(some, POST, 10.0), trouble, 10.0, 0.0) == Rest(10.5, 1, True)
    assert trial.next_at() == 10.5
    some.trial_succeeded(11.0)
    assert trial.passed == 2


def test_trouble_of_one_method_is_its_own() -> None:
    """The others go on."""
    some = throttles()
    assert some.failed(enter(some, "a.b"), Trouble.AWAY, 1.0, 0.0) == Rest(1.5, 1, True)
    assert some.opens_at("a.b") == 1.5
    assert is_open(some, "c.d")
    assert is_open(some, POST)
    assert some.worked(enter(some, "a.b", 1.5)) == 1


def test_a_method_rests_at_its_first_limit() -> None:
    """Slack limits it as a whole."""
    some = throttles()
    assert some.failed(enter(some, "a.b"), Trouble.LIMITED, 1.0, 0.0) == Rest(1.5, 1, True)


@pytest.mark.parametrize("name", [POST, WEBSOCKET])
def test_messages_rest_after_limits_on_several(name: str) -> None:
    """Slack limits them by channel too, and one message that is limited often is one message."""
    some, job = throttles(), Job(name)
    for _ in range(5):
        some.enter(job, 0.0)
        assert some.failed(job, Trouble.LIMITED, 0.0, 0.0) is None
    # Each still waits, so each is an object of its own.
    second = enter(some, name)
    assert some.failed(second, Trouble.LIMITED, 0.0, 0.0) is None
    third = enter(some, name)
    assert some.failed(third, Trouble.LIMITED, 1.0, 0.0) == Rest(1.5, 1, True)


def test_a_probe_that_is_let_go_is_followed_by_another() -> None:
    """It had to leave: its expiration passed, or the connection to the broker ended."""
    some = throttles()
    some.trial_succeeded(0.0)
    probe = enter(some, POST)
    assert not is_open(some, POST)
    some.leave(probe)
    assert probe.ticket is None
    assert is_open(some, POST)


def test_messages_take_no_spare_worker() -> None:
    """However many come and go."""
    some = throttles()
    for name in (POST, WEBSOCKET):
        for job in [enter(some, name) for _ in range(POSTS_AT_ONCE)]:
            some.leave(job)
    for _ in range(1 + SPARE_CALLS):
        enter(some, SLOW[0])
    assert not is_open(some, SLOW[0])


def test_of_a_job_that_is_not_under_way_nothing_is_learned() -> None:
    """A late answer, for example."""
    some = throttles()
    job = Job("a.b")
    some.leave(job)
    assert some.worked(job) == 0
    assert some.failed(job, Trouble.AWAY, 0.0, 0.0) is None
    assert some.failed(job, Trouble.TOKEN, 0.0, 0.0) is None
    assert is_open(some, "a.b")


def test_a_closed_way_is_shut() -> None:
    """The others are open."""
    some = throttles()
    some.close(WEBSOCKET)
    assert not is_open(some, WEBSOCKET)
    assert is_open(some, POST)
    some.open(WEBSOCKET)
    assert is_open(some, WEBSOCKET)


def test_modals_have_a_pace_of_their_own() -> None:
    """Twenty at once and a hundred a minute, however slow other methods are."""
    some = throttles(rate=0.1, burst=1)
    for _ in range(20):
        some.worked(enter(some, "views.open"))
    assert some.opens_at("views.open") == pytest.approx(0.6)
    some.worked(enter(some, "users.info"))
    assert some.opens_at("users.info") == pytest.approx(10.0)
