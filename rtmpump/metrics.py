"""The counters of the pump: written where things happen, read by `/metrics` and `/status`.

Laws:

- There is no lock. One thread writes each counter (each label of it), and a reader may see one
  event more or less. A second thread that calls a method of `Metrics` must use a label of its own.
- Input from outside never makes the set of labels grow without bound, nor a label too long.
- Reading costs the writers nothing. A value that another part has (the spool's) is asked for then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Final, NamedTuple, Protocol, TypeVar

from msgspec import Meta, Struct

from rtmpump.counters import (
    BOUNDS,
    LABELS_MAX,
    OTHER,
    Counts,
    Histogram,
    LatencyHistogram,
    Pairs,
)
from rtmpump.errors import RtmpumpError

__all__ = [
    "BOUNDS",
    "OTHER",
    "LatencyHistogram",
    "Metrics",
    "MetricsSnapshot",
]

API: Final = "web_api"
"""Slack's Web API: up while Slack can be reached and takes the token."""
LINKS: Final = ("slack", "broker_events", "broker_commands", API)
STANDBY_LINKS: Final = ("broker_events", "broker_lock")
"""The links of a standby; its other links are down on purpose."""
TYPES_MAX: Final = 512
GAPS_KEPT: Final = 20
FULL: Final = "spool_full"

_T = TypeVar("_T")
_UNKNOWN: Final = "unknown"


class SpoolGauges(Protocol):
    """What the gauges need to know of the spool."""

    @property
    def events(self) -> int:
        """How many events wait."""

    @property
    def bytes(self) -> int:
        """How many bytes they take on disk."""

    @property
    def events_max_bytes(self) -> int:
        """How many bytes they may take."""

    @property
    def oldest_received_ms(self) -> int | None:
        """When the oldest came, in milliseconds since 1970; None for an empty spool."""


class Sample(NamedTuple):
    """What a history is made of: events by type, the count of each latency bucket, and returns.

    The buckets are those of BOUNDS; the last count is of times above the last bound.
    """

    received: dict[str, int]
    confirm_latency: tuple[int, ...]
    command_latency: tuple[int, ...]
    returned: int = 0


class Gap(NamedTuple):
    """A time range of which events may be missing, in milliseconds since 1970, and why."""

    reason: str
    from_ms: int
    to_ms: int


class EventCounts(Struct, frozen=True, kw_only=True):
    """What became of the events since the start."""

    received: Annotated[int, Meta(description="Events that were written to the spool.")]
    received_by_type: Annotated[dict[str, int], Meta(description="The same, by event type.")]
    confirmed: Annotated[int, Meta(description="Events that RabbitMQ confirmed.")]
    returned: Annotated[int, Meta(description="Events that no queue took.")]
    nacked: Annotated[int, Meta(description="Publishes that RabbitMQ refused.")]
    dropped: Annotated[
        dict[str, int], Meta(description="Events that were dropped or ignored, by reason.")
    ]


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """What waits in the spool now."""

    events: Annotated[int, Meta(description="Events that wait on disk.")]
    bytes: Annotated[int, Meta(description="Their size on disk, in bytes.")]
    max_bytes: Annotated[
        int,
        Meta(
            description="What they may take: spool.max_bytes less the room for SQLite's log, or"
            " what the disk has room for."
        ),
    ]
    percent: Annotated[float, Meta(description="How full that is; 100 while no event fits.")]
    oldest_seconds: Annotated[float, Meta(description="Age of the oldest one; 0 without any.")]


