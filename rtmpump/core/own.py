"""The pump's own events, which go the way of Slack's: connected, disconnected and gap.

They have no `ts`, so their message ids come from the spool's epoch and seq.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

TYPE = "rtmpump"


def connected(*, team: str, bot: str, connection: int) -> bytes:
    """Slack said hello; `connection` counts the WebSockets of this process from 1."""
    return _event("connected", team=team, bot=bot, connection=str(connection))


def disconnected(reason: str, detail: str) -> bytes:
    """The WebSocket ended; `reason` is one word, `detail` a sentence."""
    return _event("disconnected", reason=reason, detail=detail)


def gap(*, from_ms: int, to_ms: int, reason: str) -> bytes:
    """Events may be missing between these times (milliseconds since 1970), for this reason."""
    return _event("gap", **{"from": rfc3339(from_ms), "to": rfc3339(to_ms)}, reason=reason)


def rfc3339(ms: int) -> str:
    """Write milliseconds since 1970 as RFC 3339 has it, in UTC."""
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(subtype: str, **fields: str) -> bytes:
    return msgspec.json.encode({"type": TYPE, "subtype": subtype, **fields})
