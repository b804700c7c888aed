"""Token and arguments of a call."""

from __future__ import annotations

from typing import Any

import pytest

from rtmpump.slack_side.web_api import FORM, JSON, BadArguments, body_arguments, token_of


@pytest.mark.parametrize(
    ("authorization", "arguments", "token"),
    [
        ("Bearer x", {"token": "y"}, "x"),
        ("bearer  x ", {}, "x"),
        ("Bearer ", {"token": "y"}, "y"),
        ("Basic x", {"token": "y"}, "y"),
        ("", {"token": 5}, ""),
        ("", {}, ""),
    ],
)
def test_where_the_token_stands(authorization: str, arguments: dict[str, Any], token: str) -> None:
    """The header wins over the argument."""
    assert token_of(authorization, arguments) == token


@pytest.mark.parametrize(
    ("kind", "body", "arguments"),
    [
        ("", b"", {}),
        ("text/plain", b"", {}),
        (JSON, b" ", {}),
        (JSON, b'{"a": [1], "b": null}', {"a": [1], "b": None}),
        (FORM, b"a=%C3%A9&b=&a=2", {"a": "2", "b": ""}),
    ],
)
def test_a_body_has_arguments(kind: str, body: bytes, arguments: dict[str, Any]) -> None:
    """Those of JSON as they are, those of a form as text."""
    assert body_arguments(kind, body) == arguments


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        (JSON, b"{", "invalid_json"),
        (JSON, b"\xff", "invalid_json"),
        (JSON, b"[" * 100_000, "invalid_json"),
        (JSON, b"[1]", "json_not_object"),
        (FORM, b"a=\xff", "invalid_form_data"),
        ("text/plain", b"x", "invalid_post_type"),
    ],
)
def test_what_is_no_arguments_is_refused_in_a_word(kind: str, body: bytes, code: str) -> None:
    """One of Slack's own codes."""
    with pytest.raises(BadArguments) as caught:
        body_arguments(kind, body)
    assert caught.value.code == code
