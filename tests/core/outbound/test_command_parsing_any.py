"""core.outbound.command_parsing: whatever comes, a command or a rejection comes out."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rtmpump.core.outbound.channel_field import read_channel
from rtmpump.core.outbound.command_parsing import parse
from rtmpump.core.outbound.commands import (
    Command,
    Message,
    PresenceQuery,
    PresenceSub,
    Typing,
    encode,
)
from rtmpump.core.outbound.outcome import dead_headers, error_result
from rtmpump.errors import CommandRejected

TS = "1355517523.000005"

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
odd_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
names = st.sampled_from(["type", "channel", "text", "thread_ts", "reply_broadcast", "ids"])
near_values = (
    anything
    | odd_text
    | st.sampled_from(["message", "typing", "presence_sub", "presence_query", TS, "C1A", "#x"])
    | st.lists(odd_text, max_size=3)
)
near_commands = st.dictionaries(names | odd_text, near_values, max_size=6)

# Even if each character is written as an escape, the frame fits.
good_text = st.text(min_size=1, max_size=2_000)


def is_channel(text: str) -> bool:
    """It is taken as it is: composed, and nothing that only looks like a channel."""
    try:
        return read_channel(text) == text
    except CommandRejected:
        return False


good_channel = st.text(min_size=1, max_size=80).filter(is_channel)
good_ts = st.none() | st.from_regex(r"[0-9]{1,12}\.[0-9]{6}", fullmatch=True)
good_ids = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=40).map(tuple)
commands = st.one_of(
    st.builds(Message, good_channel, good_text, good_ts),
    st.builds(
        Message,
        good_channel,
        good_text,
        st.from_regex(r"[0-9]{10}\.[0-9]{6}", fullmatch=True),
        st.booleans(),
    ),
    st.builds(Typing, good_channel, good_ts),
    st.builds(PresenceSub, good_ids),
    st.builds(PresenceQuery, good_ids),
)


def check_any(raw: bytes) -> None:
    """Check that a command, which can be sent, or a rejection, which can be reported, comes out."""
    try:
        command = parse(raw)
    except CommandRejected as error:
        check_rejection(error)
        return
    frame = json.loads(encode(command, id=1, channel_id="C024BE91L"))
    assert frame["type"] == command.kind


def check_rejection(error: CommandRejected) -> None:
    """Check that it names its field, if there is one, and can be sent to the producer."""
    assert error.code in {"invalid_command", "too_long"}
    assert error.field in error.message
    if error.message.startswith("field "):
        assert error.message.startswith(f'field "{error.field}"')
    else:
        assert error.message.startswith("the body is ")
        assert error.field == ""
    assert error.message.isprintable()
    error_result(error.code, error.message, 1, False)
    str(dead_headers(error.code, error.message, 1, 0)).encode()


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_rejection(raw: bytes) -> None:
    """Bytes that are hardly ever JSON."""
    check_any(raw)


@given(anything | near_commands)
def test_no_json_raises_anything_but_a_rejection(value: Any) -> None:
    """JSON of every kind, most of it nearly a command, half characters included."""
    check_any(json.dumps(value).encode())


@given(commands)
def test_a_command_comes_back_from_its_frame(command: Command) -> None:
    """`parse` undoes `encode`, whatever characters there are."""
    frame = json.loads(encode(command, id=7, channel_id=getattr(command, "channel", "")))
    assert frame.pop("id") == 7
    assert parse(json.dumps(frame).encode()) == command


@given(commands)
def test_what_parse_takes_is_what_encode_sends(command: Command) -> None:
    """`encode(parse(x))` holds every field of x, with the channel's id in the channel's place."""
    fields = {"type": command.kind} | {
        name: getattr(command, name) for name in command.__struct_fields__
    }
    sent = {name: value for name, value in fields.items() if value not in (None, False, {})}
    frame = json.loads(encode(parse(json.dumps(sent).encode()), id=7, channel_id="C1A"))
    expected: dict[str, Any] = json.loads(json.dumps(sent)) | {"id": 7}
    if "channel" in expected:
        expected["channel"] = "C1A"
    assert frame == expected
