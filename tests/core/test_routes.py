"""What `rtmpump.core.routes` calls events, and which of them it calls the same."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtmpump.core.routes import Route, clean, is_listed, route
from tests.support.paths import DATA

DOCUMENTED = [
    json.loads(line)["event"] for line in (DATA / "rtm_events.jsonl").read_text().splitlines()
]
TYPES = json.loads((DATA / "rtm_types.json").read_text())
MESSAGE = {"type": "message", "channel": "C1", "user": "U1", "text": "hi", "ts": "1.000002"}
REACTION = {"type": "reaction_added", "user": "U1", "item": {"ts": "1.2"}, "event_ts": "3.000004"}
PRESENCE = {"type": "presence_change", "user": "U1", "presence": "away"}

odd_text = st.text(st.characters(exclude_categories=()), max_size=300)
short_words = st.sampled_from(
    ["", "file_share", "C1", "1.2", ":", "C1:1.2", "1.2:", "ü", "m", "x" * 60, "_", "~"]
)
odd_values: st.SearchStrategy[object] = (
    short_words | st.none() | st.booleans() | st.integers(0, 1) | st.just({}) | st.just([])
)
events = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "reaction_added", "a:b", "a_b", "", None, 1])},
    optional=dict.fromkeys(("channel", "ts", "event_ts", "subtype", "hidden", "text"), odd_values),
)


def _bytes_of(value: object) -> bytes:
    return json.dumps(value).encode()


def _routed(event: object, **facts: Any) -> Route:
    """Route an event, with facts that matter only where a test gives them."""
    body = event if isinstance(event, bytes) else _bytes_of(event)
    usual = {"seq": 1, "received_ms": 1_700_000_000_123, "team": "T1", "bot": "UB", "epoch": "e1"}
    return route(body, **{**usual, **facts})


def _message_id(event: object, **facts: Any) -> str:
    return _routed(event, **facts).message_id


def _is_visible(event: dict[str, Any]) -> bool:
    """Say by the contract's words whether it is a message that people see, and can be named."""
    words = (event.get("channel"), event.get("ts"), event.get("subtype") or "x")
    return (
        event["type"] == "message"
        and event.get("hidden") in (None, False)  # thread_ts is never drawn: no reply is hidden
        and all(isinstance(word, str) and word for word in words)
    )


def _told(event: dict[str, Any]) -> str:
    """Give the part of a message's subtype that RTM and the history tell too."""
    subtype = event.get("subtype") or ""
    return "" if subtype == "file_share" else str(subtype)


@pytest.mark.parametrize("event", DOCUMENTED, ids=lambda event: str(event["type"]))
def test_documented_events(event: dict[str, Any]) -> None:
    """Each example of Slack's reference gets the key of its type and subtype."""
    found = _routed(event)
    words = [event["type"], event.get("subtype")]
    assert found.routing_key == ".".join(word for word in words if word)
    assert found.type == event["type"]


@pytest.mark.parametrize("kind", TYPES["types"])
def test_documented_types(kind: str) -> None:
    """Each documented type is its own routing key."""
    assert _routed({"type": kind}).routing_key == kind


@pytest.mark.parametrize("subtype", TYPES["message_subtypes"])
def test_documented_message_subtypes(subtype: str) -> None:
    """Each documented subtype of a message is the second word of the routing key."""
    found = _routed({"type": "message", "subtype": subtype})
    assert (found.routing_key, found.type) == (f"message.{subtype}", "message")


@pytest.mark.parametrize("value", ["", None, 1, True, [], {}, ["message"]])
def test_a_type_that_is_no_word_is_unknown(value: object) -> None:
    """An event without a usable type has the key unknown, and no subtype."""
    found = _routed({"type": value, "subtype": "x"})
    assert (found.routing_key, found.type) == ("unknown", "unknown")


@pytest.mark.parametrize("body", [b"", b"\xff", b"no json", b"[]", b"[" * 100_000, b'{"type":NaN}'])
def test_what_is_no_object_is_unknown(body: bytes) -> None:
    """Content that is no JSON object has the key unknown and an id by its place in the spool."""
    found = _routed(body, seq=7)
    assert (found.routing_key, found.message_id) == ("unknown", "s:e1:7")


@pytest.mark.parametrize("value", ["", None, 1, True, [], {}])
def test_a_subtype_that_is_no_word_is_left_out(value: object) -> None:
    """A subtype that is empty or no string leaves the type alone as the key."""
    assert _routed({"type": "message", "subtype": value}).routing_key == "message"


def test_odd_characters_become_underscores() -> None:
    """Dots, wildcards and what is not ASCII can't make words or patterns of a routing key."""
    found = _routed({"type": "a.b#", "subtype": "*ü.c-1"})
    assert (found.routing_key, found.type) == ("a_b_.___c-1", "a_b_")


