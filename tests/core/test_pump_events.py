"""The pump's own events."""

from __future__ import annotations

import json

from rtmpump.core import pump_events
from rtmpump.core.frames import Event, parse
from rtmpump.core.routes import route


def test_they_are_events_of_type_rtmpump() -> None:
    """Each is read like any event, with the kind as its subtype."""
    made = [
        pump_events.connected(team="T1", bot="U1", connection=3),
        pump_events.disconnected("eof", "cut"),
        pump_events.gap(from_ms=0, to_ms=1, reason="eof"),
        pump_events.backfilled(from_ms=0, to_ms=1, channels=2, messages=3, failed=[]),
    ]
    kinds = ["connected", "disconnected", "gap", "backfilled"]
    assert [parse(body) for body in made] == [Event("rtmpump", kind) for kind in kinds]


def test_fields() -> None:
    """What happened stands in them, as the contract names it."""
    connected = json.loads(pump_events.connected(team="T1", bot="U1", connection=3))
    assert connected | {"team": "T1", "bot": "U1", "connection": "3"} == connected
    assert json.loads(pump_events.disconnected("eof", "cüt"))["detail"] == "cüt"
    gap = json.loads(
        pump_events.gap(from_ms=1_700_000_000_123, to_ms=1_700_000_001_000, reason="eof")
    )
    assert gap["from"] == "2023-11-14T22:13:20.123Z"
    assert gap["to"] == "2023-11-14T22:13:21.000Z"
    assert gap["reason"] == "eof"


def test_what_was_filled_tells_a_bounded_list_of_failures() -> None:
    """Two hundred by name, all by number."""
    failed = [("im", "missing_scope"), *((f"C{n}", "not_in_channel") for n in range(300))]
    body = pump_events.backfilled(from_ms=0, to_ms=1, channels=2, messages=3, failed=failed)
    filled = json.loads(body)
    assert filled["failed"][0] == {"conversations": "im", "reason": "missing_scope"}
    assert (len(filled["failed"]), filled["failed_count"]) == (200, 301)
    assert (filled["channels"], filled["messages"]) == (2, 3)


def test_their_ids_come_from_epoch_and_seq() -> None:
    """Two that are equal byte by byte are two events, so their message ids differ."""
    body = pump_events.disconnected("eof", "cut")
    ids = {
        route(body, seq=seq, received_ms=1, team="T1", bot="U1", epoch="e").message_id
        for seq in (1, 2)
    }
    assert ids == {"s:e:1", "s:e:2"}


def test_times_have_milliseconds() -> None:
    """A time is UTC with exactly three digits, however round it is."""
    assert pump_events.rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert pump_events.rfc3339(1_700_000_000_005) == "2023-11-14T22:13:20.005Z"
