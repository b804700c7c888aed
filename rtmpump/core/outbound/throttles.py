"""The throttles of all ways to Slack, and the trial of the Web API as a whole.

A command goes by the WebSocket or by one method of the Web API, and each of these has a throttle of
its own, so a method in trouble holds up only itself.

Laws:

- Messages have workers of their own, and each other method has one to itself, whatever the others
  do. A few more are for whichever method needs a second one first.
- Where no connection to Slack can be made, or Slack refuses the token, no method is called. A trial
  (`auth.test`) is made again and again until it succeeds, with a growing pause. Then each method
  begins with a probe.

Times are seconds of the caller's clock.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from rtmpump.core.outbound.api_calls import POSTS_AT_ONCE, SPARE_CALLS, Trouble
from rtmpump.core.outbound.commands import POST, Api, Command
from rtmpump.core.outbound.throttle import Pauses, Rest, Throttle
from rtmpump.core.rate_limit import RateLimit
from rtmpump.core.standstill import NOT_CONNECTED, RATE_LIMIT, SLACK_PAUSE

WEBSOCKET: Final = "websocket"
"""The name of its throttle; the others have the names of methods."""
WEB_API: Final = "web_api"
"""What the trial is about: all methods together."""
SLACK_AWAY: Final = "slack_away"
_VIEWS: Final = "views."
# Slack's Tier 4 (https://docs.slack.dev/apis/web-api/rate-limits): a person waits for a modal, and
# its trigger is good for three seconds.
_VIEWS_RATE: Final = 100 / 60
_VIEWS_BURST: Final = 20
_OF_ALL: Final = (Trouble.TOKEN, Trouble.UNREACHABLE)


def throttle_of(command: Command, *, is_socket_mode: bool) -> str:
    """Return the name of the throttle that lets a command go."""
    if isinstance(command, Api):
        return command.method
    return POST if is_socket_mode else WEBSOCKET


class Passenger(Protocol):
    """What a throttle has to know of a job."""

    throttle: str
    """The name of the throttle that lets it go."""
    ticket: int | None
    """What it got when it went; None while it waits."""


class Trial:
    """Whether the Web API can be used at all, and when to try it again."""

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self._failures = 0
        self._is_under_way = False
        self._at = -math.inf
        self.passed = 0
        """How many trials ended well."""

    @property
    def is_on(self) -> bool:
        """Whether no method may be called."""
        return self._failures > 0

    def next_at(self) -> float:
        """Return when to make the call; infinity if there is no need, or it is under way."""
        return self._at if self.is_on and not self._is_under_way else math.inf

    def begin(self, now: float, retry_after: float) -> Rest:
        """Begin, unless it is on."""
        if self.is_on:
            return Rest(self._at, self._failures, False)
        return self.failed(now, retry_after)

    def under_way(self) -> None:
        """Note that the call is made."""
        self._is_under_way = True

    def failed(self, now: float, retry_after: float) -> Rest:
        """Note that the Web API can't be used; try again later."""
        self._is_under_way = False
        self._failures += 1
        self._at = now + max(self._pauses.after(self._failures), retry_after)
        return Rest(self._at, self._failures, True)

    def postpone(self, at: float) -> None:
        """Note that the call could not be made; it says nothing."""
        self._is_under_way, self._at = False, at

    def succeeded(self) -> None:
        """Note that the Web API can be used."""
        self._is_under_way, self._failures = False, 0
        self.passed += 1


class Throttles:
    """All of them, by name; each method begins without trouble.

    `calls` is the rate limit of each method but chat.postMessage, which Slack limits by channel,
    and but views.*, which have a tier of their own.
    """

    def __init__(self, pauses: Pauses, calls: RateLimit) -> None:
        self._pauses = pauses
        self._calls = calls
        self._views = RateLimit(_VIEWS_RATE, _VIEWS_BURST)
        self._spare_under_way = 0
        self._throttles = {
            WEBSOCKET: Throttle(pauses),
            POST: Throttle(pauses, at_once=POSTS_AT_ONCE),
        }
        self.trial = Trial(pauses)

    def close(self, name: str) -> None:
        """Let no command go until `open`."""
        self._of(name).is_closed = True

    def open(self, name: str) -> None:
        """Let commands go again."""
        self._of(name).is_closed = False

    def opens_at(self, name: str) -> float:
        """Return from when on a command may go; infinity if something has to happen first."""
        throttle = self._of(name)
        at = throttle.opens_at()
        if name == WEBSOCKET:
            return at
        if self.trial.is_on:
            return math.inf
        if name == POST:
            return at
        if throttle.under_way and self._spare_under_way >= SPARE_CALLS:
            return math.inf
        return max(at, self._pace_of(name).ready_at(name))

    def why(self, name: str, now: float) -> str:
        """Return what holds commands back there, in one word; "" if nothing does."""
        throttle = self._of(name)
        if name != WEBSOCKET and self.trial.is_on:
            return WEB_API
        if throttle.is_closed:
            return NOT_CONNECTED
        if throttle.rests(now):
            return SLACK_PAUSE if throttle.trouble is Trouble.LIMITED else SLACK_AWAY
        if throttle.is_full:
            return "no_answer"
        return RATE_LIMIT if self.opens_at(name) > now else ""

    def enter(self, job: Passenger, now: float) -> None:
        """Let a job go, which `opens_at` allows."""
        throttle = self._of(job.throttle)
        if self._is_call(job.throttle):
            self._pace_of(job.throttle).take(job.throttle, now)
            self._spare_under_way += throttle.under_way > 0
        job.ticket = throttle.enter(now)

    def leave(self, job: Passenger) -> None:
        """Take note that a job is no longer under way, if it was; nothing is learned of it."""
        if job.ticket is None:
            return
        throttle = self._of(job.throttle)
        throttle.leave(job.ticket)
        if self._is_call(job.throttle):
            self._spare_under_way -= throttle.under_way > 0
        job.ticket = None

    def worked(self, job: Passenger) -> int:
        """Note that Slack took a job, or refused it for good; return how many rests that ends."""
        if (ticket := job.ticket) is None:
            return 0
        self.leave(job)
        return self._of(job.throttle).worked(ticket)

    def failed(
        self, job: Passenger, trouble: Trouble | None, now: float, retry_after: float
    ) -> Rest | None:
        """Note that a job failed; return the rest if all others have to wait too, else None."""
        if (ticket := job.ticket) is None:
            return None
        self.leave(job)
        if trouble in _OF_ALL:
            return self.trial.begin(now, retry_after)
        return self._of(job.throttle).failed(ticket, id(job), trouble, now, retry_after)

    def trial_succeeded(self, now: float) -> None:
        """Let methods be called again: the first call of each is a probe."""
        self.trial.succeeded()
        for name, throttle in self._throttles.items():
            if name != WEBSOCKET:
                throttle.probe(now)

    def _of(self, name: str) -> Throttle:
        throttle = self._throttles.get(name)
        if throttle is None:
            # Slack limits such a method as a whole.
            throttle = self._throttles[name] = Throttle(self._pauses, several=1)
        return throttle

    def _pace_of(self, method: str) -> RateLimit:
        return self._views if method.startswith(_VIEWS) else self._calls

    def _is_call(self, name: str) -> bool:
        return name not in (WEBSOCKET, POST)
