"""One frame of Socket Mode: the envelope that Slack put around an event, and the event inside.

Laws:

- The event is cut out of the frame byte by byte, never encoded anew.
- No bytes raise. What is no envelope gives None, and is then read as a frame of RTM.
- An envelope that msgspec refuses (half a surrogate pair, a number too large for a double) is read
  in a slow way: without its id it could not be acknowledged.

Sources: https://docs.slack.dev/apis/events-api/using-socket-mode and the payloads' own pages.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from rtmpump.core.frames import Event, Frame, Head, Hello, head, is_json, parse
from rtmpump.core.tolerant_json import join_members
from rtmpump.core.watermark import TimeRange

SOURCE: Final = "socket"
"""The source that the spool keeps with events that lie in it as envelopes."""
EVENTS_API: Final = "events_api"
LIMITED: Final = "app_rate_limited"
"""The type of what says that Slack drops events; it is no event, and has none inside."""
_KINDS: Final = {"slash_commands": "slash_command", "interactive": "interactive"}
WRAPPING_MAX: Final = 8 << 10
"""The most bytes of what is around an inner event that go into a header."""
_MINUTE_MS: Final = 60_000
_OLD_MS: Final = 24 * 60 * _MINUTE_MS
_NOT_AROUND: Final = ("event", "token")
_SHORT: Final = 255
_BLANKS: Final = " \t\n\r"
_FORGIVING: Final = json.JSONDecoder()


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """An envelope that was opened.

    `id` is what an acknowledgement names; `kind` is Slack's word, such as "events_api". `body` are
    the bytes that are published: the inner event, or else the payload. `type` and `subtype` name it
    for consumers. `identity` is equal for all deliveries of one event. `channel` and `user` are
    those of the payload ("" for none), `facts` the headers that only the envelope has. `payload`
    is what Slack wrapped around an inner event, with it; empty if there is none. `seen` has the
    fields of the inner event that matter. `takes_answer`: Slack shows an answer to a person.
    """

    id: str
    kind: str
    body: bytes
    type: str
    subtype: str
    identity: str
    channel: str
    user: str
    facts: dict[str, Any]
    takes_answer: bool
    payload: bytes = b""
    seen: Head | None = None


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    """Slack is about to end this connection; `reason` is its word, as "refresh_requested"."""

    reason: str


class _Outer(msgspec.Struct, gc=False):
    envelope_id: Any = None
    type: Any = None
    accepts_response_payload: Any = None
    retry_attempt: Any = None
    retry_reason: Any = None
    payload: msgspec.Raw = msgspec.Raw()


class _Payload(msgspec.Struct, gc=False):
    type: Any = None
    event_id: Any = None
    event_time: Any = None
    team_id: Any = None
    team: Any = None
    channel: Any = None
    channel_id: Any = None
    user: Any = None
    user_id: Any = None
    minute_rate_limited: Any = None
    event: msgspec.Raw = msgspec.Raw()


class _Ping(msgspec.Struct, gc=False):
    id: int


_outer = msgspec.json.Decoder(_Outer).decode
_payload = msgspec.json.Decoder(_Payload).decode
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read(frame: bytes) -> Envelope | None:
    """Open an envelope; None if the frame is none."""
    outer = _read_outer(frame)
    if outer is None:
        return None
    id, kind = outer.envelope_id, outer.type
    if not (isinstance(id, str) and id and isinstance(kind, str)):
        return None
    payload = bytes(outer.payload)
    inner = _read_payload(payload)
    takes_answer = outer.accepts_response_payload is True
    if inner is None:
        return Envelope(id, kind, payload or frame, "", "", id, "", "", {}, takes_answer)
    if kind == EVENTS_API:
        return _event(id, inner, payload, _facts(outer, inner))
    type, subtype = _KINDS.get(kind, kind), ""
    if kind == "interactive" and isinstance(inner.type, str):
        subtype = inner.type
    channel = _word(inner.channel_id) or _word(_id_of(inner.channel))
    user = _word(inner.user_id) or _word(_id_of(inner.user))
    facts = _facts(outer, inner)
    return Envelope(id, kind, payload, type, subtype, id, channel, user, facts, takes_answer)


def wrapping(payload: bytes) -> str:
    """Return the JSON of what is around an inner event; "" if it is over 8 KiB or can't be read.

    It has neither the event nor the verification token, which is a secret of the app.
    """
    try:
        members = _raw_members(payload)
        for name in _NOT_AROUND:
            members.pop(name, None)
        around = msgspec.json.encode(members)
        return around.decode() if len(around) <= WRAPPING_MAX else ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _odd_wrapping(payload)


def dropped(frame: bytes, now_ms: int) -> TimeRange | None:
    """Return the time in which Slack drops events, as this frame says; None if it is no such frame.

    It is the minute that Slack names, and goes on until now; without a minute that can be right,
    it begins with the minute before this one.
    """
    outer = _read_outer(frame)
    inner = None if outer is None else _read_payload(bytes(outer.payload))
    if inner is None or inner.event or inner.type != LIMITED:
        return None
    minute = inner.minute_rate_limited
    from_ms = now_ms // _MINUTE_MS * _MINUTE_MS - _MINUTE_MS
    if type(minute) is int and -_OLD_MS <= 1000 * minute - now_ms <= _MINUTE_MS:
        from_ms = min(1000 * minute, now_ms)
    return TimeRange(from_ms, max(from_ms + _MINUTE_MS, now_ms))


def parse_frame(frame: bytes) -> Frame:
    """Say what a frame of Socket Mode is for a session: an event, a hello or a pong."""
    envelope = read(frame)
    return parse(frame) if envelope is None else as_event(envelope)


def as_event(envelope: Envelope) -> Event:
    """Return what an envelope is for a session."""
    return Event(envelope.type, envelope.subtype if envelope.type else "")


def control(frame: bytes) -> Hello | Disconnect | None:
    """Read a frame that is about the connection itself; None for any other."""
    seen = parse(frame)
    if isinstance(seen, Hello):
        return seen
    if type(seen) is Event and seen.type == "disconnect":
        reason = _members(frame).get("reason", '""')
        word = json.loads(reason)
        return Disconnect(word[:80] if isinstance(word, str) else "")
    return None


def ping_id(payload: bytes) -> int | None:
    """Read the id of our ping (`frames.ping`) from a WebSocket pong; None if it has none."""
    try:
        return msgspec.json.decode(payload, type=_Ping).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def acknowledgement(envelope_id: str, payload: bytes = b"") -> bytes:
    """Make the frame that acknowledges an envelope, with a JSON object as Slack's answer."""
    members: dict[str, Any] = {"envelope_id": envelope_id}
    if payload:
        members["payload"] = msgspec.Raw(payload)
    return msgspec.json.encode(members)


