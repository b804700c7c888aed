"""core.outbound.command_parsing: what goes by the Web API, in Socket Mode and as a call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtmpump.core.outbound.command_parsing import parse, require_allowed
from rtmpump.core.outbound.commands import Api, Message, encode, post
from rtmpump.errors import CommandRejected
from tests.support.commands import assert_names, body, message, rejection

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


@pytest.mark.parametrize(("name", "most"), [("blocks", 50), ("attachments", 100)])
def test_how_many_blocks_slack_takes(name: str, most: int) -> None:
    """One more is refused, and the reason has both numbers."""
    one = {"type": "divider"}
    fits = parse(message(**{name: [one] * most}), socket_mode=True)
    assert isinstance(fits, Message)
    assert len(json.loads(fits.more[name])) == most
    with pytest.raises(CommandRejected, match=rf"1 to {most} objects; found {most + 1}") as caught:
        parse(message(**{name: [one] * (most + 1)}), socket_mode=True)
    assert caught.value.field == name


MORE: dict[str, Any] = {
    "attachments": [{"text": "a"}],
    "metadata": {"event_type": "made", "event_payload": {"id": 1}},
    "mrkdwn": False,
    "parse": "full",
    "link_names": True,
    "unfurl_links": False,
    "unfurl_media": True,
    "username": "grüezi",
    "icon_emoji": ":wave:",
    "icon_url": "https://example.com/a.png",
    "as_user": False,
}


def test_a_message_has_all_arguments_of_chat_post_message() -> None:
    """Texts go as they are, all else as JSON; RTM has none of them, and says so."""
    command = parse(message(**MORE), socket_mode=True)
    assert isinstance(command, Message)
    sent = post(command, "C1A").arguments
    del sent["channel"], sent["text"]
    texts = {name: value for name, value in MORE.items() if isinstance(value, str)}
    assert {name: sent[name] for name in texts} == texts
    assert {name: json.loads(sent[name]) for name in MORE if name not in texts} == {
        name: value for name, value in MORE.items() if name not in texts
    }
    for name, value in [*MORE.items(), ("markdown_text", "# x")]:
        assert_names(rejection(message(**{name: value})), name, "Socket Mode")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("mrkdwn", "false", "true or false"),
        ("unfurl_links", 1, "true or false"),
        ("parse", "client", '"none" or "full"'),
        ("username", "", "empty string"),
        ("icon_emoji", 7, "a number"),
        ("metadata", [], "an object"),
        ("metadata", {"a": "\ud800"}, "surrogate"),
        ("markdown_text", "# x", 'beside "text"'),
        ("token", "xoxb-1", "unknown"),
        ("unfurl_link", True, "unfurl_links"),
    ],
)
def test_an_argument_of_another_shape_is_rejected(name: str, value: object, word: str) -> None:
    """The reason names the field and what it must be."""
    with pytest.raises(CommandRejected) as caught:
        parse(message(**{name: value}), socket_mode=True)
    assert caught.value.field == name
    assert word in caught.value.message


def test_markdown_stands_for_the_text() -> None:
    """It needs no text beside it, and null is no text."""
    command = parse(b'{"channel": "C1A", "text": null, "markdown_text": "# x"}', socket_mode=True)
    assert command == Message("C1A", "", more={"markdown_text": "# x"})
    with pytest.raises(CommandRejected, match=r"12,000 characters; found 12,001") as caught:
        parse(body(channel="C1A", markdown_text="x" * 12_001), socket_mode=True)
    assert caught.value.code == "too_long"


def test_the_frame_is_measured_with_the_id_of_its_channel() -> None:
    """It is known already, so what does not fit need not wait for anything."""
    room = 16_384 - len(encode(Message("C024BE91L", ""), id=0, channel_id="C024BE91L"))
    escaped, plain = divmod(room, 6)
    fits = "\x01" * escaped + "a" * plain
    assert isinstance(parse(message(text=fits)), Message)
    error = rejection(message(text=fits + "a"))
    assert (error.code, error.field) == ("too_long", "text")
    assert isinstance(parse(message(channel="general", text=fits + "a")), Message)


def test_what_socket_mode_takes() -> None:
    """Messages and calls; a text that is too long for RTM's frame is none there."""
    for kind in ("typing", "presence_sub", "presence_query"):
        with pytest.raises(CommandRejected) as caught:
            parse(json.dumps({"type": kind}).encode(), socket_mode=True)
        assert caught.value.field == "type"
    text = "\x01" * 4000
    command = parse(message(text=text), socket_mode=True)
    assert isinstance(command, Message)
    assert post(command, "C1").arguments == {"channel": "C1", "text": text}


# --- calls of the Web API


def api(**arguments: Any) -> Api:
    """Return the call that these arguments make."""
    command = parse(body(type="api", method="reactions.add", arguments=arguments))
    assert isinstance(command, Api)
    return command


def test_arguments_become_the_fields_of_a_form() -> None:
    """Text as it is, all else as JSON, null not at all."""
    given = {"a": "x", "b": True, "c": 5, "d": 0.5, "e": None, "f": ["ö", {"g": None}], "h": 10**30}
    assert api(**given).arguments == {
        "a": "x",
        "b": "true",
        "c": "5",
        "d": "0.5",
        "f": '["ö",{"g":null}]',
        "h": "1" + "0" * 30,
    }
    assert api().arguments == {}


@pytest.mark.parametrize("name", ["token", "TOKEN", " Token "])
def test_a_token_is_refused_and_not_shown(name: str) -> None:
    """However it is written."""
    with pytest.raises(CommandRejected) as caught:
        api(**{name: "xoxb-secret"})
    assert caught.value.field == "arguments"
    assert "xoxb" not in caught.value.message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_has_not(number: str) -> None:
    """Python's reader takes them, Slack does not."""
    raw = f'{{"type": "api", "method": "a.b", "arguments": {{"x": [{number}]}}}}'
    error = rejection(raw.encode())
    assert_names(error, "arguments", '"x"', "NaN or an infinite number")


def test_how_deep_an_argument_may_be() -> None:
    """32 lists in each other are taken, one more is not, and the reason says which argument."""
    deep: list[Any] = [7]
    for _ in range(31):
        deep = [deep]
    assert api(x=deep).arguments == {"x": "[" * 32 + "7" + "]" * 32}
    assert_names(
        rejection(body(type="api", method="a.b", arguments={"x": [deep]})),
        "arguments",
        '"x"',
        "more than 32 deep",
    )


def test_how_long_the_name_of_a_method_may_be() -> None:
    """80 characters with their points."""
    longest = "a." + "b" * 78
    assert parse(body(type="api", method=longest)) == Api(longest, {})
    assert_names(rejection(body(type="api", method=longest + "b")), "method", "reactions.add")


def test_only_whole_names_that_the_config_has_are_allowed() -> None:
    """The reason names the key, the method, and the nearest right one."""
    require_allowed(api(), frozenset({"reactions.add"}))
    for allowed in (frozenset[str](), frozenset({"reactions.remove", "reactions"})):
        with pytest.raises(CommandRejected) as caught:
            require_allowed(api(), allowed)
        error = caught.value
        assert (error.code, error.field) == ("invalid_command", "method")
        assert "outbound.api_methods" in error.message
        assert '"reactions.add"' in error.message
    require_allowed(parse(message()), frozenset())


def test_who_we_are_needs_no_list() -> None:
    """`auth.test` is allowed where no method is."""
    require_allowed(parse(b'{"type": "api", "method": "auth.test"}'), frozenset())
