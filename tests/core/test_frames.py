"""What `rtmpump.core.frames` says about frames, from Slack's examples to noise."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtmpump.core.frames import (
    DEPTH_MAX,
    Error,
    Event,
    Goodbye,
    Head,
    Hello,
    Pong,
    Reply,
    head,
    parse,
    ping,
)
from tests.support.paths import DATA

DOCUMENTED = [
    json.loads(line)["event"] for line in (DATA / "rtm_events.jsonl").read_text().splitlines()
]
TYPES = json.loads((DATA / "rtm_types.json").read_text())
UNKNOWN = Event("", "")

FIELDS = Head.__struct_fields__
odd_text = st.text(st.characters(exclude_categories=()), max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | odd_text
    | st.sampled_from(["message", "hello", "error", "pong", "goodbye", "1355517523.000005"])
)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=8,
)
frames_of_our_fields = st.dictionaries(st.sampled_from(FIELDS), json_values)


def _bytes_of(value: object) -> bytes:
    return json.dumps(value).encode()


def _nested(depth: int) -> bytes:
    """Make an object of that depth, itself included."""
    return (
        b'{"wide":[[],[]],"type":"message","deep":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    )


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """Draw a documented event with some of its bytes cut out, added or replaced."""
    body = bytearray(_bytes_of(draw(st.sampled_from(DOCUMENTED))))
    pieces = st.binary(max_size=3) | st.sampled_from(
        [
            *(bytes([byte]) for byte in b'"\\{}[],:-0\n'),
            b"1e999",
            b"NaN",
            b"\\ud83d",
            b"\\u0000",
            "ü".encode(),
            b"\xed\xa0\x80",
            b'"type":"x",',
            b"\xef\xbb\xbf",
        ]
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(pieces)
    return bytes(body)


def _strictly_read(body: bytes) -> Any:
    """Read JSON as RFC 8259 has it, by another reader than ours; None if it is no object."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        found = json.loads(body.decode(), parse_constant=refuse)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@pytest.mark.parametrize("event", DOCUMENTED, ids=lambda event: str(event["type"]))
def test_documented_events(event: dict[str, Any]) -> None:
    """Each example of Slack's reference is an event of its own type and subtype."""
    frame = parse(_bytes_of(event))
    assert isinstance(frame, Event)
    assert (frame.type, frame.subtype) == (event["type"], event.get("subtype", ""))


@pytest.mark.parametrize("kind", TYPES["types"])
def test_documented_types(kind: str) -> None:
    """Each documented type is an event; only hello and goodbye mean something to the connection."""
    frame = parse(_bytes_of({"type": kind}))
    assert isinstance(frame, Event)
    assert frame.type == kind
    assert type(frame) is {"hello": Hello, "goodbye": Goodbye}.get(kind, Event)


@pytest.mark.parametrize("subtype", TYPES["message_subtypes"])
def test_documented_message_subtypes(subtype: str) -> None:
    """Each documented subtype of a message is read."""
    frame = parse(_bytes_of({"type": "message", "subtype": subtype, "text": "x"}))
    assert frame == Event("message", subtype)


@settings(deadline=None)
@given(st.binary())
def test_bytes_never_raise(body: bytes) -> None:
    """Whatever bytes come, some frame comes out."""
    assert isinstance(parse(body), Event | Reply | Pong)


@settings(deadline=None)
@given(json_values | frames_of_our_fields)
def test_json_never_raises_and_its_strings_can_be_encoded(value: object) -> None:
    """Whatever JSON comes, the strings that come out can be written as UTF-8."""
    frame = parse(_bytes_of(value))
    words = [frame.error_code, frame.error_msg, frame.ts] if isinstance(frame, Reply) else []
    event = frame.event if isinstance(frame, Reply) else frame
    if isinstance(event, Event):
        words += [event.type, event.subtype]
    if isinstance(event, Error):
        words.append(event.msg)
    assert "".join(words).encode().decode() == "".join(words)


@settings(deadline=None)
@given(frames_of_our_fields)
def test_only_replies_and_pongs_are_no_events(fields: dict[str, object]) -> None:
    """Only a pong, and an answer without type but with `ok` and id, is no event."""
    frame = parse(_bytes_of(fields))
    if isinstance(frame, Pong):
        assert fields["type"] == "pong"
    elif isinstance(frame, Reply) and frame.event is None:
        assert fields.get("type") is None
        assert type(fields["reply_to"]) is int
        assert type(fields["ok"]) is bool


