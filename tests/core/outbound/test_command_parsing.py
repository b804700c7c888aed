"""core.outbound.command_parsing: every row of the table of commands, and what else may come."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpump.core.outbound.command_parsing import (
    Command,
    Message,
    PresenceQuery,
    PresenceSub,
    Typing,
    channel_name,
    dead_headers,
    encode,
    error_result,
    is_channel_id,
    ok_result,
    parse,
    post,
)
from rtmpump.errors import CommandRejected, Fate

TS = "1355517523.000005"


def body(**fields: object) -> bytes:
    """The body of a command with these fields."""
    return json.dumps(fields).encode()


def message(**fields: object) -> bytes:
    """The body of a good message, but for these fields."""
    return body(**{"channel": "C024BE91L", "text": "hi"} | fields)


def rejection(raw: bytes) -> CommandRejected:
    """The error with which `parse` refuses these bytes."""
    with pytest.raises(CommandRejected) as caught:
        parse(raw)
    return caught.value


def assert_names(error: CommandRejected, field: str, *words: str) -> None:
    """The rejection is of this field and says so; it holds each of the words."""
    assert error.field == field
    assert error.code == "invalid_command"
    for word in (f'"{field}"', *words):
        assert word in error.message


# --- the table of section 5


def test_a_message_with_all_its_fields() -> None:
    """Row `message`: channel, text, thread_ts, reply_broadcast."""
    raw = message(type="message", thread_ts=TS, reply_broadcast=True)
    assert parse(raw) == Message("C024BE91L", "hi", TS, True)


def test_message_is_the_default_type() -> None:
    """Row `message`: a command without `type` is a message, in no thread, not broadcast."""
    assert parse(message()) == Message("C024BE91L", "hi", None, False)
    assert parse(message(type="message")) == parse(message())


@pytest.mark.parametrize("channel", ["C024BE91L", "G024BE91L", "D024BE91L", "general", "#general"])
def test_a_channel_is_an_id_or_a_name(channel: str) -> None:
    """Row `message`: ids of the three kinds, names with and without `#`."""
    command = parse(message(channel=channel))
    assert isinstance(command, Message)
    assert command.channel == channel


@pytest.mark.parametrize("length", [1, 3_999, 4_000])
@pytest.mark.parametrize("letter", ["a", "é", "\U0001f600"])
def test_text_has_1_to_4000_characters(length: int, letter: str) -> None:
    """Row `message`: characters are counted, not bytes; 4,000 of four bytes fit into a frame."""
    command = parse(message(text=letter * length))
    assert isinstance(command, Message)
    assert command.text == letter * length


def test_text_over_4000_characters_is_too_long() -> None:
    """Row `message`: one character more has a code of its own, and the text isn't shown."""
    error = rejection(message(text="secret" + "a" * 3_995))
    assert (error.code, error.field) == ("too_long", "text")
    assert "4,001" in error.message
    assert "secret" not in error.message


def test_empty_text_is_rejected() -> None:
    """Row `message`: a text has at least one character."""
    assert_names(rejection(message(text="")), "text", "empty")


def test_missing_text_is_rejected() -> None:
    """Row `message`: a text must be there."""
    assert_names(rejection(body(channel="C024BE91L")), "text", "missing")


def test_a_command_of_nothing_misses_its_channel() -> None:
    """`{}` is a message without a channel."""
    assert_names(rejection(b"{}"), "channel", "missing")


def test_reply_broadcast_is_taken_only_with_a_thread() -> None:
    """Row `message`: reply_broadcast needs thread_ts, and the message names both."""
    assert_names(rejection(message(reply_broadcast=True)), "reply_broadcast", "thread_ts")
    assert_names(rejection(message(reply_broadcast=False)), "reply_broadcast", "thread_ts")
    assert parse(message(thread_ts=TS, reply_broadcast=False)) == Message("C024BE91L", "hi", TS)


def test_typing() -> None:
    """Row `typing`: a channel, and a thread_ts if there is one."""
    assert parse(body(type="typing", channel="#general")) == Typing("#general", None)
    assert parse(body(type="typing", channel="C1A", thread_ts=TS)) == Typing("C1A", TS)


def test_presence_sub() -> None:
    """Row `presence_sub`: a list of user ids, in their order."""
    assert parse(body(type="presence_sub", ids=["U2", "W1"])) == PresenceSub(("U2", "W1"))


