"""chat.postMessage of a simulated workspace: what it accepts, refuses and answers.

It does what Slack documents (https://docs.slack.dev/reference/methods/chat.postMessage). More than
one message a second in a channel is answered with HTTP 429 if the faults say so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Final

from rtmpump.sandbox.slack import inputs, rtm
from rtmpump.sandbox.slack.archive import as_kept
from rtmpump.sandbox.slack.hub import Hub
from rtmpump.sandbox.slack.method_call import TRUE, objects, parsed

METHOD: Final = "chat.postMessage"
_TEXT_MOST: Final = 40_000
_BLOCKS_MOST: Final = 50


def problem(hub: Hub, arguments: Mapping[str, str]) -> str:
    """Return Slack's error code for a message; "" if it is good."""
    channel = hub.registry.channel_id(arguments.get("channel", ""))
    if channel is None:
        return "channel_not_found"
    if channel in hub.registry.archived:
        return "is_archived"
    return content_problem(arguments)


def content_problem(arguments: Mapping[str, str]) -> str:
    """Return Slack's error code for what a message says; "" if it is good."""
    for name, wrong in (("blocks", "invalid_blocks"), ("attachments", "invalid_attachments")):
        if name in arguments and not 0 < len(objects(arguments[name]) or ()) <= _BLOCKS_MOST:
            return wrong
    if not any(arguments.get(name) for name in ("text", "markdown_text", "blocks", "attachments")):
        return "no_text"
    return "msg_too_long" if len(arguments.get("text", "")) > _TEXT_MOST else ""


def content(arguments: Mapping[str, str]) -> rtm.Json:
    """Return what a message says, as it comes back.

    Blocks without a `block_id` get one (https://docs.slack.dev/reference/block-kit/blocks),
    attachments an `id` and a `fallback`.
    """
    found: rtm.Json = {"text": arguments.get("text", "") or arguments.get("markdown_text", "")}
    if "blocks" in arguments:
        found["blocks"] = inputs.named(objects(arguments["blocks"]) or [])
    if "attachments" in arguments:
        found["attachments"] = [
            {"id": number, "fallback": "[no preview available]"} | one
            for number, one in enumerate(objects(arguments["attachments"]) or [], 1)
        ]
    if isinstance(metadata := parsed(arguments.get("metadata", "")), dict):
        found["metadata"] = metadata
    return found


def rest(hub: Hub, arguments: Mapping[str, str]) -> int:
    """Return for how many whole seconds the channel takes no message; if 0, count this one."""
    rate, now = hub.faults.post_rate, time.monotonic()
    channel = hub.registry.channel_id(arguments.get("channel", "")) or ""
    if rate is None:
        return 0
    with hub.changed:
        wait = hub.posted_at.get(channel, float("-inf")) + 1 / rate - now
        if wait > 0:
            return math.ceil(wait)
        hub.posted_at[channel] = now
    return 0


def accept(hub: Hub, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Post a message; return the answer."""
    channel = hub.registry.channel_id(arguments["channel"]) or ""
    message: rtm.Json = {"channel": channel, "text": arguments.get("text", "")}
    for name in ("blocks", "attachments"):
        if name in arguments:
            message[name] = objects(arguments[name])
    if arguments.get("thread_ts"):
        message["thread_ts"] = arguments["thread_ts"]
        message["reply_broadcast"] = arguments.get("reply_broadcast") in TRUE
    event = hub.accept(message, 0, content(arguments))
    hub.publish(event)
    return {"ok": True, "channel": channel, "ts": event["ts"], "message": as_kept(event)}
