"""What all tests of the pumps begin with."""

from __future__ import annotations

import pytest

from rtmpump.links import retry


@pytest.fixture(autouse=True)
def calls_are_allowed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Slack allows in a minute is allowed in a moment: many tests cut the WebSocket."""
    monkeypatch.setattr(retry, "CALLS_SPAN", 0.05)
