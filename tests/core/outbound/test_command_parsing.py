"""core.outbound.command_parsing: every row of the table of commands, and what else may come."""

from __future__ import annotations

import gzip
import json

import pytest

from rtmpump.core.outbound.command_parsing import parse
from rtmpump.core.outbound.commands import (
    Message,
    PresenceQuery,
    PresenceSub,
    Typing,
)
from rtmpump.errors import CommandRejected, Fate
from tests.support.commands import TS, assert_names, body, message, rejection

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


# --- "unknown fields, wrong types, empty text, a frame over 16 KiB: rejected at once"


@pytest.mark.parametrize(
    ("raw", "field", "nearest"),
    [
        (message(txet="hi"), "txet", '"text"'),
        (message(Channel="general"), "Channel", '"channel"'),
        (message(THREAD_TS=TS), "THREAD_TS", '"thread_ts"'),
        (body(type="presence_sub", id=["U1"]), "id", '"ids"'),
        (message(file="F1"), "file", "thread_ts"),
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
    for odd in ("", "hello", 7, True, ["message"], {"a": 1}):
        assert_names(rejection(message(type=odd)), "type", "presence_query")


@pytest.mark.parametrize("found", [True, 0, 1.5, [], ["general"], {}, {"id": "C1A"}])
@pytest.mark.parametrize("field", ["channel", "text", "thread_ts"])
def test_what_is_no_string_is_rejected(field: str, found: object) -> None:
    """The three strings take nothing else; the message says what came, in JSON's words."""
    words = {bool: "true", int: "a number", float: "a number"}
    shown = words.get(type(found), "list" if isinstance(found, list) else "an object")
    assert_names(rejection(message(**{field: found})), field, shown)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (message(channel=None), "channel"),
        (message(text=None), "text"),
        (body(type="typing", channel=None), "channel"),
        (body(type="presence_sub", ids=None), "ids"),
        (body(type="api", method=None), "method"),
    ],
)
def test_null_is_no_value_of_a_field_that_must_be_there(raw: bytes, field: str) -> None:
    """The reason says that null came."""
    assert_names(rejection(raw), field, "null")


@pytest.mark.parametrize(
    ("raw", "same"),
    [
        (message(type=None), message()),
        (message(thread_ts=None), message()),
        (message(thread_ts=None, reply_broadcast=None), message()),
        (message(thread_ts=TS, reply_broadcast=None), message(thread_ts=TS)),
        (message(blocks=None, attachments=None), message()),
        (body(type="typing", channel="C1", thread_ts=None), body(type="typing", channel="C1")),
        (body(type="api", method="a.b", arguments=None), body(type="api", method="a.b")),
    ],
)
def test_null_for_an_optional_field_is_as_good_as_leaving_it_out(raw: bytes, same: bytes) -> None:
    """Many clients write each field that they know, and null for what they don't have."""
    assert parse(raw) == parse(same)


def test_a_text_of_null_beside_blocks() -> None:
    """In Socket Mode the text may be left out there; without blocks it may not."""
    given = {"channel": "C1", "text": None, "blocks": [{"type": "divider"}]}
    command = parse(body(**given), socket_mode=True)
    assert command == Message("C1", "", more={"blocks": '[{"type":"divider"}]'})
    with pytest.raises(CommandRejected, match="null"):
        parse(body(**given | {"blocks": None}), socket_mode=True)


def test_null_does_not_make_an_unknown_field_known() -> None:
    """It is a mistake in the name whatever its value is."""
    assert_names(rejection(message(txet=None)), "txet", "unknown")
    assert_names(rejection(body(type="typing", channel="C1", blocks=None)), "blocks", "unknown")


@pytest.mark.parametrize("found", [0, 1, "true", [], {}])
def test_what_is_no_boolean_is_rejected(found: object) -> None:
    """Neither 1 nor "true" is true."""
    error = rejection(message(thread_ts=TS, reply_broadcast=found))
    assert_names(error, "reply_broadcast", "true or false")


@pytest.mark.parametrize("found", ["U1", 7, {}, [""], [7], [None], [["U1"]], ["U1", ""]])
@pytest.mark.parametrize("kind", ["presence_sub", "presence_query"])
def test_ids_are_a_list_of_strings_with_something_in_them(kind: str, found: object) -> None:
    """No list, and a list with anything but user ids are rejected."""
    assert_names(rejection(body(type=kind, ids=found)), "ids", "U024BE7LH")


def test_an_empty_list_ends_a_subscription_and_asks_nothing() -> None:
    """presence_sub replaces the set, so it may be empty; a query without ids is rejected."""
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


@pytest.mark.parametrize("kind", ["message", "typing"])
def test_what_only_looks_like_a_channel_gets_a_hint(kind: str) -> None:
    """Of each command that has one; it is not looked up."""
    text = {"text": "hi"} if kind == "message" else {}
    assert_names(rejection(body(type=kind, channel="General", **text)), "channel", '"general"?')


def test_a_channel_as_slack_writes_it_in_a_text() -> None:
    """It is its id."""
    assert parse(message(channel="<#C024BE91L|general>")) == Message("C024BE91L", "hi")


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


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"channel": "C1A",}', "line 1, column"),
        (b'{"channel": "C1A", "text": "a\x00b"}', "not JSON"),
        (b'{"channel": "C1A", "text": "\xff"}', "not UTF-8"),
        (b'{"channel": "C1A", "text": "\xed\xa0\x80"}', "not UTF-8"),
        (b"[" * 60_000, "nested too deep"),
        (b'{"":' * 16_000, "nested too deep"),
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


def test_the_property_content_encoding_is_named() -> None:
    """Where the body can't be read; what can be read is read."""
    with pytest.raises(CommandRejected, match='is "gzip"; send a JSON object in UTF-8'):
        parse(gzip.compress(message()), content_encoding="gzip")
    assert parse(message(), content_encoding="gzip") == parse(message())


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