def test_presence_query() -> None:
    """Row `presence_query`: a list of user ids."""
    assert parse(body(type="presence_query", ids=["U1"])) == PresenceQuery(("U1",))


def test_a_command_knows_its_type_and_whether_slack_answers() -> None:
    """Only a message is answered."""
    kinds = {made.kind: made.awaits_reply for made in (Message, Typing, PresenceSub, PresenceQuery)}
    assert kinds == {
        "message": True,
        "typing": False,
        "presence_sub": False,
        "presence_query": False,
    }


# --- "unknown fields, wrong types, empty text, a frame over 16 KiB: rejected at once"


@pytest.mark.parametrize(
    ("raw", "field", "nearest"),
    [
        (message(txet="hi"), "txet", '"text"'),
        (message(Channel="general"), "Channel", '"channel"'),
        (message(THREAD_TS=TS), "THREAD_TS", '"thread_ts"'),
        (body(type="presence_sub", id=["U1"]), "id", '"ids"'),
        (message(icon_emoji=":x:"), "icon_emoji", "thread_ts"),
        (body(type="typing", channel="general", text="hi"), "text", "channel"),
        (message(ids=["U1"]), "ids", "channel"),
        (message(**{"": 1}), "", "channel"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_right_one(
    raw: bytes, field: str, nearest: str
) -> None:
    """Also a field that another type has; where none is near, those that there are."""
    assert_names(rejection(raw), field, "unknown", nearest)


def test_an_unknown_type_is_named_with_the_nearest_right_one() -> None:
    """A type that is none of the four is rejected, whatever JSON it is."""
    assert_names(rejection(message(type="mesage")), "type", '(did you mean "message"?)', "mesage")
    for odd in ("", "hello", None, 7, True, ["message"], {"a": 1}):
        assert_names(rejection(message(type=odd)), "type", "presence_query")


@pytest.mark.parametrize("found", [None, True, 0, 1.5, [], ["general"], {}, {"id": "C1A"}])
@pytest.mark.parametrize("field", ["channel", "text", "thread_ts"])
def test_what_is_no_string_is_rejected(field: str, found: object) -> None:
    """The three strings take nothing else; the message says what came, in JSON's words."""
    words = {bool: "true", int: "a number", float: "a number", type(None): "null"}
    shown = words.get(type(found), "list" if isinstance(found, list) else "an object")
    assert_names(rejection(message(**{field: found})), field, shown)


@pytest.mark.parametrize("found", [None, 0, 1, "true", [], {}])
def test_what_is_no_boolean_is_rejected(found: object) -> None:
    """Neither 1 nor "true" is true."""
    error = rejection(message(thread_ts=TS, reply_broadcast=found))
    assert_names(error, "reply_broadcast", "true or false")


@pytest.mark.parametrize("found", [None, "U1", 7, {}, [""], [7], [None], [["U1"]], ["U1", ""]])
@pytest.mark.parametrize("kind", ["presence_sub", "presence_query"])
def test_ids_are_a_list_of_strings_with_something_in_them(kind: str, found: object) -> None:
    """No list, and a list with anything but user ids are rejected."""
    assert_names(rejection(body(type=kind, ids=found)), "ids", "U024BE7LH")


def test_an_empty_list_ends_a_subscription_and_asks_nothing() -> None:
    """presence_sub replaces the set, so it may be empty; a query about nobody is rejected."""
    assert parse(body(type="presence_sub", ids=[])) == PresenceSub(())
    assert_names(rejection(body(type="presence_query", ids=[])), "ids", "at least one")


@pytest.mark.parametrize("kind", ["presence_sub", "presence_query"])
def test_missing_ids_are_rejected(kind: str) -> None:
    """Both commands of presence need ids."""
    assert_names(rejection(body(type=kind)), "ids", "missing")


def test_presence_query_takes_500_ids() -> None:
    """One more than Slack takes is rejected; presence_sub has no such limit."""
    ids = [f"U{number}" for number in range(501)]
    assert parse(body(type="presence_query", ids=ids[:500])) == PresenceQuery(tuple(ids[:500]))
    assert_names(rejection(body(type="presence_query", ids=ids)), "ids", "500", "501")
    assert parse(body(type="presence_sub", ids=ids)) == PresenceSub(tuple(ids))


@pytest.mark.parametrize("channel", ["", "#"])
def test_an_empty_channel_is_rejected(channel: str) -> None:
    """Neither nothing nor a lone `#` is a channel."""
    assert_names(rejection(message(channel=channel)), "channel", "general")


def test_a_channel_has_at_most_80_characters() -> None:
    """The `#` before a name doesn't count."""
    parse(message(channel="a" * 80))
    parse(message(channel="#" + "a" * 80))
    assert_names(rejection(message(channel="a" * 81)), "channel", "80", "81")


@pytest.mark.parametrize(
    "thread_ts",
    [
        "",
        "p1355517523000005",
        "1355517523",
        "1355517523.5",
        ".000005",
        "1355517523,000005",
        "-1355517523.000005",
        " 1355517523.000005",
        "1355517523.000005\n",
        "\u0661\u0663.000005",
    ],
)
def test_a_thread_ts_looks_like_one(thread_ts: str) -> None:
    """What isn't digits, a point and six digits is rejected, with an example of the right form."""
    assert_names(rejection(message(thread_ts=thread_ts)), "thread_ts", TS)
    typing = body(type="typing", channel="general", thread_ts=thread_ts)
    assert_names(rejection(typing), "thread_ts", TS)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (message(text="\x01" * 3_000), "text"),
        (body(type="presence_sub", ids=[f"U{number:08}" for number in range(2_000)]), "ids"),
        (body(type="presence_query", ids=["U" * 100] * 300), "ids"),
    ],
)
def test_a_frame_over_16_kib_is_rejected_by_parse_already(raw: bytes, field: str) -> None:
    """What is too long for Slack doesn't wait for a channel id or a rate limit first."""
    assert len(raw) < 65_536
    error = rejection(raw)
    assert (error.code, error.field) == ("too_long", field)
    assert f'"{field}"' in error.message
    assert "16,384" in error.message


def test_the_limit_of_a_frame_is_exact() -> None:
    """16,384 bytes are sent; one more is not."""
    room = 16_384 - len(encode(PresenceSub(("",)), id=1, channel_id=""))
    assert len(encode(PresenceSub(("U" * room,)), id=1, channel_id="")) == 16_384
    with pytest.raises(CommandRejected, match="too_long"):
        encode(PresenceSub(("U" * (room + 1),)), id=1, channel_id="")


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"channel": "C1A",}', "line 1, column"),
        (b'{"channel": "C1A", "text": "a\x00b"}', "not JSON"),
        (b'\xef\xbb\xbf{"channel": "C1A", "text": "hi"}', "not JSON"),
        (b'{"channel": "C1A", "text": "\xff"}', "not UTF-8"),
        (b'{"channel": "C1A", "text": "\xed\xa0\x80"}', "not UTF-8"),
        (b"[" * 60_000, "nested too deep"),
        (b'{"text":' * 8_000, "nested too deep"),
        (b'{"text": ' + b"1" * 5_000 + b"}", "a number of thousands of digits"),
        (b"null", "null"),
        (b'"hi"', 'the string "hi"'),
        (b"7", "a number"),
        (b"NaN", "a number"),
        (b'[{"channel": "C1A", "text": "hi"}]', "a list"),
    ],
)
def test_a_body_that_is_no_json_object_is_rejected(raw: bytes, word: str) -> None:
    """The message says what the body is, and no field is at fault."""
    error = rejection(raw)
    assert (error.code, error.field) == ("invalid_command", "")
    assert word in error.message


