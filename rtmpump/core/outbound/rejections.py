"""The words of a rejection.

Laws: a rejection is read by a person who can't look into this program, so it names the field, says
what was found and what to do. It may stand in a log or in an AMQP header, so it is short, printable
and never shows the text of a message.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from rtmpump.errors import CommandRejected

INVALID: Final = "invalid_command"
TOO_LONG: Final = "too_long"
_SHOWN_MAX: Final = 80


def reject(message: str, field: str = "", *, code: str = INVALID) -> CommandRejected:
    """Return a rejection; `field` is the one at fault, "" for the body as a whole."""
    return CommandRejected(code, message, field)


def missing(field: str, wanted: str) -> CommandRejected:
    """Return the rejection for a field that must be there."""
    return reject(f'field "{field}" is missing; it must be {wanted}', field)


def wrong(field: str, wanted: str, found: object) -> CommandRejected:
    """Return the rejection for a value that is not what was wanted."""
    return reject(f'field "{field}" must be {wanted}; found {what(found)}', field)


def what(value: object) -> str:
    """Return in JSON's words what was found; only strings are shown, as only they are short."""
    if isinstance(value, str):
        return f'the string "{short(value)}"' if value else "an empty string"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if isinstance(value, dict) else "a number"


def nearest(name: object, known: list[str]) -> str:
    """Return the known name that was probably meant, as a question, or ""."""
    near = get_close_matches(name[:_SHOWN_MAX].lower(), known, 1) if isinstance(name, str) else []
    return f' (did you mean "{near[0]}"?)' if near else ""


def short(text: str) -> str:
    """Return foreign text so that it can stand in a line: clipped and printable."""
    clipped = text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
    return clipped if clipped.isprintable() else ascii(clipped)[1:-1]


def is_encodable(text: str) -> bool:
    """Return whether UTF-8 can hold it: half a surrogate pair, which JSON can write, it can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
