"""Facts about the envelopes of Socket Mode."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpump.core import envelopes
from rtmpump.core.envelopes import Disconnect, acknowledgement, control, ping_id, read
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
    answered = json.loads(acknowledgement("e-1", "Moment"))
    assert answered == {"envelope_id": "e-1", "payload": {"text": "Moment"}}
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


def test_seen_is_bounded() -> None:
    """The oldest are forgotten first, and what comes again counts as new."""
    seen = RecentIds(3)
    seen.add(["a", "b", "c"])
    seen.add(["a", "d"])
    assert [name in seen for name in "abcd"] == [True, False, True, True]
    assert len(seen) == 3
