"""Facts about the list of event types that are known beforehand."""

from __future__ import annotations

import json

from rtmpump.core.app_manifest import SCOPES
from rtmpump.core.event_types import TYPES
from rtmpump.core.routes import clean, route
from tests.support.paths import DATA

# The reference shows these as well; they go to Slack and never come from there.
WE_SEND = ("presence_query", "presence_sub")


def test_the_list_is_slacks_reference_and_what_apps_get() -> None:
    """Every type of Slack's reference, what our manifest brings, what people do, and two more."""
    reference = json.loads((DATA / "rtm_types.json").read_text())["types"]
    subscribed = {event.partition(".")[0] for event in SCOPES}
    of_people = {"interactive", "slash_command"}
    assert set(TYPES) == {*reference, *subscribed, *of_people, "error", "rtmpump"}


def test_no_type_stands_there_twice() -> None:
    """Each type is listed once."""
    assert len(set(TYPES)) == len(TYPES)


def test_each_type_is_its_own_routing_word() -> None:
    """No type has a character that the routing key would lose."""
    assert [clean(type) for type in TYPES] == list(TYPES)


def test_every_documented_example_is_of_a_listed_type() -> None:
    """The examples of Slack's reference go to exchanges that exist from the start."""
    lines = (DATA / "rtm_events.jsonl").read_text().splitlines()
    bodies = [json.dumps(json.loads(line)["event"]).encode() for line in lines]
    found = {
        route(body, seq=1, received_ms=0, team="T1", bot="U1", epoch="e").type for body in bodies
    }
    assert len(found) > 50
    assert found - set(TYPES) <= {"unknown", *WE_SEND}
