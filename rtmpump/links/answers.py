"""What Slack asks by an envelope, and what consumers answer: between the reader and the publisher.

Laws:

- A question is opened before its event can be read from the spool, and closed once: by an answer,
  by the news that nobody can answer, at its deadline, or because its event was not stored.
- An answer is written by the thread that brings it, once its event is on the disk; until then, and
  where nobody answers, the reader acknowledges. Never both.
- Where nobody could answer in time it is not kept open: the envelope is acknowledged at once.
- What can't be used (late, twice, no object, too large, from a stranger) changes nothing. It is
  counted, and logged once a minute.

Any thread may call any method.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final, NamedTuple

from rtmpump import log
from rtmpump.core.envelopes import is_object
from rtmpump.core.recent_ids import RecentIds

ANSWER_MAX: Final = 64 << 10
"""The most bytes of an answer."""
UNDELIVERED: Final = "undelivered"
"""Instead of the result of a question of whose end Slack could not be told."""
_RANDOM_BYTES: Final = 16
_CLOSED_KEPT: Final = 10_000
_LOG_EVERY: Final = 60.0

_log = log.get("answers")


class Question(NamedTuple):
    """What a consumer needs to answer: where to, by which name, until when (ms since 1970)."""

    reply_to: str
    correlation_id: str
    answer_by_ms: int


class QuestionEnd(NamedTuple):
    """The end of a question; `payload` is None where nobody answered, b"" for an empty answer.

    `result` is one of answered, empty, unanswered, nobody. `is_told`: the answer was written, or
    could not be, and counted.
    """

    envelope_id: str
    payload: bytes | None
    result: str
    is_told: bool = False


class _Open(NamedTuple):
    correlation_id: str
    deadline: float
    answer_by_ms: int
    write: Callable[[bytes], bool] | None = None


class Answers:
    """The open questions, each for `within` seconds.

    `count` is called with a word for each answer that could not be used, and for each question that
    was not opened; who acknowledges counts the ends.
    """

    def __init__(self, within: float, count: Callable[[str], None]) -> None:
        self._within = within
        self._count = count
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        # Those of closed questions stay until they are the first.
        self._deadlines: list[tuple[float, str]] = []
        self._envelopes: dict[str, str] = {}
        self._ended: list[QuestionEnd] = []
        # Their answers are being written, or were, and `take` has not said so.
        self._told: set[str] = set()
        self._closed = RecentIds(_CLOSED_KEPT)
        self._reply_to = ""
        self._behind = 0.0
        self._unusable: dict[str, int] = {}
        self._logged_at = -_LOG_EVERY
        self.wake: Callable[[], None] = lambda: None
        """Called when `take` has something that is still to be acknowledged."""

    # The reader.

    def open(self, envelope_id: str, received_ms: int) -> bool:
        """Open a question of that time (ms since 1970); return False if nobody could answer it."""
        with self._lock:
            left = self._within - max(0.0, time.time() - received_ms / 1000)
            if not self._reply_to or max(self._behind, 0.0) > left:
                self._count("nobody")
                return False
            correlation_id = secrets.token_hex(_RANDOM_BYTES)
            answer_by = received_ms + round(self._within * 1000)
            deadline = time.monotonic() + left
            self._open[envelope_id] = _Open(correlation_id, deadline, answer_by)
            heappush(self._deadlines, (deadline, envelope_id))
            self._envelopes[correlation_id] = envelope_id
            return True

    def stored(self, envelope_id: str, write: Callable[[bytes], bool]) -> bool:
        """Have the answer written by `write` as soon as it comes, by whichever thread brings it.

        `write` returns whether it could. Return False if the answer is being written, or was.
        """
        with self._lock:
            if (one := self._open.get(envelope_id)) is not None:
                self._open[envelope_id] = one._replace(write=write)
            return envelope_id not in self._told

    def withdraw(self, envelope_id: str) -> bool:
        """Close a question: its event was not stored, or its connection ends.

        Return False if its answer is being written, or was.
        """
        with self._lock:
            self._close(envelope_id)
            return envelope_id not in self._told

    def take(self) -> list[QuestionEnd]:
        """Return what has ended since the last call, also by its deadline."""
        now = time.monotonic()
        with self._lock:
            while (first := self._first_deadline()) is not None and first[0] <= now:
                self._end(first[1], None, "unanswered")
            ended, self._ended = self._ended, []
            self._told.difference_update(one.envelope_id for one in ended if one.is_told)
            return ended

    def wait(self, now: float) -> float:
        """Return the seconds from `now` (monotonic) to the first deadline; infinity without one."""
        with self._lock:
            first = self._first_deadline()
        return math.inf if first is None else max(0.0, first[0] - now)

    def ended(self, result: str) -> None:
        """Count the end of a question: its `result`, or UNDELIVERED."""
        self._count(result)

    # The publisher.

    def serve(self, reply_to: str) -> None:
        """Learn where answers arrive from now on; "": nowhere, so all open questions end."""
        with self._lock:
            self._reply_to = reply_to
            if not reply_to:
                self._behind = 0.0
                for envelope_id in list(self._open):
                    self._end(envelope_id, None, "nobody")
        self.wake()

    def behind(self, seconds: float) -> None:
        """Learn how old the event is that is published now."""
        self._behind = seconds

    def question(self, envelope_id: str) -> Question | None:
        """Return the open question of an envelope, to publish it with the event."""
        with self._lock:
            one = self._open.get(envelope_id)
            if one is None or not self._reply_to:
                return None
            return Question(self._reply_to, one.correlation_id, one.answer_by_ms)

    def nobody(self, correlation_id: str) -> None:
        """Learn that no queue took the event of a question."""
        with self._lock:
            envelope_id = self._envelopes.get(correlation_id)
            if envelope_id is None:
                return
            self._end(envelope_id, None, "nobody")
        self.wake()

    def answered(self, correlation_id: str, body: bytes, *, is_too_large: bool = False) -> None:
        """Take what came to the reply address."""
        with self._lock:
            envelope_id = self._envelopes.get(correlation_id)
            if envelope_id is None:
                self._refuse("late" if correlation_id in self._closed else "stranger")
                return
            if is_too_large:
                self._refuse("too_large")
                return
            if body.strip() and not is_object(body):
                self._refuse("no_object")
                return
            payload = body.strip()
            result = "answered" if payload else "empty"
            write = self._open[envelope_id].write
            if write is None:
                self._end(envelope_id, payload, result)
            else:
                self._close(envelope_id)
                self._told.add(envelope_id)
        if write is None:
            self.wake()
        else:
            self._count(result if write(payload) else UNDELIVERED)
            with self._lock:
                self._ended.append(QuestionEnd(envelope_id, payload, result, is_told=True))

    def _first_deadline(self) -> tuple[float, str] | None:
        """Return the first deadline of an open question, and forget those of closed ones."""
        while self._deadlines:
            deadline, envelope_id = self._deadlines[0]
            one = self._open.get(envelope_id)
            if one is not None and one.deadline == deadline:
                return deadline, envelope_id
            heappop(self._deadlines)
        return None

    def _end(self, envelope_id: str, payload: bytes | None, result: str) -> None:
        self._close(envelope_id)
        self._ended.append(QuestionEnd(envelope_id, payload, result))

    def _close(self, envelope_id: str) -> None:
        one = self._open.pop(envelope_id, None)
        if one is not None:
            del self._envelopes[one.correlation_id]
            self._closed.add([one.correlation_id])

    def _refuse(self, why: str) -> None:
        self._count(why)
        self._unusable[why] = self._unusable.get(why, 0) + 1
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY:
            self._logged_at, counts = now, dict(self._unusable)
            self._unusable.clear()
            _log.warning("answers.unusable", **counts, fix="an answer is one JSON object, in time")
