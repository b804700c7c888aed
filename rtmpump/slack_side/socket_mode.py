"""What Slack sends over Socket Mode, as bytes.

Source: https://docs.slack.dev/apis/events-api/using-socket-mode; the members of `hello`, of
`disconnect`, of `retry_…` and of `context_…` were seen on the wire.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Final

from rtmpump.slack_side.frames import encoded

EVENTS_API: Final = "events_api"
SLASH_COMMANDS: Final = "slash_commands"
INTERACTIVE: Final = "interactive"
CONNECTIONS_MAX: Final = 10
"""How many WebSockets one app may have; a further one is told `TOO_MANY`."""
TOO_MANY: Final = "too_many_websockets"
ACK_SECONDS: Final = 3.0
"""How long Slack waits for an acknowledgement."""
TRIGGER_SECONDS: Final = 3.0
"""How long a `trigger_id` can be used."""
NOT_ACKNOWLEDGED: Final = "timeout"
"""The `retry_reason` of an envelope that is sent again."""


def hello(connections: int, *, host: str, app: str) -> bytes:
    """Return the first frame; `connections` counts those of the app, with this one."""
    info = {"host": host, "build_number": 1, "approximate_connection_time": 18060}
    return encoded(
        {
            "type": "hello",
            "num_connections": connections,
            "debug_info": info,
            "connection_info": {"app_id": app},
        }
    )


def disconnect(reason: str, *, host: str) -> bytes:
    """Return the frame before an end; `reason` is "warning", "refresh_requested" or the like."""
    return encoded({"type": "disconnect", "reason": reason, "debug_info": {"host": host}})


def event_payload(
    event: bytes, *, team: str, event_id: str, event_time: int, bot: str, app: str, token: str
) -> bytes:
    """Return an event in the wrapper of the Events API; its bytes stay as they are.

    `token` is the verification token, which opens nothing.
    """
    before, after = _wrapper(team, bot, app, token)
    return b'%s,"event":%s,"type":"event_callback","event_id":%s,"event_time":%d,%s' % (
        before,
        event,
        encoded(event_id),
        event_time,
        after,
    )


@lru_cache(maxsize=1024)
def _wrapper(team: str, bot: str, app: str, token: str) -> tuple[bytes, bytes]:
    """Return what stands before an event and behind its time: one app's events share it."""
    before = {
        "token": token,
        "team_id": team,
        "context_team_id": team,
        "context_enterprise_id": None,
        "api_app_id": app,
    }
    authorization = {
        "enterprise_id": None,
        "team_id": team,
        "user_id": bot,
        "is_bot": True,
        "is_enterprise_install": False,
    }
    after = {"authorizations": [authorization], "is_ext_shared_channel": False}
    return encoded(before)[:-1], encoded(after)[1:]


def new_envelope_id() -> str:
    """Return a random id."""
    return str(uuid.uuid4())


def envelope(
    kind: str, payload: bytes, *, id: str, takes_answer: bool, attempt: int, reason: str
) -> bytes:
    """Return an envelope; one that is no event has fields about retries only in a retry."""
    retry = ""
    if kind == EVENTS_API or attempt:
        retry = f',"retry_attempt":{attempt},"retry_reason":{encoded(reason).decode()}'
    answer = "true" if takes_answer else "false"
    tail = f'"type":"{kind}","accepts_response_payload":{answer}{retry}'
    return b'{"envelope_id":"%s","payload":%s,%s}' % (id.encode(), payload, tail.encode())
