"""Facts about the history of the last 15 minutes, on a clock of the tests' own."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtmpump.http.rate_history import BUCKETS, STEP, TYPES, RateHistory, quantile
from rtmpump.http.status import RecentLatency
from rtmpump.metrics import BOUNDS, OTHER, Metrics

pytestmark = pytest.mark.quick

NOON = 1_700_049_600.0  # 2023-11-15T12:00:00Z


class Time:
    """A history and its clock."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.metrics = Metrics()
        self.history = RateHistory(
            self.metrics.sample, clock=lambda: self.seconds, now=lambda: NOON + self.seconds
        )

    def passes(self, seconds: float = STEP) -> None:
        """Let this time pass, and then tick the history."""
        self.seconds += seconds
        self.history.tick()


def quantiles(latency: RecentLatency) -> tuple[float, float]:
    """Give the two quantiles of a latency that has been measured."""
    assert latency.p50 is not None
    assert latency.p99 is not None
    return latency.p50, latency.p99


@pytest.fixture
def time() -> Time:
    """Give a history that has just begun."""
    return Time()


def test_buckets(time: Time) -> None:
    """Each bucket has the end of its time, how long it was, and what came in it by type."""
    time.metrics.received("message", 3)
    time.passes(10.0)
    time.metrics.received("message", 2)
    time.metrics.received("hello")
    time.passes(12.5)
    assert msgspec.to_builtins(time.history.snapshot()) == {
        "at": ["2023-11-15T12:00:10Z", "2023-11-15T12:00:22Z"],
        "seconds": [10.0, 12.5],
        "received": {"hello": [0, 1], "message": [3, 2]},
    }


def test_a_bucket_has_its_time(time: Time) -> None:
    """Ticks that come earlier change nothing; what came before the start is not counted."""
    time.metrics.received("message")
    history = RateHistory(time.metrics.sample, clock=lambda: time.seconds)
    for _ in range(9):
        time.seconds += 1.0
        history.tick()
    assert msgspec.to_builtins(history.snapshot()) == {"at": [], "seconds": [], "received": {}}
    time.seconds += 1.0
    history.tick()
    assert history.snapshot().received == {}
    assert history.snapshot().seconds == [10.0]


def test_it_is_bounded_in_time(time: Time) -> None:
    """Only the newest buckets are kept."""
    for count in range(2 * BUCKETS):
        time.metrics.received("message", count)
        time.passes()
    history = time.history.snapshot()
    assert history.received == {"message": list(range(BUCKETS, 2 * BUCKETS))}
    assert len(history.at) == len(history.seconds) == BUCKETS


def test_it_is_bounded_in_types(time: Time) -> None:
    """Of many types those with the most events have a name, and no event goes missing."""
    for place in range(300):
        time.metrics.received(f"t{place:03}", place + 1)
    time.metrics.received(OTHER, 5)
    time.passes()
    received = time.history.snapshot().received
    assert list(received) == [f"t{place}" for place in range(300 - TYPES, 300)] + [OTHER]
    assert sum(counts[0] for counts in received.values()) == sum(range(301)) + 5
    assert max(len(bucket.received) for bucket in time.history._buckets) <= 33


def test_order_of_types(time: Time) -> None:
    """Types come by name, so that their colours don't change places with each event."""
    for type in ("b", "c", "a"):
        time.metrics.received(type, ord(type))
    time.passes()
    assert list(time.history.snapshot().received) == ["a", "b", "c"]


def test_recent_latencies(time: Time) -> None:
    """Quantiles are of the last minutes: what was slow before that is forgotten."""
    time.metrics.confirm_latencies([100.0] * 1000)
    time.passes()
    assert quantiles(time.history.recent().confirm_latency)[0] > 60
    for _ in range(40):
        time.metrics.confirm_latency(0.003)
        time.metrics.command_latency(0.2)
        time.passes()
    recent = time.history.recent()
    assert 300 <= recent.seconds <= 310
    assert recent.confirm_latency.count == recent.seconds / STEP
    p50, p99 = quantiles(recent.confirm_latency)
    assert 0.0025 < p50 < p99 <= 0.005
    assert 0.1 < quantiles(recent.command_latency)[0] <= 0.25


def test_recent_without_a_bucket(time: Time) -> None:
    """What happened in the first seconds counts at once."""
    time.metrics.confirm_latency(0.003)
    time.seconds = 2.0
    recent = time.history.recent()
    assert (recent.seconds, recent.confirm_latency.count) == (2.0, 1)
    assert recent.command_latency == RecentLatency(count=0, p50=None, p99=None)


def test_recent_after_a_long_sleep(time: Time) -> None:
    """After a long time without a tick it says how far back its numbers go."""
    time.seconds = 10_000.0
    assert time.history.recent().seconds == 10_000.0


def test_a_reading_that_fails() -> None:
    """It is tried again a step later, and not at each tick; then nothing is missing."""
    metrics, seconds, fails, calls = Metrics(), [0.0], [False], [0]

    def read() -> object:
        calls[0] += 1
        if fails[0]:
            raise ZeroDivisionError
        return metrics.sample()

    history = RateHistory(read, clock=lambda: seconds[0])  # type: ignore[arg-type]
    metrics.received("message", 4)
    fails[0], seconds[0] = True, STEP
    with pytest.raises(ZeroDivisionError):
        history.tick()
    history.tick()
    assert calls[0] == 2
    fails[0], seconds[0] = False, 2 * STEP
    history.tick()
    assert history.snapshot().received == {"message": [4]}


def test_quantile_inside_a_bucket() -> None:
    """A quantile is taken from inside its bucket, as far as its place in it."""
    counts = [0] * (len(BOUNDS) + 1)
    counts[BOUNDS.index(0.1)] = 10
    assert quantile(counts, 0.5) == pytest.approx(0.075)
    counts[-1] = 1000
    assert quantile(counts, 0.5) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 50), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1))
def test_quantiles_of_anything(counts: list[int]) -> None:
    """A quantile lies in the bucket that holds it, and a higher one is no less."""
    p50, p99 = quantile(counts, 0.5), quantile(counts, 0.99)
    if p50 is not None and p99 is not None:
        assert 0 < p50 <= p99 <= BOUNDS[-1]
        below = sum(count for bound, count in zip(BOUNDS, counts, strict=False) if bound < p50)
        upto = [bound for bound in BOUNDS if bound >= p50]
        place = BOUNDS.index(upto[0])
        assert below <= sum(counts) / 2 <= sum(counts[: place + 1])
    elif p50 is None:
        assert sum(counts) == 0 or sum(counts[:-1]) < sum(counts) / 2


def test_json(time: Time) -> None:
    """All of it fits into JSON, and stays small: a client may ask each second or two."""
    for place in range(BUCKETS):
        for type in range(12):
            time.metrics.received(f"a_type_of_some_length_{type}", 1000 + place)
        time.passes(10.2)
    both = time.history.snapshot(), time.history.recent()
    assert len(json.dumps(msgspec.to_builtins(both))) < 12_000
