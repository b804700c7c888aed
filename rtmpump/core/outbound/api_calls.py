"""Commands that are calls of the Web API: which lane each waits in, and what its answer means.

Laws:

- A call waits for those of its own lane alone: the calls of its method in its channel. A
  chat.postMessage is a message like any other, so it waits in the lane of its channel, and counts.
- Slack's answer may be of any size, a result may not: it keeps the small members and names those
  that it had to leave out.

`pumps.web_api_workers` makes the calls; `pumps.outbound.api_caller` decides when and how often.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from rtmpump.core.outbound import command_parsing
from rtmpump.core.outbound.command_parsing import Api

RESPONSE_MAX: Final = 65_536
_NAMES_MAX: Final = 50
_NAME_LENGTH: Final = 80


class CallAnswer(NamedTuple):
    """How a call ended: Slack's `response`, or the `code` and `detail` of why there is none.

    `again`: trying again may help, after `retry_after` seconds if Slack named a time. `certain`:
    it is known what Slack did; else (a timeout after the write, an answer that is none) the call
    may have been carried out. `made`: False where Slack did not even see it.
    """

    response: dict[str, Any] | None
    code: str = ""
    detail: str = ""
    again: bool = False
    certain: bool = True
    retry_after: float | None = None
    made: bool = True


def is_message(api: Api) -> bool:
    """Say whether Slack's limit of one message a second and channel counts this call."""
    return api.method == command_parsing.POST


def lane(api: Api) -> str:
    """Name the lane in which it waits; a channel's lane is called by its id."""
    channel = api.arguments.get("channel", "")
    if is_message(api):
        return channel or api.method
    return f"{api.method} {channel}" if channel else api.method


class Response(NamedTuple):
    """Slack's answer as a result can hold it: its JSON, and the members that were left out."""

    json: bytes
    left_out: tuple[str, ...] = ()


def bounded(response: dict[str, Any]) -> Response:
    """Encode Slack's answer in at most `RESPONSE_MAX` bytes: of its members the smallest ones."""
    members = {name: encode_json(value) for name, value in response.items()}
    whole = _object(members)
    if len(whole) <= RESPONSE_MAX:
        return Response(whole)
    kept: dict[str, bytes] = {}
    size = 2
    for name in sorted(members, key=lambda name: len(members[name])):
        size += len(encode_json(name)) + len(members[name]) + 2
        if size > RESPONSE_MAX:
            break
        kept[name] = members[name]
    left_out = [name[:_NAME_LENGTH] for name in members if name not in kept]
    return Response(_object(kept), tuple(left_out[:_NAMES_MAX]))


def result(response: Response, attempts: int, uncertain: bool) -> bytes:
    """Make the result of a call that Slack answered."""
    fields: dict[str, Any] = {"ok": True, "response": msgspec.Raw(response.json)}
    if response.left_out:
        fields["left_out"] = response.left_out
    return msgspec.json.encode(fields | {"attempts": attempts, "uncertain": uncertain})


def encode_json(value: object) -> bytes:
    """Encode what was read from JSON; half a surrogate pair is replaced."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Half a surrogate pair, which Slack can write and UTF-8 can't hold.
        return msgspec.json.encode(_encodable(value))


def _encodable(value: object) -> object:
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_encodable(one) for one in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _object(members: dict[str, bytes]) -> bytes:
    return b"{%s}" % b",".join(b"%s:%s" % (encode_json(name), one) for name, one in members.items())
