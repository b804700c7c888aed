"""Facts about the envelopes of Socket Mode."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpump.core import envelopes
from rtmpump.core.envelopes import (
    Disconnect,
    acknowledgement,
    control,
    is_object,
    ping_id,
    read,
    text_answer,
)
from rtmpump.core.frames import Event, Hello, Pong, ping
from rtmpump.core.recent_ids import RecentIds
from rtmpump.core.routes import route

EVENT = b'{"type":"message","subtype":"x","channel":"C1","ts":"1.000001"}'


def framed(event: bytes, **more: Any) -> bytes:
    """An envelope of the Events API around these bytes."""
    facts = {"team_id": "T1", "event_id": "Ev1", "event_time": 17} | more
    payload = json.dumps(facts).encode()[:-1] + b', "event" : ' + event + b" }"
    return b'{ "envelope_id":"e-1","payload": ' + payload + b' ,"type":"events_api"}'


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        b'{"type":"a","text":"\xc3\xa9 } , {"}',
        b'{"type":"a","text":"\\ud800"}',
        b'{"type":"a","n":1e999}',
        b'{ "type" : "a" , "deep" : ' + b"[" * 200 + b"]" * 200 + b" }",
        b'"no object"',
    ],
)
def test_the_inner_bytes_are_cut_out(event: bytes) -> None:
    """Whatever JSON the event is, its bytes come out as they went in, and the facts beside them."""
    opened = read(framed(event))
    assert opened is not None
    assert opened.body == event
    assert opened.id == "e-1"
    assert opened.identity == "Ev1"
    assert opened.facts == {"team_id": "T1", "event_id": "Ev1", "event_time": 17}


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
def test_no_depth_raises(opening: bytes) -> None:
    """Also where one reader can just follow and the next one can't, which has more callers."""
    for depth in (*range(800, 1100), 5_000, 100_000):
        closing = b"1" + (b"]" if opening == b"[" else b"}") * depth
        deep = opening * depth + closing
        for frame in (
            b'{"envelope_id":"e","type":"x","half":"\\ud800","payload":{"channel":' + deep + b"}}",
            b'{"envelope_id":"e","type":"x","payload":{"half":"\\ud800","channel":' + deep + b"}}",
        ):
            read(frame)
            control(frame)
            envelopes.parse_frame(frame)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_raise(frame: bytes) -> None:
    """Not as a frame, nor inside of one."""
    for body in (frame, framed(frame), b'{"envelope_id":"e","type":"x","payload":' + frame + b"}"):
        read(body)
        control(body)
        ping_id(body)
        envelopes.parse_frame(body)


@pytest.mark.parametrize(
    "frame",
    [b"", b"[]", b"\xff", EVENT, b'{"envelope_id":1,"type":"events_api"}', b'{"envelope_id":"e"}'],
)
def test_what_is_no_envelope(frame: bytes) -> None:
    """It is None, and RTM's reading stands."""
    assert read(frame) is None


def test_an_envelope_without_an_event_keeps_its_payload() -> None:
    """Nothing that Slack pushed is dropped: it is an event without a type."""
    frame = b'{"envelope_id":"e","type":"events_api","payload":{"type":"odd"}}'
    opened = read(frame)
    assert opened is not None
    assert (opened.type, opened.body) == ("", b'{"type":"odd"}')
    named = route(frame, seq=1, received_ms=0, team="T", bot="U", epoch="x", source="socket")
    assert (named.routing_key, named.message_id) == ("unknown", "v:T:e")


def test_an_event_may_call_itself_anything() -> None:
    """An inner event is an event, also where RTM has a frame of its type."""
    for type in ("hello", "goodbye", "pong", "error", "message"):
        event = b'{"type":"%s","reply_to":1,"ok":true}' % type.encode()
        assert envelopes.parse_frame(framed(event)) == Event(type, "")
    assert envelopes.parse_frame(b'{"type":"hello"}') == Hello("hello", "")
    assert envelopes.parse_frame(b'{"type":"pong","reply_to":3}') == Pong(3)


