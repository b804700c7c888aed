"""Facts about rejections in whole: the field, what was found, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from rtmpump.core.outbound.command_parsing import parse, require_allowed
from rtmpump.core.outbound.commands import Message
from rtmpump.errors import CommandRejected
from tests.support.commands import TS, body

POST: dict[str, Any] = {"channel": "C1A", "text": "hi"}
API: dict[str, Any] = {"type": "api", "method": "a.b"}
SECTION = {"type": "section"}
USER_IDS = 'field "ids" must be a list of user ids like ["U024BE7LH"]'
A_TEXT = 'field "text" must be a string of 1 to 4,000 characters; found'
A_TS = (
    'field "thread_ts" must be the ts of a message, a string like "1355517523.000005" '
    "(leave it out for no thread); found"
)
AN_OBJECT = 'field "arguments" must be an object like {"channel": "C024BE91L"}; found'
SURROGATE = "holds half of a surrogate pair, which UTF-8 can't hold; send whole characters"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"text": "hi"},
            'field "channel" is missing; it must be an id like "C024BE91L" '
            'or a name like "general"',
        ),
        (
            {"channel": "C1A"},
            'field "text" is missing; it must be a string of 1 to 4,000 characters',
        ),
        (POST | {"text": 7}, f"{A_TEXT} a number"),
        (POST | {"text": ""}, f"{A_TEXT} an empty string"),
        (POST | {"text": "a\ud83d"}, f'field "text" {SURROGATE}'),
        (POST | {"thread_ts": 7}, f"{A_TS} a number"),
        (POST | {"thread_ts": "yesterday"}, f'{A_TS} the string "yesterday"'),
        (
            POST | {"thread_ts": TS, "reply_broadcast": "yes"},
            'field "reply_broadcast" must be true or false; found the string "yes"',
        ),
        (
            POST | {"reply_broadcast": True},
            'field "reply_broadcast" is taken only with "thread_ts"; found no thread_ts; '
            "add it, or leave reply_broadcast out",
        ),
        (
            {"type": "presence_sub"},
            'field "ids" is missing; it must be a list of user ids like ["U024BE7LH"]',
        ),
        ({"type": "presence_sub", "ids": "U1"}, f'{USER_IDS}; found the string "U1"'),
        ({"type": "presence_sub", "ids": ["U1", 7]}, f"{USER_IDS}; one of them is a number"),
        (
            {"type": "presence_query", "ids": []},
            f"{USER_IDS}, at least one; found an empty list",
        ),
        (
            {"type": "api"},
            'field "method" is missing; it must be the name of a method like "reactions.add"',
        ),
        (
            {"type": "api", "method": "add"},
            'field "method" must be the name of a method like "reactions.add"; '
            'found the string "add"',
        ),
        (API | {"arguments": []}, f"{AN_OBJECT} an empty list"),
        (API | {"arguments": "a=b"}, f'{AN_OBJECT} the string "a=b"'),
        (
            API | {"arguments": {"a b": 1}},
            'field "arguments" has a name that no method knows: "a b"; '
            "Slack's are of letters, digits and _",
        ),
        (
            API | {"arguments": {"token": "x"}},
            'field "arguments" holds a token; rtmpump uses its own, leave it out',
        ),
        (API | {"arguments": {"a": "\ud83d"}}, f'field "arguments": "a" {SURROGATE}'),
    ],
)
def test_a_rejection_of_any_mode(fields: dict[str, Any], words: str) -> None:
    """It says the same in both modes where both take the command."""
    assert said(fields, socket_mode=False) == words
    if "ids" not in fields and fields.get("type") != "presence_sub":
        assert said(fields, socket_mode=True) == words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("blocks", [], "must be a list of 1 to 50 objects; found an empty list"),
        ("blocks", SECTION, "must be a list of 1 to 50 objects; found an object"),
        ("blocks", "[]", 'must be a list of 1 to 50 objects; found the string "[]"'),
        ("attachments", [], "must be a list of 1 to 100 objects; found an empty list"),
        ("attachments", True, "must be a list of 1 to 100 objects; found true"),
        (
            "blocks",
            [SECTION, SECTION, "x"],
            'must be a list of 1 to 50 objects; number 3 is none; found the string "x"',
        ),
    ],
)
def test_a_list_of_objects_is_wanted(name: str, value: object, words: str) -> None:
    """The reason counts as people do."""
    assert said(POST | {name: value}, socket_mode=True) == f'field "{name}" {words}'


@pytest.mark.parametrize("bad", [{}, {"type": ""}, {"type": 7}, {"type": None}])
def test_each_block_says_its_type(bad: dict[str, Any]) -> None:
    """An attachment needs none."""
    words = said(POST | {"blocks": [SECTION, bad]}, socket_mode=True)
    assert words == 'field "blocks": number 2 has no "type"; give it one like "section"'
    assert isinstance(parse(body(**POST, attachments=[bad]), socket_mode=True), Message)


def test_a_text_beside_blocks_is_the_text() -> None:
    """Slack shows it in notifications; it is looked at as any text."""
    command = parse(body(**POST, blocks=[SECTION]), socket_mode=True)
    assert isinstance(command, Message)
    assert command.text == "hi"
    long = POST | {"blocks": [SECTION], "text": ""}
    assert said(long, socket_mode=True) == f"{A_TEXT} an empty string"


def test_how_deep_objects_may_be() -> None:
    """As deep as lists."""
    deep: dict[str, Any] = {"a": 7}
    for _ in range(31):
        deep = {"a": deep}
    parse(body(**API, arguments={"x": deep}))
    words = said(API | {"arguments": {"x": {"a": deep}}}, socket_mode=False)
    assert words == 'field "arguments": "x" is nested more than 32 deep; make it flatter'


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ((), "; add it to that list in the pump's config"),
        (("views.open",), "; add it to that list in the pump's config"),
        (
            ("views.open", "reactions.add"),
            ' (did you mean "reactions.add"?); add it there if it is meant',
        ),
    ],
)
def test_a_method_that_is_not_allowed(methods: tuple[str, ...], words: str) -> None:
    """The reason names the key of the configuration, and the method that was probably meant."""
    with pytest.raises(CommandRejected) as caught:
        require_allowed(parse(body(type="api", method="reactions.ad")), frozenset(methods))
    found = 'must be one of outbound.api_methods; found the string "reactions.ad"'
    assert caught.value.message == f'field "method" {found}{words}'


def said(fields: dict[str, Any], *, socket_mode: bool) -> str:
    """Why the command is rejected; the field at fault is named apart, too."""
    with pytest.raises(CommandRejected) as caught:
        parse(body(**fields), socket_mode=socket_mode)
    assert caught.value.code == "invalid_command"
    assert f'field "{caught.value.field}"' in caught.value.message
    return caught.value.message
