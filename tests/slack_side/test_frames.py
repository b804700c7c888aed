"""What is read from frames, and how it is written."""

from __future__ import annotations

import pytest

from rtmpump.slack_side.frames import encoded, read


@pytest.mark.parametrize("data", ["", "{", "[1]", "5", "null", b"\xff", b"\x00", "[" * 100_000])
def test_what_is_no_object_is_nothing(data: str | bytes) -> None:
    """No frame of a client raises."""
    assert read(data) is None


def test_text_and_bytes_are_read_alike() -> None:
    """What was written comes back."""
    body = encoded({"text": "é", "n": None})
    assert body == b'{"text":"\xc3\xa9","n":null}'
    assert read(body) == read(body.decode()) == {"text": "é", "n": None}
