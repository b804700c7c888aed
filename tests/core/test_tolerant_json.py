"""Facts about JSON that can always be written, and shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtmpump.core import tolerant_json
from rtmpump.core.frames import DEPTH_MAX, head

CONTROLS = [chr(code) for code in (0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F))]
CONTROLS += [chr(code) for code in (*range(0x2066, 0x206A), 0x200E, 0x2028, 0xFEFF, 0xE0001)]


def test_half_a_surrogate_pair_is_replaced() -> None:
    """In names and values, however deep."""
    assert tolerant_json.encode({"a\ud800": ["\udc00", 1]}) == b'{"a?":["?",1]}'
    assert tolerant_json.encode({"a": "\u00f6"}) == '{"a":"\u00f6"}'.encode()


@pytest.mark.parametrize("char", CONTROLS, ids=ascii)
def test_no_character_that_steers_a_terminal_is_shown(char: str) -> None:
    """It becomes an escape, so the JSON says the same."""
    text = json.dumps({"a": f"x{char}y"}, ensure_ascii=False)
    shown = tolerant_json.shown(text)
    assert shown.isprintable()
    assert json.loads(shown) == {"a": f"x{char}y"}


def test_what_people_read_is_shown_as_it_is() -> None:
    """Letters, emoji, and the line breaks between the fields."""
    text = json.dumps({"a": "gr\u00fcezi \U0001f600", "b": "\n"}, ensure_ascii=False, indent=2)
    assert tolerant_json.shown(text) == text


def nested(depth: int, inner: object = 1) -> Any:
    """A value in so many lists."""
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize("inner", [1, "\ud800"], ids=["plain", "half a pair"])
def test_what_is_nested_too_deep_is_left_out(inner: object) -> None:
    """The interpreter's own limit decides nothing; the object as a whole can be read again."""
    depths = {"least": DEPTH_MAX - 1, "most": DEPTH_MAX, "near": 984, "far": 50_000}
    deep = {name: nested(depth, inner) for name, depth in depths.items()}
    kept = tolerant_json.encode_members({"a": 1, **deep, "b": 2})
    assert list(kept) == ["a", "least", "b"]
    assert head(tolerant_json.join_members(kept)) is not None
    while deep:
        _take_apart(deep.popitem()[1])


def _take_apart(value: Any) -> None:
    """Old versions of Python can't free what is nested so deep."""
    while isinstance(value, list) and value:
        value = value.pop()
