"""Facts about commands that are calls of the Web API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtmpump.core.outbound import api_calls
from rtmpump.core.outbound.command_parsing import Api, encode, parse, require_allowed
from rtmpump.errors import CommandRejected


def api(**arguments: Any) -> Api:
    """The command that this body makes."""
    body = {"type": "api", "method": "reactions.add", "arguments": arguments}
    command = parse(json.dumps(body).encode())
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
    require_allowed(parse(b'{"channel": "C1AB", "text": "x"}'), frozenset())


def test_a_call_is_no_frame_of_rtm() -> None:
    """Whoever tries has made a mistake."""
    with pytest.raises(TypeError):
        encode(api(), id=1, channel_id="C1")


def test_lanes() -> None:
    """By method and channel; a message waits in the lane of its channel."""
    assert api_calls.lane(api()) == "reactions.add"
    assert api_calls.lane(api(channel="C1")) == "reactions.add C1"
    assert api_calls.lane(Api("chat.postMessage", {"channel": "C1"})) == "C1"
    assert api_calls.lane(Api("chat.postMessage", {})) == "chat.postMessage"
    assert api_calls.is_message(Api("chat.postMessage", {}))
    assert not api_calls.is_message(api())


def test_an_answer_that_fits_is_whole() -> None:
    """Whatever stands in it; half a surrogate pair is replaced."""
    response = {"ok": True, "n": 1, "text": "ö", "deep": [{"x": None}]}
    made = api_calls.bounded(response)
    assert json.loads(made.json) == response
    assert made.left_out == ()
    odd = api_calls.bounded({"ok": True, "\ud800": [{"x\ud800": "\ud800y"}]})
    assert json.loads(odd.json) == {"ok": True, "?": [{"x?": "?y"}]}


def test_an_answer_that_is_too_large_keeps_its_small_members() -> None:
    """And names those that it lost, fifty at most."""
    many = {f"large {n}": "x" * 40_000 for n in range(60)}
    made = api_calls.bounded({"ok": True, "first": "y" * 65_000, **many})
    assert len(made.json) <= api_calls.RESPONSE_MAX
    assert set(json.loads(made.json)) == {"ok", "large 0"}
    assert len(made.left_out) == 50
    assert made.left_out[0] == "first"
    result = json.loads(api_calls.result(made, 2, True))
    assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 2, True)
    assert result["left_out"] == list(made.left_out)
    assert "left_out" not in json.loads(api_calls.result(api_calls.bounded({"ok": True}), 1, False))
