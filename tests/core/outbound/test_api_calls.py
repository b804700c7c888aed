"""Facts about commands that are calls of the Web API."""

from __future__ import annotations

from rtmpump.core.outbound import api_calls
from rtmpump.core.outbound.commands import Api


def test_lanes() -> None:
    """By method and channel; a message waits in the lane of its channel."""
    assert api_calls.lane(Api("reactions.add", {})) == "reactions.add"
    assert api_calls.lane(Api("reactions.add", {"channel": "C1"})) == "reactions.add C1"
    assert api_calls.lane(Api("chat.postMessage", {"channel": "C1"})) == "C1"
    assert api_calls.lane(Api("chat.postMessage", {})) == "chat.postMessage"
    assert api_calls.is_message(Api("chat.postMessage", {}))
    assert not api_calls.is_message(Api("reactions.add", {}))
