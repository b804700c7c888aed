"""The methods of Slack's Web API that the pump needs, as functions of a registry.

Slack answers an error with HTTP 200 and `{"ok": false, "error": "…"}`; so do these.
Source: https://docs.slack.dev/reference/methods, one page for each method.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtmpump.sandbox.slack import archive
from rtmpump.sandbox.slack.archive import Archive
from rtmpump.sandbox.slack.http_wire import HttpRequest

_DEFAULT_LIMIT = 100
_TOP_LIMIT = 1000
_TYPES = {"C": "public_channel", "G": "private_channel", "D": "im"}
_ALL_TYPES = frozenset((*_TYPES.values(), "mpim"))
_TRUE = ("1", "true", "True")
_APP_METHOD = "apps.connections.open"


@dataclass
class Ticket:
    """The right to open one WebSocket."""

    issued: float
    batch_presence: bool = False
    socket_mode: bool = False


@dataclass
class Registry:
    """What the workspace knows: itself, its channels (name to id) and the issued tickets.

    The first letter of a channel's id is its kind: C public, G private, D direct (its name
    is the other user's id). `archived` holds ids.
    """

    team: str
    bot: str
    token: str
    app_token: str
    channels: dict[str, str]
    page_size: int = 100
    archived: set[str] = field(default_factory=set)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    archive: Archive = field(default_factory=Archive)

    def channel_id(self, channel: str) -> str | None:
        """Return the id of a channel that is given by name or id; None if there is none."""
        if channel in self.channels.values():
            return channel
        return self.channels.get(channel)

    def kind(self, channel: str) -> str | None:
        """Return the kind of conversation of an id; None if there is none."""
        return _TYPES.get(channel[:1]) if channel in self.channels.values() else None

    def issue(self, batch_presence: bool = False, *, socket_mode: bool = False) -> str:
        """Return a new ticket; forget unused ones after an hour."""
        now = time.monotonic()
        for word in [word for word, t in self.tickets.items() if now - t.issued > 3600]:
            del self.tickets[word]
        ticket = secrets.token_urlsafe(16)
        self.tickets[ticket] = Ticket(now, batch_presence, socket_mode)
        return ticket

    def redeem(self, ticket: str, ttl: float) -> Ticket | None:
        """Use a ticket up; return None if it is unknown, used, or older than `ttl` seconds."""
        found = self.tickets.pop(ticket, None)
        return found if found and time.monotonic() - found.issued < ttl else None


def call(
    registry: Registry, method: str, request: HttpRequest, link: Callable[[str], str]
) -> dict[str, Any]:
    """Return the members of the answer to a call; `link` makes a WebSocket URL of a ticket."""
    arguments = request.arguments
    problem = auth_problem(registry, method, request)
    if method == "rtm.start":
        return _error("method_deprecated")
    if method not in _METHODS:
        return _error("unknown_method")
    if problem:
        return _error(problem)
    return _METHODS[method](registry, arguments, link)


def token_of(request: HttpRequest, arguments: Mapping[str, str]) -> str:
    """Return the token of a request: `Authorization: Bearer`, or the argument `token`."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else arguments.get("token", "")


def auth_problem(registry: Registry, method: str, request: HttpRequest) -> str:
    """Return Slack's error code for the token of a call; "" if the token is good."""
    token = token_of(request, request.arguments)
    if method == _APP_METHOD and "authorization" not in request.headers:
        # "passing it as a POST parameter will result in an error"
        return "missing_args"
    if not token:
        return "not_authed"
    is_app, is_bot = _same(token, registry.app_token), _same(token, registry.token)
    if not (is_app or is_bot):
        return "invalid_auth"
    return "" if is_app == (method == _APP_METHOD) else "not_allowed_token_type"


def _same(token: str, right: str) -> bool:
    return hmac.compare_digest(token.encode(), right.encode())


def _error(code: str) -> dict[str, Any]:
    return {"ok": False, "error": code}


_Link = Callable[[str], str]


def _auth_test(registry: Registry, _: Mapping[str, str], __: _Link) -> dict[str, Any]:
    return {
        "ok": True,
        "url": "https://sandbox.slack.com/",
        "team": "Sandbox",
        "user": "pump",
        "team_id": registry.team,
        "user_id": registry.bot,
        "bot_id": registry.bot.replace("U", "B", 1),
        "is_enterprise_install": False,
    }


def _rtm_connect(registry: Registry, arguments: Mapping[str, str], link: _Link) -> dict[str, Any]:
    ticket = registry.issue(arguments.get("batch_presence_aware") in _TRUE)
    return {
        "ok": True,
        "url": link(ticket),
        "team": {"id": registry.team, "name": "Sandbox", "domain": "sandbox"},
        "self": {"id": registry.bot, "name": "pump"},
    }


