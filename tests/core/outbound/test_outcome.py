"""Facts about results and the headers of dead letters."""

from __future__ import annotations

import json

from rtmpump.core.outbound.outcome import (
    RESPONSE_MAX,
    bounded,
    dead_headers,
    error_result,
    ok_result,
)


def test_the_result_of_a_message_that_was_posted() -> None:
    """The shape of section 5, its keys in its order."""
    expected = b'{"ok":true,"channel":"C1A","ts":"1.000001","attempts":1,"uncertain":false}'
    assert ok_result("C1A", "1.000001", 1, False) == expected


def test_the_result_of_a_message_that_was_posted_by_a_call() -> None:
    """The same, with Slack's whole answer."""
    made = ok_result("C1A", "1.000001", 1, False, bounded({"ok": True, "ts": "1.000001"}))
    assert made == (
        b'{"ok":true,"channel":"C1A","ts":"1.000001","response":{"ok":true,"ts":"1.000001"},'
        b'"attempts":1,"uncertain":false}'
    )


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


def test_an_answer_that_fits_is_whole() -> None:
    """Whatever stands in it; half a surrogate pair is replaced."""
    response = {"ok": True, "n": 1, "text": "ö", "deep": [{"x": None}]}
    made = bounded(response)
    assert json.loads(made.json) == response
    assert made.left_out == ()
    odd = bounded({"ok": True, "\ud800": [{"x\ud800": "\ud800y"}]})
    assert json.loads(odd.json) == {"ok": True, "?": [{"x?": "?y"}]}


def test_an_answer_that_is_too_large_keeps_its_small_members() -> None:
    """And names those that it lost, fifty at most."""
    many = {f"large {n}": "x" * 40_000 for n in range(60)}
    made = bounded({"ok": True, "first": "y" * 65_000, **many})
    assert len(made.json) <= RESPONSE_MAX
    assert set(json.loads(made.json)) == {"ok", "large 0"}
    assert len(made.left_out) == 50
    assert made.left_out[0] == "first"
    result = json.loads(ok_result(None, None, 2, True, made))
    assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 2, True)
    assert result["left_out"] == list(made.left_out)
    assert "left_out" not in json.loads(ok_result(None, None, 1, False, bounded({"ok": True})))


def test_an_answer_that_is_nested_deep_loses_that_member() -> None:
    """And names it; what can be read near the interpreter's limit could not always be written."""
    answer = json.loads('{"ok": true, "deep": ' + "[" * 900 + "]" * 900 + ', "b": "\\ud800"}')
    made = bounded(answer)
    assert (json.loads(made.json), made.left_out) == ({"ok": True, "b": "?"}, ("deep",))
    assert json.loads(ok_result(None, None, 1, False, made))["left_out"] == ["deep"]
