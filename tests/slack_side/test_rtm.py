"""What Slack answers over RTM."""

from __future__ import annotations

from typing import Any

import pytest

from rtmpump.slack_side import rtm


def test_a_pong_has_the_scalars_of_its_ping() -> None:
    """Its id comes as `reply_to`; lists and objects don't come back."""
    ping = {"id": 7, "type": "ping", "time": 5, "none": None, "list": [1], "object": {}}
    assert rtm.pong(ping) == {"type": "pong", "reply_to": 7, "time": 5, "none": None}


def test_what_has_no_id_is_answered_without_one() -> None:
    """A `reply_to` names a frame, or is not there."""
    assert rtm.pong({"type": "ping"}) == {"type": "pong"}
    assert "reply_to" not in rtm.refusal({}, *rtm.CANNOT_PROCESS)
    assert rtm.reply({"text": "x"}, "1.0") == {"ok": True, "ts": "1.0", "text": "x"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", None),
        ("x" * rtm.TEXT_MAX, None),
        ("x" * (rtm.TEXT_MAX + 1), rtm.TEXT_TOO_LONG),
        ("", rtm.TEXT_MISSING),
        (None, rtm.TEXT_MISSING),
        (5, rtm.TEXT_MISSING),
        (["x"], rtm.TEXT_MISSING),
    ],
)
def test_a_message_has_a_text(text: Any, problem: rtm.RtmProblem | None) -> None:
    """At most 4,000 characters; what is no text is missing."""
    assert rtm.text_problem({"text": text}) == problem
