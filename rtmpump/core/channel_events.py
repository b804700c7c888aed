"""Which channels an event is about, so that only their names are looked up anew."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from rtmpump.core import envelopes

_LIST_CHANGES: Final = ("channel_", "group_")
# These say what a person has read: they change no channel, and come often.
_NO_LIST_CHANGES: Final = ("_marked", "_history_changed")


class Concerned(NamedTuple):
    """The channels that changed, by the ids and names that the event holds."""

    ids: frozenset[str]
    names: frozenset[str]


class _Fields(msgspec.Struct, gc=False):
    channel: Any = None
    old_channel_id: Any = None
    new_channel_id: Any = None


_decode: Final = msgspec.json.Decoder(_Fields).decode


def changes_channels(type: str) -> bool:
    """Return whether an event of this type may change which channel has which name."""
    return type.startswith(_LIST_CHANGES) and not type.endswith(_NO_LIST_CHANGES)


def concerned(frame: bytes) -> Concerned | None:
    """Return the channels that the event in a frame is about, in Socket Mode in its envelope.

    None if it doesn't say, so that it may be any.
    """
    envelope = envelopes.read(frame)
    try:
        fields = _decode(frame if envelope is None else envelope.body)
    except (msgspec.DecodeError, RecursionError):
        return None
    channel = fields.channel if isinstance(fields.channel, dict) else {"id": fields.channel}
    ids = _words(channel.get("id"), fields.old_channel_id, fields.new_channel_id)
    if not ids:
        return None
    return Concerned(ids, _words(channel.get("name"), channel.get("name_normalized")))


def _words(*values: object) -> frozenset[str]:
    return frozenset(value for value in values if isinstance(value, str) and value)