def _apps_connections_open(registry: Registry, _: Mapping[str, str], link: _Link) -> dict[str, Any]:
    return {"ok": True, "url": link(registry.issue(socket_mode=True))}


def _conversations_list(
    registry: Registry, arguments: Mapping[str, str], _: _Link
) -> dict[str, Any]:
    types = frozenset(arguments.get("types", "public_channel").replace(" ", "").split(","))
    if not types <= _ALL_TYPES:
        return _error("invalid_types")
    limit = _limit(arguments.get("limit", ""))
    if limit is None:
        return _error("invalid_limit")
    start = _cursor_start(arguments.get("cursor", ""))
    if start is None:
        return _error("invalid_cursor")
    found = _channels(registry, types, arguments.get("exclude_archived") in _TRUE)
    end = start + min(limit, registry.page_size)
    return {
        "ok": True,
        "channels": found[start:end],
        "response_metadata": {"next_cursor": _cursor(end) if end < len(found) else ""},
    }


def _conversations_info(
    registry: Registry, arguments: Mapping[str, str], _: _Link
) -> dict[str, Any]:
    for name, channel in registry.channels.items():
        if channel == arguments.get("channel"):
            return {"ok": True, "channel": _channel(registry, name, channel)}
    return _error("channel_not_found")


def _channels(registry: Registry, types: frozenset[str], active: bool) -> list[dict[str, Any]]:
    return [
        _channel(registry, name, channel)
        for name, channel in list(registry.channels.items())
        if _TYPES.get(channel[:1]) in types and not (active and channel in registry.archived)
    ]


def _channel(registry: Registry, name: str, channel: str) -> dict[str, Any]:
    kind = channel[:1]
    common = {"id": channel, "is_archived": channel in registry.archived}
    if kind == "D":
        return common | {"user": name, "is_im": True}
    return common | {
        "name": name,
        "name_normalized": name,
        "is_channel": kind == "C",
        "is_group": kind == "G",
        "is_im": False,
        "is_private": kind == "G",
        "is_member": True,
    }


def _users_conversations(
    registry: Registry, arguments: Mapping[str, str], _: _Link
) -> dict[str, Any]:
    """Those that the bot is in; no `is_member` stands in them."""
    for kind in arguments.get("types", "public_channel").replace(" ", "").split(","):
        if kind in registry.archive.scopes_missing:
            return archive.missing_scope(kind, "read")
    found = _conversations_list(registry, arguments, _)
    left = registry.archive.left
    for channel in found.get("channels", ()):
        channel.pop("is_member", None)
    if found["ok"]:
        found["channels"] = [one for one in found["channels"] if one["id"] not in left]
    return found


def _conversations_history(
    registry: Registry, arguments: Mapping[str, str], _: _Link
) -> dict[str, Any]:
    kind = registry.kind(arguments.get("channel", ""))
    return archive.history(registry.archive, kind, arguments)


def _conversations_replies(
    registry: Registry, arguments: Mapping[str, str], _: _Link
) -> dict[str, Any]:
    kind = registry.kind(arguments.get("channel", ""))
    return archive.replies(registry.archive, kind, arguments)


def _reactions_add(registry: Registry, arguments: Mapping[str, str], _: _Link) -> dict[str, Any]:
    kind = registry.kind(arguments.get("channel", ""))
    return archive.react(registry.archive, registry.bot, kind, arguments)


def _limit(word: str) -> int | None:
    if not word:
        return _DEFAULT_LIMIT
    number = int(word) if word.isdecimal() else 0
    return number if 0 < number <= _TOP_LIMIT else None


def _cursor(start: int) -> str:
    return base64.b64encode(f"from:{start}".encode()).decode()


def _cursor_start(cursor: str) -> int | None:
    if not cursor:
        return 0
    try:
        word = base64.b64decode(cursor, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    number = word.removeprefix("from:")
    return int(number) if number.isdecimal() else None


_METHODS: dict[str, Callable[[Registry, Mapping[str, str], _Link], dict[str, Any]]] = {
    "auth.test": _auth_test,
    "rtm.connect": _rtm_connect,
    _APP_METHOD: _apps_connections_open,
    "conversations.list": _conversations_list,
    "conversations.info": _conversations_info,
    "conversations.history": _conversations_history,
    "conversations.replies": _conversations_replies,
    "users.conversations": _users_conversations,
    "reactions.add": _reactions_add,
}
