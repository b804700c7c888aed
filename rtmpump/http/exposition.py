"""The metrics in Prometheus' text format, for `/metrics`.

prometheus_client is imported by the first scrape: a pump that nothing scrapes never loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from rtmpump.core.standstill import COMMANDS, PUBLISHING, READING
from rtmpump.metrics import EventCounts, LatencyHistogram, MetricsSnapshot, SpoolStatus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

_Row: TypeAlias = tuple[tuple[str, ...], float]


def exposition(read: Callable[[], MetricsSnapshot]) -> bytes:
    """Return the page of `/metrics`, in text format 0.0.4."""
    from prometheus_client import generate_latest

    return generate_latest(collector(read))


def collector(read: Callable[[], MetricsSnapshot]) -> Collector:
    """Return a collector for a registry of prometheus_client; each scrape calls `read`."""
    from prometheus_client.registry import Collector

    class _Collector(Collector):
        def collect(self) -> Iterable[Metric]:
            return _families(read())

    return _Collector()


def _families(metrics: MetricsSnapshot) -> Iterator[Metric]:
    yield from _event_families(metrics.events)
    yield _histogram(
        "confirm_latency_seconds",
        "Time from an event's frame to the broker's confirm.",
        metrics.confirm_latency,
    )
    yield from _spool_families(metrics.spool)
    yield from _standstill_families(metrics)
    yield from _command_families(metrics)
    yield from _link_families(metrics)
    yield _gauge("build_info", "The version that runs.", [((metrics.version,), 1)], ("version",))


def _event_families(events: EventCounts) -> Iterator[Metric]:
    received, dropped = _rows(events.received_by_type), _rows(events.dropped)
    for name, help, labels, rows in (
        ("received", "Events that were written to the spool.", ("type",), received),
        ("confirmed", "Events that the broker confirmed.", (), _known(events.confirmed)),
        ("returned", "Events that no queue took.", (), _known(events.returned)),
        ("nacked", "Publishes that the broker refused.", (), _known(events.nacked)),
        ("dropped", "Events that were dropped or ignored.", ("reason",), dropped),
    ):
        yield _counter(f"events_{name}", help, labels, rows)


def _spool_families(spool: SpoolStatus | None) -> Iterator[Metric]:
    for name, help in (
        ("events", "Events that wait on disk."),
        ("bytes", "What the events take on disk."),
        ("max_bytes", "What rtmpump_spool_bytes may reach."),
        ("oldest_seconds", "Age of the oldest event."),
    ):
        yield _gauge(f"spool_{name}", help, _known(getattr(spool, name, None)))


def _standstill_families(metrics: MetricsSnapshot) -> Iterator[Metric]:
    yield _gauge(
        "spool_refusing", "Whether the spool refuses new events.", _known(metrics.spool_refusing)
    )
    # A standby reads nothing, and nothing stands still.
    is_reading = None if metrics.active is False else READING not in metrics.stopped
    yield _gauge("reading", "1, or 0 while events stand still.", _known(is_reading))
    for trip, what in (
        (READING, "events are not read"),
        (PUBLISHING, "events are not published"),
        (COMMANDS, "commands are not carried out"),
    ):
        rows = [((reason,), 1.0) for reason in metrics.stopped.get(trip, [])]
        yield _gauge(f"{trip}_stopped", f"1 for each reason why {what}.", rows, ("reason",))
    yield _counter("gaps", "Gaps that were announced.", ("reason",), _rows(metrics.gaps))
    pending = _known(metrics.backfill_pending)
    yield _gauge("backfill_pending", "Gaps that are still to be filled.", pending)


def _command_families(metrics: MetricsSnapshot) -> Iterator[Metric]:
    yield _counter(
        "commands",
        'Settled commands; the result is "ok" or an error code.',
        ("type", "result"),
        _pair_rows(metrics.commands),
    )
    yield _histogram(
        "command_latency_seconds",
        "Time from a command's delivery to its result.",
        metrics.command_latency,
    )
    yield _counter(
        "results_undeliverable",
        "Results of commands that no queue took in time.",
        (),
        _known(metrics.results_undeliverable),
    )
    yield _gauge(
        "commands_waiting", "Commands that wait in the pump.", _known(metrics.commands_waiting)
    )
    what = "Ends of Slack's questions to consumers, and answers that could not be used."
    yield _counter("answers", what, ("result",), _rows(metrics.answers))
    waiting = _known(metrics.dead_letters_waiting)
    yield _gauge("dead_letters", "Dead letters in their queue.", waiting)


def _link_families(metrics: MetricsSnapshot) -> Iterator[Metric]:
    up = [((link,), float(is_up)) for link, is_up in metrics.links.items()]
    yield _gauge("link_up", "Whether a link is up.", up, ("link",))
    yield _counter(
        "reconnects",
        "New connections after one ended or failed.",
        ("link", "reason"),
        _pair_rows(metrics.reconnects),
    )
    yield _gauge(
        "slack_rtt_seconds",
        "Time from the last ping to Slack's pong.",
        _known(metrics.slack_rtt_seconds),
    )
    yield _gauge(
        "broker_blocked", "Whether the broker blocks publishing.", _known(metrics.broker_blocked)
    )
    if metrics.active is not None:
        yield _gauge("active", "Whether this pump is the active one.", _known(metrics.active))


def _rows(counts: dict[str, int]) -> list[_Row]:
    return [((label,), count) for label, count in counts.items()]


def _pair_rows(pairs: dict[str, dict[str, int]]) -> list[_Row]:
    return [
        ((first, second), count)
        for first, counts in pairs.items()
        for second, count in counts.items()
    ]


def _known(value: float | None) -> list[_Row]:
    """Return no sample for a value that is not known; zero would be wrong."""
    return [] if value is None else [((), float(value))]


def _counter(name: str, help: str, labels: tuple[str, ...], rows: Sequence[_Row]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"rtmpump_{name}", help, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _gauge(name: str, help: str, rows: Sequence[_Row], labels: tuple[str, ...] = ()) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"rtmpump_{name}", help, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _histogram(name: str, help: str, latency: LatencyHistogram) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    buckets = [(bound, float(count)) for bound, count in latency.buckets.items()]
    return HistogramMetricFamily(f"rtmpump_{name}", help, buckets, latency.sum)
