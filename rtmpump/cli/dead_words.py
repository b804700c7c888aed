"""A dead letter for people and for machines: one line of a list, and all of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import click
import msgspec

from rtmpump.cli.columns import cut, filled, width
from rtmpump.cli.common import one_line
from rtmpump.links.rabbitmq.dead_letters import Death, death
from rtmpump.links.rabbitmq.listener import Delivery

_PROPERTIES: Final = (
    *("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id"),
    *("reply_to", "expiration", "message_id", "timestamp", "type", "user_id", "app_id"),
)
_DOUBT: Final = "[Slack may have taken it]"
_SHORT_DOUBT: Final = "[uncertain]"
_MARK: Final = "[?]"
# Where a line has less room than this behind its columns, it says less.
_ROOMY: Final = 60
_NARROW: Final = 25
_ID_MIN: Final = 12
_WITH_YEAR: Final = 100


class _Command(NamedTuple):
    """What can be read of the command in a dead letter."""

    type: str
    channel: str
    text: str


class Letter:
    """A dead letter, with why it died and what the command was."""

    def __init__(self, received: Delivery) -> None:
        self.why: Death = death(received.properties, received.body)
        self.command = _command(received.body)
        self.received = received

    def summary(self) -> dict[str, Any]:
        """Return what `dead list --json` has of it."""
        why, properties = self.why, self.received.properties
        return {
            "id": why.id,
            "at": why.at or None,
            "code": why.code,
            "message": why.message,
            "attempts": why.attempts,
            "uncertain": why.uncertain,
            **self.command._asdict(),
            "message_id": properties.message_id,
            "correlation_id": properties.correlation_id,
            "body": self.received.body.decode(errors="backslashreplace"),
        }

    def whole(self, options: Sequence[str]) -> dict[str, Any]:
        """Return all of it; `options` name the configuration for the commands in it."""
        properties = {name: getattr(self.received.properties, name) for name in _PROPERTIES}
        return {
            **self.summary(),
            "properties": {name: value for name, value in properties.items() if value is not None},
            "headers": _plain(self.received.properties.headers or {}),
            "retry": self._call("retry", options),
            "drop": self._call("drop", options),
        }

    def in_words(self, options: Sequence[str]) -> Iterator[str]:
        """Yield the lines that show all of it to people."""
        whole, why = self.whole(options), self.why
        doubt = "perhaps: a connection ended before its answer" if why.uncertain else "no"
        rows = {
            "id": why.id,
            "failed": local(why.at),
            "why": ": ".join(part for part in (why.code or "not known", why.message) if part),
            "attempts": "none by the pump" if why.attempts is None else str(why.attempts),
            "Slack has it": doubt,
        }
        yield from _rows(rows, "")
        for name in ("properties", "headers"):
            yield f"{name}:" if whole[name] else f"{name}: none"
            yield from _rows({key: _shown(value) for key, value in whole[name].items()}, "  ")
        yield "body:" if self.received.body else "body: empty"
        yield from (f"  {one_line(line)}" for line in _pretty(self.received.body))
        yield from _rows({"retry it": whole["retry"], "drop it": whole["drop"]}, "")

    def _call(self, verb: str, options: Sequence[str]) -> str:
        return shlex.join(["rtmpump", "dead", verb, f"--id={one_line(self.why.id)}", *options])


class LetterLines:
    """The lines of a list, whose columns are those of its first page.

    They are cut to so many columns, or not at all for None.
    """

    def __init__(self, page: Sequence[Letter], columns: int | None) -> None:
        self._columns = columns
        cells = [self._cells(letter) for letter in page]
        self._sizes = [max(map(width, column)) for column in zip(*cells, strict=True)]
        if columns is not None:
            most = (max(_ID_MIN, columns // 5), 19, max(9, columns // 6), max(9, columns // 8))
            self._sizes = [min(pair) for pair in zip(self._sizes, most, strict=True)]

    def line(self, letter: Letter) -> str:
        """Return the line: id, when, code, channel, text, and what went wrong."""
        cells = zip(self._cells(letter), self._sizes, ("cyan", None, "red", "green"), strict=True)
        start = " ".join(self._cell(text, size, colour) for text, size, colour in cells)
        return f"{start} {self._rest(letter)}".rstrip()

    def _cells(self, letter: Letter) -> list[str]:
        when = local(letter.why.at)
        if self._columns is not None and self._columns < _WITH_YEAR:
            when = when[len("2026-") : -len(":00")] or when
        code, channel = letter.why.code or "?", letter.command.channel or "?"
        return [one_line(letter.why.id), when, one_line(code), one_line(channel)]

    def _cell(self, text: str, size: int, colour: str | None) -> str:
        fitting = text if self._columns is None else cut(text, size)
        return click.style(fitting, fg=colour, dim=colour is None) + filled(
            "", size - width(fitting)
        )

    def _rest(self, letter: Letter) -> str:
        command, why = letter.command, letter.why
        text = one_line(command.text if command.type == "message" else f"({command.type})") or '""'
        message = f"({one_line(why.message)})" if why.message else ""
        doubt = _DOUBT if why.uncertain else ""
        if self._columns is not None:
            left = self._columns - sum(self._sizes) - len(self._sizes)
            if left < _ROOMY and doubt:
                doubt = _SHORT_DOUBT if left >= _NARROW else _MARK
            message = message if left >= _NARROW else ""
            left -= len(doubt) + bool(doubt)
            # What went wrong gets what the text leaves, and half at least.
            text = cut(text, max(left - min(width(message) + bool(message), left // 2), 1))
            message = cut(message, max(left - width(text) - 1, 1)) if message else ""
        doubt = click.style(doubt, fg="yellow") if doubt else ""
        return " ".join(part for part in (text, message, doubt) if part)


def _command(body: bytes) -> _Command:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return _Command("message", "", body.decode(errors="backslashreplace"))
    found = {name: fields.get(name) for name in _Command._fields}
    plain = {name: value if isinstance(value, str) else "" for name, value in found.items()}
    return _Command(plain["type"] or "message", plain["channel"], plain["text"])


def local(at: str) -> str:
    """Return an RFC 3339 time as people here read it; "?" if it is none."""
    try:
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return "?"


def _rows(rows: Mapping[str, str], indent: str) -> Iterator[str]:
    size = max(map(len, rows), default=0)
    for name, value in rows.items():
        yield f"{indent}{one_line(filled(name, size))}  {one_line(value)}"


def _pretty(body: bytes) -> list[str]:
    """Return the lines of a body; those of JSON with each field on its own line."""
    text = body.decode(errors="backslashreplace")
    try:
        return msgspec.json.format(text, indent=2).splitlines()
    except (ValueError, RecursionError, msgspec.DecodeError):
        return text.splitlines()


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return a value of AMQP as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="backslashreplace")
    if value is None or isinstance(value, str | int | float):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)
