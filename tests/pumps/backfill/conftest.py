"""What the tests of the filling of gaps share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtmpump.links.slack import history
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.filling import GENERAL, Fill, Filling


@pytest.fixture(autouse=True)
def _no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many calls may be made at once."""
    monkeypatch.setattr(history, "_BURST", 1_000_000)


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """One workspace with one channel."""
    with Workspace(channels={"general": GENERAL}) as workspace:
        yield workspace


@pytest.fixture
def fill(workspace: Workspace, tmp_path: Path) -> Iterator[Fill]:
    """Starts a pump for the workspace.

    Keywords are of [events], `max_bytes` of the spool, and `retry`.
    """
    running: list[Filling] = []

    def start(**keys: Any) -> Filling:
        running.append(Filling(workspace, tmp_path, **keys))
        return running[-1]

    yield start
    for filling in running:
        filling.close()
