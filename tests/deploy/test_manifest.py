"""Facts about the app manifest in docs/slack-app.md."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

pytestmark = pytest.mark.quick

PAGE = (ROOT / "docs" / "slack-app.md").read_text()
# As the page of each event names it (https://docs.slack.dev/reference/events).
SCOPE_OF = {
    "channel_created": "channels:read",
    "channel_rename": "channels:read",
    "group_rename": "groups:read",
    "member_joined_channel": "channels:read",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "message.im": "im:history",
    "reaction_added": "reactions:read",
    "reaction_removed": "reactions:read",
}


@pytest.fixture
def manifest() -> Any:
    """Return the first YAML of that page that sets Socket Mode."""
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL):
        found = yaml.safe_load(textwrap.dedent(block))
        if "settings" in found:
            return found
    raise AssertionError("there is no manifest")


def test_each_event_has_its_scope_and_none_is_for_nothing(manifest: Any) -> None:
    """The least: what the events need, and to send."""
    scopes = set(manifest["oauth_config"]["scopes"]["bot"])
    events = manifest["settings"]["event_subscriptions"]["bot_events"]
    assert {SCOPE_OF[event] for event in events} | {"chat:write"} == scopes


def test_it_is_of_socket_mode_without_token_rotation(manifest: Any) -> None:
    """The pump can't renew a token; a bot user must be there to be invited."""
    settings = manifest["settings"]
    assert settings["socket_mode_enabled"] is True
    assert settings["token_rotation_enabled"] is False
    assert manifest["features"]["bot_user"]["display_name"]
