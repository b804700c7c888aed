"""Counts what was emitted, received, announced as missed and answered; from that, what was lost.

Laws:

- Two events may have equal bytes (Slack sends many such), so they are counted and not only looked
  up: of n equal events n must arrive, each with its own message id.
- An event that the consumer never got is *missed* if a `rtmpump.gap` covers the time when Slack
  emitted it, because the gap announced it; else it is *lost*. Events that Slack wrote into a socket
  that broke before the pump committed them are in the gap too.
- With backfill, a message that the history has must come: live, or *fetched*. Else it is lost, gap
  or not. The history has its own form of a message, so a fetched one is known by channel and ts.
- No clock and no thread here; times are milliseconds since 1970. Any thread may call.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, NamedTuple

TOLERANCE_MS: Final = 250
"""How far outside a gap an event still counts as covered: it needs time on its way to the pump."""


class Emission(NamedTuple):
    """The time of one event: from when to when the workspace wrote it; `key` as `history_key`."""

    began_ms: float
    ended_ms: float
    key: str = ""


class AnnouncedGap(NamedTuple):
    """The time span of a `rtmpump.gap`."""

    from_ms: float
    to_ms: float

    def covers(self, emission: Emission) -> bool:
        """Return whether the event was written within the gap."""
        began, ended, _ = emission
        return began <= self.to_ms + TOLERANCE_MS and ended >= self.from_ms - TOLERANCE_MS


@dataclass(frozen=True)
class EventCount:
    """Events: of the `missed` ones `fetchable` are in the history; `clashes` shared an id."""

    emitted: int
    received: int
    fetched: int
    missed: int
    fetchable: int
    lost: int
    repeated: int
    clashes: int
    others: int


@dataclass(frozen=True)
class CommandCount:
    """Commands: how each of those `enqueued` ended; the `rejected` ones had to be."""

    enqueued: int
    ok: int
    rejected: int
    failed: int
    unanswered: int


class Tally:
    """The counts of one show; with `backfill` what the history has must be fetched."""

    def __init__(self, *, backfill: bool = False) -> None:
        self._backfill = backfill
        self._lock = threading.Lock()
        self._emitted: defaultdict[bytes, list[Emission]] = defaultdict(list)
        self._received: Counter[bytes] = Counter()
        self._fetched: set[bytes] = set()
        self._by_key: dict[str, bytes] = {}
        self._ids: dict[str, bytes] = {}
        self._gaps: list[AnnouncedGap] = []
        self._repeated = self._clashes = self._others = 0
        self._bad: dict[str, bool] = {}
        self._answers: dict[str, bool] = {}
        self.delays: list[float] = []

    def emits(self, body: bytes, now_ms: float, key: str = "") -> None:
        """Note that the workspace is about to write an event; a call of `emitted` follows.

        Args:
            body: the event.
            now_ms: the time.
            key: `history_key` of the event, "" if the history does not have it.
        """
        digest = _digest(body)
        with self._lock:
            self._emitted[digest].append(Emission(now_ms, float("inf"), key))
            if key:
                self._by_key[key] = digest

    def emitted(self, body: bytes, now_ms: float) -> None:
        """Note that it wrote the event."""
        with self._lock:
            emissions = self._emitted[_digest(body)]
            emissions[-1] = emissions[-1]._replace(ended_ms=now_ms)

    def received(self, message_id: str, body: bytes, now_ms: float) -> bool:
        """Count a message of the consumer; return True if it is a new one."""
        digest = _digest(body)
        with self._lock:
            if not self._is_new(message_id, digest):
                return False
            if digest not in self._emitted:
                self._others += 1
                return True
            nth = self._received[digest]
            self._received[digest] += 1
            if nth < len(self._emitted[digest]):
                self.delays.append(now_ms - self._emitted[digest][nth].began_ms)
            return True

    def fetched(self, message_id: str, key: str) -> bool:
        """Count a message that came from the history; return True if it is a new one."""
        with self._lock:
            digest = self._by_key.get(key, b"")
            if not self._is_new(message_id, digest):
                return False
            if digest:
                self._fetched.add(digest)
            else:
                self._others += 1
            return True

    def gap(self, from_ms: float, to_ms: float) -> None:
        """Note that events may be missing between these times."""
        with self._lock:
            self._gaps.append(AnnouncedGap(from_ms, to_ms))

    def asked(self, id: str, *, bad: bool) -> None:
        """Note an enqueued command; a `bad` one must be rejected."""
        with self._lock:
            self._bad[id] = bad

    def answered(self, id: str, *, ok: bool) -> bool:
        """Note a result; return True if it is the first one for this command."""
        with self._lock:
            if id in self._answers:
                return False
            self._answers[id] = ok
            return True

    def open(self) -> int:
        """Return how many events and answers are still to come."""
        return self.events().lost + self.commands().unanswered

    def progress(self) -> int:
        """Return a number that rises with everything that arrives."""
        with self._lock:
            return len(self._ids) + len(self._answers) + self._repeated

    @property
    def arrived(self) -> int:
        """How many events the consumer got, each counted once."""
        return len(self._ids)

    def events(self) -> EventCount:
        """Return the count of the events."""
        with self._lock:
            received = fetched = missed = fetchable = lost = 0
            for digest, emissions in self._emitted.items():
                came = min(self._received[digest], len(emissions))
                absent = len(emissions) - came
                received += came
                if absent and digest in self._fetched:
                    fetched, absent = fetched + 1, absent - 1
                covered = sum(map(self._is_excused, emissions)) if absent else 0
                announced = min(absent, covered)
                missed, lost = missed + announced, lost + absent - announced
                fetchable += min(announced, sum(bool(one.key) for one in emissions))
            return EventCount(
                emitted=sum(map(len, self._emitted.values())),
                received=received,
                fetched=fetched,
                missed=missed,
                fetchable=fetchable,
                lost=lost,
                repeated=self._repeated,
                clashes=self._clashes,
                others=self._others,
            )

    def commands(self) -> CommandCount:
        """Return the count of the commands."""
        with self._lock:
            came = [(self._bad[id], ok) for id, ok in self._answers.items() if id in self._bad]
            rejected = sum(bad and not ok for bad, ok in came)
            good = sum(ok and not bad for bad, ok in came)
            return CommandCount(
                enqueued=len(self._bad),
                ok=good,
                rejected=rejected,
                failed=len(came) - rejected - good,
                unanswered=len(self._bad) - len(came),
            )

    def _is_new(self, message_id: str, digest: bytes) -> bool:
        """Note a message id; `digest` is that of the emitted event, b"" if it was not ours."""
        before = self._ids.get(message_id)
        if before is None:
            self._ids[message_id] = digest
            return True
        is_same = before == digest or not (before and digest)
        self._repeated += is_same
        self._clashes += not is_same
        return False

    def _is_excused(self, emission: Emission) -> bool:
        if self._backfill and emission.key:
            return False
        return any(gap.covers(emission) for gap in self._gaps)


def history_key(event: Mapping[str, Any]) -> str:
    """Return what names an event in Slack's history: channel and ts; "" if it is not in it."""
    if event.get("type") != "message" or event.get("hidden"):
        return ""
    return f"{event.get('channel')} {event.get('ts')}"


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()
