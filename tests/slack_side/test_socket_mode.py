"""What Slack sends over Socket Mode, member by member as it was seen on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtmpump.slack_side import socket_mode


def made(kind: str, attempt: int = 0, reason: str = "") -> dict[str, Any]:
    """An envelope, read."""
    frame = socket_mode.envelope(
        kind, b'{"a": 1}', id="id-1", takes_answer=True, attempt=attempt, reason=reason
    )
    found: dict[str, Any] = json.loads(frame)
    return found


def test_an_event_says_how_often_it_came() -> None:
    """From the first time on."""
    first = {
        "envelope_id": "id-1",
        "payload": {"a": 1},
        "type": "events_api",
        "accepts_response_payload": True,
        "retry_attempt": 0,
        "retry_reason": "",
    }
    assert made("events_api") == first
    assert list(made("events_api")) == list(first)


@pytest.mark.parametrize("kind", [socket_mode.SLASH_COMMANDS, socket_mode.INTERACTIVE])
def test_others_say_it_only_when_they_come_again(kind: str) -> None:
    """Slack sends them once; who sends them again says so."""
    assert "retry_attempt" not in made(kind)
    assert made(kind, 2, 'a "reason"')["retry_reason"] == 'a "reason"'


def test_an_event_keeps_its_bytes() -> None:
    """Slack's wrapper is around them, with the workspace that it is for."""
    event = b'{ "type" : "message", "n": 1e2 }'
    payload = socket_mode.event_payload(
        event, team="T1", event_id="Ev1", event_time=5, bot="U1", app="A1", token="v"
    )
    assert event in payload
    wrapped = json.loads(payload)
    assert list(wrapped) == [
        "token",
        "team_id",
        "context_team_id",
        "context_enterprise_id",
        "api_app_id",
        "event",
        "type",
        "event_id",
        "event_time",
        "authorizations",
        "is_ext_shared_channel",
    ]
    assert wrapped["authorizations"][0]["user_id"] == "U1"


def test_hello_and_disconnect_name_the_host() -> None:
    """Each with `debug_info`, also where the connection is one too many."""
    hello = json.loads(socket_mode.hello(3, host="h", app="A1"))
    assert (hello["num_connections"], hello["connection_info"]) == (3, {"app_id": "A1"})
    assert hello["debug_info"] == {
        "host": "h",
        "build_number": 1,
        "approximate_connection_time": 18060,
    }
    assert json.loads(socket_mode.disconnect(socket_mode.TOO_MANY, host="h")) == {
        "type": "disconnect",
        "reason": "too_many_websockets",
        "debug_info": {"host": "h"},
    }
