"""Calls of Slack's Web API from a few threads, so that no other thread waits for HTTP.

Laws:

- A call that `submit` took is answered once, from a worker's thread. Only a stop before the call
  began leaves it without an answer: it was never made, and its command is still in RabbitMQ.
- A call that waited is made only if it still may be: the lock can be lost meanwhile.
- A call is made once. The caller decides whether to try again: it knows how often, how long, and
  whether the call may be made twice. The answer says all that this decision needs.
- Messages have workers of their own, so they never wait for another method, however slow it is.
- Nothing waits here for a rate limit, and hardly anything for a worker: the caller knows how many
  calls are under way (`core.outbound.throttles`). So a stop is quick.

The caller keeps the order of a channel: it submits a call after the answer to the one before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from rtmpump.core.outbound.api_calls import POSTS_AT_ONCE, SPARE_CALLS, CallAnswer, Trouble
from rtmpump.core.outbound.commands import POST
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.slack.api_errors import CallFailed, CallRefused
from rtmpump.links.slack.http import MAY_ASK
from rtmpump.links.slack.web_api import SlackApi

# More methods than these share their workers.
_METHODS_MOST: Final = 16
_STOP_NOTICED: Final = 5.0
# Each wait on the network has its timeout; a whole call has several of them.
_CALLING: Final = 120.0


Answered = Callable[[CallAnswer], None]
_NOT_BEGUN: Final = CallAnswer(
    None, "standby", "this pump is not the active one", again=True, trouble=Trouble.AWAY
)


class Crew(NamedTuple):
    """How many workers post messages, and how many call other methods."""

    posting: int
    calling: int


def crew(*, posts: bool, methods: int) -> Crew:
    """Return how many workers are needed where messages are posted or not, beside `methods`."""
    calling = min(methods, _METHODS_MOST) + SPARE_CALLS if methods else 0
    # One more, for auth.test: whoever sends commands may ask for it, and it is the trial.
    return Crew(POSTS_AT_ONCE if posts else 0, calling + 1)


class _Call(NamedTuple):
    method: str
    arguments: Mapping[str, str]
    answered: Answered
    may_begin: Callable[[], bool]


class _Line:
    """The calls that wait for one of the workers that serve this line; often none."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.calls: deque[_Call] = deque()


class WebApiWorkers:
    """The workers and the lines of calls for them; `submit` and `wake` work from any thread."""

    def __init__(self, api: SlackApi, crew: Crew, *, stop: threading.Event) -> None:
        self.stop = stop
        self._posts, self._calls = _Line(), _Line()
        lines = [self._posts] * crew.posting + [self._calls] * crew.calling
        self.workers = [Worker(api, line, stop) for line in lines]

    def submit(
        self,
        method: str,
        arguments: Mapping[str, str],
        answered: Answered,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        """Have a call made.

        Args:
            method: like "reactions.add".
            arguments: as a form has them; lists and objects are written as JSON.
            answered: called with the answer, from a worker's thread.
            may_begin: asked right before the call, which is not made if it says no.
        """
        line = self._posts if method == POST else self._calls
        with line.changed:
            line.calls.append(_Call(method, arguments, answered, may_begin))
            line.changed.notify()

    def wake(self) -> None:
        """Notice the stop now."""
        for line in (self._posts, self._calls):
            with line.changed:
                line.changed.notify_all()


class Worker:
    """The body of a thread that makes the calls of one line, one after the other."""

    def __init__(self, api: SlackApi, line: _Line, stop: threading.Event) -> None:
        self._api = api
        self._line = line
        self.lifecycle = Lifecycle(stop=stop)

    def run(self) -> None:
        """Make calls until the stop; a ConfigError ends the thread, as a bug does."""
        while (call := self._take()) is not None:
            call.answered(self._make(call))

    def _take(self) -> _Call | None:
        """Wait for a call and return it; None at a stop."""
        line = self._line
        with line.changed:
            while not self.lifecycle.stop.is_set():
                self.lifecycle.progress()
                if line.calls:
                    self.lifecycle.rest(_CALLING)
                    return line.calls.popleft()
                line.changed.wait(_STOP_NOTICED)
        return None

    def _make(self, call: _Call) -> CallAnswer:
        if not call.may_begin():
            return _NOT_BEGUN
        MAY_ASK.set(call.may_begin)
        try:
            return CallAnswer(self._api.call(call.method, call.arguments))
        except CallRefused as refused:
            return CallAnswer(None, refused.code, refused.detail)
        except CallFailed as failed:
            return CallAnswer(
                None,
                failed.reason,
                failed.detail,
                again=True,
                certain=failed.certain,
                retry_after=failed.retry_after,
                trouble=failed.trouble,
            )
