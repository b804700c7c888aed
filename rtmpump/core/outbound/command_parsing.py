"""The body of an AMQP message in, a command or a rejection out.

Laws:

- Whatever the bytes are, `parse` returns a command or raises `CommandRejected`, nothing else.
- The reader of a rejection can't look into this program. So it names the field, and says what was
  found and what to do. It may stand in a log or in an AMQP header, so it is short and printable.
  It never shows the text of a message.
- Each command can be encoded as UTF-8.
- Names of channels are not looked up here.

docs/send.md describes the shapes. What Slack takes stands in its pages "Real Time Messaging API",
"presence_sub" and "presence_query".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeAlias

import msgspec

from rtmpump.core.outbound.commands import (
    POST,
    Api,
    Command,
    Message,
    PresenceQuery,
    PresenceSub,
    Typing,
    channel_name,
    encode,
    is_channel_id,
)
from rtmpump.errors import CommandRejected

BODY_MAX = 65_536
TEXT_MAX = 4_000
CHANNEL_MAX = 80
QUERY_IDS_MAX = 500

_INVALID = "invalid_command"
_TOO_LONG = "too_long"
_SHOWN_MAX = 80
_METHOD_MAX = 80
_METHOD = re.compile(r"[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)+")
_ARGUMENT = re.compile(r"[A-Za-z0-9_]{1,80}")
_ARGUMENT_DEPTH = 32
# The most of each that Slack takes (https://docs.slack.dev/reference/methods/chat.postMessage).
_RICH = {"blocks": 50, "attachments": 100}
_THREAD_TS = re.compile(r"[0-9]{1,12}\.[0-9]{6}")


_Fields: TypeAlias = dict[str, Any]


def parse(body: bytes, *, socket_mode: bool = False) -> Command:
    """Read the body of a command: a JSON object (RFC 8259) of at most 65,536 bytes of UTF-8.

    Of a key that comes twice the last one counts.

    Raises:
        CommandRejected: `too_long` (body, text, or the frame for Slack) or `invalid_command`.
    """
    fields = _object(body)
    kind = _kind(fields)
    _refuse_of_other_mode(fields, kind, socket_mode)
    _refuse_unknown(fields, kind, socket_mode)
    command = _MAKERS[kind](fields)
    if isinstance(command, Api) or socket_mode:
        return command
    # With the shortest id, and no channel id for a name: what is too long even so is rejected now.
    channel = getattr(command, "channel", "")
    encode(command, id=0, channel_id=channel if is_channel_id(channel) else "")
    return command


def require_allowed(command: Command, methods: frozenset[str]) -> None:
    """Check that a command calls no method but these.

    Raises:
        CommandRejected: it is a call of another method.
    """
    if not isinstance(command, Api) or command.method in methods:
        return
    near = _nearest(command.method, sorted(methods)) if methods else ""
    found = f"must be one of outbound.api_methods; found {_what(command.method)}{near}"
    fix = "add it to that list in the pump's config" if not near else "add it there if it is meant"
    raise _reject(f'field "method" {found}; {fix}', "method")


def _object(body: bytes) -> _Fields:
    if len(body) > BODY_MAX:
        raise _reject(f"the body is {len(body):,} bytes; send at most {BODY_MAX:,}", code=_TOO_LONG)
    found = _json(body)
    if not isinstance(found, dict):
        raise _reject(f'the body is {_what(found)}; send an object like {{"channel": …}}')
    return found


def _json(body: bytes) -> object:
    # Not msgspec: it refuses half a surrogate pair and does not say in which field it stands.
    try:
        return json.loads(body.decode())
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg}: line {error.lineno}, column {error.colno})"
    except ValueError:
        problem = "JSON with a number of thousands of digits"
    except RecursionError:
        problem = "nested too deep"
    raise _reject(f"the body is {problem}; send a JSON object in UTF-8")


def _kind(fields: _Fields) -> str:
    kind = fields.get("type", Message.kind)
    if isinstance(kind, str) and kind in _MAKERS:
        return kind
    known = ", ".join(_MAKERS)
    fix = f"must be one of {known}{_nearest(kind, list(_MAKERS))}"
    raise _reject(f'field "type" {fix}; found {_what(kind)}', "type")


def _refuse_unknown(fields: _Fields, kind: str, socket_mode: bool) -> None:
    names = _CLASSES[kind].__struct_fields__
    known = ["type", *(name for name in names if socket_mode or name not in _RICH)]
    for name in fields:
        if name not in known:
            shown = _short(name)
            problem = f'field "{shown}" is unknown to a {kind}{_nearest(name, known)}'
            raise _reject(f"{problem}; it takes {', '.join(known)}", shown)


def _refuse_of_other_mode(fields: _Fields, kind: str, socket_mode: bool) -> None:
    if socket_mode and kind in _RTM_ONLY:
        problem = f'field "type": {kind} needs RTM, and this pump runs in Socket Mode'
        raise _reject(f"{problem}; it takes message and api", "type")
    for name in () if socket_mode or kind != Message.kind else _RICH:
        if name in fields:
            problem = f'field "{name}" works in Socket Mode only; RTM takes plain text'
            raise _reject(f"{problem}; use type api with {POST}, or leave it out", name)


def _channel(fields: _Fields) -> str:
    channel = _string(fields, "channel", 'an id like "C024BE91L" or a name like "general"')
    length = len(channel_name(channel))
    if length == 0:
        raise _wrong("channel", 'an id like "C024BE91L" or a name like "general"', channel)
    if length > CHANNEL_MAX:
        fix = f"at most {CHANNEL_MAX} characters"
        raise _reject(f'field "channel" must have {fix}; found {length:,}', "channel")
    return channel


def _text(fields: _Fields) -> str:
    wanted = f"a string of 1 to {TEXT_MAX:,} characters"
    text = _string(fields, "text", wanted)
    if not text:
        raise _reject(f'field "text" must be {wanted}; found an empty string', "text")
    if len(text) > TEXT_MAX:
        found = f"found {len(text):,}; send it in parts"
        raise _reject(f'field "text" must be {wanted}; {found}', "text", code=_TOO_LONG)
    return text


def _rich(fields: _Fields, name: str) -> str | None:
    """Read blocks or attachments: a list of objects, which goes to Slack as it is."""
    if name not in fields:
        return None
    most = _RICH[name]
    wanted = f"a list of 1 to {most} objects"
    value = fields[name]
    if not isinstance(value, list) or not value:
        raise _wrong(name, wanted, value)
    if len(value) > most:
        raise _reject(f'field "{name}" must be {wanted}; found {len(value):,}', name)
    for place, one in enumerate(value):
        if not isinstance(one, dict):
            raise _wrong(name, f"{wanted}; number {place + 1} is none", one)
        if name == "blocks" and not (isinstance(one.get("type"), str) and one["type"]):
            problem = f'field "blocks": number {place + 1} has no "type"'
            raise _reject(f'{problem}; give it one like "section"', name)
    return _form_value(name, value, field=name)


def _thread_ts(fields: _Fields) -> str | None:
    if "thread_ts" not in fields:
        return None
    wanted = 'the ts of a message, a string like "1355517523.000005" (leave it out for no thread)'
    thread_ts = _string(fields, "thread_ts", wanted)
    if _THREAD_TS.fullmatch(thread_ts) is None:
        raise _wrong("thread_ts", wanted, thread_ts)
    return thread_ts


def _reply_broadcast(fields: _Fields) -> bool:
    if "reply_broadcast" not in fields:
        return False
    reply_broadcast = fields["reply_broadcast"]
    if not isinstance(reply_broadcast, bool):
        raise _wrong("reply_broadcast", "true or false", reply_broadcast)
    if "thread_ts" not in fields:
        problem = 'field "reply_broadcast" is taken only with "thread_ts"; found no thread_ts'
        raise _reject(f"{problem}; add it, or leave reply_broadcast out", "reply_broadcast")
    return reply_broadcast


def _ids(fields: _Fields) -> tuple[str, ...]:
    """Read a list that may be empty: an empty presence_sub ends the subscription."""
    wanted = 'a list of user ids like ["U024BE7LH"]'
    if "ids" not in fields:
        raise _missing("ids", wanted)
    ids = fields["ids"]
    if not isinstance(ids, list):
        raise _wrong("ids", wanted, ids)
    for id in ids:
        if not isinstance(id, str) or not id or not _is_encodable(id):
            raise _reject(f'field "ids" must be {wanted}; one of them is {_what(id)}', "ids")
    return tuple(ids)


def _query_ids(fields: _Fields) -> tuple[str, ...]:
    ids = _ids(fields)
    if not ids:
        raise _wrong("ids", 'a list of user ids like ["U024BE7LH"], at least one', [])
    if len(ids) > QUERY_IDS_MAX:
        fix = f"at most {QUERY_IDS_MAX} in one presence_query"
        raise _reject(f'field "ids" may have {fix}; found {len(ids):,}; ask in parts', "ids")
    return ids


def _method(fields: _Fields) -> str:
    wanted = 'the name of a method like "reactions.add"'
    method = _string(fields, "method", wanted)
    if len(method) > _METHOD_MAX or _METHOD.fullmatch(method) is None:
        raise _wrong("method", wanted, method)
    return method


def _arguments(fields: _Fields) -> dict[str, str]:
    """Read an object of JSON values into the fields of a form; leave out those that are `null`."""
    wanted = 'an object like {"channel": "C024BE91L"}'
    arguments = fields.get("arguments", {})
    if not isinstance(arguments, dict):
        raise _wrong("arguments", wanted, arguments)
    for name in arguments:
        if _ARGUMENT.fullmatch(name) is None:
            problem = f'field "arguments" has a name that no method knows: "{_short(name)}"'
            raise _reject(f"{problem}; Slack's are of letters, digits and _", "arguments")
        if name.lower() == "token":
            problem = 'field "arguments" holds a token; rtmpump uses its own'
            raise _reject(f"{problem}, leave it out", "arguments")
    return {
        name: _form_value(name, value) for name, value in arguments.items() if value is not None
    }


def _form_value(name: str, value: object, *, field: str = "arguments") -> str:
    try:
        if isinstance(value, str):
            value.encode()
            return value
        return msgspec.json.encode(_plain(value, _ARGUMENT_DEPTH)).decode()
    except UnicodeEncodeError:
        problem = "holds half of a surrogate pair, which UTF-8 can't hold; send whole characters"
    except ValueError as error:
        problem = str(error)
    where = f'field "{field}"' if field == name else f'field "{field}": "{name}"'
    raise _reject(f"{where} {problem}", field)


def _plain(value: object, depth: int) -> object:
    """Return the value if it is JSON; Python's reader also takes NaN, and any depth.

    Raises:
        ValueError: it is not; with a text that goes on after the name of the field.
    """
    if depth < 0:
        raise ValueError(f"is nested more than {_ARGUMENT_DEPTH} deep; make it flatter")
    if isinstance(value, dict):
        return {key: _plain(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, depth - 1) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds NaN or an infinite number, which JSON does not have")
    return value


def _string(fields: _Fields, name: str, wanted: str) -> str:
    if name not in fields:
        raise _missing(name, wanted)
    value = fields[name]
    if not isinstance(value, str):
        raise _wrong(name, wanted, value)
    if not _is_encodable(value):
        problem = "holds half of a surrogate pair, which UTF-8 can't hold"
        raise _reject(f'field "{name}" {problem}; send whole characters', name)
    return value


def _missing(field: str, wanted: str) -> CommandRejected:
    return _reject(f'field "{field}" is missing; it must be {wanted}', field)


def _wrong(field: str, wanted: str, found: object) -> CommandRejected:
    return _reject(f'field "{field}" must be {wanted}; found {_what(found)}', field)


def _reject(message: str, field: str = "", *, code: str = _INVALID) -> CommandRejected:
    return CommandRejected(code, message, field)


def _what(value: object) -> str:
    """Return in JSON's words what was found; of strings the beginning."""
    if isinstance(value, str):
        return f'the string "{_short(value)}"' if value else "an empty string"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if isinstance(value, dict) else "a number"