@settings(deadline=None, max_examples=300)
@given(_damaged())
@example(b'{"skipped":"\xff","type":"message"}')
@example(b'{"type":"message","text":"\\ud83d"}')
@example(b'{"type":"message","ok":1e999}')
def test_head_reads_what_is_json_and_nothing_else(body: bytes) -> None:
    """`head` agrees with a strict JSON reader on what is an object, and on what is in it."""
    expected, seen = _strictly_read(body), head(body)
    assert (seen is None) == (expected is None)
    if seen is not None:
        kind = expected.get("type")
        if isinstance(kind, str):
            kind = kind.encode("utf-8", "replace").decode()
        assert seen.type == kind


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\x00\xff\xfe",
        b"null",
        b'"hello"',
        b"[]",
        b'[{"type":"hello"}]',
        b"{",
        b'{"type":"hello"',
        b'{"type":"hello"}x',
        b'{"type":"hello"}{"type":"hello"}',
        b'\xef\xbb\xbf{"type":"hello"}',
        b'{"type":"hello","n":NaN}',
        b'{"type":"hello","n":Infinity}',
        b'{"type":"hello","n":01}',
        b'{"type":"hello","t":"a\nb"}',
        b'{"type":"hello","t":"\xff"}',
        b'{"type":"hello","t":"\xed\xa0\x80"}',
        b"{'type': 'hello'}",
        '{"type":"hello"}'.encode("utf-16"),
        '{"type":"hello"}'.encode("utf-32"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"type":' + b"[" * 100_000,
        b'{"type":"hello","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"half":"\\ud83d","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_object_is_an_event_of_no_type(body: bytes) -> None:
    """What can't be read is an event all the same, of no type."""
    assert head(body) is None
    assert parse(body) == UNKNOWN


@pytest.mark.parametrize(
    "value", ["", None, 1, 1.5, True, [], {}, ["message"], {"type": "message"}]
)
def test_a_type_that_is_no_word_is_no_type(value: object) -> None:
    """An object whose type is missing, empty or no string is an event of no type and subtype."""
    assert parse(_bytes_of({"type": value, "subtype": "x"})) == UNKNOWN


@pytest.mark.parametrize("value", ["", None, 1, True, [], {}])
def test_a_subtype_that_is_no_word_is_no_subtype(value: object) -> None:
    """A subtype that is empty or no string leaves the type alone."""
    assert parse(_bytes_of({"type": "message", "subtype": value})) == Event("message", "")


def test_the_last_of_equal_keys_counts() -> None:
    """Of a key that comes twice the last one counts, also on the slow way."""
    assert parse(b'{"type":"a","type":"b"}') == Event("b", "")
    assert parse(b'{"type":"a","type":"b","half":"\\ud83d"}') == Event("b", "")


def test_half_a_surrogate_pair_leaves_the_event_its_type() -> None:
    """A text that was cut within an emoji is JSON, and the message is a message."""
    assert parse(b'{"type":"message","text":"\\ud83d"}') == Event("message", "")
    assert parse(b'{"type":"a\\ud83d","subtype":"\\udead"}') == Event("a?", "?")


def test_half_a_surrogate_pair_leaves_a_reply_a_reply() -> None:
    """An answer whose text was cut within an emoji still settles its command."""
    body = b'{"ok":true,"reply_to":1073741824,"ts":"1.2","text":"\\ud83d"}'
    assert parse(body) == Reply(1073741824, True, "1.2", "", "", None)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" + b"0" * 400, b"9" * 100_000])
def test_huge_numbers_leave_the_event_its_type(number: bytes) -> None:
    """A number that no double can hold is JSON, wherever it stands."""
    assert parse(b'{"type":"message","n":' + number + b"}") == Event("message", "")
    assert parse(b'{"type":"message","ts":' + number + b"}") == Event("message", "")
    error = b'{"type":"error","error":{"code":' + number + b',"msg":"m"}}'
    assert parse(error) == Error("error", "", 0, "m")


def test_depth_has_a_limit_of_its_own() -> None:
    """What is nested up to the limit is read, and one deeper is not."""
    assert parse(_nested(DEPTH_MAX)) == Event("message", "")
    assert parse(_nested(DEPTH_MAX + 1)) == UNKNOWN


def test_depth_does_not_hang_on_the_caller() -> None:
    """A caller that is itself many calls deep reads the same."""

    def below(calls: int, body: bytes) -> object:
        return below(calls - 1, body) if calls else parse(body)

    for depth in (DEPTH_MAX, DEPTH_MAX + 1):
        assert below(400, _nested(depth)) == parse(_nested(depth))


def test_brackets_side_by_side_or_in_strings_are_not_depth() -> None:
    """Many lists beside each other, and any text, are not deep."""
    wide = {"type": "message", "wide": [[]] * 1000, "text": '[{"\\' * 1000}
    assert parse(_bytes_of(wide)) == Event("message", "")


def test_the_ping_is_an_object_with_our_id() -> None:
    """The ping frame is JSON with the id and the type."""
    assert json.loads(ping(7)) == {"id": 7, "type": "ping"}


def test_pong() -> None:
    """A pong names the ping; extra fields that were echoed change nothing."""
    assert parse(b'{"type":"pong","reply_to":7,"time":1403299273342}') == Pong(7)


@pytest.mark.parametrize("reply_to", [None, True, "7", 7.5, [], {}])
def test_a_pong_without_an_id_is_a_pong(reply_to: object) -> None:
    """A pong that names no ping is never an event, and matches none of our ids."""
    assert parse(_bytes_of({"type": "pong", "reply_to": reply_to})) == Pong(0)


def test_good_reply() -> None:
    """The answer to a message carries its ts."""
    body = b'{"ok":true,"reply_to":1,"ts":"1355517523.000005","text":"Hello world"}'
    assert parse(body) == Reply(1, True, "1355517523.000005", "", "", None)


@pytest.mark.parametrize(
    ("error", "code", "msg"),
    [
        ({"code": 2, "msg": "message text is missing"}, "2", "message text is missing"),
        ({"code": -1, "msg": "slow down", "source": "x"}, "-1", "slow down"),
        ({"code": "no_text", "msg": 5}, "no_text", ""),
        ({"code": True, "msg": "m"}, "", "m"),
        ({"code": "a\ud83d", "msg": "b\ud83d"}, "a?", "b?"),
        ({"code": None}, "", ""),
        ({"code": 10**100, "msg": "m"}, "", "m"),
        ({}, "", ""),
        ("rate_limited", "rate_limited", "rate_limited"),
        ("x" * 5000, "x" * 80, "x" * 1000),
        (7, "", ""),
        (None, "", ""),
        ([{"code": 2}], "", ""),
    ],
)
def test_error_reply(error: object, code: str, msg: str) -> None:
    """An answer that says no carries what can be read of the reason."""
    body = _bytes_of({"ok": False, "reply_to": 1, "error": error})
    assert parse(body) == Reply(1, False, "", code, msg, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"ok": True},
        {"reply_to": 1},
        {"ok": 1, "reply_to": 1},
        {"ok": "true", "reply_to": 1},
        {"ok": True, "reply_to": "1"},
        {"ok": True, "reply_to": 1.0},
        {"ok": True, "reply_to": True},
        {"ok": True, "reply_to": 1, "type": 5},
        {"ok": True, "reply_to": 1, "type": ""},
    ],
)
def test_what_is_not_surely_a_reply_is_an_event(fields: dict[str, object]) -> None:
    """An odd answer is published, of no type, rather than dropped."""
    assert parse(_bytes_of(fields)) == UNKNOWN


