"""Facts about the envelopes that the gateway makes of what is in RabbitMQ."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtmpump.gateway.envelopes import rebuilt, trigger_of

BODY = b'{ "type": "message", "n": 1e2 }'


def payload(header: object) -> dict[str, Any]:
    """The payload of an event whose header `payload` is this."""
    headers = {"payload": header, "event_id": "Ev1", "team_id": "T1"}
    envelope = rebuilt("message", BODY, headers, "m1", is_asked=False)
    assert envelope is not None
    assert BODY.decode() in envelope.frame()
    found: dict[str, Any] = json.loads(envelope.frame())["payload"]
    return found


@pytest.mark.parametrize("header", ['{"api_app_id":"A1"}', ' {"api_app_id": "A1" } \n'])
def test_what_slack_wrapped_around_an_event_is_around_it_again(header: str) -> None:
    """As the header has it, whatever white space a program put there."""
    assert payload(header) == {"api_app_id": "A1", "event": json.loads(BODY)}


ODD = [b"\xff", b'{"a":"\xed\xa0\x80"}', b'\xef\xbb\xbf{"a":1}', "{}".encode("utf-16"), b"{"]


@pytest.mark.parametrize("body", ODD)
def test_a_body_that_no_frame_can_hold_has_no_envelope(body: bytes) -> None:
    """What is no UTF-8 is none, even where Python would read it as JSON; nor has JSON a BOM."""
    for key in ("message", "slash_command"):
        assert rebuilt(key, body, {}, "m1", is_asked=False) is None


def test_what_msgspec_alone_refuses_is_json() -> None:
    """Half of a pair stands escaped in what Slack sends, and a frame can hold it."""
    envelope = rebuilt("message", b'{"text":"\\ud83d"}', {}, "m1", is_asked=False)
    assert envelope is not None
    assert json.loads(envelope.frame())["payload"]["event"] == {"text": "\ud83d"}


@pytest.mark.parametrize("header", [None, 5, "", "{}", "{ }", "[1]", "{", '{"a":', '{"a":1}}'])
def test_a_header_that_holds_no_object_is_none(header: object) -> None:
    """Then what the libraries need is made."""
    found = payload(header)
    assert found["event"] == json.loads(BODY)
    assert (found["type"], found["event_id"], found["team_id"]) == ("event_callback", "Ev1", "T1")
    assert "a" not in found


def test_a_word_of_any_length_is_none() -> None:
    """Nobody fills the memory with what a message says of itself."""
    assert trigger_of(b'{"trigger_id":"%s"}' % (b"t" * 256)) == "t" * 256
    assert trigger_of(b'{"trigger_id":"%s"}' % (b"t" * 257)) == ""
    envelope = rebuilt("message", BODY, {"team_id": "T" * 257}, "m1", is_asked=False)
    assert envelope is not None
    assert json.loads(envelope.frame())["payload"]["team_id"] == ""
