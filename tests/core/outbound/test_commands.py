"""Facts about the commands, and the frames of RTM that are made of them."""

from __future__ import annotations

import json

import pytest

from rtmpump.core.outbound.commands import (
    Api,
    Message,
    PresenceQuery,
    PresenceSub,
    Typing,
    channel_name,
    encode,
    is_channel_id,
    is_message,
    post,
    queue_key,
)
from rtmpump.errors import CommandRejected

TS = "1355517523.000005"


def test_a_command_knows_its_type_and_whether_slack_answers() -> None:
    """Only a message is answered."""
    kinds = {made.kind: made.awaits_reply for made in (Message, Typing, PresenceSub, PresenceQuery)}
    assert kinds == {
        "message": True,
        "typing": False,
        "presence_sub": False,
        "presence_query": False,
    }


@pytest.mark.parametrize("channel", ["C024BE91L", "C1", "G01", "D0ABCDEFGHIJ"])
def test_an_id_is_known_by_its_form(channel: str) -> None:
    """C, G or D, then capitals and digits."""
    assert is_channel_id(channel)


@pytest.mark.parametrize(
    "channel", ["", "C", "general", "#C024BE91L", "c024be91l", "U024BE7LH", "C024BE91L\n"]
)
def test_what_is_no_id_is_a_name(channel: str) -> None:
    """Also an id with a `#` or a line's end; a user is no channel."""
    assert not is_channel_id(channel)


def test_a_name_loses_one_hash() -> None:
    """`#general` and `general` are the same channel."""
    assert channel_name("#general") == channel_name("general") == "general"
    assert channel_name("##odd") == "#odd"


def test_a_name_has_its_accents_composed() -> None:
    """As macOS writes it (NFD) and as people type it, it is the same channel."""
    assert channel_name("#cafe\u0301") == channel_name("caf\u00e9") == "caf\u00e9"


def test_the_call_that_posts_a_message() -> None:
    """Its arguments are those that were given, as a form has them."""
    assert post(Message("#general", "hi"), "C1") == Api(
        "chat.postMessage", {"channel": "C1", "text": "hi"}
    )
    whole = post(Message("#general", "", TS, True, {"blocks": "[1]", "mrkdwn": "true"}), "C1")
    assert whole.arguments == {
        "channel": "C1",
        "text": "",
        "thread_ts": TS,
        "reply_broadcast": "true",
        "blocks": "[1]",
        "mrkdwn": "true",
    }
    alone = post(Message("#general", "", more={"markdown_text": "*x*"}), "C1")
    assert alone.arguments == {"channel": "C1", "markdown_text": "*x*"}


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


def test_the_limit_of_a_frame_is_exact() -> None:
    """16,384 bytes are sent; one more is not."""
    room = 16_384 - len(encode(PresenceSub(("",)), id=1, channel_id=""))
    assert len(encode(PresenceSub(("U" * room,)), id=1, channel_id="")) == 16_384
    with pytest.raises(CommandRejected, match="too_long"):
        encode(PresenceSub(("U" * (room + 1),)), id=1, channel_id="")


def test_a_call_is_no_frame_of_rtm() -> None:
    """A caller that tries it has a bug."""
    with pytest.raises(TypeError):
        encode(Api("reactions.add", {}), id=1, channel_id="C1")


def test_where_each_command_waits() -> None:
    """By channel; calls by method and channel, but what posts a message in that of its channel."""
    assert queue_key(Message("C1", "x")) == queue_key(Typing("C1")) == "C1"
    assert queue_key(PresenceSub(("U1",))) == queue_key(PresenceQuery(("U1",))) == ""
    assert queue_key(Api("reactions.add", {})) == "reactions.add"
    assert queue_key(Api("reactions.add", {"channel": "C1"})) == "reactions.add C1"
    assert queue_key(Api("chat.postMessage", {"channel": "C1"})) == "C1"
    assert queue_key(Api("chat.postMessage", {})) == "chat.postMessage"


def test_what_slack_counts_as_a_message() -> None:
    """Its limit of one a second and channel is on messages, however they are sent."""
    assert is_message(Message("C1", "x"))
    assert is_message(Api("chat.postMessage", {"channel": "C1"}))
    assert not is_message(Api("reactions.add", {}))
    assert not is_message(Typing("C1"))
