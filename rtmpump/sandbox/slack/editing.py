"""What changes a message that was said: chat.update, chat.delete, reactions.add.

Source: https://docs.slack.dev/reference/methods, the pages of these methods; their events are
https://docs.slack.dev/reference/events, the pages of message/message_changed,
message/message_deleted and reaction_added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rtmpump.sandbox.slack import archive, posting
from rtmpump.sandbox.slack.hub import Hub
from rtmpump.sandbox.slack.method_call import Json, Method, MethodCall, error


def change(hub: Hub, channel: str, message: Json, new: Json, gone: Sequence[str] = ()) -> Json:
    """Change a message of the archive; return the event that says so."""
    before = dict(message)
    edited_at = hub.next_ts()
    for name in gone:
        message.pop(name, None)
    message |= new | {"edited": {"user": hub.registry.bot, "ts": edited_at}}
    more = {"message": dict(message), "previous_message": before}
    return _hidden("message_changed", channel, edited_at) | more


def delete(hub: Hub, channel: str, message: Json) -> Json:
    """Delete a message of the archive; return the event that says so."""
    hub.registry.archive.forget(channel, message["ts"])
    more = {"deleted_ts": message["ts"], "previous_message": dict(message)}
    return _hidden("message_deleted", channel, hub.next_ts()) | more


def _hidden(subtype: str, channel: str, ts: str) -> Json:
    """Return an event about a message, which people see only by what it did."""
    common = {"type": "message", "subtype": subtype, "hidden": True, "channel": channel}
    return common | {"ts": ts, "event_ts": ts}


def _own(call: MethodCall, refusal: str) -> tuple[Json, Json]:
    """Return the bot's message that a call is about, and what is wrong, one of them empty."""
    registry = call.hub.registry
    channel = call.get("channel")
    if registry.kind(channel) is None:
        return {}, error("channel_not_found")
    message = registry.archive.find(channel, call.get("ts"))
    if message is None:
        return {}, error("message_not_found")
    return (message, {}) if message.get("user") == registry.bot else ({}, error(refusal))


def _update(call: MethodCall) -> Json:
    """Leave what is not given as it was; an empty list takes blocks or attachments away."""
    message, wrong = _own(call, "cant_update_message")
    if wrong:
        return wrong
    given = {name: value for name, value in call.arguments.items() if value != "[]"}
    emptied = [name for name in ("blocks", "attachments") if call.get(name) == "[]"]
    problem = posting.content_problem(given)
    if problem:
        return error(problem)
    new = posting.content(given)
    if "text" not in given:
        new["text"] = message["text"]
    channel = call.get("channel")
    call.events.append(change(call.hub, channel, message, new, emptied))
    answer = {"ok": True, "channel": channel, "ts": message["ts"], "text": message["text"]}
    return answer | {"message": dict(message)}


def _delete(call: MethodCall) -> Json:
    message, wrong = _own(call, "cant_delete_message")
    if wrong:
        return wrong
    call.events.append(delete(call.hub, call.get("channel"), message))
    return {"ok": True, "channel": call.get("channel"), "ts": message["ts"]}


def _react(call: MethodCall) -> Json:
    registry = call.hub.registry
    channel = call.get("channel")
    kind = registry.kind(channel)
    answer = archive.react(registry.archive, registry.bot, kind, call.arguments)
    if answer["ok"]:
        message = registry.archive.find(channel, call.get("timestamp")) or {}
        item = {"type": "message", "channel": channel, "ts": call.get("timestamp")}
        event = {"type": "reaction_added", "user": registry.bot, "reaction": call.get("name")}
        author = {"item_user": message["user"]} if "user" in message else {}
        call.events.append(event | author | {"item": item, "event_ts": call.hub.next_ts()})
    return answer


METHODS: Final[dict[str, Method]] = {
    "chat.update": _update,
    "chat.delete": _delete,
    "reactions.add": _react,
}
