"""The JSON in WebSocket frames, either way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]
# `json.dumps` with arguments makes a new one at each call, which costs as much again.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encoded(value: Mapping[str, Any] | str) -> bytes:
    """Return compact JSON in UTF-8, as Slack writes it."""
    return _ENCODER.encode(value).encode()


def read(data: str | bytes) -> Json | None:
    """Return the object that a client sent; None if it is none."""
    try:
        frame = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return frame if isinstance(frame, dict) else None
