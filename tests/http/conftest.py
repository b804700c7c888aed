"""Fixtures for tests of the HTTP port and its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.chromium import Chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """One browser for all tests of the page."""
    with Chromium() as browser:
        yield browser