class MetricsSnapshot(Struct, frozen=True, kw_only=True):
    """The counters and gauges at one moment."""

    version: Annotated[str, Meta(description="Version of rtmpump.")]
    events: EventCounts
    spool: Annotated[
        SpoolStatus | None, Meta(description="null while the spool cannot be measured.")
    ]
    confirm_latency: Annotated[
        LatencyHistogram, Meta(description="From an event's frame to RabbitMQ's confirm.")
    ]
    commands: Annotated[
        dict[str, dict[str, int]],
        Meta(description='Settled commands by type, then by result ("ok" or an error code).'),
    ]
    commands_waiting: Annotated[
        int | None, Meta(description="Commands that wait in the pump; null if unknown.")
    ]
    commands_turn: Annotated[
        bool | None,
        Meta(
            description="Whether RabbitMQ gives the commands to this pump, and not to another one "
            "on the same queue; null if unknown, as before the first command."
        ),
    ]
    command_latency: Annotated[
        LatencyHistogram, Meta(description="From a command's delivery to its result.")
    ]
    dead_letters: Annotated[
        dict[str, int], Meta(description="Dead-lettered commands since the start, by error code.")
    ]
    results_undeliverable: Annotated[
        int, Meta(description="Results of commands that no queue took in time.")
    ]
    answers: Annotated[
        dict[str, int],
        Meta(
            description="What became of Slack's questions (answered, empty, unanswered, nobody), "
            "and answers that could not be used (late, no_object, too_large, stranger)."
        ),
    ]
    links: Annotated[dict[str, bool], Meta(description="Whether each link is up.")]
    reconnects: Annotated[
        dict[str, dict[str, int]],
        Meta(description="New connections since the start by link, then by reason."),
    ]
    slack_rtt_seconds: Annotated[
        float | None, Meta(description="Time from the last ping to Slack's pong; null if unknown.")
    ]
    broker_blocked: Annotated[
        bool, Meta(description="Whether RabbitMQ blocks publishing (a memory or disk alarm).")
    ]
    active: Annotated[
        bool | None,
        Meta(description="Whether this pump is the active one; null without a standby."),
    ]
    spool_refusing: Annotated[bool, Meta(description="Whether the spool refuses new events now.")]
    stopped: Annotated[
        dict[str, list[str]],
        Meta(description="What stands still (reading, publishing, commands), with the reasons."),
    ]
    gaps: Annotated[dict[str, int], Meta(description="Gaps since the start, by reason.")]
    backfill_pending: Annotated[int, Meta(description="Gaps that are still to be filled.")]
    dead_letters_waiting: Annotated[
        int | None, Meta(description="Dead letters in their queue now; null if unknown.")
    ]


