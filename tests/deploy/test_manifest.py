"""Facts about the app manifest in docs/slack-app.md."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest
import yaml

from rtmpump.core import app_manifest
from tests.support.paths import ROOT

pytestmark = pytest.mark.quick

PAGE = (ROOT / "docs" / "slack-app.md").read_text()


@pytest.fixture
def text() -> str:
    """Return the first YAML of that page."""
    found = re.search(r"^ *```yaml\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return textwrap.dedent(found[1])


@pytest.fixture
def manifest(text: str) -> Any:
    """Return what it means."""
    return yaml.safe_load(text)


def test_the_page_shows_what_the_program_prints(text: str) -> None:
    """`rtmpump manifest`, without options."""
    events = app_manifest.events_of(app_manifest.DEFAULT_EVENTS)
    assert text == app_manifest.manifest("rtmpump", events, ())


def test_each_event_has_its_scope_and_none_is_for_nothing(manifest: Any) -> None:
    """The least: what the events need, to find channels, and to send."""
    scopes = set(manifest["oauth_config"]["scopes"]["bot"])
    events = manifest["settings"]["event_subscriptions"]["bot_events"]
    needed = {app_manifest.SCOPES[event] for event in events}
    assert needed | {"chat:write", "channels:read", "groups:read"} == scopes


def test_it_is_of_socket_mode_without_token_rotation(manifest: Any) -> None:
    """The pump can't renew a token; a bot user must be there to be invited."""
    settings = manifest["settings"]
    assert settings["socket_mode_enabled"] is True
    assert settings["token_rotation_enabled"] is False
    assert manifest["features"]["bot_user"]["display_name"]
