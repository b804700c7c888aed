"""What the tests of commands share: good bodies, and what a rejection has to say."""

from __future__ import annotations

import json

import pytest

from rtmpump.core.outbound.command_parsing import parse
from rtmpump.errors import CommandRejected

TS = "1355517523.000005"


def body(**fields: object) -> bytes:
    """Return the body of a command with these fields."""
    return json.dumps(fields).encode()


def message(**fields: object) -> bytes:
    """Return the body of a good message, but for these fields."""
    return body(**{"channel": "C024BE91L", "text": "hi"} | fields)


def rejection(raw: bytes) -> CommandRejected:
    """Return the error with which `parse` rejects these bytes."""
    with pytest.raises(CommandRejected) as caught:
        parse(raw)
    return caught.value


def assert_names(error: CommandRejected, field: str, *words: str) -> None:
    """Check that the rejection names this field, and holds each of the words."""
    assert error.field == field
    assert error.code == "invalid_command"
    for word in (f'"{field}"', *words):
        assert word in error.message
