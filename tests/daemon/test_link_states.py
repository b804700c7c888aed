"""What is known of the links, and what of it is logged."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from rtmpump.daemon.link_states import LinkStates
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.metrics import Metrics

pytestmark = pytest.mark.quick


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    """Give the lines so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failure(attempt: int, reason: str = "refused") -> RetryDetails:
    """Give the failure of a broker that can't be reached."""
    return RetryDetails("broker_events", reason, "127.0.0.1:5672", attempt, 0.5)


def test_one_line_for_each_change(log_lines: io.StringIO) -> None:
    """Up, down and up again are three lines, in the words of what happened."""
    links = LinkStates(Metrics())
    links.up("slack", "team T1")
    links.down(RetryDetails("slack", "goodbye", "Slack said goodbye", 1, 0.0))
    links.up("slack", "team T1")
    events = [line["event"] for line in read(log_lines)]
    assert events == ["slack.connected", "slack.disconnected", "slack.connected"]


def test_tries_that_fail_alike(log_lines: io.StringIO) -> None:
    """Tries that fail in the same way are one line; another reason is news."""
    links = LinkStates(Metrics())
    for attempt in range(1, 20):
        links.down(failure(attempt))
    links.down(failure(20, "auth"))
    logged = [(line["event"], line["reason"], line["attempt"]) for line in read(log_lines)]
    unreachable = "broker_events.unreachable"
    assert logged == [(unreachable, "refused", 1), (unreachable, "auth", 20)]


def test_states() -> None:
    """The snapshot has each link, since when it is so, the last error, and changes in order."""
    links = LinkStates(Metrics())
    links.down(failure(1))
    links.down(failure(2))
    links.up("broker_events", "127.0.0.1:5672")
    assert links.is_up("broker_events")
    assert not links.is_up("slack")
    snapshot = links.snapshot()
    state = snapshot.states["broker_events"]
    assert (state.up, state.last_error) == (True, "refused: 127.0.0.1:5672")
    assert state.since.endswith("Z")
    assert state.last_error_at.endswith("Z")
    assert snapshot.changes[0].at <= state.last_error_at <= state.since
    assert [(change.link, change.up) for change in snapshot.changes] == [
        ("broker_events", False),
        ("broker_events", True),
    ]


def test_a_link_that_rests() -> None:
    """Ended on purpose: down without an error or a new try, and recorded once."""
    metrics = Metrics()
    links = LinkStates(metrics)
    links.up("slack", "team T1")
    for _ in range(2):
        links.rest("slack")
    snapshot = links.snapshot()
    assert snapshot.states["slack"].up is False
    assert snapshot.states["slack"].last_error == ""
    assert [(change.up, change.why) for change in snapshot.changes] == [
        (True, "team T1"),
        (False, "standby"),
    ]
    assert metrics.snapshot().reconnects == {}


def test_the_role_is_told() -> None:
    """A pump without an election is the active one."""
    links = LinkStates(Metrics())
    assert links.snapshot().role == "active"
    assert links.snapshot().wanted == ["slack", "broker_events", "broker_commands", "web_api"]
    links.role = "standby"
    assert links.snapshot().role == "standby"
    assert links.snapshot().wanted == ["broker_events", "broker_lock"]


def test_each_try_is_counted() -> None:
    """Every new try counts, logged or not."""
    metrics = Metrics()
    links = LinkStates(metrics)
    for attempt in range(1, 4):
        links.down(failure(attempt))
    assert metrics.snapshot().reconnects == {"broker_events": {"refused": 3}}


def test_changes_are_bounded() -> None:
    """A link that flaps for ever takes no more and more memory."""
    links = LinkStates(Metrics())
    for _ in range(500):
        links.up("slack", "team T1")
        links.down(RetryDetails("slack", "eof", "cut", 1, 0.0))
    assert len(links.snapshot().changes) == 50
