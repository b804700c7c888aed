"""Facts about the channels that an event is about."""

from __future__ import annotations

import json

import pytest

from rtmpump.core.channel_events import Concerned, changes_channels, concerned


@pytest.mark.parametrize(
    ("channel", "ids", "names"),
    [
        ("C1", {"C1"}, set()),
        ({"id": "C1", "name": "new_name", "created": 1}, {"C1"}, {"new_name"}),
        ({"id": "C1", "name": "Übung", "name_normalized": "übung"}, {"C1"}, {"Übung", "übung"}),
        ({"id": "C1", "name": 7}, {"C1"}, set()),
    ],
)
def test_the_channel_of_an_event(channel: object, ids: set[str], names: set[str]) -> None:
    """Slack gives it whole or by its id alone."""
    event = json.dumps({"type": "channel_rename", "channel": channel}).encode()
    assert concerned(event) == Concerned(frozenset(ids), frozenset(names))


def test_an_event_in_an_envelope() -> None:
    """So it comes in Socket Mode."""
    event = {"type": "channel_archive", "channel": "C1"}
    payload = {"type": "event_callback", "team_id": "T1", "event_id": "Ev1", "event": event}
    frame = {"type": "events_api", "envelope_id": "e", "payload": payload}
    assert concerned(json.dumps(frame).encode()) == Concerned(frozenset({"C1"}), frozenset())


def test_an_id_that_changed() -> None:
    """Both ids are concerned."""
    event = b'{"type": "channel_id_changed", "old_channel_id": "G1", "new_channel_id": "C1"}'
    assert concerned(event) == Concerned(frozenset({"G1", "C1"}), frozenset())


@pytest.mark.parametrize(
    "event",
    [
        b'{"type": "channel_joined", "channel": {}}',
        b'{"type": "channel_rename", "channel": {"name": "x"}}',
        b'{"type": "channel_rename", "channel": ["C1"]}',
        b'{"type": "channel_rename", "channel": ""}',
        b'{"type": "channel_rename"}',
        b"\xff",
        b"7",
        b"[" * 100_000,
    ],
)
def test_an_event_that_names_no_channel_may_be_about_any(event: bytes) -> None:
    """Also one that can't be read."""
    assert concerned(event) is None


def test_which_types_change_a_name() -> None:
    """Not those that say what a person has read."""
    types = ["channel_rename", "channel_created", "group_deleted", "channel_id_changed"]
    assert all(map(changes_channels, types))
    others = ["channel_marked", "group_marked", "channel_history_changed", "message", "im_open"]
    assert not any(map(changes_channels, others))
