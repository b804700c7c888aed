"""The commands, and what goes to Slack for each: a frame of RTM or a call of the Web API.

`command_parsing` makes them of what producers send.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, ClassVar, TypeAlias

import msgspec

from rtmpump.errors import CommandRejected

FRAME_MAX = 16_384
POST = "chat.postMessage"
"""The method by which a message is posted where there is no RTM."""

_CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]+")


class Message(msgspec.Struct, frozen=True):
    """Post `text` to `channel` (id or name), in the thread of `thread_ts` if there is one.

    `more` are further arguments of chat.postMessage as form fields, for Socket Mode only; beside
    some of them the `text` may be "".
    """

    kind: ClassVar[str] = "message"
    awaits_reply: ClassVar[bool] = True

    channel: str
    text: str
    thread_ts: str | None = None
    reply_broadcast: bool = False
    more: dict[str, str] = {}


class Typing(msgspec.Struct, frozen=True):
    """Show in `channel` that the bot is typing."""

    kind: ClassVar[str] = "typing"
    awaits_reply: ClassVar[bool] = False

    channel: str
    thread_ts: str | None = None


class PresenceSub(msgspec.Struct, frozen=True):
    """Subscribe to the presence of these users and of no others."""

    kind: ClassVar[str] = "presence_sub"
    awaits_reply: ClassVar[bool] = False

    ids: tuple[str, ...]


class PresenceQuery(msgspec.Struct, frozen=True):
    """Ask once for the presence of these users."""

    kind: ClassVar[str] = "presence_query"
    awaits_reply: ClassVar[bool] = False

    ids: tuple[str, ...]


class Api(msgspec.Struct, frozen=True):
    """Call `method` of Slack's Web API; `arguments` are form fields: texts, all else as JSON."""

    kind: ClassVar[str] = "api"
    awaits_reply: ClassVar[bool] = True

    method: str
    arguments: dict[str, str]


Command: TypeAlias = Message | Typing | PresenceSub | PresenceQuery | Api


def is_channel_id(channel: str) -> bool:
    """Return whether this is the id of a channel (`C`), group (`G`) or direct message (`D`)."""
    return _CHANNEL_ID.fullmatch(channel) is not None


def may_be_name(channel: str) -> bool:
    """Return whether this can be a channel's name; ids of users and names of people can't."""
    return channel == channel.lower() and not channel.startswith("@")


def channel_name(channel: str) -> str:
    """Return the name as Slack keeps it: `general` for `#general` and for `general`."""
    return composed(channel.removeprefix("#"))


def composed(text: str) -> str:
    """Return text with each accent in one character with its letter (NFC)."""
    return unicodedata.normalize("NFC", text)


def is_message(command: Command | None) -> bool:
    """Return whether it counts for Slack's limit of one message a second and channel."""
    return isinstance(command, Message) or (isinstance(command, Api) and command.method == POST)


def queue_key(command: Command) -> str:
    """Return the key of the channel queue in which the command waits.

    For a message and for typing it is the channel as it was given, for presence "". A call waits
    only for calls of the same method in the same channel. But a chat.postMessage is a message like
    any other, so it waits in the queue of its channel, which may be given by name too.
    """
    if not isinstance(command, Api):
        return getattr(command, "channel", "")
    channel = command.arguments.get("channel", "")
    if is_message(command):
        return channel or command.method
    return f"{command.method} {channel}" if channel else command.method


def post(message: Message, channel_id: str) -> Api:
    """Return the call that posts a message where there is no RTM."""
    arguments = {"channel": channel_id, **message.more}
    if message.text or "markdown_text" not in message.more:
        arguments["text"] = message.text
    if message.thread_ts is not None:
        arguments["thread_ts"] = message.thread_ts
    if message.reply_broadcast:
        arguments["reply_broadcast"] = "true"
    return Api(POST, arguments)


def encode(command: Command, *, id: int, channel_id: str) -> bytes:
    """Return the RTM frame, JSON in UTF-8; `channel_id` is not used for presence.

    Raises:
        CommandRejected: `too_long`, over 16,384 bytes; Slack would end the connection.
        TypeError: the command is a call of the Web API.
    """
    if isinstance(command, Api):
        raise TypeError("a call of the Web API is no frame of RTM")
    frame: dict[str, Any] = {"id": id, "type": command.kind}
    if isinstance(command, PresenceSub | PresenceQuery):
        frame["ids"] = command.ids
    else:
        frame["channel"] = channel_id
        if command.thread_ts is not None:
            frame["thread_ts"] = command.thread_ts
    if isinstance(command, Message):
        frame["text"] = command.text
        if command.reply_broadcast:
            frame["reply_broadcast"] = True
    return _bounded(msgspec.json.encode(frame), "ids" if "ids" in frame else "text")


def _bounded(frame: bytes, field: str) -> bytes:
    if len(frame) > FRAME_MAX:
        problem = f'field "{field}" makes a frame of {len(frame):,} bytes'
        fix = f"Slack takes at most {FRAME_MAX:,}"
        raise CommandRejected("too_long", f"{problem}; {fix}", field)
    return frame
