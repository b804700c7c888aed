"""What Slack sends over Socket Mode, as bytes. No socket, no state.

Source: https://docs.slack.dev/apis/events-api/using-socket-mode; `too_many_websockets` and the
members of `retry_…` were seen on the wire.
"""

from __future__ import annotations

import json
from typing import Any

from rtmpump.sandbox.slack.registry import APP

MOST_CONNECTIONS = 10


def hello(connections: int) -> bytes:
    """Return the first frame; `connections` counts those of the app, with this one."""
    return _bytes(
        {
            "type": "hello",
            "num_connections": connections,
            "debug_info": {"host": "applink-sandbox", "approximate_connection_time": 18060},
            "connection_info": {"app_id": APP},
        }
    )


def disconnect(reason: str) -> bytes:
    """Return the frame before an end; `reason` is "warning", "refresh_requested" or the like."""
    return _bytes(
        {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-sandbox"}}
    )


def event_payload(event: bytes, *, team: str, event_id: str, event_time: int, bot: str) -> bytes:
    """Return an event in the wrapper of the Events API; its bytes stay as they are."""
    before = _bytes({"token": "sandbox", "team_id": team, "api_app_id": APP})[:-1]
    authorization = {
        "enterprise_id": None,
        "team_id": team,
        "user_id": bot,
        "is_bot": True,
        "is_enterprise_install": False,
    }
    after = {
        "type": "event_callback",
        "event_id": event_id,
        "event_time": event_time,
        "authorizations": [authorization],
        "is_ext_shared_channel": False,
    }
    return before + b',"event":' + event + b"," + _bytes(after)[1:]


def envelope(
    kind: str, payload: bytes, *, id: str, takes_answer: bool, attempt: int, reason: str
) -> bytes:
    """Return an envelope; only those of the Events API have fields about retries."""
    before = _bytes({"envelope_id": id})[:-1]
    after: dict[str, Any] = {"type": kind, "accepts_response_payload": takes_answer}
    if kind == "events_api":
        after |= {"retry_attempt": attempt, "retry_reason": reason}
    return before + b',"payload":' + payload + b"," + _bytes(after)[1:]


def _bytes(members: dict[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