def test_frames_about_the_connection() -> None:
    """`hello` and disconnect, also with a reason that is none."""
    assert control(b'{"type":"hello","num_connections":1}') == Hello("hello", "")
    assert control(b'{"type":"disconnect","reason":"warning"}') == Disconnect("warning")
    assert control(b'{"type":"disconnect"}') == Disconnect("")
    assert control(b'{"type":"disconnect","reason":{"a":1}}') == Disconnect("")
    assert control(EVENT) is None


def test_acknowledgements_and_pings() -> None:
    """What is written to Slack; only our own pings are known again."""
    assert json.loads(acknowledgement("e-1")) == {"envelope_id": "e-1"}
    answered = json.loads(acknowledgement("e-1", text_answer("Moment")))
    assert answered == {"envelope_id": "e-1", "payload": {"text": "Moment"}}
    assert acknowledgement("e-1", text_answer("")) == acknowledgement("e-1")


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (b' {"a": 1}\n', True),
        (b"{}", True),
        (b'{"a": 1} {"b": 2}', False),
        (b"[]", False),
        (b'"text"', False),
        (b"{", False),
        (b'{"a": "\xff"}', False),
        (b'{"a":' * 100_000, False),
        (b"", False),
    ],
)
def test_an_answer_is_one_object(body: bytes, is_one: bool) -> None:
    """Anything else would break the frame, or be refused by Slack."""
    assert is_object(body) is is_one


def test_pings_are_known_again() -> None:
    """Only our own."""
    assert ping_id(ping(77)) == 77
    assert ping_id(b"Ping from applink-2") is None


def test_only_rows_of_socket_mode_are_opened() -> None:
    """The same bytes from RTM are published as they are."""
    frame = framed(EVENT)
    facts = {"seq": 1, "received_ms": 0, "team": "T", "bot": "U", "epoch": "x"}
    from_rtm = route(frame, **facts)  # type: ignore[arg-type]
    assert (from_rtm.routing_key, from_rtm.body) == ("events_api", b"")
    opened = route(frame, **facts, source="socket")  # type: ignore[arg-type]
    plain = route(EVENT, **facts)  # type: ignore[arg-type]
    assert opened.body == EVENT
    assert opened.routing_key == "message.x"
    assert opened.message_id == plain.message_id


def test_an_envelope_whose_team_is_lost_has_its_names_and_no_token() -> None:
    """A damaged spool may not know from which team it is, nor over which way; it says so itself."""
    frame = framed(EVENT, token="verification")
    facts: dict[str, Any] = {"seq": 1, "received_ms": 0, "bot": "", "epoch": "x"}
    lost = route(frame, **facts, team="", source="socket")
    assert lost == route(frame, **facts, team="T1", source="socket")
    assert (lost.routing_key, lost.body) == ("message.x", EVENT)
    assert "verification" not in str(lost)
    of_rtm = route(EVENT, **facts, team="", source="socket")
    assert of_rtm == route(EVENT, **facts, team="")


def test_an_event_has_the_same_names_in_both_modes() -> None:
    """An envelope adds what Slack wrote beside the event, and no more."""
    event = b'{"type":"reaction_added","channel":"C1","user":"U1","event_ts":"1.000001"}'
    facts: dict[str, Any] = {"seq": 7, "received_ms": 1_234, "team": "T1", "bot": "UB"}
    over_rtm = route(event, **facts, epoch="x")
    opened = route(framed(event), **facts, epoch="x", source="socket")
    names = ("routing_key", "type", "message_id", "timestamp")
    assert [getattr(opened, one) for one in names] == [getattr(over_rtm, one) for one in names]
    assert over_rtm.headers.items() <= opened.headers.items()


FACTS: dict[str, Any] = {"seq": 1, "received_ms": 0, "team": "T", "bot": "U", "epoch": "x"}


