"""Makes a link again and again: tenacity is used here alone.

Laws: every wait ends as soon as `lifecycle.stop` is set. Only a LinkError is retried. The time that
a peer asked us to wait is never cut short.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential,
    wait_random_exponential,
)

from rtmpump import config
from rtmpump.core.rate_limit import RateLimit
from rtmpump.errors import LinkError
from rtmpump.links.lifecycle import Lifecycle, RetryDetails


def keep_trying(
    make: Callable[[], None],
    *,
    policy: config.Retry,
    lifecycle: Lifecycle,
    report: Callable[[RetryDetails], None] | None = None,
) -> None:
    """Call `make` again each time that it raises LinkError, until it returns or a stop comes.

    Each wait counts as a rest of the pump. It is reported before it begins, to `report` or else to
    the lifecycle's listener. Any other exception of `make` goes through at once.
    """
    stop = lifecycle.stop

    def before_wait(details: RetryDetails) -> None:
        lifecycle.rest(details.wait)
        (report or lifecycle.listener.link_down)(details)

    ends = _Ends(policy, before_wait)

    def make_unless_stopped() -> None:
        # tenacity calls once more after a sleep that was cut short by the stop.
        if not stop.is_set():
            make()

    Retrying(
        retry=retry_if_exception_type(LinkError),
        wait=ends.wait,
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=ends.report,
        retry_error_callback=lambda _: None,
    )(make_unless_stopped)


class _Ends:
    """Counts the ends of one link, and says how long to wait after each."""

    def __init__(self, policy: config.Retry, report: Callable[[RetryDetails], None]) -> None:
        # Exponential, and full jitter as AWS's "Exponential Backoff And Jitter" has it.
        growing = wait_exponential if policy.jitter == "none" else wait_random_exponential
        self._backoff = growing(multiplier=policy.initial, max=policy.max)
        self._healthy_after = policy.healthy_after
        self._report = report

    def wait(self, state: RetryCallState) -> float:
        error = _link_error(state)
        if error.held >= self._healthy_after:
            state.attempt_number = 1
        if error.retry_after is not None:
            return max(error.retry_after, self._backoff(state))
        if error.at_once and state.attempt_number == 1:
            return 0.0
        return self._backoff(state)

    def report(self, state: RetryCallState) -> None:
        error = _link_error(state)
        wait = state.upcoming_sleep
        attempt = state.attempt_number
        self._report(RetryDetails(error.link, error.reason, error.detail, attempt, wait))


class AttemptPauses:
    """How long to wait after each end of a link, where the waiting is done by an asyncio loop."""

    def __init__(self, policy: config.Retry) -> None:
        self._ends = _Ends(policy, lambda _: None)
        self._state = RetryCallState(Retrying(), None, (), {})

    @property
    def attempt(self) -> int:
        """How many ends there were in a row, with the next one."""
        return self._state.attempt_number

    def after(self, error: LinkError) -> float:
        """Return the seconds to wait after the link ended with `error`."""
        self._state.set_exception((type(error), error, None))
        wait = self._ends.wait(self._state)
        self._state.prepare_for_next_attempt()
        return wait


def _link_error(state: RetryCallState) -> LinkError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, LinkError):
        raise TypeError("only a LinkError is retried")
    return error


CALLS_SPAN = 60.0
"""In how many seconds an unused budget of calls is whole again; a test may change it.

It follows from Slack's tiers (https://docs.slack.dev/apis/web-api/rate-limits): rtm.connect is of
Tier 1, about one call a minute and a few more in a row. It has nothing to do with `retry.max`.
"""


class CallBudget:
    """Allows `calls` calls at once, and then one in each `span / calls` seconds."""

    def __init__(self, calls: int, span: float) -> None:
        self._bucket = RateLimit(calls / span, calls)
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Wait until a call is allowed, and use it up; return early if `stop` is set."""
        while not stop.is_set() and (seconds := self._take()) > 0:
            stop.wait(seconds)

    def _take(self) -> float:
        with self._lock:
            return self._bucket.take("", time.monotonic())
