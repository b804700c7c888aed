"""Calls of Slack's Web API from a few threads, so that no other thread waits for HTTP.

Laws:

- A call that `submit` took is answered once, from a worker's thread. Only a stop before the call
  began leaves it without an answer: it was never made, and its command is still in RabbitMQ.
- A call is made once. The caller decides whether to try again: it knows how often, how long, and
  whether the call may be made twice. The answer says all that this decision needs.
- A method that Slack limited (`Retry-After`) rests for that long. A chat.postMessage, which Slack
  limits by channel, rests in that channel only. A slow method never has all workers.
- Nothing waits here for a rate limit: `submit` takes no call that can't be made soon, and returns
  when to ask again. So there are few calls in here, and a stop is quick.

The caller keeps the order of a channel: it submits a call after the answer to the one before.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.rate_limit import RateLimit
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.slack.api_errors import CallFailed, CallRefused
from rtmpump.links.slack.web_api import SlackApi

WORKERS: Final = 4
_LINE_MAX: Final = 8
_LINE_IS_FULL: Final = 0.1
# Slack limits it by channel, which its caller knows (https://docs.slack.dev/apis/web-api/rate-limits).
_NOT_PACED: Final = frozenset({"chat.postMessage"})
_LIMITED: Final = "ratelimited"
_STOP_NOTICED: Final = 1.0
# Each wait on the network has its timeout; a whole call has several of them.
_CALLING: Final = 120.0


Answered = Callable[[CallAnswer], None]


class _Call(NamedTuple):
    method: str
    arguments: Mapping[str, str]
    answered: Answered


class WebApiWorkers:
    """The workers and the line of calls for them; `submit` and `wake` work from any thread.

    Each method may be called `rate` times a second, and `burst` times at once.
    """

    def __init__(
        self,
        api: SlackApi,
        *,
        rate: float,
        burst: int,
        stop: threading.Event,
        workers: int = WORKERS,
    ) -> None:
        self._api = api
        self._pace = RateLimit(rate, burst)
        self.stop = stop
        self._changed = threading.Condition()
        self._line: deque[_Call] = deque()
        self._waiting: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._rests_until: dict[str, float] = {}
        self._most_of_a_method = max(1, workers - 1)
        self.workers = [Worker(self) for _ in range(workers)]

    def submit(self, method: str, arguments: Mapping[str, str], answered: Answered) -> float:
        """Take a call and return 0.0, or take none and return the seconds after which to ask again.

        Args:
            method: like "reactions.add".
            arguments: as a form has them; lists and objects are written as JSON.
            answered: called with the answer, from a worker's thread.
        """
        with self._changed:
            wait = self._wait_of(method, arguments, time.monotonic())
            if not wait:
                self._line.append(_Call(method, arguments, answered))
                self._waiting[method] += 1
                self._changed.notify()
            return wait

    def wake(self) -> None:
        """Notice the stop now."""
        with self._changed:
            self._changed.notify_all()

    def _wait_of(self, method: str, arguments: Mapping[str, str], now: float) -> float:
        if (rest := self._rest_of(_limited_by(method, arguments), now)) > 0:
            return rest
        if self._waiting[method] >= _LINE_MAX:
            return _LINE_IS_FULL
        return 0.0 if method in _NOT_PACED else self._pace.take(method, now)

    def _rest_of(self, limit: str, now: float) -> float:
        return self._rests_until.get(limit, now) - now

    def _take(self, worker: Worker) -> _Call | None:
        """Wait for a call that may be made now, and return it; None at a stop."""
        with self._changed:
            while not self.stop.is_set():
                worker.lifecycle.progress()
                call = self._next()
                if call is not None:
                    worker.lifecycle.rest(_CALLING)
                    return call
                self._changed.wait(_STOP_NOTICED)
        return None

    def _next(self) -> _Call | None:
        for place, call in enumerate(self._line):
            if self._under_way[call.method] < self._most_of_a_method:
                del self._line[place]
                self._waiting[call.method] -= 1
                self._under_way[call.method] += 1
                return call
        return None

    def _made(self, call: _Call, answer: CallAnswer) -> None:
        now = time.monotonic()
        with self._changed:
            self._under_way[call.method] -= 1
            if answer.made and answer.code == _LIMITED and answer.retry_after:
                resting = {
                    limit: until for limit, until in self._rests_until.items() if until > now
                }
                limit = _limited_by(call.method, call.arguments)
                until = now + answer.retry_after
                resting[limit] = max(until, resting.get(limit, until))
                self._rests_until = resting
            self._changed.notify()

    def _make(self, call: _Call) -> CallAnswer:
        with self._changed:
            limit = _limited_by(call.method, call.arguments)
            rest = self._rest_of(limit, time.monotonic())
        if rest > 0:
            # Slack limited the method while this call waited in the line.
            return CallAnswer(None, _LIMITED, call.method, again=True, retry_after=rest, made=False)
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
                made=failed.reached,
            )


class Worker:
    """The body of a thread that makes calls, one after the other."""

    def __init__(self, calls: WebApiWorkers) -> None:
        self._calls = calls
        self.lifecycle = Lifecycle(stop=calls.stop)

    def run(self) -> None:
        """Make calls until the stop; a ConfigError ends the thread, as a bug does."""
        calls = self._calls
        while (call := calls._take(self)) is not None:
            answer = calls._make(call)
            calls._made(call, answer)
            call.answered(answer)


def _limited_by(method: str, arguments: Mapping[str, str]) -> str:
    """Return the name of what rests when Slack limits this call."""
    return f"{method} {arguments.get('channel', '')}" if method in _NOT_PACED else method