class Metrics:
    """All that the pump counts.

    Attributes:
        spool: Called at each reading, by the thread that reads. While it is None, or raises an
            RtmpumpError, its gauges are left out.
        commands_waiting: As `spool`; returns how many commands wait in the pump.
        commands_turn: As `spool`; returns whether this pump is given the commands, None if unknown.
        active: Whether this pump is the active one; None without an election.
        stopped: As `spool`; returns what stands still, with the reasons.
        backfill_pending: As `spool`; returns how many gaps are still to be filled.
        dead_letters_waiting: How many dead letters are in their queue; None if unknown.
        last_gaps: The newest gaps, the oldest of them first; at most GAPS_KEPT.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Begin at zero; `now` returns seconds since 1970."""
        self._now = now
        self.spool: Callable[[], SpoolGauges] | None = None
        self.commands_waiting: Callable[[], int] | None = None
        self.commands_turn: Callable[[], bool | None] | None = None
        self.active: bool | None = None
        self.stopped: Callable[[], dict[str, list[str]]] | None = None
        self.backfill_pending: Callable[[], int] | None = None
        self.dead_letters_waiting: int | None = None
        self.last_gaps: tuple[Gap, ...] = ()
        self._spool_refuses = ""
        self._gaps = Counts(LABELS_MAX)
        self._received = Counts(TYPES_MAX)
        self._confirmed = 0
        self._returned = 0
        self._nacked = 0
        self._dropped = Counts(LABELS_MAX)
        self._confirm_latency = Histogram()
        self._commands = Pairs()
        self._command_latency = Histogram()
        self._dead_letters = Counts(LABELS_MAX)
        self._results_undeliverable = 0
        self._answers = Counts(LABELS_MAX)
        self._links = dict.fromkeys(LINKS, False)
        self._reconnects = Pairs()
        self._slack_rtt: float | None = None
        self._blocked = False

    def received(self, type: str, n: int = 1) -> None:
        """Count `n` accepted events of a type; "" counts as "unknown"."""
        self._received.add(type or _UNKNOWN, n)

    def confirmed(self, n: int = 1) -> None:
        """Count `n` events that the broker confirmed."""
        self._confirmed += n

    def returned(self, n: int = 1) -> None:
        """Count `n` events that the broker returned, since no queue took them."""
        self._returned += n

    def nacked(self, n: int = 1) -> None:
        """Count `n` publishes that the broker refused."""
        self._nacked += n

    def dropped(self, reason: str, n: int = 1) -> None:
        """Count `n` events that were dropped or ignored."""
        self._dropped.add(reason, n)

    def confirm_latency(self, seconds: float) -> None:
        """Add the time of one event, from its frame to the broker's confirm."""
        self._confirm_latency.observe(seconds)

    def confirm_latencies(self, seconds: Iterable[float]) -> None:
        """Add the times of many events at once; cheaper for each."""
        self._confirm_latency.observe_all(seconds)

    def command(self, type: str, result: str) -> None:
        """Count a settled command; `result` is "ok" or an error code."""
        self._commands.add(type or _UNKNOWN, result)

    def command_latency(self, seconds: float) -> None:
        """Add the time of one command, from its delivery to its result."""
        self._command_latency.observe(seconds)

    def dead_letter(self, code: str) -> None:
        """Count a dead-lettered command by its error code."""
        self._dead_letters.add(code)

    def answer(self, result: str) -> None:
        """Count the end of a question of Slack's, or an answer that could not be used."""
        self._answers.add(result)

    def result_undeliverable(self) -> None:
        """Count a result that was given up."""
        self._results_undeliverable += 1

    def link(self, name: str, up: bool) -> None:
        """Set whether a link (one of LINKS) is up."""
        self._links[name] = up

    def reconnect(self, link: str, reason: str) -> None:
        """Count a new try to connect a link; `reason` is that of the LinkError."""
        self._reconnects.add(link, reason)

    def slack_rtt(self, seconds: float) -> None:
        """Set how long Slack took to answer the last ping, in seconds."""
        self._slack_rtt = seconds

    def blocked(self, blocked: bool) -> None:
        """Set whether the broker blocks our publishing (connection.blocked)."""
        self._blocked = blocked

    def has_turn(self) -> bool | None:
        """Return `commands_turn` as it is now."""
        return _asked(self.commands_turn)

    @property
    def is_blocked(self) -> bool:
        """Whether the broker blocks our publishing."""
        return self._blocked

    def spool_refuses(self, why: str) -> None:
        """Set why the spool refuses new events ("spool_full" or another word); "": it does not."""
        self._spool_refuses = why

    def gap(self, reason: str, from_ms: int, to_ms: int) -> None:
        """Count a gap that was announced (milliseconds since 1970)."""
        self._gaps.add(reason)
        self.last_gaps = (*self.last_gaps, Gap(reason, from_ms, to_ms))[-GAPS_KEPT:]

    @property
    def gaps_counted(self) -> int:
        """How many gaps were announced."""
        return sum(self._gaps.copy().values())

    def snapshot(self) -> MetricsSnapshot:
        """Return all counters and gauges as they are now; ask the spool for its own."""
        return MetricsSnapshot(
            version=program_version(),
            events=self._event_counts(),
            spool=self._spool_status(),
            confirm_latency=self._confirm_latency.snapshot(),
            commands=self._commands.copy(),
            commands_waiting=_asked(self.commands_waiting),
            commands_turn=self.has_turn(),
            command_latency=self._command_latency.snapshot(),
            dead_letters=self._dead_letters.copy(),
            results_undeliverable=self._results_undeliverable,
            answers=self._answers.copy(),
            links=self._links.copy(),
            reconnects=self._reconnects.copy(),
            slack_rtt_seconds=self._slack_rtt,
            broker_blocked=self._blocked,
            active=self.active,
            spool_refusing=bool(self._spool_refuses),
            stopped=_asked(self.stopped) or {},
            gaps=self._gaps.copy(),
            backfill_pending=_asked(self.backfill_pending) or 0,
            dead_letters_waiting=self.dead_letters_waiting,
        )

    def sample(self) -> Sample:
        """Return the counters that a history needs, without a call to any other part."""
        return Sample(
            self._received.copy(),
            self._confirm_latency.counts(),
            self._command_latency.counts(),
            self._returned,
        )

    def _event_counts(self) -> EventCounts:
        by_type = self._received.copy()
        return EventCounts(
            received=sum(by_type.values()),
            received_by_type=by_type,
            confirmed=self._confirmed,
            returned=self._returned,
            nacked=self._nacked,
            dropped=self._dropped.copy(),
        )

    def _spool_status(self) -> SpoolStatus | None:
        spool = _asked(self.spool)
        if spool is None:
            return None
        oldest = spool.oldest_received_ms
        # A clock that was set back must not make an age below zero.
        age = 0.0 if oldest is None else max(0.0, self._now() - oldest / 1000)
        full = 100.0 * spool.bytes / spool.events_max_bytes
        return SpoolStatus(
            events=spool.events,
            bytes=spool.bytes,
            max_bytes=spool.events_max_bytes,
            percent=100.0 if self._spool_refuses == FULL else round(min(full, 100.0), 1),
            oldest_seconds=age,
        )


def _asked(ask: Callable[[], _T] | None) -> _T | None:
    """Return None for a part that cannot answer: it must not take the whole page with it."""
    try:
        return ask() if ask else None
    except RtmpumpError:
        return None


def program_version() -> str:
    """Return the version that runs, "unknown" where it was not installed."""
    try:
        return version("rtmpump")
    except PackageNotFoundError:
        return _UNKNOWN
