"""Events of RabbitMQ as Slack would have sent them in Socket Mode.

The event stays as it is, byte for byte. What Slack wrapped around it comes from the header
`payload`; over RTM Slack wraps nothing, so the least that its libraries need is made.

Source: https://docs.slack.dev/apis/events-api/using-socket-mode
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from rtmpump.core.routes import PAYLOAD
from rtmpump.slack_side import socket_mode
from rtmpump.slack_side.socket_mode import EVENTS_API, INTERACTIVE, SLASH_COMMANDS

WORD_MAX: Final = 256
"""No name, id or reason of Slack is longer; a longer one is none, for some are kept in memory."""
_KINDS: Final = {"slash_command": SLASH_COMMANDS, "interactive": INTERACTIVE}
# About the pump and its own connection to Slack, or nothing that a program could read.
_NOT_FOR_PROGRAMS: Final = frozenset(("rtmpump", "hello", "goodbye", "error", "unknown"))


class Attempt(NamedTuple):
    """How often an envelope was sent before, and why it is sent again; 0 and "" at first."""

    number: int = 0
    reason: str = ""


class OutgoingEnvelope(NamedTuple):
    """An envelope; `frame` makes it the text of a WebSocket."""

    id: str
    kind: str
    payload: bytes
    takes_answer: bool
    before: Attempt

    def frame(self, attempt: int = 0) -> str:
        """Return the frame; `attempt` counts how often we have sent it before."""
        return socket_mode.envelope(
            self.kind,
            self.payload,
            id=self.id,
            takes_answer=self.takes_answer,
            attempt=self.before.number + attempt,
            reason=socket_mode.NOT_ACKNOWLEDGED if attempt else self.before.reason,
        ).decode()


def is_for_programs(key: str) -> bool:
    """Return whether an event with this routing key is one of Slack's, which a program can read."""
    return key.partition(".")[0] not in _NOT_FOR_PROGRAMS


def rebuilt(
    key: str, body: bytes, headers: Mapping[str, Any], message_id: str, *, is_asked: bool
) -> OutgoingEnvelope | None:
    """Return the envelope of an event; None if its body is no JSON in UTF-8.

    `is_asked`: the pump waits for an answer.
    """
    try:
        # First: json would take UTF-16 from bytes, which has no place in a frame.
        text = body.decode()
        msgspec.json.decode(body, type=msgspec.Raw)
    except UnicodeDecodeError:
        return None
    except (msgspec.DecodeError, RecursionError):
        if not _is_odd_json(text):
            return None
    before = Attempt(_whole(headers, "retry_attempt"), _word(headers, "retry_reason"))
    kind = _KINDS.get(key.partition(".")[0], EVENTS_API)
    payload = body if kind != EVENTS_API else _wrapped(key, body, headers, message_id)
    return OutgoingEnvelope(socket_mode.new_envelope_id(), kind, payload, is_asked, before)


def trigger_of(body: bytes) -> str:
    """Return the `trigger_id` of a slash command or an interaction, or ""."""
    try:
        trigger = msgspec.json.decode(body, type=_Trigger).trigger_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return trigger if isinstance(trigger, str) and len(trigger) <= WORD_MAX else ""


class _Trigger(msgspec.Struct):
    trigger_id: Any = None


class _Object(msgspec.Struct):
    """Any object: members that have no field are read and passed over."""


_object: Final = msgspec.json.Decoder(_Object).decode


def _wrapped(key: str, body: bytes, headers: Mapping[str, Any], message_id: str) -> bytes:
    if around := _around(headers.get(PAYLOAD)):
        return b'%s,"event":%s}' % (around, body)
    return socket_mode.event_payload(
        body,
        team=_word(headers, "team_id") or _word(headers, "team"),
        event_id=_word(headers, "event_id") or f"Ev{_digest(message_id)}",
        event_time=_whole(headers, "event_time") or _whole(headers, "received_at") // 1000,
        bot=_word(headers, "bot"),
        app="",
        token="",
    )


def _around(header: object) -> bytes:
    """Return the object in the header without its last brace; b"" if there is none."""
    if not isinstance(header, str):
        return b""
    try:
        text = header.encode().strip()
        _object(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return b""
    around = text[:-1].rstrip()
    return b"" if around == b"{" else around


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest().upper()


def _is_odd_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _whole(headers: Mapping[str, Any], name: str) -> int:
    value = headers.get(name)
    return value if type(value) is int and value >= 0 else 0


def _word(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name)
    return value if isinstance(value, str) and len(value) <= WORD_MAX else ""