def test_a_body_over_64_kib_is_rejected_unread() -> None:
    """65,536 bytes are looked at; one more is too long."""
    fits = message(text="a").ljust(65_536)
    assert parse(fits) == Message("C024BE91L", "a")
    error = rejection(fits + b" ")
    assert (error.code, error.field) == ("too_long", "")
    assert "65,537" in error.message


@pytest.mark.parametrize("field", ["channel", "text", "thread_ts"])
def test_half_a_surrogate_pair_is_rejected(field: str) -> None:
    """JSON may name half a character, UTF-8 can't hold it; the field is named."""
    assert_names(rejection(message(**{field: "a\ud83d"})), field, "surrogate")
    assert_names(rejection(body(type="presence_sub", ids=["U\udc00"])), "ids")


def test_a_whole_surrogate_pair_is_a_character() -> None:
    r"""`\ud83d\ude00` is one character, as RFC 8259 section 7 has it."""
    raw = rb'{"channel": "C1A", "text": "\ud83d\ude00"}'
    assert parse(raw) == Message("C1A", "\U0001f600")


def test_of_a_key_that_comes_twice_the_last_one_counts() -> None:
    """Also where the first one is wrong."""
    assert parse(b'{"channel": 7, "text": "a", "channel": "C1A", "text": "b"}') == Message(
        "C1A", "b"
    )


