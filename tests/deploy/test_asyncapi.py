"""Facts that deploy/asyncapi.yaml tells, held against the code that names and checks messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rtmpump import config
from rtmpump.core import pump_events
from rtmpump.core.event_types import TYPES
from rtmpump.core.outbound import command_parsing, commands, outcome, post_arguments
from rtmpump.core.outbound.commands import composed
from rtmpump.core.routes import Route, route
from rtmpump.errors import CommandRejected
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.event_properties import event_properties
from tests.support.asyncapi import load
from tests.support.paths import DATA

pytestmark = pytest.mark.quick

DOCUMENT = load()
EVENTS = DATA / "rtm_events.jsonl"
# A busy machine is slow; that is no fact about the document.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
OWN = {
    "connected": pump_events.connected(team="T1", bot="U1", connection=3),
    "disconnected": pump_events.disconnected("silent", "nothing came for 25 s"),
    "gap": pump_events.gap(from_ms=1, to_ms=1_800_000_000_000, reason="silent"),
    "backfilled": pump_events.backfilled(
        from_ms=1, to_ms=2, channels=3, messages=4, failed=[("im", "missing_scope")]
    ),
}
CODES = ["invalid_command", "channel_not_found", "too_long", "timeout", "uncertain", "max_attempts"]


def routed(body: bytes, source: str = "") -> Route:
    """The names of an event as the publisher gets them."""
    facts = {"team": "T1", "bot": "U1", "epoch": "e0f1", "source": source}
    return route(body, seq=7, received_ms=1_700_000_000_123, **facts)


def route_problems(name: Route) -> list[str]:
    """What the document says against them."""
    given = {
        "content_type": event_properties(name).content_type,
        "delivery_mode": 2,
        "type": name.routing_key,
        "message_id": name.message_id,
        "timestamp": name.timestamp,
        "app_id": "rtmpump",
    }
    return DOCUMENT.problems("components/schemas/EventHeaders", name.headers) + DOCUMENT.problems(
        "components/schemas/EventProperties", given
    )


def fields(schema: str) -> set[str]:
    """The fields that a schema tells of."""
    return set(DOCUMENT.at(f"components/schemas/{schema}/properties"))


def bindings(kind: str) -> dict[str, dict[str, Any]]:
    """The exchanges, or the queues, of all channels by name."""
    found = (channel.get("bindings", {}).get("amqp", {}) for channel in DOCUMENT.channels())
    return {amqp[kind]["name"]: amqp for amqp in found if kind in amqp}


# The topology.


def test_it_tells_of_all_that_the_pump_declares_and_of_nothing_else() -> None:
    """Exchanges and queues, with their kinds and arguments."""
    default = config.load(None, {"SLACK_API_TOKEN": "xoxb-1"})
    items = [*topology.events(default.events), *topology.outbound(default.outbound)]
    of_types = {f"rtm.{type}" for type in TYPES}
    exchanges = {
        item.name: (item.kind, dict(item.arguments))
        for item in items
        if isinstance(item, topology.Exchange) and item.name not in of_types
    }
    queues = {item.name: dict(item.arguments) for item in items if isinstance(item, topology.Queue)}
    told = {
        name: (amqp["exchange"]["type"], amqp["x-arguments"])
        for name, amqp in bindings("exchange").items()
    }
    assert told.pop("rtm.{type}") == ("topic", {})
    assert told == exchanges
    assert {name: amqp["x-arguments"] for name, amqp in bindings("queue").items()} == queues


def test_all_of_it_is_durable() -> None:
    """And neither auto-delete nor exclusive."""
    for kind in ("exchange", "queue"):
        for amqp in bindings(kind).values():
            assert amqp[kind]["durable"] is True
            assert amqp[kind]["autoDelete"] is False
            assert amqp[kind].get("exclusive", False) is False


def test_it_lists_the_types_whose_exchanges_are_there_from_the_start() -> None:
    """All of them, in the same order."""
    assert DOCUMENT.at("components/parameters/type")["examples"] == list(TYPES)


# Events.


def documented() -> list[Any]:
    """Slack's own examples of its events."""
    entries = [json.loads(line) for line in EVENTS.read_text().splitlines()]
    return [pytest.param(entry["event"], id=entry["name"]) for entry in entries]


@pytest.mark.parametrize("event", documented())
def test_every_documented_event_is_told(event: dict[str, Any]) -> None:
    """Its body, its headers and its properties."""
    assert route_problems(routed(json.dumps(event).encode())) == []
    assert ("event" in DOCUMENT.taken_as("events", event)) == bool(event.get("type"))


