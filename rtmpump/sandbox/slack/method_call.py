"""One call of a method of Slack's Web API, and what its answer is made of."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from rtmpump.sandbox.slack.hub import Hub

Json: TypeAlias = dict[str, Any]
TRUE: Final = ("1", "true", "True")
_DEFAULT_LIMIT: Final = 100
_TOP_LIMIT: Final = 1000


@dataclass
class MethodCall:
    """One call; `link` makes a WebSocket URL of a ticket, `events` are sent after the answer.

    A method runs under the lock of the hub, and to send may take long.
    """

    hub: Hub
    arguments: Mapping[str, str]
    link: Callable[[str, bool], str]
    events: list[Json] = field(default_factory=list)

    def get(self, name: str) -> str:
        """Return an argument; "" if it is not given."""
        return self.arguments.get(name, "")

    def flag(self, name: str) -> bool:
        """Return whether an argument says yes."""
        return self.get(name) in TRUE


Method: TypeAlias = Callable[[MethodCall], Json]


def error(code: str, *messages: str) -> Json:
    """Return the answer that says what is wrong."""
    more = {"response_metadata": {"messages": list(messages)}} if messages else {}
    return {"ok": False, "error": code} | more


def limit_of(call: MethodCall) -> int | None:
    """Return the argument `limit`, 100 if it is not given; None if it is no good number."""
    word = call.get("limit")
    if not word:
        return _DEFAULT_LIMIT
    number = int(word) if word.isdecimal() else 0
    return number if 0 < number <= _TOP_LIMIT else None


def page(call: MethodCall, name: str, found: Sequence[Any], most: int = _TOP_LIMIT) -> Json:
    """Return the answer with one page of `found`, which `limit` and `cursor` choose."""
    limit = limit_of(call)
    if limit is None:
        return error("invalid_limit")
    start = _cursor_start(call.get("cursor"))
    if start is None:
        return error("invalid_cursor")
    end = start + min(limit, most)
    following = _cursor(end) if end < len(found) else ""
    return {
        "ok": True,
        name: list(found[start:end]),
        "response_metadata": {"next_cursor": following},
    }


def objects(text: str) -> list[Json] | None:
    """Return a list of objects that is given as JSON; None if it is none."""
    value = parsed(text)
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return value
    return None


def parsed(text: str) -> Any:
    """Return the value of JSON; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _cursor(start: int) -> str:
    return base64.b64encode(f"from:{start}".encode()).decode()


def _cursor_start(cursor: str) -> int | None:
    if not cursor:
        return 0
    try:
        word = base64.b64decode(cursor, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    number = word.removeprefix("from:")
    return int(number) if number.isdecimal() else None