def test_a_rejection_is_short_and_printable_whatever_the_field() -> None:
    """A field's name of 60,000 odd characters neither fills the log nor breaks it."""
    for name in ("x" * 60_000, "\x1b[31m\n", "\u202etext", "\ud800"):
        error = rejection(json.dumps({name: 1}).encode())
        assert error.field
        assert error.field in error.message
        assert error.message.isprintable()
        assert len(error.message) < 500


def test_a_rejection_is_final() -> None:
    """A command that was rejected is not tried again."""
    assert rejection(b"").fate is Fate.REJECTED


# --- channels


@pytest.mark.parametrize("channel", ["C024BE91L", "G01", "D0ABCDEFGHIJ"])
def test_an_id_is_known_by_its_form(channel: str) -> None:
    """C, G or D, then capitals and digits."""
    assert is_channel_id(channel)


@pytest.mark.parametrize(
    "channel", ["", "C", "C1", "general", "#C024BE91L", "c024be91l", "U024BE7LH", "C024BE91L\n"]
)
def test_what_is_no_id_is_a_name(channel: str) -> None:
    """Also an id with a `#` or a line's end; a user is no channel."""
    assert not is_channel_id(channel)


def test_a_name_loses_one_hash() -> None:
    """`#general` and `general` are the same channel."""
    assert channel_name("#general") == channel_name("general") == "general"
    assert channel_name("##odd") == "#odd"


# --- frames


def test_the_frame_of_a_message() -> None:
    """A message goes out with its id and the channel's id, and with nothing that wasn't asked."""
    frame = encode(Message("#general", "grüezi"), id=7, channel_id="C1A")
    assert json.loads(frame) == {"id": 7, "type": "message", "channel": "C1A", "text": "grüezi"}
    assert "grüezi".encode() in frame


def test_the_frame_of_a_message_in_a_thread() -> None:
    """`reply_broadcast` is sent only when it is true."""
    whole = json.loads(encode(Message("C1A", "hi", TS, True), id=7, channel_id="C1A"))
    assert whole["thread_ts"] == TS
    assert whole["reply_broadcast"] is True
    quiet = json.loads(encode(Message("C1A", "hi", TS, False), id=7, channel_id="C1A"))
    assert quiet["thread_ts"] == TS
    assert "reply_broadcast" not in quiet


def test_the_frames_of_typing_and_presence() -> None:
    """Each carries its id, its type and its own fields."""
    made = [
        json.loads(encode(command, id=7, channel_id="C1A"))
        for command in (
            Typing("general"),
            Typing("general", TS),
            PresenceSub(("U1", "U2")),
            PresenceQuery(("U1",)),
        )
    ]
    assert made == [
        {"id": 7, "type": "typing", "channel": "C1A"},
        {"id": 7, "type": "typing", "channel": "C1A", "thread_ts": TS},
        {"id": 7, "type": "presence_sub", "ids": ["U1", "U2"]},
        {"id": 7, "type": "presence_query", "ids": ["U1"]},
    ]


# --- results and dead letters


def test_the_result_of_a_message_that_was_posted() -> None:
    """The shape of section 5, its keys in its order."""
    expected = b'{"ok":true,"channel":"C1A","ts":"1.000001","attempts":1,"uncertain":false}'
    assert ok_result("C1A", "1.000001", 1, False) == expected


def test_the_result_of_a_command_without_a_reply() -> None:
    """Typing has no ts, presence no channel either."""
    assert ok_result("C1A", None, 2, True) == (
        b'{"ok":true,"channel":"C1A","attempts":2,"uncertain":true}'
    )
    assert ok_result(None, None, 1, False) == b'{"ok":true,"attempts":1,"uncertain":false}'


def test_the_result_of_a_command_that_failed() -> None:
    """The shape of section 5, its keys in its order."""
    assert error_result("channel_not_found", "no channel is called x", 1, False) == (
        b'{"ok":false,"error":{"code":"channel_not_found","message":"no channel is called x"},'
        b'"attempts":1,"uncertain":false}'
    )


