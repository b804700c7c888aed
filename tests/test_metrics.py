"""Facts about the counters, read as Prometheus reads them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from rtmpump.errors import SpoolFailed
from rtmpump.http.exposition import exposition
from rtmpump.metrics import BOUNDS, LINKS, Metrics

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW = 1_700_000_000.0


def page(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Give each sample of the page: its name without prefix and its labels as `key=value`."""
    families = text_string_to_metric_families(exposition(metrics.snapshot).decode())
    return {
        (
            sample.name.removeprefix("rtmpump_"),
            *(f"{key}={value}" for key, value in sorted(sample.labels.items())),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def labels(metrics: Metrics, name: str) -> set[tuple[str, ...]]:
    """Give the label values of one metric."""
    return {key[1:] for key in page(metrics) if key[0] == name}


def measure(oldest: int | None) -> SimpleNamespace:
    """Give what a spool with two events says."""
    return SimpleNamespace(
        events=2, bytes=8192, events_max_bytes=1 << 20, oldest_received_ms=oldest
    )


def test_what_was_counted_is_on_the_page() -> None:
    """Each call shows up at the metric that the contract names."""
    metrics = Metrics()
    metrics.received("message")
    metrics.received("message", 4)
    metrics.confirmed(3)
    metrics.returned(2)
    metrics.nacked(1)
    metrics.dropped("ignored", 7)
    metrics.command("message", "ok")
    metrics.command("message", "timeout")
    metrics.reconnect("slack", "goodbye")
    metrics.link("slack", True)
    metrics.slack_rtt(0.25)
    metrics.blocked(True)
    found = page(metrics)
    expected = {
        ("events_received_total", "type=message"): 5,
        ("events_confirmed_total",): 3,
        ("events_returned_total",): 2,
        ("events_nacked_total",): 1,
        ("events_dropped_total", "reason=ignored"): 7,
        ("commands_total", "result=ok", "type=message"): 1,
        ("commands_total", "result=timeout", "type=message"): 1,
        ("reconnects_total", "link=slack", "reason=goodbye"): 1,
        ("link_up", "link=slack"): 1,
        ("slack_rtt_seconds",): 0.25,
        ("broker_blocked",): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert labels(metrics, "link_up") == {(f"link={link}",) for link in LINKS}


def test_a_thing_not_yet_known_has_no_sample() -> None:
    """A gauge without a known value is left out; zero would be wrong."""
    names = {key[0] for key in page(Metrics())}
    assert not names & {"spool_events", "commands_waiting", "slack_rtt_seconds"}


def test_the_spool_is_asked_at_each_reading() -> None:
    """Its gauges are those of the moment, and so is the age of its oldest event."""
    clock = iter([NOW, NOW + 60])
    metrics = Metrics(now=lambda: next(clock))
    metrics.spool = lambda: measure(int((NOW - 1.5) * 1000))
    metrics.commands_waiting = lambda: 9
    found = page(metrics)
    assert [found[(f"spool_{name}",)] for name in ("events", "bytes", "oldest_seconds")] == [
        2,
        8192,
        1.5,
    ]
    assert found[("commands_waiting",)] == 9
    spool = metrics.snapshot().spool
    assert spool is not None
    assert spool.oldest_seconds == 61.5


@pytest.mark.parametrize("oldest", [None, int(NOW * 1000) + 5000])
def test_an_age_is_never_below_zero(oldest: int | None) -> None:
    """An empty spool, or a clock that was set back, gives zero."""
    metrics = Metrics(now=lambda: NOW)
    metrics.spool = lambda: measure(oldest)
    assert page(metrics)[("spool_oldest_seconds",)] == 0


def test_a_spool_that_cannot_answer_takes_only_its_own_gauges_away() -> None:
    """The page is there when it is needed most."""

    def broken() -> SimpleNamespace:
        raise SpoolFailed("spool.db", "I/O error")

    metrics = Metrics()
    metrics.spool = broken
    metrics.confirmed(1)
    assert page(metrics)[("events_confirmed_total",)] == 1
    assert labels(metrics, "spool_events") == set()
    assert metrics.snapshot().spool is None


def test_types_past_512_count_as_other() -> None:
    """The known ones go on to be counted by name, and none is lost from the sum."""
    metrics = Metrics()
    for number in range(600):
        metrics.received(f"type{number}")
    metrics.received("type511")
    found = page(metrics)
    assert len(labels(metrics, "events_received_total")) == 513
    assert found[("events_received_total", "type=type511")] == 2
    assert found[("events_received_total", "type=other")] == 88
    assert metrics.snapshot().events.received == 601


def test_reasons_past_64_count_as_other() -> None:
    """The same holds for the reasons of each link, for drops, and for results of commands."""
    metrics = Metrics()
    for number in range(100):
        metrics.reconnect("slack", f"r{number}")
        metrics.dropped(f"r{number}")
        metrics.command("message", f"r{number}")
        metrics.command(f"t{number}", "ok")
        metrics.reconnect("broker_events", "reset")
    found = page(metrics)
    assert found[("reconnects_total", "link=slack", "reason=other")] == 36
    assert found[("reconnects_total", "link=broker_events", "reason=reset")] == 100
    assert found[("events_dropped_total", "reason=other")] == 36
    assert found[("commands_total", "result=other", "type=message")] == 36
    assert found[("commands_total", "result=ok", "type=other")] == 37


@patient
@example(["\ud800", "\ud800", 'a"\n\\', ""])
@given(st.lists(st.text(st.characters(exclude_categories=())), max_size=20))
def test_no_label_from_outside_breaks_the_page(words: list[str]) -> None:
    """Quotes, line ends, lone surrogates and nothing at all: it is valid UTF-8 and adds up."""
    metrics = Metrics()
    for word in words:
        metrics.received(word)
        metrics.command(word, word)
        metrics.reconnect(word, word)
    found = page(metrics)
    total = sum(value for key, value in found.items() if key[0] == "events_received_total")
    assert total == len(words)
    json.dumps(msgspec.to_builtins(metrics.snapshot())).encode()


def test_a_label_is_cut() -> None:
    """A type of a megabyte does not stay in memory."""
    metrics = Metrics()
    metrics.received("x" * 2**20)
    metrics.received("x" * 2**20)
    assert metrics.snapshot().events.received_by_type == {"x" * 100: 2}


def test_an_event_without_a_type_counts_as_unknown() -> None:
    """It has the name that its routing key has."""
    metrics = Metrics()
    metrics.received("")
    assert labels(metrics, "events_received_total") == {("type=unknown",)}


@patient
@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_buckets_hold_all_that_is_not_above_them(many: list[float]) -> None:
    """The histogram says the same as a count by hand, one by one or all at once."""
    metrics, at_once = Metrics(), Metrics()
    for seconds in many:
        metrics.confirm_latency(seconds)
    at_once.confirm_latencies(many)
    found = page(metrics)
    for bound in (*BOUNDS, math.inf):
        name = "+Inf" if bound == math.inf else str(bound)
        expected = sum(seconds <= bound for seconds in many)
        assert found[("confirm_latency_seconds_bucket", f"le={name}")] == expected
    assert found[("confirm_latency_seconds_count",)] == len(many)
    assert found[("confirm_latency_seconds_sum",)] == pytest.approx(sum(many))
    assert page(at_once) == found


def test_a_clock_set_back_does_not_make_a_sum_fall() -> None:
    """A time below zero counts as zero."""
    metrics = Metrics()
    metrics.confirm_latency(-5)
    metrics.confirm_latencies([-5, 2])
    metrics.command_latency(-5)
    found = page(metrics)
    assert found[("confirm_latency_seconds_sum",)] == 2
    assert found[("confirm_latency_seconds_bucket", "le=0.001")] == 2
    assert found[("command_latency_seconds_sum",)] == 0


def test_a_backlog_of_an_hour_can_be_told_from_one_of_half_an_hour() -> None:
    """The buckets go from a millisecond to an hour."""
    metrics = Metrics()
    metrics.confirm_latencies([1700.0, 3500.0])
    found = page(metrics)
    assert found[("confirm_latency_seconds_bucket", "le=1800.0")] == 1
    assert found[("confirm_latency_seconds_bucket", "le=3600.0")] == 2
    assert (BOUNDS[0], BOUNDS[-1]) == (0.001, 3600.0)


def test_quantiles_are_the_bounds_of_their_buckets() -> None:
    """Without any time, or past the last bound, they are unknown."""
    metrics = Metrics()
    assert metrics.snapshot().confirm_latency.p50 is None
    metrics.confirm_latencies([0.003] * 98 + [0.2] + [9999.0])
    latency = metrics.snapshot().confirm_latency
    assert (latency.count, latency.p50, latency.p99) == (100, 0.005, 0.25)
    metrics.confirm_latencies([9999.0] * 900)
    assert metrics.snapshot().confirm_latency.p99 is None


def test_the_snapshot_is_plain_and_a_copy() -> None:
    """JSON holds it, and what is counted later does not change it."""
    metrics = Metrics()
    metrics.command("message", "ok")
    metrics.received("hello")
    taken = metrics.snapshot()
    before = json.loads(json.dumps(msgspec.to_builtins(taken)))
    metrics.command("message", "ok")
    metrics.received("hello")
    metrics.link("slack", True)
    assert msgspec.to_builtins(taken) == before
    assert before["commands"] == {"message": {"ok": 1}}


def test_reading_while_others_count_never_fails_and_nothing_is_lost() -> None:
    """New labels come up in the midst of it; each reading is whole, the last one complete."""
    metrics = Metrics()

    def count(link: str) -> None:
        for number in range(3000):
            metrics.reconnect(link, f"r{number % 70}")
            if link == "slack":
                metrics.received(f"t{number}")

    threads = [threading.Thread(target=count, args=(link,)) for link in LINKS]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        exposition(metrics.snapshot)
        metrics.snapshot()
    taken = metrics.snapshot()
    assert taken.events.received == 3000
    assert {link: sum(taken.reconnects[link].values()) for link in LINKS} == dict.fromkeys(
        LINKS, 3000
    )


@pytest.mark.real
def test_counting_needs_no_prometheus_client() -> None:
    """The pump, its log line at the stop and /status run without it being loaded."""
    program = (
        "import sys, rtmpump.http.server; from rtmpump.metrics import Metrics;"
        "m = Metrics(); m.received('x');"
        "m.snapshot(); sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_sample_asks_nobody() -> None:
    """What a history needs can be had while the spool can't be asked, and is a copy."""

    def hangs() -> SimpleNamespace:
        raise AssertionError("the spool was asked")

    metrics = Metrics()
    metrics.spool = hangs
    metrics.received("message", 2)
    metrics.confirm_latencies([0.001, 5000.0])
    sample = metrics.sample()
    metrics.received("message")
    assert sample.received == {"message": 2}
    assert (sample.confirm_latency[0], sample.confirm_latency[-1]) == (1, 1)
    assert len(sample.confirm_latency) == len(sample.command_latency) == len(BOUNDS) + 1


def test_dead_letters() -> None:
    """Dead letters are counted by their error code."""
    metrics = Metrics()
    for code in ("too_long", "timeout", "too_long"):
        metrics.dead_letter(code)
    assert metrics.snapshot().dead_letters == {"too_long": 2, "timeout": 1}
