"""Facts about the page of `/metrics`; what each counter counts is in tests/test_metrics.py."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from rtmpump.http.exposition import collector, exposition
from rtmpump.metrics import Metrics

pytestmark = pytest.mark.quick

CONTRACT = {
    "events_received_total": "counter",
    "events_confirmed_total": "counter",
    "events_returned_total": "counter",
    "events_nacked_total": "counter",
    "events_dropped_total": "counter",
    "spool_events": "gauge",
    "spool_bytes": "gauge",
    "spool_max_bytes": "gauge",
    "spool_oldest_seconds": "gauge",
    "spool_refusing": "gauge",
    "reading": "gauge",
    "reading_stopped": "gauge",
    "publishing_stopped": "gauge",
    "commands_stopped": "gauge",
    "gaps_total": "counter",
    "backfill_pending": "gauge",
    "confirm_latency_seconds": "histogram",
    "commands_total": "counter",
    "command_latency_seconds": "histogram",
    "commands_waiting": "gauge",
    "results_undeliverable_total": "counter",
    "answers_total": "counter",
    "dead_letters": "gauge",
    "link_up": "gauge",
    "reconnects_total": "counter",
    "slack_rtt_seconds": "gauge",
    "broker_blocked": "gauge",
    "build_info": "gauge",
}


def test_the_page_holds_the_metrics_of_the_contract_and_no_other() -> None:
    """Each has its name and its kind there from the start, even while it has no sample."""
    lines = exposition(Metrics().snapshot).decode().splitlines()
    kinds = [line.split()[2:] for line in lines if line.startswith("# TYPE")]
    assert dict(kinds) == {f"rtmpump_{name}": kind for name, kind in CONTRACT.items()}


def test_the_page_is_valid_for_a_registry() -> None:
    """The collector can be put into a registry of another program, which reads the same."""
    metrics = Metrics()
    metrics.confirmed(2)
    registry = CollectorRegistry()
    registry.register(collector(metrics.snapshot))
    assert registry.get_sample_value("rtmpump_events_confirmed_total") == 2
