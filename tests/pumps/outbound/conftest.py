"""Fixtures for tests of the outbound pump."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sender import SenderRig


@pytest.fixture
def start(workspace: Workspace, broker_url: str) -> Iterator[Callable[..., SenderRig]]:
    """Return what starts a sender; keywords are keys of [outbound]."""
    with ExitStack() as stack:

        def start(**outbound: object) -> SenderRig:
            rig = SenderRig(workspace, broker_url, **outbound)
            stack.callback(rig.close)
            return rig

        yield start