def test_only_socket_mode_has_envelopes() -> None:
    """What a backfill fetched is no envelope, whatever it looks like."""
    fetched = route(framed(EVENT), **FACTS, source="backfill")
    assert (fetched.routing_key, fetched.body) == ("events_api", b"")
    assert fetched.headers["backfill"] is True


@pytest.mark.parametrize("frame", [framed(EVENT), b'{"type":"hello"}', b'{"type":"rtmpump"}'])
def test_only_what_was_fetched_is_said_to_be(frame: bytes) -> None:
    """Neither events of Socket Mode nor the pump's own between them have the header `backfill`."""
    assert "backfill" not in route(frame, **FACTS, source="socket").headers


def test_an_id_of_slack_counts_within_a_team() -> None:
    """Two workspaces may have an event of the same id."""
    frame = framed(b'{"type":"app_home_opened"}')
    ids = {route(frame, **FACTS | {"team": team}, source="socket").message_id for team in "AB"}
    assert ids == {"v:A:Ev1", "v:B:Ev1"}


def test_an_event_has_its_own_channel_and_user() -> None:
    """What Slack wrapped around it may name others, or some where the event has none."""
    wrapping = {"channel": "CW", "channel_id": "CW", "user": "UW", "user_id": "UW"}
    own = framed(b'{"type":"a","channel":"C1","user":"U1"}', **wrapping)
    none = framed(b'{"type":"a"}', **wrapping)
    opened = [route(frame, **FACTS, source="socket") for frame in (own, none)]
    assert [(one.channel, one.user) for one in opened] == [("C1", "U1"), ("", "")]


@pytest.mark.parametrize(
    ("event", "is_json"), [(EVENT, True), (b'"x"', True), (b'{"type":"a","t":"\xff"}', False)]
)
def test_what_an_envelope_holds_may_be_no_json(event: bytes, is_json: bool) -> None:
    """An envelope is read however odd a string in it is; a consumer is told that it can't parse."""
    assert route(framed(event), **FACTS, source="socket").is_json is is_json
    command = b'{"envelope_id":"e","type":"slash_commands","payload":%b}' % event
    assert route(command, **FACTS, source="socket").is_json is is_json


def around(frame: bytes) -> dict[str, Any]:
    """Give the headers that say what was around the event of a frame."""
    headers = route(frame, **FACTS, source="socket").headers
    return {name: headers[name] for name in headers if name.startswith(("payload", "retry"))}


def test_what_slack_wrapped_around_an_event_is_a_header() -> None:
    """All of it, each value in its own bytes; without the event and the verification token."""
    more = {"token": "secret", "api_app_id": "A1", "authorizations": [{"user_id": "U1"}], "n": 1.50}
    found = around(framed(EVENT, **more, is_ext_shared_channel=False, text="\ud800"))
    assert found.keys() == {"payload"}
    assert json.loads(found["payload"]) == {
        **{"team_id": "T1", "event_id": "Ev1", "event_time": 17, "api_app_id": "A1", "n": 1.5},
        **{"authorizations": [{"user_id": "U1"}], "is_ext_shared_channel": False},
        "text": "\ud800",
    }
    assert '"authorizations":[{"user_id": "U1"}]' in found["payload"]


def test_what_is_too_long_for_a_header_is_left_out_whole() -> None:
    """8 KiB are the most, and a consumer is told."""
    size = len(around(framed(EVENT, x=""))["payload"])
    assert len(around(framed(EVENT, x="x" * (8192 - size)))["payload"]) == 8192
    assert around(framed(EVENT, x="x" * (8193 - size))) == {"payload_left_out": True}


def test_what_is_no_text_is_left_out() -> None:
    """A header is UTF-8."""
    for more in ({"x": "?"}, {"?": "x"}):
        frame = framed(EVENT, **more).replace(b"?", b"\xff")
        assert around(frame) == {"payload_left_out": True}