def text_answer(text: str) -> bytes:
    """Return the answer that shows a text to the person; b"" for no text."""
    return msgspec.json.encode({"text": text}) if text else b""


def is_object(body: bytes) -> bool:
    """Return whether `body` is one JSON object (RFC 8259) in UTF-8, as Slack would read it."""
    return body.lstrip()[:1] == b"{" and is_json(body)


def _odd_wrapping(payload: bytes) -> str:
    """Do the same for what RFC 8259 allows but msgspec refuses."""
    members = _members(payload)
    around = {name: members[name].encode() for name in members if name not in _NOT_AROUND}
    joined = join_members(around)
    return joined.decode() if members and len(joined) <= WRAPPING_MAX else ""


def _event(id: str, inner: _Payload, payload: bytes, facts: dict[str, Any]) -> Envelope:
    body = bytes(inner.event) or payload
    seen = head(body) if inner.event else None
    type = seen.type if seen is not None and isinstance(seen.type, str) else ""
    if not inner.event and inner.type == LIMITED:
        type = LIMITED
    subtype = seen.subtype if seen is not None and isinstance(seen.subtype, str) else ""
    event_id = inner.event_id
    identity = event_id if isinstance(event_id, str) and event_id else id
    subtype, payload = subtype if type else "", payload if inner.event else b""
    return Envelope(
        id, EVENTS_API, body, type, subtype, identity, "", "", facts, False, payload, seen
    )


def _facts(outer: _Outer, inner: _Payload) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if event_id := _word(inner.event_id):
        facts["event_id"] = event_id
    if type(inner.event_time) is int and 0 <= inner.event_time < 1 << 62:
        facts["event_time"] = inner.event_time
    if team_id := _word(inner.team_id) or _word(_id_of(inner.team)):
        facts["team_id"] = team_id
    if type(outer.retry_attempt) is int and 0 < outer.retry_attempt < 1 << 31:
        facts["retry_attempt"] = outer.retry_attempt
        if reason := _word(outer.retry_reason):
            facts["retry_reason"] = reason
    return facts


def _id_of(value: object) -> object:
    return value.get("id") if isinstance(value, dict) else value


def _word(value: object) -> str:
    """Return a string that fits into a header, "" for all else."""
    is_word = isinstance(value, str) and len(value.encode("utf-8", "replace")) <= _SHORT
    return str(value) if is_word else ""


def _read_outer(frame: bytes) -> _Outer | None:
    try:
        return _outer(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
        slow: _Outer | None = _slow(frame, _Outer)
        return slow
    except RecursionError:
        return None


def _read_payload(payload: bytes) -> _Payload | None:
    try:
        return _payload(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        slow: _Payload | None = _slow(payload, _Payload)
        return slow
    except RecursionError:
        return None


def _slow(text: bytes, kind: Any) -> Any:
    """Read what RFC 8259 allows but msgspec refuses."""
    members = _members(text)
    if not members:
        return None
    values: dict[str, Any] = {}
    for name in kind.__struct_fields__:
        if name in members:
            slice = members[name]
            raw = name in ("payload", "event")
            values[name] = msgspec.Raw(slice.encode()) if raw else _value(slice)
    return kind(**values)


def _value(slice: str) -> Any:
    try:
        value = json.loads(slice)
    except RecursionError:
        # `_members` could just read it, a few callers higher. It is nested too deep to be a word.
        return None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _members(frame: bytes) -> dict[str, str]:
    """Cut a JSON object into the text of each member; {} if it is no object."""
    try:
        text = frame.decode()
        at = _after_blanks(text, 0)
        if text[at : at + 1] != "{":
            return {}
        members: dict[str, str] = {}
        at = _after_blanks(text, at + 1)
        while text[at] != "}":
            name, at = _FORGIVING.raw_decode(text, at)
            at = _after_blanks(text, at)
            if text[at] != ":" or not isinstance(name, str):
                return {}
            start = _after_blanks(text, at + 1)
            _, at = _FORGIVING.raw_decode(text, start)
            members[name] = text[start:at]
            at = _after_blanks(text, at)
            if text[at] == ",":
                at = _after_blanks(text, at + 1)
            elif text[at] != "}":
                return {}
    except (ValueError, RecursionError, IndexError):
        return {}
    return members


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at