def _nearest(name: object, known: list[str]) -> str:
    near = get_close_matches(name[:_SHOWN_MAX].lower(), known, 1) if isinstance(name, str) else []
    return f' (did you mean "{near[0]}"?)' if near else ""


def _short(text: str) -> str:
    clipped = text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
    return clipped if clipped.isprintable() else ascii(clipped)[1:-1]


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _message(fields: _Fields) -> Message:
    channel, thread_ts = _channel(fields), _thread_ts(fields)
    blocks, attachments = _rich(fields, "blocks"), _rich(fields, "attachments")
    text = _text(fields) if "text" in fields or not (blocks or attachments) else ""
    broadcast = _reply_broadcast(fields)
    return Message(channel, text, thread_ts, broadcast, blocks, attachments)


def _typing(fields: _Fields) -> Typing:
    return Typing(_channel(fields), _thread_ts(fields))


def _presence_sub(fields: _Fields) -> PresenceSub:
    return PresenceSub(_ids(fields))


def _presence_query(fields: _Fields) -> PresenceQuery:
    return PresenceQuery(_query_ids(fields))


def _api(fields: _Fields) -> Api:
    return Api(_method(fields), _arguments(fields))


_MAKERS: dict[str, Callable[[_Fields], Command]] = {
    Message.kind: _message,
    Typing.kind: _typing,
    PresenceSub.kind: _presence_sub,
    PresenceQuery.kind: _presence_query,
    Api.kind: _api,
}
_RTM_ONLY = frozenset({Typing.kind, PresenceSub.kind, PresenceQuery.kind})
_CLASSES: dict[str, type[Command]] = {
    made.kind: made for made in (Message, Typing, PresenceSub, PresenceQuery, Api)
}