def test_an_echo_is_reply_and_event() -> None:
    """A message with a reply_to settles the command and is published."""
    body = b'{"type":"message","subtype":"bot_message","reply_to":3,"ts":"1.2","text":"hi"}'
    assert parse(body) == Reply(3, True, "1.2", "", "", Event("message", "bot_message"))


def test_an_echo_says_whether_it_went_well() -> None:
    """The `ok` of an echo counts; without one, its error does."""
    refused = parse(b'{"type":"message","reply_to":3,"ok":false}')
    failed = parse(b'{"type":"message","reply_to":3,"error":{"code":4,"msg":"m"}}')
    assert refused == Reply(3, False, "", "", "", Event("message", ""))
    assert failed == Reply(3, False, "", "4", "m", Event("message", ""))


def test_an_error_with_an_id_is_reply_and_event() -> None:
    """An error that names a command settles it, and is published."""
    body = b'{"type":"error","reply_to":3,"error":{"code":2,"msg":"message text is missing"}}'
    event = Error("error", "", 2, "message text is missing")
    assert parse(body) == Reply(3, False, "", "2", "message text is missing", event)


@pytest.mark.parametrize(
    ("error", "code", "msg"),
    [
        ({"code": 1, "msg": "Socket URL has expired"}, 1, "Socket URL has expired"),
        ({"source": "x", "msg": "Socket URL has expired", "code": 1}, 1, "Socket URL has expired"),
        ({"code": "1", "msg": "m"}, 0, "m"),
        ("gone", 0, "gone"),
        (None, 0, ""),
        ([], 0, ""),
    ],
)
def test_error_of_the_connection(error: object, code: int, msg: str) -> None:
    """An error without an id is of the connection, with what can be read of code and message."""
    assert parse(_bytes_of({"type": "error", "error": error})) == Error("error", "", code, msg)


def test_other_types_with_an_id_are_events() -> None:
    """A reply_to in an event of another type is none of our business."""
    assert parse(b'{"type":"file_shared","reply_to":3,"ok":true}') == Event("file_shared", "")
