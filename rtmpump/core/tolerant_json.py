"""JSON that can always be written, whatever it was read from."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from rtmpump.core.frames import DEPTH_MAX, is_too_deep


def encode(value: object) -> bytes:
    """Return the JSON of a value that was read from JSON; half a surrogate pair becomes "?"."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Half a surrogate pair, which Slack can write and UTF-8 can't hold.
        return msgspec.json.encode(_encodable(value))


def encode_members(members: Mapping[str, object]) -> dict[str, bytes]:
    """Return the JSON of each member of an object, but for those that are nested too deep.

    The object is then nested at most `DEPTH_MAX` deep. What was read can be too deep to be written:
    the interpreter's limit counts the callers too.
    """
    written = {}
    for name, value in members.items():
        try:
            one = encode(value)
        except RecursionError:
            continue
        if not is_too_deep(one, DEPTH_MAX - 1):
            written[name] = one
    return written


def join_members(members: Mapping[str, bytes]) -> bytes:
    """Return the JSON of the object that has these members."""
    return b"{%s}" % b",".join(b"%s:%s" % (encode(name), one) for name, one in members.items())


def shown(text: str) -> str:
    """Return the same JSON with each character that could steer a terminal as an escape.

    JSON itself escapes only what is below a space: not DEL, not the C1 controls, and not what turns
    the direction of text round.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
    )


def _encodable(value: object) -> object:
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_encodable(one) for one in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
