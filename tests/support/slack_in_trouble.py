"""A Slack in trouble, in simulated time: an hour of it passes in a second."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from rtmpump.core.frames import Reply
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.outbound.commands import POST
from rtmpump.core.outbound.throttles import WEBSOCKET
from tests.support.dispatcher import DispatcherRig

SECONDS_TO_ANSWER = 0.05
FINE = CallAnswer({"ok": True, "ts": "1.2"})
SLOW_DOWN = CallAnswer(None, "-1", "slow down, too many messages...")
Answers = Callable[[float], CallAnswer]


class SlackInTrouble:
    """A dispatcher and a Slack that answers each message or call 50 ms after it was sent.

    `answers` says what it answers at a time. Times begin with 0.
    """

    def __init__(self, answers: Answers, mode: str = "socket", **outbound: Any) -> None:
        self.rig = DispatcherRig(mode, **outbound)
        self.began = self.rig.now
        self.answers = answers
        self.taken: list[tuple[float, str, str]] = []
        self.refused: list[float] = []
        self._is_rtm = mode == "rtm"
        self._numbers = count()
        self._to_come: list[tuple[float, int, Callable[[], None]]] = []

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.rig.now - self.began

    @property
    def pause(self) -> float:
        """In how many seconds the pause ends that is running."""
        throttles = self.rig.dispatcher._throttles
        name = WEBSOCKET if self._is_rtm else POST
        return min(throttles.opens_at(name), throttles.trial.next_at()) - self.rig.now

    def enqueue(self, channels: int, each: int, **given: Any) -> None:
        """Enqueue so many messages to each of so many channels, one of each in turn."""
        for number in range(each):
            for channel in range(channels):
                self.rig.message(str(number), f"C{channel:03d}", **given)
                self._collect()

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something at that time."""
        heapq.heappush(self._to_come, (self.began + seconds, next(self._numbers), do))

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until then, or until all is done."""
        end = self.began + until
        while not done():
            next_in = self.rig.go_on()
            self._collect()
            came = self._to_come[0][0] if self._to_come else math.inf
            at = min(came, self.rig.now + max(next_in, 0.0))
            if at > end:
                self.rig.now = end
                return
            self.rig.now = max(self.rig.now, at)
            while self._to_come and self._to_come[0][0] <= self.rig.now:
                heapq.heappop(self._to_come)[2]()

    def _collect(self) -> None:
        """Take what was sent; its answer comes later."""
        rig = self.rig
        for frame in rig.frames if self._is_rtm else ():
            self._later(partial(self._reply, frame))
        rig.frames.clear()
        for method, arguments, answered in rig.calls:
            del method
            self._later(partial(self._answer, arguments, answered))
        rig.calls.clear()
        for answered in rig.trials:
            self._later(partial(self._answer, None, answered))
        rig.trials.clear()

    def _later(self, do: Callable[[], None]) -> None:
        self.at(self.now + SECONDS_TO_ANSWER, do)

    def _reply(self, frame: dict[str, Any]) -> None:
        answer = self._count(frame["channel"], frame["text"])
        ok = answer.response is not None
        reply = Reply(frame["id"], ok, "1.2" if ok else "", answer.code, answer.detail, None)
        self.rig.handle(reply)

    def _answer(
        self, arguments: dict[str, str] | None, answered: Callable[[CallAnswer], None]
    ) -> None:
        if arguments is None:
            answer = self.answers(self.now)
        else:
            answer = self._count(arguments["channel"], arguments["text"])
        answered(answer)
        self.rig.handle(self.rig.notes.pop())

    def _count(self, channel: str, text: str) -> CallAnswer:
        answer = self.answers(self.now)
        if answer.response is None:
            self.refused.append(self.now)
        else:
            self.taken.append((self.now, channel, text))
        return answer
