"""Facts about the document of `/status`: its keys, its schema, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest

from rtmpump.core.standstill import Halt
from rtmpump.http import rate_history
from rtmpump.http.status import (
    BLANK,
    Gaps,
    LastGap,
    LinkChange,
    LinkState,
    encode,
    read,
    schema,
)
from rtmpump.metrics import BOUNDS
from tests.support.http import AT, Service
from tests.support.paths import ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.quick

STATE = ["up", "since", "last_error", "last_error_at", "next_try_at"]
SPOOL = ["events", "bytes", "max_bytes", "percent", "oldest_seconds"]
GAP = ["from", "to", "reason", "filled", "note"]
LATENCY = ["count", "sum", "p50", "p99", "buckets"]
LINKS = ["slack", "broker_events", "broker_commands", "web_api"]
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
    *(f"metrics.spool.{key}" for key in SPOOL),
    "metrics.confirm_latency",
    *(f"metrics.confirm_latency.{key}" for key in LATENCY),
    *("metrics.commands", "metrics.commands.message", "metrics.commands.message.ok"),
    *("metrics.commands_waiting", "metrics.commands_turn"),
    "metrics.command_latency",
    *(f"metrics.command_latency.{key}" for key in LATENCY),
    *("metrics.dead_letters", "metrics.dead_letters.timeout"),
    "metrics.results_undeliverable",
    "metrics.answers",
    "metrics.links",
    *(f"metrics.links.{link}" for link in LINKS),
    *("metrics.reconnects", "metrics.reconnects.slack", "metrics.reconnects.slack.goodbye"),
    *("metrics.slack_rtt_seconds", "metrics.broker_blocked", "metrics.active"),
    *("metrics.spool_refusing", "metrics.stopped", "metrics.stopped.reading", "metrics.gaps"),
    *("metrics.gaps.goodbye", "metrics.backfill_pending", "metrics.dead_letters_waiting"),
    *("recent", "recent.seconds"),
    "recent.confirm_latency",
    *(f"recent.confirm_latency.{key}" for key in ("count", "p50", "p99")),
    "recent.command_latency",
    *(f"recent.command_latency.{key}" for key in ("count", "p50", "p99")),
    "recent.returned",
    *("history", "history.at", "history.seconds", "history.received"),
    "history.received.message",
    *("verdict", "verdict.ready", "verdict.tone"),
    *("verdict.what", "verdict.means", "verdict.fix", "verdict.more"),
    *(f"verdict.more[].{key}" for key in ("level", "reason", "what", "means", "fix", "runbook")),
    "verdict.runbook",
    "full_in_seconds",
    *("slack", "slack.mode", "slack.workspace"),
    *(f"slack.workspace.{key}" for key in ("id", "name", "bot")),
    *("slack.websockets", "slack.websockets_wanted", "slack.gaps", "slack.gaps.number"),
    "slack.gaps.last",
    *(f"slack.gaps.last.{key}" for key in GAP),
    *("slack.gaps.recent", *(f"slack.gaps.recent[].{key}" for key in GAP)),
    "slack.backfill",
    *(f"slack.backfill.{key}" for key in ("on", "pending", "conversations", "messages")),
    "slack.backfill.waits_for",
    *("queues", "queues.queue", "queues.dead_queue", "queues.waits_for_turn"),
]


class Spool:
    """A spool in which two events wait."""

    events = 2
    bytes = 8192
    events_max_bytes = 1 << 20
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


@pytest.mark.real
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
    metrics.gap("goodbye", 0, 1)
    metrics.stopped = lambda: {"reading": ["spool_full"]}
    full, hangs = Halt("spool_full", 0.0), Halt("hangs", 0.0)
    service.halts = {"reading": [full], "commands": [hangs]}
    last = LastGap(since=AT, until=AT, reason="goodbye", filled=True, note="")
    service.slack = msgspec.structs.replace(
        service.slack, gaps=Gaps(number=1, last=last, recent=[last])
    )
    service.changes = [LinkChange(at=AT, link="slack", up=True, why="team T1")]
    try:
        wait_until(lambda: json.loads(service.ask("/status").body)["history"]["received"])
        document = json.loads(service.ask("/status").body)
    finally:
        service.port.stop()
    assert [line for line in outline(document) if ".buckets." not in line] == OUTLINE
    for name in ("confirm_latency", "command_latency"):
        buckets = document["metrics"][name]["buckets"]
        assert list(buckets) == [*map(str, BOUNDS), "+Inf"]


def test_the_schema_in_docs_is_that_of_the_code() -> None:
    """`make schema` writes it."""
    assert (ROOT / "docs/status.schema.json").read_text() == schema()


def test_a_document_is_read_as_it_was_written() -> None:
    """All values arrive."""
    status = msgspec.structs.replace(BLANK, pid=7, links={"slack": LinkState(up=True, since=AT)})
    assert read(json.loads(encode(status))) == status


def test_another_version_is_understood() -> None:
    """A field that is unknown here is ignored; one that is absent has its blank value."""
    slack = {"up": True, "mood": "good"}
    older = {"uptime_seconds": 5, "news": [1], "links": {"slack": slack}, "metrics": {"a": 1}}
    status = read(older)
    assert status.links == {"slack": LinkState(up=True)}
    assert (status.uptime_seconds, status.metrics) == (5.0, BLANK.metrics)


@pytest.mark.parametrize("document", [None, [], {}, {"uptime_seconds": "x"}])
def test_what_is_no_status(document: object) -> None:
    """Any other document is refused."""
    with pytest.raises(msgspec.ValidationError):
        read(document)


def test_half_a_character() -> None:
    """A lone surrogate in an error text, which JSON can carry, fails neither end."""
    change = LinkChange(at=AT, link="slack", up=True, why="\ud83d")
    status = msgspec.structs.replace(BLANK, changes=[change])
    assert read(json.loads(encode(status))) == status
