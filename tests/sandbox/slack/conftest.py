"""What most facts about the simulated Slack begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slack_sdk import WebClient

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import web_client


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """One workspace, with the tokens that it has by itself."""
    with Workspace() as workspace:
        # A program on a busy machine may take longer than Slack's three seconds.
        workspace.faults.ack_seconds = 100.0
        yield workspace


@pytest.fixture
def client(workspace: Workspace) -> WebClient:
    """Slack's own client for it."""
    return web_client(workspace)