def test_long_words_are_cut() -> None:
    """A type of any length gives names that AMQP can carry."""
    found = _routed({"type": "t" * 100_000, "subtype": "s" * 100_000})
    assert (found.routing_key, found.type) == ("t" * 100 + "." + "s" * 100, "t" * 100)


@settings(deadline=None)
@given(odd_text)
@example("x" * 101)
def test_clean_words_are_clean(word: str) -> None:
    """Whatever comes in, what comes out is of the allowed letters, and clean words stay."""
    cleaned = clean(word)
    assert re.fullmatch(r"[A-Za-z0-9_-]{0,100}", cleaned)
    assert len(cleaned) == min(len(word), 100)
    assert clean(cleaned) == cleaned


JSON = [
    b"[]",
    b"1",
    b"null",
    b'"x"',
    b'"\\ud800"',
    b" {} ",
    b'"' + b"[" * 600 + b'"',
    b'{"n":1e999}',
    b'{"type":1}',
    b"[" * 256 + b"]" * 256,
]
NO_JSON = [
    b"",
    b" ",
    b"no json",
    b"\xff",
    b'"\xff"',
    b"NaN",
    b"[1,]",
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", JSON, ids=repr)
def test_json_that_is_no_event_is_json(body: bytes) -> None:
    """Whatever RFC 8259 takes, a consumer may parse."""
    assert _routed(body).is_json


@pytest.mark.parametrize("body", [*NO_JSON, b"[" * 257 + b"]" * 257], ids=repr)
def test_what_does_not_parse_is_said_to_be_no_json(body: bytes) -> None:
    """Also what is nested so deep that parsers refuse it, and what Python alone takes (NaN)."""
    assert not _routed(body).is_json


def test_headers() -> None:
    """The headers hold what the contract says, and the timestamp is in whole seconds."""
    found = _routed(MESSAGE, seq=9)
    assert found.headers == {
        "team": "T1",
        "bot": "UB",
        "received_at": 1_700_000_000_123,
        "seq": 9,
        "channel": "C1",
        "user": "U1",
    }
    assert found.timestamp == 1_700_000_000


@pytest.mark.parametrize("value", ["", None, 1, True, {"id": "C1"}, ["C1"], "x" * 256, "ü" * 128])
def test_headers_leave_out_what_is_no_short_string(value: object) -> None:
    """A channel or user that is an object, empty or too long is no header."""
    headers = _routed({"type": "x", "channel": value, "user": value}).headers
    assert headers.keys() == {"team", "bot", "received_at", "seq"}


def test_headers_take_all_that_fits() -> None:
    """The limit of a header is 255 bytes of UTF-8."""
    headers = _routed({"type": "x", "channel": "x" * 255, "user": "ü" * 127}).headers
    assert (headers["channel"], headers["user"]) == ("x" * 255, "ü" * 127)


def test_headers_are_not_shared() -> None:
    """A caller may add to the headers of one event without changing another's."""
    _routed(MESSAGE).headers["more"] = 1
    assert "more" not in _routed(MESSAGE).headers


@settings(deadline=None)
@given(
    st.binary() | events.map(_bytes_of) | st.dictionaries(odd_text, odd_text).map(_bytes_of),
    odd_text,
    odd_text,
)
def test_everything_fits_into_amqp(body: bytes, team: str, epoch: str) -> None:
    """Whatever comes, nothing raises and the names are short strings of AMQP."""
    found = _routed(body, team=team, epoch=epoch, seq=2**63 - 1)
    for name in (found.message_id, found.routing_key, f"rtm.{found.type}"):
        assert name.isascii()
        assert name.isprintable()
        assert 0 < len(name) <= 255


def test_a_copy_of_a_visible_message_has_the_same_id() -> None:
    """A standby's or a back-fill's copy is equal: other bytes, bot, epoch, seq and time."""
    copy = {"ts": "1.000002", "team": "T1", "text": "HI", "type": "message", "channel": "C1"}
    there = _message_id(copy, seq=99, epoch="e2", bot="UX", received_ms=5)
    assert _message_id(MESSAGE) == there == "m:T1:C1:1.000002:"


def test_an_echo_and_the_message_have_the_same_id() -> None:
    """What we sent comes back as an echo and perhaps as an event: it is one message."""
    assert _message_id({**MESSAGE, "reply_to": 3}) == _message_id(MESSAGE)


@pytest.mark.parametrize("change", ["channel", "ts", "subtype"])
def test_another_visible_message_has_another_id(change: str) -> None:
    """Channel, ts and subtype distinguish messages."""
    assert _message_id({**MESSAGE, change: "other"}) != _message_id(MESSAGE)


def test_another_team_has_other_ids() -> None:
    """The same channel and ts in another workspace is another message."""
    assert _message_id(MESSAGE, team="T2") != _message_id(MESSAGE)


@pytest.mark.parametrize("hidden", [True, 1, "true", {}])
def test_hidden_messages_are_told_apart_by_their_bytes(hidden: object) -> None:
    """Two changes of one message that carry its ts are two events."""
    one = {**MESSAGE, "hidden": hidden, "text": "one"}
    two = {**MESSAGE, "hidden": hidden, "text": "two"}
    assert _message_id(one).startswith("e:T1:message::1.000002:")
    assert _message_id(one) != _message_id(two)


def test_a_message_that_is_told_not_hidden_is_visible() -> None:
    """`hidden` of false or null is the same as none."""
    assert _message_id({**MESSAGE, "hidden": False}) == _message_id(MESSAGE)
    assert _message_id({**MESSAGE, "hidden": None}) == _message_id(MESSAGE)


def test_a_message_with_a_file_has_one_id() -> None:
    """Socket Mode calls it `file_share`, RTM and the history don't; only the key shows it."""
    found = _routed({**MESSAGE, "subtype": "file_share", "files": [{"id": "F1"}]})
    assert found.message_id == _message_id(MESSAGE)
    assert found.routing_key == "message.file_share"


REPLY = {**MESSAGE, "thread_ts": "0.000001"}


@pytest.mark.parametrize("subtype", [None, "bot_message", "me_message", "thread_broadcast"])
def test_a_reply_that_rtm_calls_hidden_is_the_one_of_the_history(subtype: str | None) -> None:
    """RTM sends a reply in a thread with `hidden`, the history has it without: one message."""
    there = {**REPLY, "subtype": subtype, "reply_count": 2}
    assert _message_id({**REPLY, "subtype": subtype, "hidden": True}) == _message_id(there)


@pytest.mark.parametrize(
    "change",
    [
        {"thread_ts": MESSAGE["ts"]},
        {"thread_ts": None},
        {"thread_ts": ""},
        {"thread_ts": 5},
        {"subtype": "message_changed"},
        {"subtype": "message_deleted"},
        {"subtype": "message_replied"},
        {"subtype": "tombstone"},
    ],
)
def test_what_is_hidden_and_no_reply_is_no_message_that_people_see(change: Any) -> None:
    """A change of a message, and the parent of a thread, are told apart by their bytes."""
    assert _message_id({**REPLY, "hidden": True, **change}).startswith("e:T1:message::1.000002:")


@pytest.mark.parametrize("subtype", [0, False, {}, ["x"]])
def test_a_message_of_an_odd_subtype_is_not_the_plain_one(subtype: object) -> None:
    """A subtype that is no string can't give an event the id of the message without one."""
    assert _message_id({**MESSAGE, "subtype": subtype}).startswith("e:")


@pytest.mark.parametrize("name", ["channel", "ts", "subtype"])
@pytest.mark.parametrize("value", ["C1:2", "ü", "a b", "x" * 49, "\n", "1\n"])
def test_a_message_of_odd_words_is_told_apart_by_its_bytes(name: str, value: str) -> None:
    """What could be taken for the parts of another message's id never stands in one."""
    one = _message_id({**MESSAGE, name: value, "text": "one"})
    assert one.startswith("e:T1:message:")
    assert one != _message_id({**MESSAGE, name: value, "text": "two"})


@pytest.mark.parametrize("name", ["channel", "ts"])
@pytest.mark.parametrize("value", ["", None, 5, {}])
def test_a_message_without_a_place_is_not_a_visible_one(name: str, value: object) -> None:
    """A message needs a channel and a ts to be the same message elsewhere."""
    assert not _message_id({**MESSAGE, name: value}).startswith("m:")


@pytest.mark.parametrize("length", [48, 49, 100, 1000])
def test_long_parts_are_cut_and_told_apart(length: int) -> None:
    """Parts of any length give an id that AMQP can carry, and a hash for what was cut off."""
    words = dict.fromkeys(("type", "event_ts", "ts"), "x" * length)
    found = _message_id(words, team="x" * length)
    assert len(found) <= 255
    assert found != _message_id(words, team="x" * length + "y")


def test_an_event_with_a_time_has_the_same_id_wherever_it_is_kept() -> None:
    """A repeat from another spool, epoch or bot is equal if its bytes are."""
    there = _message_id(REACTION, seq=99, epoch="e2", bot="UX", received_ms=5)
    assert _message_id(REACTION) == there
    assert there.startswith("e:T1:reaction_added:3.000004::")


@pytest.mark.parametrize("type", ["channel_marked", "group_marked", "im_marked", "mpim_marked"])
def test_a_position_is_no_identity(type: str) -> None:
    """Two events that say how far a person has read may have equal bytes, and are two events."""
    marked = {"type": type, "channel": "C1", "ts": "1.000002"}
    assert [_message_id(marked, seq=seq) for seq in (1, 2)] == ["s:e1:1", "s:e1:2"]
    stamped = {**marked, "event_ts": "3.000004"}
    assert _message_id(stamped, seq=1) == _message_id(stamped, seq=2)
    assert _message_id(stamped).startswith(f"e:T1:{type}:3.000004::")


def test_a_hash_is_long_enough() -> None:
    """128 bits tell events of one moment apart, 64 a part that was cut: no chance makes two one."""
    assert re.fullmatch(r"e:T1:reaction_added:3\.000004::[0-9a-f]{32}", _message_id(REACTION))
    odd = _message_id({**REACTION, "event_ts": "x" * 49})
    assert re.fullmatch(r"e:T1:reaction_added:x{30}~[0-9a-f]{16}::[0-9a-f]{32}", odd)


def test_events_with_the_same_time_are_told_apart_by_their_bytes() -> None:
    """Two reactions of one moment are two events."""
    assert _message_id(REACTION) != _message_id({**REACTION, "user": "U2"})


@pytest.mark.parametrize("name", ["ts", "event_ts"])
@pytest.mark.parametrize("value", ["", None, 5, 1.5, {}, []])
def test_a_time_that_is_no_word_is_no_identity(name: str, value: object) -> None:
    """Only a string with something in it is a time of an event."""
    assert _message_id({**PRESENCE, name: value}, seq=5) == "s:e1:5"


def test_equal_bytes_without_a_time_are_two_events() -> None:
    """Two presence changes with the same content differ by their place in the spool."""
    assert _message_id(PRESENCE, seq=1) != _message_id(PRESENCE, seq=2)
    assert _message_id(PRESENCE, epoch="e1") != _message_id(PRESENCE, epoch="e2")
    assert _message_id(PRESENCE, seq=1) == _message_id(PRESENCE, seq=1, received_ms=5)


def test_documented_events_all_have_ids_of_their_own() -> None:
    """No two of Slack's examples share an id."""
    distinct = {json.dumps(event, sort_keys=True) for event in DOCUMENTED}
    ids = {_message_id(event.encode(), seq=seq) for seq, event in enumerate(sorted(distinct))}
    assert len(ids) == len(distinct)


@settings(deadline=None, max_examples=500)
@given(events, events)
def test_different_events_never_share_an_id(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Equal ids mean the same visible message or the same bytes, however odd the fields."""
    first, second = _message_id(one, seq=1), _message_id(two, seq=2)
    if first != second:
        return
    if _is_visible(one) and _is_visible(two) and first.startswith("m:"):
        names = ("channel", "ts")
        assert [one[name] for name in names] == [two[name] for name in names]
        assert _told(one) == _told(two)
    else:
        assert _bytes_of(one) == _bytes_of(two)


@settings(deadline=None)
@given(events, short_words, short_words)
def test_odd_teams_and_epochs_are_told_apart(event: dict[str, Any], one: str, two: str) -> None:
    """A team or an epoch of odd letters still keeps ids apart."""
    ids = {_message_id(event, team=one, epoch=one), _message_id(event, team=two, epoch=two)}
    assert len(ids) == (1 if one == two else 2)


def test_ignore_a_type_with_all_its_subtypes() -> None:
    """A type on the list takes its subtypes along, and no other type."""
    ignore = frozenset({"message", "user_typing"})
    assert is_listed("message", "", ignore)
    assert is_listed("message", "channel_join", ignore)
    assert is_listed("user_typing", "", ignore)
    assert not is_listed("message_x", "", ignore)


def test_ignore_one_subtype() -> None:
    """A type.subtype on the list leaves the rest of the type alone."""
    ignore = frozenset({"message.channel_join"})
    assert is_listed("message", "channel_join", ignore)
    assert not is_listed("message", "", ignore)
    assert not is_listed("message", "channel_leave", ignore)
    assert not is_listed("channel_join", "", ignore)


def test_ignore_goes_by_the_names_that_consumers_see() -> None:
    """An event without a type is ignored as `unknown`, and an odd type by its clean name."""
    assert is_listed("", "", frozenset({"unknown"}))
    assert is_listed("a.b", "", frozenset({"a_b"}))
    assert not is_listed("a.b", "", frozenset({"a", "a.b"}))


def test_an_empty_list_ignores_nothing() -> None:
    """Nothing is ignored by default."""
    assert not is_listed("message", "", frozenset())
    assert not is_listed("", "", frozenset())
