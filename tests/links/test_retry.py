"""Facts about how a link is made anew, and how seldom."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rtmpump import config
from rtmpump.errors import LinkError, TokenRefused
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.retry import CallBudget, keep_trying

PLAIN = config.Retry(initial=1.0, max=10.0, jitter="none", healthy_after=30.0)


class Naps(threading.Event):
    """A stop flag that notes how long it was waited for, and returns at once."""

    def __init__(self, last: int = 1000) -> None:
        super().__init__()
        self.naps: list[float | None] = []
        self._last = last

    def wait(self, timeout: float | None = None) -> bool:
        """Note the time; the `last` wait is cut short by the stop."""
        self.naps.append(timeout)
        if len(self.naps) == self._last:
            self.set()
        return self.is_set()


def script(*ends: Exception) -> Callable[[], None]:
    """A link that ends in each of these ways and then returns."""
    left = list(ends)

    def make() -> None:
        if left:
            raise left.pop(0)

    return make


def reported_of(*ends: Exception, policy: config.Retry = PLAIN) -> list[RetryDetails]:
    """What is reported of a link with these ends; it has to be what was slept."""
    reported: list[RetryDetails] = []
    stop = Naps()
    keep_trying(
        script(*ends), policy=policy, lifecycle=Lifecycle(stop=stop), report=reported.append
    )
    assert stop.naps == [retry.wait for retry in reported]
    return reported


def waits(*ends: Exception, policy: config.Retry = PLAIN) -> list[float]:
    """The waits after these ends."""
    return [retry.wait for retry in reported_of(*ends, policy=policy)]


def end(**facts: float | bool) -> LinkError:
    """One end of a link."""
    return LinkError("slack", "cut", "no more", **facts)  # type: ignore[arg-type]


def test_what_is_reported_names_the_link_and_its_end() -> None:
    """Link, reason, detail, the number of the attempt and the wait."""
    assert reported_of(end(), end()) == [
        RetryDetails("slack", "cut", "no more", 1, 1.0),
        RetryDetails("slack", "cut", "no more", 2, 2.0),
    ]


def test_waits_double_up_to_the_most() -> None:
    """Without jitter: initial * 2**(n-1), at most max, also after thousands of ends."""
    assert waits(*[end() for _ in range(6)]) == [1, 2, 4, 8, 10, 10]
    assert waits(*[end() for _ in range(3000)])[-1] == 10


def test_full_jitter_takes_any_part_of_the_wait() -> None:
    """Each wait lies between nothing and the full value, and they differ."""
    policy = config.Retry(initial=1.0, max=10.0, jitter="full")
    found = waits(*[end() for _ in range(100)], policy=policy)
    assert all(
        0 <= wait <= most for wait, most in zip(found, [1, 2, 4, 8, *[10] * 96], strict=True)
    )
    assert len(set(found)) > 50
    assert min(found[4:]) < 5 < max(found[4:])


def test_retry_after_is_never_cut_short() -> None:
    """What the peer asked for wins over max and over at_once; a longer backoff stays longer."""
    asked = [end(retry_after=77.0, at_once=True), end(retry_after=0.0), end(retry_after=3.0)]
    assert waits(*asked) == [77, 2, 4]


def test_only_the_first_new_try_is_at_once() -> None:
    """at_once again and again is a loop that Slack locks out: the second end waits."""
    assert waits(*[end(at_once=True) for _ in range(3)]) == [0, 2, 4]
    assert waits(end(), end(at_once=True)) == [1, 2]


def test_a_link_that_held_starts_anew() -> None:
    """After healthy_after seconds the count is 1 again, and at_once holds again."""
    ends = [end(), end(), end(held=29.9), end(held=30.0, at_once=True), end()]
    assert waits(*ends) == [1, 2, 4, 0, 2]


@pytest.mark.parametrize("error", [TokenRefused("invalid_auth", "x"), KeyError("bug")])
def test_other_errors_go_through_at_once(error: Exception) -> None:
    """What no try can help is raised as it is, without a wait."""
    stop = Naps()
    with pytest.raises(type(error)) as caught:
        keep_trying(
            script(end(), error),
            policy=PLAIN,
            lifecycle=Lifecycle(stop=stop),
            report=lambda _: None,
        )
    assert caught.value is error
    assert stop.naps == [1.0]


def test_a_stop_before_the_beginning_makes_nothing() -> None:
    """`make` isn't called at all."""
    stop = Naps()
    stop.set()
    keep_trying(
        script(KeyError("called")),
        policy=PLAIN,
        lifecycle=Lifecycle(stop=stop),
        report=lambda _: None,
    )


def test_a_stop_during_a_wait_makes_nothing_more() -> None:
    """The wait that was cut short is not followed by another try."""
    stop = Naps(last=2)
    keep_trying(
        script(end(), end(), KeyError("called")),
        policy=PLAIN,
        lifecycle=Lifecycle(stop=stop),
        report=lambda _: None,
    )
    assert stop.naps == [1.0, 2.0]


def test_an_end_after_the_stop_is_no_error() -> None:
    """A link that the stop broke ends in silence: nothing reported, nothing raised, no wait."""
    stop, reported = Naps(), list[RetryDetails]()

    def make() -> None:
        stop.set()
        raise end()

    keep_trying(make, policy=PLAIN, lifecycle=Lifecycle(stop=stop), report=reported.append)
    assert (reported, stop.naps) == ([], [])


def test_a_stop_ends_a_real_wait() -> None:
    """A wait of an hour ends when the real event is set."""
    stop, asleep = threading.Event(), threading.Event()
    policy = config.Retry(initial=3600, max=3600, jitter="none")

    def work() -> None:
        keep_trying(
            script(end()),
            policy=policy,
            lifecycle=Lifecycle(stop=stop),
            report=lambda _: asleep.set(),
        )

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert asleep.wait(100)
    stop.set()
    thread.join(100)
    assert not thread.is_alive()


def test_the_budget_grants_a_few_and_then_one_at_a_time() -> None:
    """4 calls at once; the fifth waits for a quarter of the span, and a stop ends that."""
    stop = Naps(last=1)
    budget = CallBudget(4, 3600)
    for _ in range(4):
        budget.wait(stop)
    assert stop.naps == []
    budget.wait(stop)
    assert stop.naps == [pytest.approx(900, abs=60)]


def test_the_budget_grants_again_in_time() -> None:
    """A caller that waits gets the call in the end."""
    budget, stop = CallBudget(1, 0.01), threading.Event()
    for _ in range(3):
        budget.wait(stop)
    assert not stop.is_set()
