"""Facts about the document of `/status`: its keys, in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from rtmpump.http import rate_history
from rtmpump.metrics import BOUNDS
from tests.support.http import AT, Service
from tests.support.pump import wait_until

STATE = ["up", "since", "last_error", "last_error_at"]
LATENCY = ["count", "sum", "p50", "p99", "buckets"]
LINKS = ["slack", "broker_events", "broker_commands"]
OUTLINE = [
    *("version", "now", "pid", "uptime_seconds", "stalled", "role", "wanted"),
    "links",
    *(f"links.{link}{rest}" for link in LINKS for rest in ["", *(f".{key}" for key in STATE)]),
    "changes",
    *(f"changes[].{key}" for key in ("at", "link", "up", "why")),
    "metrics",
    "metrics.version",
    "metrics.events",
    *("metrics.events.received", "metrics.events.received_by_type"),
    "metrics.events.received_by_type.message",
    *(f"metrics.events.{key}" for key in ("confirmed", "returned", "nacked", "dropped")),
    "metrics.events.dropped.ignored",
    "metrics.spool",
    *(f"metrics.spool.{key}" for key in ("events", "bytes", "oldest_seconds")),
    "metrics.confirm_latency",
    *(f"metrics.confirm_latency.{key}" for key in LATENCY),
    *("metrics.commands", "metrics.commands.message", "metrics.commands.message.ok"),
    "metrics.commands_waiting",
    "metrics.command_latency",
    *(f"metrics.command_latency.{key}" for key in LATENCY),
    *("metrics.dead_letters", "metrics.dead_letters.timeout"),
    "metrics.links",
    *(f"metrics.links.{link}" for link in LINKS),
    *("metrics.reconnects", "metrics.reconnects.slack", "metrics.reconnects.slack.goodbye"),
    *("metrics.slack_rtt_seconds", "metrics.broker_blocked", "metrics.active"),
    *("recent", "recent.seconds"),
    "recent.confirm_latency",
    *(f"recent.confirm_latency.{key}" for key in ("count", "p50", "p99")),
    "recent.command_latency",
    *(f"recent.command_latency.{key}" for key in ("count", "p50", "p99")),
    *("history", "history.at", "history.seconds", "history.received"),
    "history.received.message",
]


class Spool:
    """A spool in which two events wait."""

    events = 2
    bytes = 8192
    oldest_received_ms = 1_700_000_000_000


def outline(value: object, path: str = "") -> Iterator[str]:
    """Give the path of each key, in the order of the document."""
    if isinstance(value, list):
        for item in value[:1]:
            yield from outline(item, f"{path}[]")
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = f"{path}.{key}".lstrip(".")
            yield inner
            yield from outline(item, inner)


def test_the_keys_and_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs read this document, so a key neither goes, nor moves, nor changes its name."""
    monkeypatch.setattr(rate_history, "STEP", 0.1)
    service = Service()
    metrics = service.metrics
    metrics.received("message")
    metrics.dropped("ignored")
    metrics.command("message", "ok")
    metrics.dead_letter("timeout")
    metrics.reconnect("slack", "goodbye")
    metrics.spool = Spool
    service.changes = [{"at": AT, "link": "slack", "up": True, "why": "team T1"}]
    try:
        wait_until(lambda: json.loads(service.ask("/status").body)["history"]["received"])
        document = json.loads(service.ask("/status").body)
    finally:
        service.port.stop()
    assert [line for line in outline(document) if ".buckets." not in line] == OUTLINE
    for name in ("confirm_latency", "command_latency"):
        buckets = document["metrics"][name]["buckets"]
        assert list(buckets) == [*map(str, BOUNDS), "+Inf"]
