"""The JSON in WebSocket frames, either way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


def encoded(members: Mapping[str, Any]) -> bytes:
    """Return compact JSON in UTF-8, as Slack writes it."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def read(data: str | bytes) -> Json | None:
    """Return the object that a client sent; None if it is none."""
    try:
        frame = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return frame if isinstance(frame, dict) else None