def test_the_headers_of_a_dead_letter() -> None:
    """The four of section 5; the time is RFC 3339 with milliseconds, in UTC."""
    assert dead_headers("slack_2", "message text is missing", 3, 1_355_517_523_005) == {
        "rtmpump-error-code": "slack_2",
        "rtmpump-error-message": "message text is missing",
        "rtmpump-attempts": 3,
        "rtmpump-failed-at": "2012-12-14T20:38:43.005Z",
    }


def test_the_time_of_a_dead_letter_always_has_milliseconds() -> None:
    """A whole second is written with its three zeros."""
    assert dead_headers("timeout", "", 1, 0)["rtmpump-failed-at"] == "1970-01-01T00:00:00.000Z"


def test_what_others_wrote_is_bounded_and_utf8() -> None:
    """Words of Slack of any length, even half a character, fit into a header and a result."""
    headers = dead_headers("slack_\ud800", "\ud800" + "x" * 200_000, 1, 0)
    assert all(len(str(value).encode()) < 1_100 for value in headers.values())
    failed = json.loads(error_result("slack_2", "\ud800" + "x" * 200_000, 1, False))
    assert len(failed["error"]["message"]) < 1_100
    assert json.loads(ok_result("\ud800", "\ud800", 1, False))["ok"] is True


# --- whatever comes

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
good_channel = st.text(min_size=1, max_size=80).filter(channel_name)
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
    """Nothing but a command or a rejection that can be told comes out; a command can be sent."""
    try:
        command = parse(raw)
    except CommandRejected as error:
        check_rejection(error)
        return
    frame = json.loads(encode(command, id=1, channel_id="C024BE91L"))
    assert frame["type"] == command.kind


def check_rejection(error: CommandRejected) -> None:
    """The rejection names its field, if there is one, and can be sent to the producer."""
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
    sent = {name: value for name, value in fields.items() if value not in (None, False)}
    frame = json.loads(encode(parse(json.dumps(sent).encode()), id=7, channel_id="C1A"))
    expected: dict[str, Any] = json.loads(json.dumps(sent)) | {"id": 7}
    if "channel" in expected:
        expected["channel"] = "C1A"
    assert frame == expected


RICH = {"channel": "C1A", "blocks": [{"type": "divider", "n": 1}], "attachments": [{"a": "é"}]}


def test_blocks_are_of_socket_mode() -> None:
    """RTM rejects them and says why; in Socket Mode they are arguments of chat.postMessage."""
    for name in ("blocks", "attachments"):
        with pytest.raises(CommandRejected) as caught:
            parse(message(**{name: RICH[name]}))
        assert caught.value.field == name
        assert "Socket Mode" in caught.value.message
    command = parse(json.dumps(RICH).encode(), socket_mode=True)
    assert isinstance(command, Message)
    call = post(command, "C1A")
    assert call.method == "chat.postMessage"
    assert json.loads(call.arguments["blocks"]) == RICH["blocks"]
    assert json.loads(call.arguments["attachments"]) == RICH["attachments"]


DEEP = "[" * 40 + "]" * 40


@pytest.mark.parametrize("bad", ['{"a": NaN}', '{"a": "\\ud800"}', f'{{"a": {DEEP}}}'])
def test_blocks_that_json_can_not_say(bad: str) -> None:
    """What could not be written to Slack is rejected, and the field is named."""
    body = f'{{"channel": "C1A", "attachments": [{bad}]}}'
    with pytest.raises(CommandRejected, match=r'^invalid_command: field "attachments" ') as caught:
        parse(body.encode(), socket_mode=True)
    assert caught.value.field == "attachments"


def test_what_socket_mode_takes() -> None:
    """Messages and calls; a text that is too long for RTM's frame is none there."""
    for kind in ("typing", "presence_sub", "presence_query"):
        with pytest.raises(CommandRejected) as caught:
            parse(json.dumps({"type": kind}).encode(), socket_mode=True)
        assert caught.value.field == "type"
    text = "\u00e9\U0001f600" * 2000
    command = parse(message(text=text), socket_mode=True)
    assert isinstance(command, Message)
    assert post(command, "C1").arguments == {"channel": "C1", "text": text}
