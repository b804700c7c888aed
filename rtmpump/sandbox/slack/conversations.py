"""Slack's methods about channels: which there are, who is in them, what was said in them.

Source: https://docs.slack.dev/reference/methods, the pages of conversations.list, .info, .members,
.open, .history, .replies, and of users.conversations.
"""

from __future__ import annotations

from typing import Final

from rtmpump.sandbox.slack import archive
from rtmpump.sandbox.slack.method_call import Json, Method, MethodCall, error, page
from rtmpump.sandbox.slack.registry import Registry

_ALL_TYPES: Final = frozenset(("public_channel", "private_channel", "im", "mpim"))
_MOST_USERS: Final = 8


def _list(call: MethodCall) -> Json:
    types = frozenset((call.get("types") or "public_channel").replace(" ", "").split(","))
    if not types <= _ALL_TYPES:
        return error("invalid_types")
    registry = call.hub.registry
    found = _channels(registry, types, call.flag("exclude_archived"))
    return page(call, "channels", found, registry.page_size)


def _info(call: MethodCall) -> Json:
    registry = call.hub.registry
    for name, channel in registry.channels.items():
        if channel == call.get("channel"):
            members = len(registry.members(channel)) if call.flag("include_num_members") else None
            more = {} if members is None else {"num_members": members}
            return {"ok": True, "channel": _channel(registry, name, channel) | more}
    return error("channel_not_found")


def _members(call: MethodCall) -> Json:
    registry = call.hub.registry
    if registry.kind(call.get("channel")) is None:
        return error("channel_not_found")
    return page(call, "members", registry.members(call.get("channel")))


def _open(call: MethodCall) -> Json:
    """Open a direct channel: that of one user, or one for several."""
    registry = call.hub.registry
    users = [user for user in call.get("users").replace(" ", "").split(",") if user]
    channel = call.get("channel")
    if not users and registry.kind(channel) not in ("im", "mpim"):
        known = registry.kind(channel)
        code = "method_not_supported_for_channel_type" if known else "channel_not_found"
        return error(code if channel else "users_list_not_supplied")
    if len(users) > _MOST_USERS:
        return error("too_many_users")
    if any(user not in registry.people for user in users):
        return error("user_not_found")
    is_new = bool(users) and _name_for(registry, users) not in registry.channels
    if is_new and call.flag("prevent_creation"):
        return error("channel_not_found")
    if users:
        letter = "D" if len(users) == 1 else "G"
        new = f"{letter}0OPENED{len(registry.channels):03d}"
        channel = registry.channels.setdefault(_name_for(registry, users), new)
    whole = _channel(registry, registry.name_of(channel) or "", channel)
    found = whole if call.flag("return_im") else {"id": channel}
    again = {} if is_new else {"no_op": True, "already_open": True}
    return {"ok": True, **again, "channel": found}


def _name_for(registry: Registry, users: list[str]) -> str:
    if len(users) == 1:
        return users[0]
    return "mpdm-" + "--".join(registry.people[user] for user in users) + "-1"


def _channels(registry: Registry, types: frozenset[str], active: bool) -> list[Json]:
    return [
        _channel(registry, name, channel)
        for name, channel in list(registry.channels.items())
        if registry.kind(channel) in types and not (active and channel in registry.archived)
    ]


def _channel(registry: Registry, name: str, channel: str) -> Json:
    kind = registry.kind(channel)
    common = {"id": channel, "is_archived": channel in registry.archived}
    if kind == "im":
        return common | {"user": name, "is_im": True}
    return common | {
        "name": name,
        "name_normalized": name,
        "is_channel": kind == "public_channel",
        "is_group": kind != "public_channel",
        "is_im": False,
        "is_mpim": kind == "mpim",
        "is_private": kind != "public_channel",
        "is_member": True,
    }


def _of_user(call: MethodCall) -> Json:
    """Those that the bot is in; no `is_member` stands in them."""
    registry = call.hub.registry
    for kind in (call.get("types") or "public_channel").replace(" ", "").split(","):
        if kind in registry.archive.scopes_missing:
            return archive.missing_scope(kind, "read")
    found = _list(call)
    for channel in found.get("channels", ()):
        channel.pop("is_member", None)
    if found["ok"]:
        left = registry.archive.left
        found["channels"] = [one for one in found["channels"] if one["id"] not in left]
    return found


def _history(call: MethodCall) -> Json:
    registry = call.hub.registry
    return archive.history(registry.archive, registry.kind(call.get("channel")), call.arguments)


def _replies(call: MethodCall) -> Json:
    registry = call.hub.registry
    return archive.replies(registry.archive, registry.kind(call.get("channel")), call.arguments)


METHODS: Final[dict[str, Method]] = {
    "conversations.list": _list,
    "conversations.info": _info,
    "conversations.members": _members,
    "conversations.open": _open,
    "conversations.history": _history,
    "conversations.replies": _replies,
    "users.conversations": _of_user,
}
