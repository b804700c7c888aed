"""What Slack sends over RTM: frames in, frames out, as dictionaries. No socket, no state.

Source: https://docs.slack.dev/legacy/legacy-rtm-api and the events' own pages. Slack has published
no list of error codes; 1, 2, 4 and -1 were seen on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from rtmpump.sandbox.slack.registry import APP

FRAME_LIMIT = 16 * 1024
TEXT_LIMIT = 4000
QUERY_LIMIT = 500
CANNOT_PROCESS = (4, "cannot process message")
TEXT_MISSING = (2, "message text is missing")
TEXT_TOO_LONG = (4, "message text is too long")
TOO_FAST = (-1, "slow down, too many messages...")

Json = dict[str, Any]


class Author(NamedTuple):
    """The author of a message: user and team; `bot_id` and `name` are those of a bot."""

    user: str
    team: str
    bot_id: str = ""
    name: str = ""


def as_bytes(event: Mapping[str, Any] | str | bytes) -> bytes:
    """Return the body of a frame; a dictionary becomes compact JSON."""
    if isinstance(event, bytes):
        return event
    if isinstance(event, str):
        return event.encode()
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def pong(ping: Json) -> Json:
    """Return the answer to a ping: its id as `reply_to`, and its other scalars unchanged."""
    echoed = {k: v for k, v in ping.items() if k not in ("id", "type") and _is_scalar(v)}
    return {"type": "pong", "reply_to": ping.get("id")} | echoed


def problem(message: Json, channels: Container[object]) -> tuple[int, str] | None:
    """Return code and text of Slack's error for a message, or None; `channels` are known ids."""
    text = message.get("text")
    if not isinstance(text, str) or not text:
        return TEXT_MISSING
    if len(text) > TEXT_LIMIT:
        return TEXT_TOO_LONG
    return None if message.get("channel") in channels else CANNOT_PROCESS


def reply(message: Json, ts: str) -> Json:
    """Return the reply to an accepted message."""
    return {"ok": True, "reply_to": message.get("id"), "ts": ts, "text": message["text"]}


def refusal(frame: Json, code: int, msg: str) -> Json:
    """Return the reply to a refused frame."""
    return {"ok": False, "reply_to": frame.get("id"), "error": {"code": code, "msg": msg}}


def error_event(code: int, msg: str) -> Json:
    """Return an error that belongs to no frame."""
    return {"type": "error", "error": {"code": code, "msg": msg}}


def echo(message: Json, ts: str, author: Author) -> Json:
    """Return the message as an event for its own sender, with `reply_to`."""
    return message_event(message, ts, author) | {"reply_to": message.get("id")}


def message_event(message: Json, ts: str, author: Author) -> Json:
    """Return the message as an event for everybody else; a broadcast reply is one event too.

    Source: https://docs.slack.dev/reference/events/message/thread_broadcast
    """
    event = {
        "type": "message",
        "channel": message["channel"],
        "user": author.user,
        "text": message["text"],
        "ts": ts,
        "event_ts": ts,
        "team": author.team,
    }
    if author.bot_id:
        event |= {"bot_id": author.bot_id, "app_id": APP, "bot_profile": _bot_profile(author)}
    if message.get("thread_ts"):
        event["thread_ts"] = message["thread_ts"]
        if message.get("reply_broadcast"):
            event["subtype"] = "thread_broadcast"
    return event


def typing_event(typing: Json, author: Author) -> Json:
    """Return the event that others get when a user types."""
    event = {"type": "user_typing", "channel": typing.get("channel"), "user": author.user}
    return event | ({"thread_ts": typing["thread_ts"]} if typing.get("thread_ts") else {})


def presence_events(presence: Mapping[str, str], batch: bool) -> list[Json]:
    """Return the presence of users: an event for each, or with `batch` one for each state."""
    if not batch:
        return [
            {"type": "presence_change", "user": user, "presence": state}
            for user, state in presence.items()
        ]
    return [
        {
            "type": "presence_change",
            "users": [user for user, state in presence.items() if state == kind],
            "presence": kind,
        }
        for kind in dict.fromkeys(presence.values())
    ]


def ids_of(frame: Json) -> list[str] | None:
    """Return the user ids of a presence frame; None if they are no list of strings."""
    ids = frame.get("ids")
    if isinstance(ids, list) and all(isinstance(user, str) for user in ids):
        return ids
    return None


def _bot_profile(author: Author) -> Json:
    return {
        "id": author.bot_id,
        "app_id": APP,
        "user_id": author.user,
        "name": author.name,
        "icons": {},
        "deleted": False,
        "updated": 0,
        "team_id": author.team,
    }


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
