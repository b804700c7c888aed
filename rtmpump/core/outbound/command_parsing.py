"""The body of an AMQP message in, a command or a rejection out.

Laws:

- Whatever the bytes are, `parse` returns a command or raises `CommandRejected`, nothing else.
- A rejection is in the words of `rejections`. Bytes are read in `command_body`, a channel in
  `channel_field`, what only Socket Mode takes in `post_arguments`.
- `null` for a field that may be left out is as good as leaving it out.
- Each command can be encoded as UTF-8.
- Names of channels are not looked up here.

docs/send.md describes the shapes. What Slack takes stands in its pages "Real Time Messaging API",
"presence_sub" and "presence_query".
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rtmpump.core.outbound.api_calls import TRIAL
from rtmpump.core.outbound.channel_field import WANTED, read_channel
from rtmpump.core.outbound.command_body import Fields, read_object
from rtmpump.core.outbound.commands import (
    POST,
    Api,
    Command,
    Message,
    PresenceQuery,
    PresenceSub,
    Typing,
    encode,
    is_channel_id,
)
from rtmpump.core.outbound.form_values import form_value
from rtmpump.core.outbound.post_arguments import CONTENTS, POST_ARGUMENTS, post_arguments
from rtmpump.core.outbound.rejections import (
    TOO_LONG,
    is_encodable,
    missing,
    nearest,
    reject,
    short,
    what,
    wrong,
)

TEXT_MAX = 4_000
QUERY_IDS_MAX = 500

_METHOD_MAX = 80
_METHOD = re.compile(r"[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)+")
_ARGUMENT = re.compile(r"[A-Za-z0-9_]{1,80}")
_THREAD_TS = re.compile(r"[0-9]{1,12}\.[0-9]{6}")


def parse(
    body: bytes, *, content_encoding: str | None = None, socket_mode: bool = False
) -> Command:
    """Return the command in a body; `content_encoding` is the property of its message.

    Raises:
        CommandRejected: `too_long` (body, text, or the frame for Slack) or `invalid_command`.
    """
    fields = read_object(body, content_encoding)
    kind = _kind(fields)
    fields = _without_null(fields, kind)
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
    """Check that a command calls no method but these, and `auth.test`, which needs no list.

    Raises:
        CommandRejected: it is a call of another method.
    """
    if not isinstance(command, Api) or command.method in (*methods, TRIAL):
        return
    near = nearest(command.method, sorted(methods)) if methods else ""
    found = f"must be one of outbound.api_methods; found {what(command.method)}{near}"
    fix = "add it to that list in the pump's config" if not near else "add it there if it is meant"
    raise reject(f'field "method" {found}; {fix}', "method")


def _kind(fields: Fields) -> str:
    kind = fields.get("type")
    if kind is None:
        return Message.kind
    if isinstance(kind, str) and kind in _MAKERS:
        return kind
    known = ", ".join(_MAKERS)
    fix = f"must be one of {known}{nearest(kind, list(_MAKERS))}"
    raise reject(f'field "type" {fix}; found {what(kind)}', "type")


def _without_null(fields: Fields, kind: str) -> Fields:
    """Leave out what is null and may be left out; the text may where there is something else."""
    optional = _OPTIONAL[kind]
    if any(fields.get(name) is not None for name in CONTENTS):
        optional |= {"text"}
    return {
        name: value for name, value in fields.items() if value is not None or name not in optional
    }


def _refuse_unknown(fields: Fields, kind: str, socket_mode: bool) -> None:
    known = ["type", *_FIELDS[kind]]
    if socket_mode and kind == Message.kind:
        known += POST_ARGUMENTS
    for name in fields:
        if name not in known:
            shown = short(name)
            problem = f'field "{shown}" is unknown to a {kind}{nearest(name, known)}'
            raise reject(f"{problem}; it takes {', '.join(known)}", shown)


def _refuse_of_other_mode(fields: Fields, kind: str, socket_mode: bool) -> None:
    if socket_mode and kind in _RTM_ONLY:
        problem = f'field "type": {kind} needs RTM, and this pump runs in Socket Mode'
        raise reject(f"{problem}; it takes message and api", "type")
    for name in () if socket_mode or kind != Message.kind else POST_ARGUMENTS:
        if name in fields:
            problem = f'field "{name}" works in Socket Mode only; RTM takes plain text'
            raise reject(f"{problem}; use type api with {POST}, or leave it out", name)


def _channel(fields: Fields) -> str:
    return read_channel(_string(fields, "channel", WANTED))


def _text(fields: Fields) -> str:
    wanted = f"a string of 1 to {TEXT_MAX:,} characters"
    text = _string(fields, "text", wanted)
    if not text:
        raise reject(f'field "text" must be {wanted}; found an empty string', "text")
    if len(text) > TEXT_MAX:
        found = f"found {len(text):,}; send it in parts"
        raise reject(f'field "text" must be {wanted}; {found}', "text", code=TOO_LONG)
    return text


def _thread_ts(fields: Fields) -> str | None:
    if "thread_ts" not in fields:
        return None
    wanted = 'the ts of a message, a string like "1355517523.000005" (leave it out for no thread)'
    thread_ts = _string(fields, "thread_ts", wanted)
    if _THREAD_TS.fullmatch(thread_ts) is None:
        raise wrong("thread_ts", wanted, thread_ts)
    return thread_ts


def _reply_broadcast(fields: Fields) -> bool:
    if "reply_broadcast" not in fields:
        return False
    reply_broadcast = fields["reply_broadcast"]
    if not isinstance(reply_broadcast, bool):
        raise wrong("reply_broadcast", "true or false", reply_broadcast)
    if "thread_ts" not in fields:
        problem = 'field "reply_broadcast" is taken only with "thread_ts"; found no thread_ts'
        raise reject(f"{problem}; add it, or leave reply_broadcast out", "reply_broadcast")
    return reply_broadcast


def _ids(fields: Fields) -> tuple[str, ...]:
    """Read a list that may be empty: an empty presence_sub ends the subscription."""
    wanted = 'a list of user ids like ["U024BE7LH"]'
    if "ids" not in fields:
        raise missing("ids", wanted)
    ids = fields["ids"]
    if not isinstance(ids, list):
        raise wrong("ids", wanted, ids)
    for id in ids:
        if not isinstance(id, str) or not id or not is_encodable(id):
            raise reject(f'field "ids" must be {wanted}; one of them is {what(id)}', "ids")
    return tuple(ids)


def _query_ids(fields: Fields) -> tuple[str, ...]:
    ids = _ids(fields)
    if not ids:
        raise wrong("ids", 'a list of user ids like ["U024BE7LH"], at least one', [])
    if len(ids) > QUERY_IDS_MAX:
        fix = f"at most {QUERY_IDS_MAX} in one presence_query"
        raise reject(f'field "ids" may have {fix}; found {len(ids):,}; ask in parts', "ids")
    return ids


def _method(fields: Fields) -> str:
    wanted = 'the name of a method like "reactions.add"'
    method = _string(fields, "method", wanted)
    if len(method) > _METHOD_MAX or _METHOD.fullmatch(method) is None:
        raise wrong("method", wanted, method)
    return method


def _arguments(fields: Fields) -> dict[str, str]:
    """Read an object of JSON values into the fields of a form; leave out those that are `null`."""
    wanted = 'an object like {"channel": "C024BE91L"}'
    arguments = fields.get("arguments", {})
    if not isinstance(arguments, dict):
        raise wrong("arguments", wanted, arguments)
    for name in arguments:
        if _ARGUMENT.fullmatch(name) is None:
            problem = f'field "arguments" has a name that no method knows: "{short(name)}"'
            raise reject(f"{problem}; Slack's are of letters, digits and _", "arguments")
        if name.lower() == "token":
            problem = 'field "arguments" holds a token; rtmpump uses its own'
            raise reject(f"{problem}, leave it out", "arguments")
    return {name: form_value(name, value) for name, value in arguments.items() if value is not None}


def _string(fields: Fields, name: str, wanted: str) -> str:
    if name not in fields:
        raise missing(name, wanted)
    value = fields[name]
    if not isinstance(value, str):
        raise wrong(name, wanted, value)
    if not is_encodable(value):
        problem = "holds half of a surrogate pair, which UTF-8 can't hold"
        raise reject(f'field "{name}" {problem}; send whole characters', name)
    return value


def _message(fields: Fields) -> Message:
    channel, thread_ts = _channel(fields), _thread_ts(fields)
    more = post_arguments(fields)
    is_alone = not any(name in more for name in CONTENTS)
    text = _text(fields) if "text" in fields or is_alone else ""
    return Message(channel, text, thread_ts, _reply_broadcast(fields), more)


def _typing(fields: Fields) -> Typing:
    return Typing(_channel(fields), _thread_ts(fields))


def _presence_sub(fields: Fields) -> PresenceSub:
    return PresenceSub(_ids(fields))


def _presence_query(fields: Fields) -> PresenceQuery:
    return PresenceQuery(_query_ids(fields))


def _api(fields: Fields) -> Api:
    return Api(_method(fields), _arguments(fields))


_MAKERS: dict[str, Callable[[Fields], Command]] = {
    Message.kind: _message,
    Typing.kind: _typing,
    PresenceSub.kind: _presence_sub,
    PresenceQuery.kind: _presence_query,
    Api.kind: _api,
}
_OPTIONAL: dict[str, frozenset[str]] = {
    Message.kind: frozenset({"type", "thread_ts", "reply_broadcast", *POST_ARGUMENTS}),
    Typing.kind: frozenset({"type", "thread_ts"}),
    PresenceSub.kind: frozenset({"type"}),
    PresenceQuery.kind: frozenset({"type"}),
    Api.kind: frozenset({"type", "arguments"}),
}
_RTM_ONLY = frozenset({Typing.kind, PresenceSub.kind, PresenceQuery.kind})
_FIELDS: dict[str, tuple[str, ...]] = {
    Message.kind: ("channel", "text", "thread_ts", "reply_broadcast"),
    Typing.kind: Typing.__struct_fields__,
    PresenceSub.kind: PresenceSub.__struct_fields__,
    PresenceQuery.kind: PresenceQuery.__struct_fields__,
    Api.kind: Api.__struct_fields__,
}
