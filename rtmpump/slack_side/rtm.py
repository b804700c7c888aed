"""What Slack answers over RTM.

Source: https://docs.slack.dev/legacy/legacy-rtm-api. Slack has published no list of error codes; 1,
2, 4 and -1 were seen on the wire, and so were the members of `hello`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from rtmpump.slack_side.frames import Json

RtmProblem: TypeAlias = tuple[int | str, str]
"""Code and text of an error; a code of Slack's own is a number."""

FRAME_MAX: Final = 16_384
"""Slack ends the connection at a larger frame (bytes)."""
TEXT_MAX: Final = 4_000
GOODBYE: Final[Json] = {"type": "goodbye"}
CANNOT_PROCESS: Final[RtmProblem] = (4, "cannot process message")
TEXT_MISSING: Final[RtmProblem] = (2, "message text is missing")
TEXT_TOO_LONG: Final[RtmProblem] = (4, "message text is too long")
TOO_FAST: Final[RtmProblem] = (-1, "slow down, too many messages...")


def hello(region: str) -> Json:
    """Return the first frame."""
    return {"type": "hello", "fast_reconnect": False, "region": region, "start": True}


def pong(ping: Json) -> Json:
    """Return the answer to a ping: its id as `reply_to`, and its other scalars unchanged."""
    echoed = {k: v for k, v in ping.items() if k not in ("id", "type") and _is_scalar(v)}
    return {"type": "pong", **_number(ping), **echoed}


def text_problem(message: Json) -> RtmProblem | None:
    """Return what is wrong with the text of a message, or None."""
    text = message.get("text")
    if not isinstance(text, str) or not text:
        return TEXT_MISSING
    return TEXT_TOO_LONG if len(text) > TEXT_MAX else None


def reply(message: Json, ts: str) -> Json:
    """Return the reply to an accepted message."""
    return {"ok": True, **_number(message), "ts": ts, "text": message.get("text", "")}


def refusal(frame: Json, code: int | str, msg: str) -> Json:
    """Return the reply to a refused frame."""
    return {"ok": False, **_number(frame), "error": {"code": code, "msg": msg}}


def error_event(code: int | str, msg: str) -> Json:
    """Return an error that belongs to no frame."""
    return {"type": "error", "error": {"code": code, "msg": msg}}


def _number(frame: Json) -> Json:
    return {"reply_to": frame["id"]} if "id" in frame else {}


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