def test_odd_names_are_a_header_too() -> None:
    """Half a surrogate pair, which UTF-8 can't hold, becomes a question mark."""
    found = around(framed(EVENT, **{"\ud800": 1}))
    assert json.loads(found["payload"])["?"] == 1


@pytest.mark.parametrize("kind", [b"slash_commands", b"interactive", b"events_api"])
def test_where_nothing_is_wrapped_around_there_is_no_header(kind: bytes) -> None:
    """The payload of a command, and one without an inner event, is the body itself."""
    frame = b'{"envelope_id":"e","type":"%b","payload":{"type":"odd","token":"t"}}' % kind
    assert around(frame) == {}


def again(attempt: object, reason: object) -> bytes:
    """Make an envelope that says that it was sent before."""
    more = json.dumps({"retry_attempt": attempt, "retry_reason": reason}).encode()[1:]
    return framed(b'{"type":"a"}')[:-1] + b", " + more


def test_what_slack_sent_again_says_so() -> None:
    """How often and why; the first delivery, and what is no number, say nothing."""
    told = {"retry_attempt": 2, "retry_reason": "timeout"}
    assert around(again(2, "timeout")).items() >= told.items()
    assert around(again(1, "x" * 256)).keys() == {"retry_attempt", "payload"}
    for attempt in (0, -1, None, "1", True, 1 << 31, 1.5):
        assert around(again(attempt, "timeout")).keys() == {"payload"}


NOW = 1_700_000_030_000
MINUTE = 60_000


def limited(minute: object) -> bytes:
    """What Slack sends when it drops events."""
    payload = {"type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": minute}
    frame = {"envelope_id": "e-2", "type": "events_api", "payload": payload | {"token": "x"}}
    return json.dumps(frame).encode()


def test_that_slack_drops_events_has_a_key_of_its_own() -> None:
    """It is published as what it is, with an id of its own."""
    frame = limited(1_700_000_000)
    assert envelopes.parse_frame(frame) == Event("app_rate_limited", "")
    named = route(frame, **FACTS, source="socket")
    assert (named.routing_key, named.message_id) == ("app_rate_limited", "v:T:e-2")
    assert "payload" not in named.headers


@pytest.mark.parametrize("ago", [0, 30_000, 90_000, 3_600_000, 86_400_000])
def test_events_are_missing_from_the_minute_that_slack_names(ago: int) -> None:
    """At least for a minute, and until now."""
    minute = NOW - ago
    assert envelopes.dropped(limited(minute // 1000), NOW) == (minute, max(minute + MINUTE, NOW))


@pytest.mark.parametrize(
    "minute",
    [None, True, "1700000000", 1.5, 0, -1, 10**30, (NOW - 86_401_000) // 1000, NOW // 1000 + 61],
)
def test_a_minute_that_can_not_be_right(minute: object) -> None:
    """It begins with the minute before this one: the wider bound."""
    begin = NOW // MINUTE * MINUTE - MINUTE
    assert envelopes.dropped(limited(minute), NOW) == (begin, NOW)


def test_a_minute_that_our_clock_has_not_reached() -> None:
    """The gap begins now at the latest."""
    assert envelopes.dropped(limited(NOW // 1000 + 20), NOW) == (NOW, NOW + MINUTE)


@pytest.mark.parametrize(
    "frame", [b"", EVENT, framed(b'{"type":"app_rate_limited"}'), b'{"type":"app_rate_limited"}']
)
def test_nothing_else_says_that_slack_drops_events(frame: bytes) -> None:
    """Only an envelope of the Events API without an event inside."""
    assert envelopes.dropped(frame, NOW) is None


def test_seen_is_bounded() -> None:
    """The oldest are forgotten first, and what comes again counts as new."""
    seen = RecentIds(3)
    seen.add(["a", "b", "c"])
    seen.add(["a", "d"])
    assert [name in seen for name in "abcd"] == [True, False, True, True]
    assert len(seen) == 3
