"""The messages of a simulated workspace, and Slack's methods to read them and to react to them.

The methods do what Slack documents (https://docs.slack.dev/reference/methods). The history has the
newest message first, and replies in threads only if they were broadcast. Replies come oldest first,
and always after the thread's parent. A message exactly as old as `oldest` or `latest` is left out
unless `inclusive` is given.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]

_KEPT: Final = 20_000
_TOP_LIMIT: Final = 1000
_DEFAULT_LIMIT: Final = {"history": 100, "replies": 1000}
_TRUE: Final = ("1", "true", "True")
_TS: Final = re.compile(r"\d+(\.\d+)?")
# Fields that an event has, and a message in the history has not.
_OF_EVENTS: Final = ("channel", "event_ts", "channel_type")


@dataclass
class Archive:
    """The messages of each channel in order, at most 20,000 of each channel.

    `left` holds the ids of channels that the bot is not in. `scopes_missing` holds the kinds of
    conversations ("im" …) for which the token has no scope. `refused` says with which code Slack
    refuses to read a channel. `page_max` is the most messages of one page: some apps get only 15
    from Slack.
    """

    said: dict[str, deque[Json]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    scopes_missing: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    page_max: int = _TOP_LIMIT

    def keep(self, event: Mapping[str, Any]) -> Json:
        """Keep a `message` event in the form that the history has.

        Returns:
            The event as Slack sends it: a reply has the `parent_user_id`, a broadcast one the
            `root`, if the workspace knows the parent.
        """
        event = dict(event)
        thread_ts = event.get("thread_ts")
        parent = self.find(event["channel"], thread_ts) if thread_ts else None
        if parent is not None and parent["ts"] != event["ts"]:
            _count_reply(parent, event)
            event.setdefault("parent_user_id", parent.get("user"))
            if event.get("subtype") == "thread_broadcast":
                event.setdefault("root", dict(parent))
        said = self.said.setdefault(event["channel"], deque(maxlen=_KEPT))
        said.append(as_kept(event))
        return event

    def forget(self, channel: str, ts: str) -> None:
        """Delete a message, as its author would."""
        messages = self.said[channel]
        self.said[channel] = deque((one for one in messages if one["ts"] != ts), _KEPT)

    def find(self, channel: str, ts: str) -> Json | None:
        """Return the message with this ts, or None."""
        return next((one for one in self.said.get(channel, ()) if one["ts"] == ts), None)


def as_kept(event: Mapping[str, Any]) -> Json:
    """Return a `message` event in the form that the history and the answers of Slack have."""
    return {key: value for key, value in event.items() if key not in _OF_EVENTS}


def _count_reply(parent: Json, reply: Json) -> None:
    users = list(dict.fromkeys((*parent.get("reply_users", ()), reply.get("user"))))
    parent |= {
        "thread_ts": parent["ts"],
        "reply_count": parent.get("reply_count", 0) + 1,
        "reply_users_count": len(users),
        "latest_reply": reply["ts"],
        "reply_users": users,
        "is_locked": False,
    }


def history(archive: Archive, kind: str | None, arguments: Mapping[str, str]) -> Json:
    """Answer conversations.history; `kind` is that of the channel, None if there is none."""
    wrong = _problem(archive, kind, arguments, "history")
    if wrong:
        return wrong
    found = [
        one
        for one in archive.said.get(arguments["channel"], ())
        if _is_within(one, arguments) and not _is_reply(one)
    ]
    return _page(archive, found[::-1], arguments, "history")


def replies(archive: Archive, kind: str | None, arguments: Mapping[str, str]) -> Json:
    """Answer conversations.replies."""
    wrong = _problem(archive, kind, arguments, "replies")
    if wrong:
        return wrong
    parent = archive.find(arguments["channel"], arguments.get("ts", ""))
    if parent is None:
        return _error("thread_not_found")
    found = [
        one
        for one in archive.said[arguments["channel"]]
        if one.get("thread_ts") == parent["ts"] != one["ts"] and _is_within(one, arguments)
    ]
    page = _page(archive, found, arguments, "replies")
    return page | {"messages": [parent, *page["messages"]]} if page["ok"] else page


def react(archive: Archive, bot: str, kind: str | None, arguments: Mapping[str, str]) -> Json:
    """Answer reactions.add."""
    if kind is None:
        return _error("channel_not_found")
    message = archive.find(arguments["channel"], arguments.get("timestamp", ""))
    if message is None:
        return _error("message_not_found")
    name = arguments.get("name", "")
    if not re.fullmatch(r"[a-z0-9_+'-]+(::skin-tone-[2-6])?", name):
        return _error("invalid_name")
    reactions = message.setdefault("reactions", [])
    if any(one["name"] == name and bot in one["users"] for one in reactions):
        return _error("already_reacted")
    reactions.append({"name": name, "users": [bot], "count": 1})
    return {"ok": True}


def _problem(
    archive: Archive, kind: str | None, arguments: Mapping[str, str], method: str
) -> Json | None:
    if kind is None:
        return _error("channel_not_found")
    if kind in archive.scopes_missing:
        return missing_scope(kind, "history")
    if arguments["channel"] in archive.refused:
        return _error(archive.refused[arguments["channel"]])
    if arguments["channel"] in archive.left:
        return _error("not_in_channel")
    for name in ("oldest", "latest"):
        if not _TS.fullmatch(arguments.get(name, "0")):
            return _error(f"invalid_ts_{name}")
    return None if _limit(archive, arguments, method) else _error("invalid_limit")


def missing_scope(kind: str, what: str) -> Json:
    """Return the answer to a token that has no scope for this kind of conversation."""
    names = {"public_channel": "channels", "private_channel": "groups", "im": "im", "mpim": "mpim"}
    needed = f"{names[kind]}:{what}"
    return {"ok": False, "error": "missing_scope", "needed": needed, "provided": "chat:write"}


def _error(code: str) -> Json:
    return {"ok": False, "error": code}


def _is_reply(message: Json) -> bool:
    in_thread = message.get("thread_ts", message["ts"]) != message["ts"]
    return in_thread and message.get("subtype") != "thread_broadcast"


def _is_within(message: Json, arguments: Mapping[str, str]) -> bool:
    ts = float(message["ts"])
    oldest, latest = (arguments.get(name) for name in ("oldest", "latest"))
    inclusive = arguments.get("inclusive") in _TRUE
    low, high = float(oldest or 0), float(latest or "inf")
    return low <= ts <= high if inclusive else low < ts < high


def _limit(archive: Archive, arguments: Mapping[str, str], method: str) -> int:
    word = arguments.get("limit", "") or str(_DEFAULT_LIMIT[method])
    number = int(word) if word.isdecimal() else 0
    return min(number, archive.page_max) if number <= _TOP_LIMIT else 0


def _page(archive: Archive, found: list[Json], arguments: Mapping[str, str], method: str) -> Json:
    """Return one page; its cursor holds its last ts, so later messages don't move the pages."""
    limit = _limit(archive, arguments, method)
    cursor = arguments.get("cursor", "")
    start = 0
    if cursor:
        places = [n for n, one in enumerate(found) if f"after:{one['ts']}" == cursor]
        if not places:
            return _error("invalid_cursor")
        start = places[0] + 1
    page = found[start : start + limit]
    more = len(found) > start + limit
    following = f"after:{page[-1]['ts']}" if more else ""
    return {
        "ok": True,
        "messages": page,
        "has_more": more,
        "response_metadata": {"next_cursor": following},
    }
