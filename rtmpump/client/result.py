"""What became of a message that was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rtmpump.client.errors import CommandFailed


class Result(NamedTuple):
    """Slack took the message: its `channel` (an id) and its `ts`, with which to answer it.

    `attempts` counts the tries. `uncertain`: an earlier try may have succeeded too, so it may be
    there twice. `response` is Slack's own answer where the pump had one, as in Socket Mode.
    """

    channel: str
    ts: str
    attempts: int
    uncertain: bool
    response: Mapping[str, Any] | None


def read_result(answer: Mapping[str, Any]) -> Result:
    """Return the result that the pump sent.

    Raises:
        CommandFailed: it says that the command failed.
    """
    attempts, uncertain = answer.get("attempts", 1), bool(answer.get("uncertain"))
    if answer.get("ok") is not True:
        error = answer.get("error")
        given = error if isinstance(error, dict) else {}
        code, message = str(given.get("code", "unknown")), str(given.get("message", ""))
        raise CommandFailed(code, message, attempts=attempts, uncertain=uncertain)
    response = answer.get("response")
    return Result(
        str(answer.get("channel", "")),
        str(answer.get("ts", "")),
        attempts,
        uncertain,
        response if isinstance(response, dict) else None,
    )