@pytest.mark.parametrize("name", OWN)
def test_the_pump_s_own_events_are_told_field_by_field(name: str) -> None:
    """Each is one message of its own; no field is missing in the document, or invented."""
    event = json.loads(OWN[name])
    messages = DOCUMENT.taken_as("eventsOfTypeAndSubtype", event)
    assert messages == ["event", name]
    assert set(event) == fields(name.capitalize())
    assert routed(OWN[name]).routing_key == f"rtmpump.{name}"
    assert route_problems(routed(OWN[name])) == []


def test_no_header_of_an_event_is_untold() -> None:
    """Socket Mode and what was fetched have all the headers that the document tells of."""
    event = b'{"type":"message","channel":"C1","user":"U1","ts":"1.000001"}'
    facts = b'"event_id":"Ev1","event_time":17,"team_id":"T2"'
    payload = b'{"event":' + event + b"," + facts + b"}"
    again = b'"retry_attempt":1,"retry_reason":"timeout"'
    frame = b'{"envelope_id":"e","type":"events_api",' + again + b',"payload":' + payload + b"}"
    full = routed(frame, source="socket")
    fetched = routed(event, "backfill")
    large = routed(frame.replace(b"T2", b"T" * 10_000), source="socket")
    of_socket_mode = {"event_id", "event_time", "team_id", "retry_attempt", "retry_reason"}
    of_socket_mode |= {"payload", "payload_left_out", "answer_by"}
    elsewhere = {"backfill", "payload_left_out", "answer_by"}
    assert set(full.headers) == fields("EventHeaders") - elsewhere
    assert "payload_left_out" in large.headers
    assert route_problems(large) == []
    assert set(fetched.headers) == fields("EventHeaders") - of_socket_mode
    assert route_problems(full) == route_problems(fetched) == []
    assert set(routed(event).headers) == fields("EventHeaders") - {*of_socket_mode, "backfill"}


def test_what_people_do_over_socket_mode_is_told() -> None:
    """A slash command and a button have names that the document allows."""
    for kind, key in (("slash_commands", "slash_command"), ("interactive", "interactive.x")):
        frame = b'{"envelope_id":"5f-1","type":"%s","payload":{"type":"x"}}' % kind.encode()
        named = routed(frame, source="socket")
        assert named.routing_key == key
        assert named.message_id == "v:T1:5f-1"
        assert route_problems(named) == []


values: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=300), st.just([])
)
names = st.sampled_from(
    ["type", "subtype", "channel", "user", "ts", "event_ts", "hidden", "reply_to", "text"]
)


@patient
@given(st.dictionaries(names, values))
@example({"type": "message\n", "ts": "1.1\n", "channel": "C1\n"})
@example({"type": "message", "ts": "1.1", "channel": "ö" * 200})
@example({"type": "x" * 300, "subtype": "y" * 300})
def test_whatever_slack_sends_its_names_are_as_told(event: dict[str, Any]) -> None:
    """And the document calls it unusable exactly where its key is `unknown`."""
    name = routed(json.dumps(event).encode())
    assert route_problems(name) == []
    if event.get("type") != "unknown":
        usable = "event" in DOCUMENT.taken_as("events", event)
        assert usable == (name.routing_key != "unknown")


@patient
@given(st.binary(max_size=50))
def test_a_body_that_is_no_json_has_names_as_told(body: bytes) -> None:
    """It is published too."""
    assert route_problems(routed(body)) == []


# Commands.

NAMES = [
    "general",
    "#general",
    "#",
    "",
    "##",
    "a" * 80,
    "#" * 82,
    "General",
    "@alice",
    "#@a",
    "a b",
]
IDS = ["C024BE91L", "#C024BE91L", "GENERAL", "CHANGELOG", "U024BE91L", "C" * 81, "D1", "CD", "C1\n"]
MENTIONS = [
    "<#C1|x>",
    "<#C1>",
    "<#C1",
    "<#U1>",
    "<#GENERAL>",
    "<#C1|<>",
    f"<#C{'1' * 80}>",
    "<@U1>",
]
channels = st.sampled_from([*NAMES, *IDS, *MENTIONS])
THREADS = ["1355517523.000005", "1.000005", "1355517523", "1355517523.000005\n"]
threads = st.sampled_from([None, *THREADS, "1" * 12 + ".000001"])
ids = st.lists(st.sampled_from(["U1", "", "U2", 7]), max_size=3)
texts = st.one_of(st.text(max_size=10), st.sampled_from(["x" * 4000, "x" * 4001, "\0" * 4000]))
good = {
    "type": st.sampled_from(["message", "typing", "presence_sub", "presence_query", "api"]),
    "channel": st.one_of(channels, st.text(max_size=90).map(composed)),
    "text": texts,
    "thread_ts": threads,
    "reply_broadcast": st.sampled_from([None, True, False]),
    "method": st.sampled_from(["reactions.add", "a.b.c", "a", "", ".a", "a.b\n", "ä.b", "a" * 81]),
    "arguments": st.none()
    | st.dictionaries(
        st.sampled_from(["channel", "x_1", "token", "ToKen", "tokens", "", "ö", "a b", "a" * 81]),
        st.one_of(st.none(), st.booleans(), st.text(), st.lists(st.integers()), st.just({"a": 1})),
        max_size=3,
    ),
    "ids": st.one_of(ids, st.integers(499, 501).map(lambda count: ["U1"] * count)),
}
odd: st.SearchStrategy[Any] = st.one_of(values, st.just({}), st.just("massage"))
near = st.fixed_dictionaries(
    {}, optional={name: st.one_of(value, value, value, odd) for name, value in good.items()}
)
other = st.fixed_dictionaries({}, optional={"txt": st.just(1)})


