"""What a workspace says over RTM beside answers: events, as dictionaries. No socket, no state.

Source: https://docs.slack.dev/legacy/legacy-rtm-api and the events' own pages.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from rtmpump.sandbox.slack.registry import APP
from rtmpump.slack_side import rtm as slack
from rtmpump.slack_side.frames import encoded

QUERY_LIMIT = 500

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
    return encoded(event)


def problem(message: Json, channels: Container[object]) -> slack.RtmProblem | None:
    """Return code and text of Slack's error for a message, or None; `channels` are known ids."""
    if wrong := slack.text_problem(message):
        return wrong
    return None if message.get("channel") in channels else slack.CANNOT_PROCESS


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
