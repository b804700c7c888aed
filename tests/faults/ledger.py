"""What was sent, received, told and answered; and so what was lost.

Laws:

- Events are numbered from 0 in the order in which Slack wrote them, and any that isn't received has
  to lie in a gap that was told (`demo.tally.AnnouncedGap`), or in what was `excused` before.
- Order is asked of all but what was published while the consumer's queue was `unbound`: the pump
  publishes that again if a connection ends then, and the queue has been bound since.
- Where Slack sends again what it wasn't told of (`modes`), a gap excuses nothing, and no order is
  asked for.
- A command that is not wrong fails only where nobody can know whether Slack took it, or where a
  strike refused its channel: trouble is waited for.
- Nothing here knows the pump, a socket or a thread's business; times are milliseconds since 1970.
  Those of events count on while the pump's machine sleeps (`slept`), for its gaps do so too.
  Any thread may call.
- Memory: some 30 bytes for each event.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from rtmpump.demo.tally import AnnouncedGap, Emission

_SHOWN = 5
_SLACK_MS = 2_000
_RESULTS_COME_MS = 30_000
_NEVER = float("inf")


class Answer(NamedTuple):
    """A result or a dead letter: when it came, and its error code ("" = ok).

    `uncertain`: it says that Slack may have got the message, or got it more than once.
    """

    at_ms: float
    code: str
    uncertain: bool = False


class Accepted(NamedTuple):
    """A message that Slack took."""

    channel: str
    id: str
    at_ms: float


@dataclass
class _Command:
    channel: str
    wrong: str
    answerable: bool
    results: list[Answer] = field(default_factory=list)
    letters: list[Answer] = field(default_factory=list)


class Ledger:
    """The accounts of one run; `problems` is asked when nothing moves any more."""

    def __init__(self, *, sends_again: bool = False) -> None:
        self._lock = threading.Lock()
        self._sends_again = sends_again
        self._began = array("d")
        self._ended = array("d")
        self._ids = array("Q")
        self._last = -1
        self._late: list[tuple[int, int]] = []
        self._clashes: list[str] = []
        self._strangers = 0
        self._gaps: list[AnnouncedGap] = []
        self._excused: list[range] = []
        self._unbound: list[range] = []
        self._commands: dict[str, _Command] = {}
        self._again: set[str] = set()
        self._strikes: list[tuple[float, float]] = []
        self._moved: dict[str, str] = {}
        self._refused: list[tuple[str, float, float]] = []
        self._slept_ms = 0.0
        self.received = 0
        self.repeats = 0
        self.ids_may_change = False
        """While a spool is carried over that has lost where its events are from."""
        self.highest = -1
        self.unanswered = 0

    # Events.

    @property
    def emitted_count(self) -> int:
        """How many events there were."""
        return len(self._began)

    def emits(self, now_ms: float) -> int:
        """Slack is about to write an event; gives its number. `emitted` follows."""
        with self._lock:
            self._began.append(now_ms + self._slept_ms)
            self._ended.append(_NEVER)
            self._ids.append(0)
            return len(self._began) - 1

    def emitted(self, number: int, now_ms: float) -> None:
        """It has written the event, or nobody was there to write it to."""
        self._ended[number] = now_ms + self._slept_ms

    def slept(self, ms: float) -> None:
        """The pump's machine has slept for so long: to it all that follows is later."""
        self._slept_ms += ms

    def came(self, number: int, id: int, *, in_order: bool) -> None:
        """A consumer got an event; `id` is a hash of its message id, never 0.

        `in_order` is False for those of another queue, which tell nothing of the order.
        """
        with self._lock:
            if number >= len(self._ids):
                self._strangers += 1
                return
            known = self._ids[number]
            if known:
                self.repeats += 1
                if known != id and not self.ids_may_change:
                    self._clashes.append(f"event {number} came with two message ids")
                return
            self._ids[number] = id
            self.received += 1
            self.highest = max(self.highest, number)
            if in_order and not self._sends_again:
                if number < self._last:
                    self._late.append((number, self._last))
                self._last = max(self._last, number)

    def gap(self, from_ms: float, to_ms: float) -> None:
        """The pump told that events may be missing between these times."""
        with self._lock:
            self._gaps.append(AnnouncedGap(from_ms, to_ms))

    def excuse(self, numbers: range) -> None:
        """Who damaged the spool knows that these may be gone; it was held against what was told."""
        with self._lock:
            self._excused.append(numbers)

    @contextmanager
    def unbound(self) -> Iterator[None]:
        """The consumer's queue is not bound for a while: RabbitMQ may return what is published."""
        first = self.highest + 1
        try:
            yield
        finally:
            with self._lock:
                self._unbound.append(range(first, len(self._began)))

    def missing(self, numbers: range | None = None) -> list[int]:
        """Those that did not come and that no gap covers."""
        with self._lock:
            gaps = sorted(self._gaps)
            return [n for n in self._absent(numbers) if not self._is_told(n, gaps)]

    def lost(self) -> list[int]:
        """Those that should have come, and that nobody who damaged the spool has to answer for."""
        owed = [*self._absent(None)] if self._sends_again else self.missing()
        return [n for n in owed if not self._is_excused(n)]

    def damaged(self) -> int:
        """How many the one who damaged the spool has to answer for, and no gap tells."""
        return sum(map(self._is_excused, self.missing()))

    def told(self) -> int:
        """How many did not come and lie in a gap."""
        return sum(1 for _ in self._absent(None)) - len(self.missing())

    def _absent(self, numbers: range | None) -> Iterator[int]:
        for number in numbers or range(len(self._ids)):
            if not self._ids[number]:
                yield number

    def _disorder(self) -> list[str]:
        late = ((n, last) for n, last in self._late if not any(n in ns for ns in self._unbound))
        return [f"event {number} came after {last}" for number, last in late]

    def _is_excused(self, number: int) -> bool:
        return any(number in numbers for numbers in self._excused)

    def _is_told(self, number: int, gaps: list[AnnouncedGap]) -> bool:
        emission = Emission(self._began[number], self._ended[number])
        # Few gaps are long, so look from the last one that begins before the event ended.
        at = bisect_left(gaps, (emission.ended_ms + _SLACK_MS, 0.0))
        return any(gap.covers(emission) for gap in reversed(gaps[:at]))

    # Commands.

    def asked(self, id: str, channel: str, *, wrong: str = "", answerable: bool = True) -> None:
        """A command is about to be enqueued; one that is `wrong` has to be refused with that code.

        Without `answerable` nobody can get its result.
        """
        with self._lock:
            self._commands[id] = _Command(channel, wrong, answerable)
            self.unanswered += answerable

    def published_again(self, id: str) -> None:
        """Its producer can't know where in the queue it stands."""
        with self._lock:
            self._again.add(id)

    def answered(self, id: str, code: str, now_ms: float, *, uncertain: bool = False) -> None:
        """A result came."""
        with self._lock:
            command = self._commands[id]
            self.unanswered -= not command.results
            command.results.append(Answer(now_ms, code, uncertain))

    def buried(self, id: str, code: str, now_ms: float, *, uncertain: bool = False) -> None:
        """A dead letter came."""
        with self._lock:
            self._commands[id].letters.append(Answer(now_ms, code, uncertain))

    def moved(self, id: str, channel: str) -> None:
        """The name of a channel means another id now; commands for `channel` may reach that."""
        with self._lock:
            self._moved[id] = channel

    def refused(self, channel: str, from_ms: float, to_ms: float) -> None:
        """Slack refused what was for this channel as if it were the commands' own fault."""
        with self._lock:
            self._refused.append((channel, from_ms, to_ms))

    def struck(self, from_ms: float, to_ms: float) -> None:
        """A fault that broke the pump or its way to the broker, and its end."""
        with self._lock:
            self._strikes.append((from_ms, to_ms))

    def commands(self) -> Counter[str]:
        """How many commands ended with which code, and how many results came again."""
        with self._lock:
            first = Counter(c.results[0].code or "ok" for c in self._commands.values() if c.results)
            first["repeated"] = sum(max(0, len(c.results) - 1) for c in self._commands.values())
            return first

    # The verdict.

    def problems(self, accepted: list[Accepted]) -> list[str]:
        """All that breaks a promise; `accepted` is what Slack took, in order."""
        found: list[str] = []
        if lost := self.lost():
            found.append(f"{len(lost)} events were lost: {', '.join(self._runs(lost))}")
        if self._strangers:
            found.append(f"{self._strangers} events came that were never sent")
        found += self._disorder()[:_SHOWN] + self._clashes[:_SHOWN] + self._shared_ids()
        for id, command in self._commands.items():
            found += self._command_problems(id, command)
        return [*found, *self._slack_problems(accepted)]

    def _runs(self, numbers: list[int]) -> list[str]:
        """Numbers that follow each other, and when they were sent."""
        runs: list[list[int]] = []
        for number in numbers:
            if runs and number == runs[-1][-1] + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        told = [f"{run[0]}-{run[-1]} at {self._began[run[0]]:.0f}" for run in runs[:_SHOWN]]
        return told if len(runs) <= _SHOWN else [*told, "…"]

    def _shared_ids(self) -> list[str]:
        ids = sorted(id for id in self._ids if id)
        shared = sum(one == other for one, other in pairwise(ids))
        return [f"{shared} events share a message id with another"] if shared else []

    def _command_problems(self, id: str, command: _Command) -> Iterator[str]:
        if not command.answerable:
            if command.wrong and not command.letters:
                yield f"command {id} failed and has no dead letter"
        elif not command.results:
            yield f"command {id} was never answered"
        else:
            yield from self._result_problems(id, command)
        for what, answers in (("answered", command.results), ("buried", command.letters)):
            if len(answers) > 1 and not self._may_repeat(answers):
                yield f"command {id} was {what} {len(answers)} times with no fault in between"

    def _result_problems(self, id: str, command: _Command) -> Iterator[str]:
        codes = {one.code for one in command.results}
        if command.wrong and codes != {command.wrong}:
            yield f"command {id} is wrong and was answered with {codes}"
        if command.results[0].code and not command.letters:
            yield f"command {id} failed with {codes} and has no dead letter"
        if died := self._died_of(command):
            yield f"command {id} died of trouble: {died}"
        if command.letters and codes == {""} and not self._may_repeat(command.results):
            yield f"command {id} succeeded and has a dead letter"

    def _died_of(self, command: _Command) -> str:
        """The code with which a right command failed for certain; "" if it did not."""
        failed = (one for one in command.results if one.code and not one.uncertain)
        return next((one.code for one in failed if not self._is_blamed(command, one)), "")

    def _is_blamed(self, command: _Command, failed: Answer) -> bool:
        """Whether the failure is the command's own."""
        return bool(command.wrong) or any(
            channel == command.channel and since <= failed.at_ms <= to + _RESULTS_COME_MS
            for channel, since, to in self._refused
        )

    def _may_repeat(self, events: Sequence[Answer | Accepted]) -> bool:
        """Whether the pump or its way to the broker broke between the first and the last."""
        first, last = events[0].at_ms, events[-1].at_ms
        return any(since <= last and first <= to + _SLACK_MS for since, to in self._strikes)

    def _slack_problems(self, accepted: list[Accepted]) -> Iterator[str]:
        seen: dict[str, list[Accepted]] = {}
        last: dict[str, int] = {}
        for one in accepted:
            channel, id, _ = one
            times = seen.setdefault(id, [])
            times.append(one)
            command = self._commands.get(id)
            if command and self._moved.get(channel, channel) != command.channel:
                yield f"command {id} was for {command.channel} and reached {channel}"
            if len(times) > 1 or id in self._again:
                continue
            order = int(id)
            if order < last.get(channel, -1):
                yield f"command {id} reached {channel} after {last[channel]}"
            last[channel] = max(order, last.get(channel, -1))
        for id, command in self._commands.items():
            ok = any(not one.code for one in command.results)
            if ok and not command.wrong and id not in seen:
                yield f"command {id} was answered as sent, and Slack never got it"
            if not command.answerable:
                yield from self._unheard_problems(id, command, id in seen)
            times = seen.get(id, [])
            in_doubt = any(one.uncertain for one in command.results)
            if len(times) > 1 and not in_doubt and not self._may_repeat(times):
                yield f"command {id} reached Slack {len(times)} times, and was never in doubt"
        if unknown := seen.keys() - self._commands.keys():
            yield f"Slack got {len(unknown)} messages that nobody asked for"

    def _unheard_problems(self, id: str, command: _Command, is_at_slack: bool) -> Iterator[str]:
        """What is wrong with a command whose result nobody can get."""
        died = any(not one.uncertain for one in command.letters)
        if not command.wrong and died:
            yield f"command {id} " + (
                "succeeded and has a dead letter" if is_at_slack else "died of trouble"
            )
        elif not (command.wrong or command.letters or is_at_slack):
            yield f"command {id} was never carried out"
