"""Fixtures for the tests of RTM's WebSocket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtmpump.config import Slack
from rtmpump.links.slack.rtm import RtmSource
from tests.support.rtm import rtm_source


@pytest.fixture
def rtm() -> Iterator[RtmSource]:
    """RTM as a source, with the settings as they are by default."""
    rtm = rtm_source(Slack())
    yield rtm
    rtm.close()
