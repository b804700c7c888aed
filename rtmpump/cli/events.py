"""One event of RabbitMQ as `tail` sees it: whom it is about, and how it is shown.

Most events have ids alone. Where Slack gives a name too (slash commands, buttons, a channel that
was made or renamed), the name is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import click
import msgspec

from rtmpump.cli.columns import cut, filled, width
from rtmpump.cli.common import one_line
from rtmpump.client import Event
from rtmpump.core import tolerant_json

_SHOWN_ALREADY: Final = (
    *("type", "subtype", "channel", "user", "ts", "event_ts", "text"),
    *("channel_id", "channel_name", "user_id", "user_name"),
)
_NOTHING: Final = "-"
# What Slack gives as the name of a conversation that has none.
_NO_NAMES: Final = ("directmessage", "privategroup")
# Where an event may hold one more event or what it is about, of one channel and one user.
_INNER: Final = ("item", "message", "previous_message", "container")
# The columns of key and of channel and user: least, most, and which part of the terminal.
_KEY: Final = (13, 28, 6)
_WHO: Final = (11, 18, 10)
_IN_A_PIPE: Final = 160
_WITH_MILLISECONDS: Final = 100


class ShownEvent:
    """An event, with what is read of its body once."""

    def __init__(self, event: Event) -> None:
        self.routing_key = event.key
        self.message_id = event.message_id
        self.received_at = event.received_at
        self.headers = event.headers
        self.body = event.body

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The fields of the body; none if it is no JSON object."""
        return fields_of(self.body)

    def ids(self, kind: str) -> set[str]:
        """Return the ids of all channels, or of all users, that it is about.

        `kind` is "channel" or "user". A reaction has its channel in the item, a changed message
        its author in the message.
        """
        inner = (self.fields.get(name) for name in _INNER)
        places = [self.headers, self.fields, *(one for one in inner if isinstance(one, dict))]
        return {name for place in places for name in _ids(place, kind)}

    def who(self, kind: str) -> str:
        """Return the channel or the user for people: the name where it has one, else the id."""
        sign, name = ("#", self._channel_name()) if kind == "channel" else ("@", self._user_name())
        if name:
            return sign + name
        found = self.headers.get(kind) or min(self.ids(kind), default="")
        return str(found or (self.fields.get("bot_id") if kind == "user" else "") or "")

    def _channel_name(self) -> str:
        name = _text(self.fields, "channel_name") or _text(self.fields.get("channel"), "name")
        return "" if name in _NO_NAMES else name

    def _user_name(self) -> str:
        person = self.fields.get("user")
        name = _text(self.fields, "user_name") or _text(person, "name") or _text(person, "username")
        # A message of a bot may have a name and no user.
        return name or _text(self.fields, "username")


def _ids(place: Mapping[str, Any], kind: str) -> Iterator[str]:
    for one in (place.get(kind), place.get(f"{kind}_id"), _text(place.get(kind), "id")):
        if isinstance(one, str) and one:
            yield one


def _text(place: object, key: str) -> str:
    found = place.get(key) if isinstance(place, dict) else None
    return found if isinstance(found, str) else ""


def json_line(event: ShownEvent) -> str:
    """Return the event as one JSON object, the body as it came."""
    line = msgspec.json.encode(
        {
            "routing_key": event.routing_key,
            "message_id": event.message_id or None,
            "headers": event.headers,
            "body": _raw(event.body),
        },
        enc_hook=_plain,
    )
    return tolerant_json.shown(line.decode())


def line(event: ShownEvent, columns: int | None) -> str:
    """Return one line for people in columns: time, routing key, channel, user, text.

    It is cut to so many columns, or not at all for None.
    """
    key, who = _part(_KEY, columns), _part(_WHO, columns)
    time = _time(event)
    if columns is not None and columns < _WITH_MILLISECONDS:
        time = time.partition(".")[0]
    cells: list[tuple[str, int, dict[str, Any]]] = [
        (time, len(time), {"dim": True}),
        (event.routing_key, key, {"fg": "cyan"}),
        (event.who("channel") or _NOTHING, who, {"fg": "green"}),
        (event.who("user") or _NOTHING, who, {"fg": "yellow"}),
    ]
    left = None if columns is None else columns - sum(size + 1 for _, size, _ in cells)
    told = one_line(_story(event))
    start = " ".join(_cell(text, size, columns, style) for text, size, style in cells)
    return f"{start} {told if left is None else cut(told, max(left, 1))}".rstrip()


def _part(bounds: tuple[int, int, int], columns: int | None) -> int:
    least, most, part = bounds
    return min(max((columns or _IN_A_PIPE) // part, least), most)


def _cell(text: str, size: int, columns: int | None, style: Mapping[str, Any]) -> str:
    shown = one_line(text)
    fitting = shown if columns is None else cut(shown, size)
    # No style on the spaces: at the end of a line they go.
    return click.style(fitting, **style) + filled("", size - width(fitting))


def _plain(value: object) -> int | str:
    """Return what msgspec does not know as JSON has it: pika's 64-bit numbers, or a text."""
    return int(value) if isinstance(value, int) else str(value)


def _raw(body: bytes) -> msgspec.Raw | str:
    """Return the body as JSON on one line; as a string if it is no JSON."""
    try:
        body.decode()
        return msgspec.Raw(msgspec.json.format(body, indent=-1))
    except (ValueError, RecursionError, msgspec.DecodeError):
        return body.decode(errors="backslashreplace")


def fields_of(body: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object, none of anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(event: ShownEvent) -> str:
    """Return the local time of day at which the event was received; now if it does not say."""
    try:
        when = datetime.fromtimestamp(event.received_at).astimezone()  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        when = datetime.now().astimezone()
    return when.strftime("%H:%M:%S") + f".{when.microsecond // 1000:03}"


def _story(event: ShownEvent) -> str:
    """Return the text of a message; of other events the fields that the line does not show."""
    fields = event.fields
    if not fields:
        return event.body.decode(errors="backslashreplace")
    text = fields.get("text")
    command = fields.get("command")
    if isinstance(command, str) and isinstance(text, str):
        return f"{command} {text}".rstrip()
    # A message that was changed has its new text inside.
    if text := text or _text(fields.get("message"), "text"):
        return str(text)
    rest = [f"{key}={_short(value)}" for key, value in fields.items() if key not in _SHOWN_ALREADY]
    return " ".join(rest)


def _short(value: object) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"
