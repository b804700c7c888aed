"""The pump's own events, published like Slack's: connected, disconnected, gap, backfilled.

They have no `ts`, so their message ids come from the spool's epoch and seq.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

TYPE = "rtmpump"

_FAILED_MAX = 200


def connected(*, team: str, bot: str, connection: int) -> bytes:
    """Announce Slack's hello; `connection` counts the WebSockets of this process from 1."""
    return _event("connected", team=team, bot=bot, connection=str(connection))


def disconnected(reason: str, detail: str) -> bytes:
    """Announce the end of the WebSocket; `reason` is one word, `detail` a sentence."""
    return _event("disconnected", reason=reason, detail=detail)


def gap(*, from_ms: int, to_ms: int, reason: str) -> bytes:
    """Announce that events may be missing between two times (milliseconds since 1970)."""
    return _event("gap", **{"from": rfc3339(from_ms), "to": rfc3339(to_ms)}, reason=reason)


def backfilled(
    *, from_ms: int, to_ms: int, channels: int, messages: int, failed: Sequence[tuple[str, str]]
) -> bytes:
    """Announce that a gap is filled as far as it can be; the times are those of the gap.

    `channels` were read to their end, `messages` were published. `failed` are conversations (an
    id, or all of a kind: "im", "mpim", "private_channel", "public_channel") and why. The event has
    200 of them at most; its `failed_count` counts them all.
    """
    listed = [{"conversations": one, "reason": why} for one, why in failed[:_FAILED_MAX]]
    return _event(
        "backfilled",
        **{"from": rfc3339(from_ms), "to": rfc3339(to_ms)},
        channels=channels,
        messages=messages,
        failed=listed,
        failed_count=len(failed),
    )


def rfc3339(ms: int) -> str:
    """Write milliseconds since 1970 as RFC 3339 has it, in UTC."""
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(subtype: str, **fields: object) -> bytes:
    return msgspec.json.encode({"type": TYPE, "subtype": subtype, **fields})
