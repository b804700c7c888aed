"""Events of RabbitMQ as a program for RTM knows them; commands as RTM has frames.

Laws:

- What RTM never had is left out: the pump's own events, slash commands, buttons. `hello` and
  `goodbye` are about the pump's connection, and not about the program's.
- In Socket Mode Slack sends an app its own messages too. RTM never did that for what was said over
  RTM, and a program that answers each message would answer itself: they are left out.
- A mention of the app comes in Socket Mode as `app_mention`, and often as `message` too. RTM has a
  message alone, so the first of both is one, and the second is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from rtmpump.core.recent_ids import RecentIds
from rtmpump.slack_side import rtm

_NOT_OF_RTM: Final = frozenset(
    ("rtmpump", "hello", "goodbye", "slash_command", "interactive", "unknown", "app_home_opened")
)
_MENTION: Final = "app_mention"
_REMEMBERED: Final = 1000
_OF_THE_EVENTS_API: Final = ("channel_type",)
_NO_COMMAND: Final = ("ping",)


class ReceivedEvent(Protocol):
    """An event as it came from RabbitMQ."""

    @property
    def type(self) -> str:
        """Slack's type."""

    @property
    def headers(self) -> Mapping[str, Any]:
        """The AMQP headers."""

    def json(self) -> Any:
        """Return the body as the object that it is."""


class RtmShapes:
    """Turns events into frames of RTM, one after the other."""

    def __init__(self) -> None:
        self._seen = RecentIds(_REMEMBERED)

    def frame(self, event: ReceivedEvent) -> dict[str, Any] | None:
        """Return the event as RTM would have sent it; None if it would not."""
        if event.type in _NOT_OF_RTM:
            return None
        try:
            frame = event.json()
        except (ValueError, RecursionError):
            return None
        if not isinstance(frame, dict):
            return None
        if "event_id" in event.headers:
            return self._of_socket_mode(event, frame)
        return frame

    def _of_socket_mode(self, event: ReceivedEvent, frame: dict[str, Any]) -> dict[str, Any] | None:
        if event.type not in ("message", _MENTION):
            return frame
        if frame.get("user") and frame["user"] == event.headers.get("bot"):
            return None
        if event.type == _MENTION:
            frame = {**frame, "type": "message"}
        if "subtype" not in frame:
            name = f"{frame.get('channel')}:{frame.get('ts')}"
            if name in self._seen:
                return None
            self._seen.add([name])
        return {name: value for name, value in frame.items() if name not in _OF_THE_EVENTS_API}


def reply(fields: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
    """Return the frame with which RTM answers a message; it answers nothing else."""
    if fields.get("type", "message") != "message":
        return None
    if result.get("ok") is True:
        return rtm.reply(fields, result.get("ts", ""))
    error = result.get("error", {})
    return rtm.refusal(fields, _number(error.get("code", "")), str(error.get("message", "")))


def command(frame: dict[str, Any]) -> dict[str, Any] | None:
    """Return the command that has the effect of a frame; None if rtmpump does that by itself."""
    if frame.get("type") in _NO_COMMAND:
        return None
    return {name: value for name, value in frame.items() if name != "id"}


def slack_code(code: str) -> str:
    """Return the error code as Slack's Web API would have it."""
    return code.removeprefix("slack_")


def _number(code: object) -> int | str:
    word = slack_code(str(code))
    return int(word) if word.lstrip("-").isdigit() else word