def shaped(type: str | None, wanted: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Commands with just the fields that a type takes; their values may be wrong."""
    given = {name: good[name] for name in wanted}
    kind: dict[str, st.SearchStrategy[Any]] = {"type": st.just(type)} if type else {}
    needed = {
        name: given.pop(name) for name in ("channel", "text", "ids", "method") if name in given
    }
    return st.fixed_dictionaries(kind | needed, optional=given)


candidates = st.one_of(
    shaped(None, ["channel", "text", "thread_ts", "reply_broadcast"]),
    shaped("message", ["channel", "text", "thread_ts", "reply_broadcast"]),
    shaped("typing", ["channel", "thread_ts"]),
    shaped("presence_sub", ["ids"]),
    shaped("presence_query", ["ids"]),
    shaped("api", ["method", "arguments"]),
    near,
    st.tuples(near, other).map(lambda pair: pair[0] | pair[1]),
    values,
)


def rejection(body: bytes) -> CommandRejected | None:
    """Why the pump refuses a command; None if it takes it."""
    try:
        command_parsing.parse(body)
    except CommandRejected as rejected:
        return rejected
    return None


@patient
@given(candidates)
@example({"channel": "general", "text": "x", "thread_ts": "1355517523.000005\n"})
@example({"channel": "general", "text": "x", "thread_ts": "1" * 12 + ".000001"})
@example({"channel": "#" + "x" * 80, "text": "x" * 4000})
@example({"channel": "x" * 81, "text": "x"})
@example({"channel": "general", "text": "\0" * 4000})
@example({"channel": "general", "text": "x", "reply_broadcast": True})
@example({"channel": "general", "text": "x", "reply_broadcast": True, "thread_ts": None})
@example({"channel": "general", "text": "x", "reply_broadcast": None, "type": None})
@example({"channel": "general", "text": None})
@example({"type": "api", "method": "a.b", "arguments": None})
@example({"type": "presence_query", "ids": ["U1"] * 501})
@example({"type": "presence_sub", "ids": ["U1"] * 501})
@example({"type": "presence_sub", "ids": ["U1"] * 5010})
def test_a_command_is_taken_exactly_where_the_document_takes_it(candidate: Any) -> None:
    """But for the size of the frame in bytes, which no schema can tell."""
    told = DOCUMENT.taken_as("commands", candidate)
    refused = rejection(json.dumps(candidate).encode())
    if not told:
        assert refused is not None
    elif refused is not None:
        assert (refused.code, "makes a frame of" in refused.message) == ("too_long", True)
    assert len(told) <= 1, "it could be either"


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("MessageCommand", commands.Message),
        ("TypingCommand", commands.Typing),
        ("PresenceSubCommand", commands.PresenceSub),
        ("PresenceQueryCommand", commands.PresenceQuery),
        ("ApiCommand", commands.Api),
    ],
)
def test_each_command_has_the_fields_that_are_told(name: str, made: Any) -> None:
    """And its type is the one that is told."""
    others = post_arguments.POST_ARGUMENTS if made is commands.Message else ()
    assert fields(name) == {"type", *made.__struct_fields__, *others} - {"more"}
    told = DOCUMENT.at(f"components/schemas/{name}/properties/type")
    # Without a type, or with null for it, a command is a message.
    assert (told.get("enum") or [told["const"]])[0] == made.kind


flags = st.none() | st.booleans()
socket_only: dict[str, st.SearchStrategy[Any]] = {
    "blocks": st.sampled_from(
        [None, [], [{"type": "x"}], [{"type": ""}], [{}], [{"type": "x"}] * 51]
    ),
    "attachments": st.sampled_from([None, [], [{}], [1], [{}] * 100, [{}] * 101]),
    "markdown_text": st.sampled_from([None, "", "# x", "x" * 12_000, "x" * 12_001]),
    "metadata": st.sampled_from([None, {}, {"event_type": "x", "event_payload": {}}, []]),
    "parse": st.sampled_from([None, "none", "full", "client", ""]),
    **dict.fromkeys(("mrkdwn", "link_names", "unfurl_links", "unfurl_media", "as_user"), flags),
    **dict.fromkeys(("username", "icon_emoji", "icon_url"), st.sampled_from([None, "", ":x:"])),
}


@patient
@given(
    st.fixed_dictionaries(
        {"channel": st.just("general")},
        optional={"text": st.sampled_from([None, "x"]), "type": st.just("message")}
        | {name: value | odd for name, value in socket_only.items()},
    )
)
@example({"channel": "general", "markdown_text": "x", "text": "x"})
@example({"channel": "general", "markdown_text": "x", "blocks": [{"type": "x"}]})
@example({"channel": "general", "markdown_text": "x", "attachments": [{}], "text": None})
@example({"channel": "general", "markdown_text": None, "text": "x", "mrkdwn": 1})
def test_a_message_of_socket_mode_is_taken_exactly_where_the_document_takes_it(
    candidate: dict[str, Any],
) -> None:
    """With all that chat.postMessage documents; and none of it is dropped on the way."""
    told = DOCUMENT.problems("components/schemas/MessageCommand", candidate)
    try:
        command = command_parsing.parse(json.dumps(candidate).encode(), socket_mode=True)
    except CommandRejected:
        assert told
        return
    assert not told
    assert isinstance(command, commands.Message)
    sent = commands.post(command, "C1").arguments
    assert {name for name, value in candidate.items() if value is not None} <= {"type", *sent}


# Results and dead letters.

codes = st.one_of(st.sampled_from(CODES), st.text(min_size=1).map("slack_{}".format))
attempts = st.integers(0, 100)


@patient
@given(st.none() | st.text(), st.none() | st.text(), attempts, st.booleans())
def test_the_result_of_success_is_as_told(
    channel: str | None, ts: str | None, attempts: int, uncertain: bool
) -> None:
    """It is taken for nothing else, and has no field that is not told."""
    result = json.loads(outcome.ok_result(channel, ts, attempts, uncertain))
    assert DOCUMENT.taken_as("results", result) == ["done"]
    assert set(result) <= fields("Done")


@patient
@given(
    st.dictionaries(st.text(max_size=5), values),
    st.none() | st.text(),
    st.none() | st.text(),
    attempts,
    st.booleans(),
)
@example({"ok": True, "messages": "x" * 70_000}, None, None, 1, False)
def test_the_result_of_a_call_is_as_told(
    response: dict[str, Any], channel: str | None, ts: str | None, attempts: int, uncertain: bool
) -> None:
    """It is taken for nothing else, and has no field that is not told."""
    result = json.loads(
        outcome.ok_result(channel, ts, attempts, uncertain, outcome.bounded(response))
    )
    assert DOCUMENT.taken_as("results", result) == ["answered"]
    assert set(result) <= fields("Answered")


@patient
@given(codes, st.text(), attempts, st.booleans())
@example("slack_\n", "", 1, False)
def test_the_result_of_failure_is_as_told(
    code: str, message: str, attempts: int, uncertain: bool
) -> None:
    """It is taken for nothing else, and has no field that is not told."""
    result = json.loads(outcome.error_result(code, message, attempts, uncertain))
    assert DOCUMENT.taken_as("results", result) == ["failed"]
    assert set(result) == fields("Failed")
    assert set(result["error"]) == set(
        DOCUMENT.at("components/schemas/Failed/properties/error")["properties"]
    )


@patient
@given(codes, st.text(), attempts, st.integers(0, 4_000_000_000_000))
def test_the_headers_of_a_dead_letter_are_as_told(
    code: str, message: str, attempts: int, failed_at_ms: int
) -> None:
    """Those that the pump always adds are those that the document requires."""
    headers = outcome.dead_headers(code, message, attempts, failed_at_ms)
    assert DOCUMENT.problems("components/schemas/DeadHeaders", headers) == []
    assert set(headers) == set(DOCUMENT.at("components/schemas/DeadHeaders")["required"])


def test_no_other_code_is_told() -> None:
    """Who reads the document may rely on the list."""
    assert DOCUMENT.at("components/schemas/ErrorCode")["anyOf"][0]["enum"] == CODES
    assert all(DOCUMENT.problems("components/schemas/ErrorCode", code) for code in ("", "slack_"))
