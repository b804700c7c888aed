"""The counters of the pump: written where things happen, read by `/metrics` and `/status`.

Laws:

- There is no lock. One thread writes each counter (each label of it), and a reader may see one
  event more or less. A second thread that calls a method of `Metrics` must use a label of its own.
- Input from outside never makes the set of labels grow without bound, nor a label too long.
- Reading costs the writers nothing. A value that another part has (the spool's) is asked for then.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Annotated, Final, NamedTuple, Protocol, TypeVar

from msgspec import Meta, Struct

from rtmpump.errors import RtmpumpError

API: Final = "web_api"
"""Slack's Web API: up while Slack can be reached and takes the token."""
LINKS: Final = ("slack", "broker_events", "broker_commands", API)
STANDBY_LINKS: Final = ("broker_events", "broker_lock")
"""The links of a standby; its other links are down on purpose."""
TYPES_MAX: Final = 512
OTHER: Final = "other"
BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0),
)
"""Upper bounds of the latency buckets in seconds: a backlog of up to an hour has a bucket."""

_T = TypeVar("_T")
_UNKNOWN: Final = "unknown"
_LABELS_MAX: Final = 64
_LABEL_LENGTH: Final = 100


class SpoolGauges(Protocol):
    """What the gauges need to know of the spool."""

    @property
    def events(self) -> int:
        """How many events wait."""

    @property
    def bytes(self) -> int:
        """How many bytes they take on disk."""

    @property
    def oldest_received_ms(self) -> int | None:
        """When the oldest came, in milliseconds since 1970; None for an empty spool."""


class Sample(NamedTuple):
    """What a history is made of: events by type, and the count of each latency bucket.

    The buckets are those of BOUNDS; the last count is of times above the last bound.
    """

    received: dict[str, int]
    confirm_latency: tuple[int, ...]
    command_latency: tuple[int, ...]


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
    oldest_seconds: Annotated[float, Meta(description="Age of the oldest one; 0 without any.")]


class LatencyHistogram(Struct, frozen=True, kw_only=True):
    """How long something took since the start, in seconds."""

    count: Annotated[int, Meta(description="How many were measured.")]
    sum: Annotated[float, Meta(description="The sum of all times.")]
    p50: Annotated[
        float | None,
        Meta(description="Upper bound of the bucket with the median; null if unknown or over 1 h."),
    ]
    p99: Annotated[float | None, Meta(description="The same for the 99th percentile.")]
    buckets: Annotated[
        dict[str, int], Meta(description="How many took at most so long, by upper bound.")
    ]


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


class Metrics:
    """All that the pump counts.

    Attributes:
        spool: Called at each reading, by the thread that reads. While it is None, or raises an
            RtmpumpError, its gauges are left out.
        commands_waiting: As `spool`; returns how many commands wait in the pump.
        commands_turn: As `spool`; returns whether this pump is given the commands, None if unknown.
        active: Whether this pump is the active one; None without an election.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Begin at zero; `now` returns seconds since 1970."""
        self._now = now
        self.spool: Callable[[], SpoolGauges] | None = None
        self.commands_waiting: Callable[[], int] | None = None
        self.commands_turn: Callable[[], bool | None] | None = None
        self.active: bool | None = None
        self._received = _Counts(TYPES_MAX)
        self._confirmed = 0
        self._returned = 0
        self._nacked = 0
        self._dropped = _Counts(_LABELS_MAX)
        self._confirm_latency = _Histogram()
        self._commands = _Pairs()
        self._command_latency = _Histogram()
        self._dead_letters = _Counts(_LABELS_MAX)
        self._results_undeliverable = 0
        self._links = dict.fromkeys(LINKS, False)
        self._reconnects = _Pairs()
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

    def snapshot(self) -> MetricsSnapshot:
        """Return all counters and gauges as they are now; ask the spool for its own."""
        return MetricsSnapshot(
            version=_version(),
            events=self._event_counts(),
            spool=self._spool_status(),
            confirm_latency=self._confirm_latency.snapshot(),
            commands=self._commands.copy(),
            commands_waiting=_asked(self.commands_waiting),
            commands_turn=self.has_turn(),
            command_latency=self._command_latency.snapshot(),
            dead_letters=self._dead_letters.copy(),
            results_undeliverable=self._results_undeliverable,
            links=self._links.copy(),
            reconnects=self._reconnects.copy(),
            slack_rtt_seconds=self._slack_rtt,
            broker_blocked=self._blocked,
            active=self.active,
        )

    def sample(self) -> Sample:
        """Return the counters that a history needs, without a call to any other part."""
        return Sample(
            self._received.copy(), self._confirm_latency.counts(), self._command_latency.counts()
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
        return SpoolStatus(events=spool.events, bytes=spool.bytes, oldest_seconds=age)


class _Counts:
    """A counter for each value of a label; values after the first `most` count as "other"."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by: dict[str, int] = {}

    def add(self, label: str, n: int = 1) -> None:
        by = self._by
        if label not in by:
            label = _fit(label, by, self._most)
        by[label] = by.get(label, 0) + n

    def copy(self) -> dict[str, int]:
        return self._by.copy()


class _Pairs:
    """A counter for each pair of labels; the first one is bounded, and so are its seconds."""

    def __init__(self) -> None:
        self._by: dict[str, _Counts] = {}

    def add(self, first: str, second: str) -> None:
        if first not in self._by:
            first = _fit(first, self._by, _LABELS_MAX)
        self._by.setdefault(first, _Counts(_LABELS_MAX)).add(second)

    def copy(self) -> dict[str, dict[str, int]]:
        return {first: counts.copy() for first, counts in self._by.copy().items()}


class _Histogram:
    """How many times fell into each bucket, and their sum, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        # A clock that was set back gives a time below zero; a sum must never fall.
        if seconds < 0.0:
            seconds = 0.0
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def observe_all(self, many: Iterable[float]) -> None:
        counts, total = self._counts, self._sum
        for seconds in many:
            if seconds < 0.0:
                seconds = 0.0
            counts[bisect_left(BOUNDS, seconds)] += 1
            total += seconds
        self._sum = total

    def counts(self) -> tuple[int, ...]:
        return tuple(self._counts)

    def snapshot(self) -> LatencyHistogram:
        """Return the counts; a quantile is the upper bound of its bucket."""
        upto = list(accumulate(list(self._counts)))
        return LatencyHistogram(
            count=upto[-1],
            sum=self._sum,
            p50=_quantile(upto, 0.5),
            p99=_quantile(upto, 0.99),
            buckets=dict(zip(_bound_names(), upto, strict=True)),
        )


def _fit(label: str, known: Mapping[str, object], most: int) -> str:
    # A lone surrogate, which JSON can carry, would make the whole page impossible to encode.
    fit = label[:_LABEL_LENGTH].encode("utf-8", "replace").decode()
    return fit if fit in known or len(known) < most else OTHER


def _bound_names() -> list[str]:
    return [str(bound) for bound in BOUNDS] + ["+Inf"]


def _quantile(upto: list[int], part: float) -> float | None:
    place = bisect_left(upto, upto[-1] * part)
    return BOUNDS[place] if upto[-1] and place < len(BOUNDS) else None


def _asked(ask: Callable[[], _T] | None) -> _T | None:
    """Return None for a part that cannot answer: it must not take the whole page with it."""
    try:
        return ask() if ask else None
    except RtmpumpError:
        return None


def _version() -> str:
    try:
        return version("rtmpump")
    except PackageNotFoundError:
        return _UNKNOWN
