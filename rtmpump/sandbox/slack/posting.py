"""chat.postMessage of a simulated workspace: what it accepts, refuses and answers.

It does what Slack documents (https://docs.slack.dev/reference/methods/chat.postMessage). More than
one message a second in a channel is answered with HTTP 429 if the faults say so.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any, Final

from rtmpump.sandbox.slack import rtm
from rtmpump.sandbox.slack.envelopes import Envelopes
from rtmpump.sandbox.slack.hub import Hub

METHOD: Final = "chat.postMessage"
_TEXT_MOST: Final = 40_000
_BLOCKS_MOST: Final = 50
_TRUE: Final = ("1", "true", "True")


def problem(hub: Hub, arguments: Mapping[str, str]) -> str:
    """Return Slack's error code for a message; "" if it is good."""
    channel = hub.registry.channel_id(arguments.get("channel", ""))
    if channel is None:
        return "channel_not_found"
    if channel in hub.registry.archived:
        return "is_archived"
    for name, wrong in (("blocks", "invalid_blocks"), ("attachments", "invalid_attachments")):
        if name in arguments and not _is_list_of_objects(arguments[name]):
            return wrong
    if not any(arguments.get(name) for name in ("text", "markdown_text", "blocks", "attachments")):
        return "no_text"
    return "msg_too_long" if len(arguments.get("text", "")) > _TEXT_MOST else ""


def rest(hub: Hub, arguments: Mapping[str, str]) -> int:
    """Return for how many whole seconds the channel takes no message; if 0, count this one."""
    rate, now = hub.faults.post_rate, time.monotonic()
    channel = arguments.get("channel", "")
    if rate is None:
        return 0
    with hub.changed:
        wait = hub.posted_at.get(channel, float("-inf")) + 1 / rate - now
        if wait > 0:
            return math.ceil(wait)
        hub.posted_at[channel] = now
    return 0


def accept(hub: Hub, envelopes: Envelopes, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Post a message; return the answer."""
    channel = hub.registry.channel_id(arguments["channel"]) or ""
    message: rtm.Json = {"channel": channel, "text": arguments.get("text", "")}
    if arguments.get("thread_ts"):
        message["thread_ts"] = arguments["thread_ts"]
        message["reply_broadcast"] = arguments.get("reply_broadcast") in _TRUE
    for name in ("blocks", "attachments"):
        if name in arguments:
            message[name] = json.loads(arguments[name])
    ts = hub.accept(message, 0)
    events = rtm.message_events(message, ts, hub.author)
    for event in events:
        body = rtm.as_bytes(event)
        for peer in hub.live_peers():
            peer.deliver(body)
        if envelopes.enabled:
            envelopes.event(body)
    return {"ok": True, "channel": channel, "ts": ts, "message": events[0]}


def _is_list_of_objects(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    if not isinstance(value, list) or not 0 < len(value) <= _BLOCKS_MOST:
        return False
    return all(isinstance(one, dict) for one in value)
