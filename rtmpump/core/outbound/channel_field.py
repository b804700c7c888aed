"""What a producer gives as a channel: an id, a name, or what only looks like one.

A name is looked up later, elsewhere. What Slack can't have as the name of a channel
(https://docs.slack.dev/reference/methods/conversations.create#naming) is not looked up at all, so
that its producer hears at once what to send instead.
"""

from __future__ import annotations

import re
from typing import Final

from rtmpump.core.outbound.commands import channel_name, composed, is_channel_id
from rtmpump.core.outbound.rejections import reject, short, wrong

CHANNEL_MAX: Final = 80
WANTED: Final = 'an id like "C024BE91L" or a name like "general"'
# How Slack writes a channel in the text of a message
# (https://docs.slack.dev/messaging/formatting-message-text).
_MENTION: Final = re.compile(r"<#([CGD][A-Z0-9]+)(?:\|[^<>]*)?>")
_LINK: Final = re.compile(r"https?://\S+/(?:archives|messages)/([CGD][A-Z0-9]{2,})\b")
_USER_ID: Final = re.compile(r"[UW](?:[A-Z]*[0-9][A-Z0-9]*|[A-Z]{8,})")
# An id holds a digit or is long; GENERAL is no id, although it has the form of one.
_WORD: Final = re.compile(r"[CGD][A-Z]{0,7}")
_CAPITAL: Final = re.compile(r"[A-Z]")
_MARKUP: Final = re.compile(r"[<>]")
# deploy/asyncapi.yaml has the same ones.
_SPACE: Final = re.compile(
    "[\x00-\x20\x7f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
)
_CONVERSATION: Final = "open a conversation first (conversations.open) and send the id of that (D…)"


def read_channel(given: str) -> str:
    """Return the id, or the name with its characters composed (NFC), that `given` stands for.

    Raises:
        CommandRejected: it can't be a channel; the reason says what may be meant.
    """
    mention = _MENTION.fullmatch(given)
    channel = composed(mention[1] if mention else given)
    name = channel_name(channel)
    if not name:
        raise wrong("channel", WANTED, given)
    if len(name) > CHANNEL_MAX:
        fix = f"at most {CHANNEL_MAX} characters"
        raise reject(f'field "channel" must have {fix}; found {len(name):,}', "channel")
    if hint := _hint(channel):
        raise reject(f'field "channel" must be {WANTED}; found "{short(given)}": {hint}', "channel")
    return channel


def _hint(channel: str) -> str:
    """Return why this is no channel and what to do; "" if it may be one."""
    name = channel_name(channel)
    if is_channel_id(channel) and not _WORD.fullmatch(channel):
        return ""
    if is_channel_id(name) and not _WORD.fullmatch(name):
        return 'send an id without "#"'
    if _USER_ID.fullmatch(name) or name.startswith(("@", "<@")):
        return f"that is a user; {_CONVERSATION}"
    if link := _LINK.match(channel):
        return f'that is a link; send the id in it, "{link[1]}"'
    if _SPACE.search(name):
        return "names have no spaces"
    if _CAPITAL.search(name):
        return f'names are lower case; "{short(name.lower())}"?'
    return "names have neither < nor >" if _MARKUP.search(name) else ""
