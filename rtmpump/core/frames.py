"""One RTM frame: bytes in; Hello, Goodbye, Error, Event, Reply or Pong out.

Laws:

- No bytes raise. What can't be read is an `Event` without a type: nothing that Slack sent may be
  dropped. Only what is surely a reply or a pong is no event.
- No field is trusted: it may be anything that JSON allows. A string that leaves this file can be
  encoded as UTF-8.
- This file says what a frame is. What follows from it is decided in `session` (state), `routes`
  (names) and `outbound.reply_tracker` (commands).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NoReturn, TypeAlias

import msgspec

DEPTH_MAX = 256

_MSG_MAX = 1000
_CODE_MAX = 80
_CODE_LIMIT = 10**_CODE_MAX
_INT_DIGITS = 19
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEP.keys())


class Head(msgspec.Struct, gc=False):
    """The few top-level fields of a frame that we look at; each may be of any JSON type.

    A missing field and `null` are both None. If a key comes twice, the last one counts.
    """

    type: Any = None
    subtype: Any = None
    channel: Any = None
    user: Any = None
    ts: Any = None
    event_ts: Any = None
    thread_ts: Any = None
    hidden: Any = None
    ok: Any = None
    reply_to: Any = None
    error: Any = None
    text: Any = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """A frame that is published: `type` as Slack wrote it, "" if it has no usable one.

    `subtype` is "" if it is missing or no string, and always if `type` is "".
    """

    type: str
    subtype: str


class Hello(Event, frozen=True, gc=False):
    """The first frame of a connection that works."""


class Goodbye(Event, frozen=True, gc=False):
    """Slack is about to close this connection."""


class Error(Event, frozen=True, gc=False):
    """An error of the connection; `code` is 1 if its URL has expired, 0 if Slack gave none."""

    code: int
    msg: str


class Reply(msgspec.Struct, frozen=True, gc=False):
    """Slack's answer to the frame that we sent with the id `reply_to`.

    `ts` is that of the new message, "" without one. `error_code` and `error_msg` are "" if Slack
    gave none. An echo (a `message` or `error` with a `reply_to`) settles its command and is also an
    event: `event` is then what to publish.
    """

    reply_to: int
    ok: bool
    ts: str
    error_code: str
    error_msg: str
    event: Event | None


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The answer to our ping of id `reply_to` (0 if it names none: our ids start at 1)."""

    reply_to: int


Frame: TypeAlias = Hello | Goodbye | Error | Event | Reply | Pong

_UNKNOWN = Event("", "")
_decode = msgspec.json.Decoder(Head).decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode


def ping(id: int) -> bytes:
    """Make the ping frame of RTM; Slack answers it with a `pong` whose `reply_to` is `id`."""
    return b'{"id":%d,"type":"ping"}' % id


def head(body: bytes) -> Head | None:
    """Read the few fields that matter; None if `body` is no JSON object (RFC 8259) in UTF-8.

    Also None if it is nested more than `DEPTH_MAX` deep.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec doesn't look into the strings that it skips
        seen: Head | None = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        seen = _odd_head(body)
    except RecursionError:
        return None
    return None if len(body) > 2 * DEPTH_MAX and seen and is_too_deep(body) else seen


def is_json(body: bytes) -> bool:
    """Return whether `body` is any JSON value (RFC 8259) in UTF-8, at most `DEPTH_MAX` deep."""
    try:
        text = body.decode()
        try:
            _skip(body)
        except msgspec.DecodeError:
            json.loads(text, parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return not is_too_deep(body)


def parse(body: bytes) -> Frame:
    """Say what a frame is; never raises.

    A reply has no `type`, an integer `reply_to` and a boolean `ok`. Any other frame without a type
    is an `Event`.
    """
    seen = head(body)
    if seen is None:
        return _UNKNOWN
    kind = seen.type
    if not isinstance(kind, str):
        return _untyped(seen)
    make = _MAKERS.get(kind)
    return Event(kind, _word(seen.subtype)) if make is None else make(seen)


def is_too_deep(body: bytes, most: int = DEPTH_MAX) -> bool:
    """Return whether JSON is nested more than `most` deep.

    The interpreter's own limit depends on the depth of the caller: the same event could be read at
    one time and not at another.
    """
    if body.count(b"{") + body.count(b"[") <= most:
        return False
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > most


def _odd_head(body: bytes) -> Head | None:
    """Read what RFC 8259 allows but msgspec refuses: half a surrogate pair, a too large number.

    Such an event has a type, and consumers expect it under that type. Slow, and seldom needed.
    """
    try:
        found = json.loads(body.decode(), parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return Head(**{name: _encodable(found.get(name)) for name in Head.__struct_fields__})


def _integer(digits: str) -> int | float:
    """Read an integer; a long one as a float, because thousands of digits take quadratic time."""
    return int(digits) if len(digits) <= _INT_DIGITS else float(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _encodable(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_id(value: object) -> bool:
    return type(value) is int  # `true` is an int to Python, not to JSON


def _untyped(seen: Head) -> Frame:
    if seen.type is None and _is_id(seen.reply_to) and isinstance(seen.ok, bool):
        return _reply(seen, seen.ok, None)
    return _UNKNOWN


def _reply(seen: Head, ok: bool, event: Event | None) -> Reply:
    code, msg = _fault(seen.error)
    return Reply(seen.reply_to, ok, _word(seen.ts), "" if code is None else str(code), msg, event)


def _fault(error: object) -> tuple[int | str | None, str]:
    """Return code and message of an `error`: `{"code": 2, "msg": "…"}`, or what is there."""
    if isinstance(error, str):
        return _clipped(error, _CODE_MAX), _clipped(error, _MSG_MAX)
    if not isinstance(error, dict):
        return None, ""
    code, msg = error.get("code"), error.get("msg")
    if isinstance(code, str):
        code = _clipped(code, _CODE_MAX)
    elif not (type(code) is int and -_CODE_LIMIT < code < _CODE_LIMIT):
        code = None
    return code, _clipped(msg, _MSG_MAX) if isinstance(msg, str) else ""


def _clipped(text: str, limit: int) -> str:
    return text[:limit].encode("utf-8", "replace").decode()


def _hello(seen: Head) -> Frame:
    return Hello(seen.type, _word(seen.subtype))


def _goodbye(seen: Head) -> Frame:
    return Goodbye(seen.type, _word(seen.subtype))


def _error(seen: Head) -> Frame:
    code, msg = _fault(seen.error)
    event = Error(seen.type, _word(seen.subtype), code if isinstance(code, int) else 0, msg)
    return _reply(seen, False, event) if _is_id(seen.reply_to) else event


def _message(seen: Head) -> Frame:
    event = Event("message", _word(seen.subtype))
    if not _is_id(seen.reply_to):
        return event
    return _reply(seen, seen.ok if isinstance(seen.ok, bool) else seen.error is None, event)


def _pong(seen: Head) -> Frame:
    return Pong(seen.reply_to if _is_id(seen.reply_to) else 0)


def _typeless(_seen: Head) -> Frame:
    return _UNKNOWN


_MAKERS: dict[str, Callable[[Head], Frame]] = {
    "": _typeless,
    "hello": _hello,
    "goodbye": _goodbye,
    "error": _error,
    "message": _message,
    "pong": _pong,
}
