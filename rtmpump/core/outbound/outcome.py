"""How a command ended, as its producer reads it: the result, and the headers of a dead letter.

Laws:

- Slack's answer may be of any size and depth, a result may not: it keeps the small members and
  names those that it had to leave out.
- What others wrote is bounded here, and can be written as UTF-8.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from rtmpump.core import tolerant_json

RESPONSE_MAX: Final = 65_536
_NAMES_MAX: Final = 50
_NAME_LENGTH: Final = 80
_MESSAGE_MAX: Final = 1_000
# Code 4 is RTM's for whatever is wrong with the channel, and for a text that Slack can't read.
_CODE_4: Final = (
    "check that the channel is right (an id, or a name in lower case) and not archived, and "
    "/invite the bot to it; then try a plain text"
)
_RTM_FIXES: Final = {"4": _CODE_4}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Response(NamedTuple):
    """Slack's answer as a result holds it: its JSON, and the names of members left out."""

    json: bytes
    left_out: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """How a command ended: with Slack's `ts` or `response`, or with a `code` and a `message`."""

    ok: bool
    ts: str = ""
    code: str = ""
    message: str = ""
    response: Response | None = None


def bounded(response: dict[str, Any]) -> Response:
    """Encode Slack's answer in at most `RESPONSE_MAX` bytes; keep its smallest members."""
    members = tolerant_json.encode_members(response)
    whole = tolerant_json.join_members(members)
    if len(whole) <= RESPONSE_MAX:
        return Response(whole, _left_out(response, members))
    kept: dict[str, bytes] = {}
    size = 2
    for name in sorted(members, key=lambda name: len(members[name])):
        size += len(tolerant_json.encode(name)) + len(members[name]) + 2
        if size > RESPONSE_MAX:
            break
        kept[name] = members[name]
    return Response(tolerant_json.join_members(kept), _left_out(response, kept))


def ok_result(
    channel: str | None,
    ts: str | None,
    attempts: int,
    uncertain: bool,
    response: Response | None = None,
) -> bytes:
    """Return the result (JSON) of a command that was carried out, by RTM or by a call."""
    result: dict[str, Any] = {"ok": True}
    if channel:
        result["channel"] = _printable(channel)
    if ts:
        result["ts"] = _printable(ts)
    if response is not None:
        result["response"] = msgspec.Raw(response.json)
        if response.left_out:
            result["left_out"] = response.left_out
    return msgspec.json.encode(result | {"attempts": attempts, "uncertain": uncertain})


def error_result(code: str, message: str, attempts: int, uncertain: bool) -> bytes:
    """Return the result (JSON) of a command that failed, with one of the documented codes."""
    error = {"code": _printable(code), "message": _printable(message)}
    return msgspec.json.encode(
        {"ok": False, "error": error, "attempts": attempts, "uncertain": uncertain}
    )


def refused_by_rtm(code: str, message: str) -> Outcome:
    """Return the end of a message that Slack refused over RTM: its words, and what to try."""
    fix = _RTM_FIXES.get(code)
    return Outcome(False, "", f"slack_{code}", f"{message}; {fix}" if fix else message)


def dead_headers(code: str, message: str, attempts: int, failed_at_ms: int) -> dict[str, Any]:
    """Return the AMQP headers that a dead letter gains; its time is RFC 3339 in UTC."""
    failed_at = (_EPOCH + timedelta(milliseconds=failed_at_ms)).isoformat(timespec="milliseconds")
    return {
        "rtmpump-error-code": _printable(code),
        "rtmpump-error-message": _printable(message),
        "rtmpump-attempts": attempts,
        "rtmpump-failed-at": failed_at.replace("+00:00", "Z"),
    }


def _left_out(response: Iterable[str], kept: Container[str]) -> tuple[str, ...]:
    names = [name[:_NAME_LENGTH] for name in response if name not in kept]
    return tuple(names[:_NAMES_MAX])


def _printable(text: str) -> str:
    """Bound what others wrote: a header has to fit into an AMQP frame, in UTF-8."""
    return text[:_MESSAGE_MAX].encode("utf-8", "backslashreplace").decode()
