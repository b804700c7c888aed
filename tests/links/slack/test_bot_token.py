"""Facts about the bot token: read again where it is refused, and reported as a link."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmpump import config
from rtmpump.config import Secret
from rtmpump.config.secrets import TokenFile
from rtmpump.errors import TokenRefused
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.links.slack.bot_token import BotToken
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.faults import HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.links import LinkLog

METHOD = "reactions.add"


class Rig:
    """A token and an API that uses it; and what was reported."""

    def __init__(self, workspace: Workspace, secret: Secret, mode: str = "rtm") -> None:
        self.ups: list[str] = []
        self.downs: list[RetryDetails] = []
        self.token = BotToken(secret, LinkLog(self.ups, self.downs))
        slack = config.Slack(
            mode="socket" if mode == "socket" else "rtm",
            token=secret,
            app_token=Secret(workspace.app_token),
            api_url=workspace.api_url,
        )
        self.api = SlackApi(slack, token=self.token)

    @property
    def reasons(self) -> list[str]:
        """Why it went down, each time."""
        return [one.reason for one in self.downs]


def put(file: Path, token: str) -> Secret:
    """Put a token into a file and read it as the configuration does."""
    file.write_text(f"{token}\n")
    return TokenFile().read(str(file))


def test_each_change_is_reported_once(workspace: Workspace) -> None:
    """With Slack's word and what to do; a refusal by one method for another reason is none."""
    rig = Rig(workspace, Secret(workspace.token))
    workspace.faults.api_errors[METHOD].extend(
        ["missing_scope", "token_revoked", "token_revoked", "invalid_auth", "already_reacted"]
    )
    for _ in range(5):
        with pytest.raises(Exception):  # noqa: B017, PT011
            rig.api.call(METHOD, {})
    assert rig.ups == ["127.0.0.1", "127.0.0.1"]
    assert rig.reasons == ["token_revoked", "invalid_auth"]
    assert rig.downs[0].link == "web_api"
    assert "Slack refuses the token; the token was revoked" in rig.downs[0].detail


def test_a_slack_that_can_not_be_reached_is_reported(workspace: Workspace) -> None:
    """A Slack that answers, whatever it says, is there."""
    rig = Rig(workspace, Secret(workspace.token))
    workspace.faults.api_errors[METHOD].extend([HttpAnswer(503), HttpAnswer(500)])
    for _ in range(2):
        with pytest.raises(Exception):  # noqa: B017, PT011
            rig.api.call(METHOD, {})
    assert (len(rig.ups), rig.downs) == (1, [])
    away = SlackApi(
        config.Slack(api_url=f"http://127.0.0.1:{free_port('127.0.0.1')}/api/"), token=rig.token
    )
    with pytest.raises(Exception):  # noqa: B017, PT011
        away.call(METHOD, {})
    assert rig.reasons == ["unreachable"]
    rig.api.auth_test()
    assert len(rig.ups) == 2


def test_a_token_that_was_replaced_in_its_file_is_used_at_once(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The call that met the refusal is made with the new one, and so are the next."""
    rig = Rig(workspace, put(tmp_path / "token", workspace.token))
    rig.api.auth_test()
    workspace.token = "xoxb-new"
    put(tmp_path / "token", "xoxb-new")
    rig.api.auth_test()
    rig.api.auth_test()
    assert [call.method for call in workspace.calls] == ["auth.test"] * 4
    assert rig.downs == []
    assert rig.token.secret.reveal() == "xoxb-new"
    assert "xoxb-new" not in repr(rig.token.secret)


@pytest.mark.parametrize("content", [None, "", "two\nlines", "xoxb-wrong-too"])
def test_a_file_that_helps_nothing_changes_nothing(
    workspace: Workspace, tmp_path: Path, content: str | None
) -> None:
    """It is gone, being written, or as wrong; it is read again at the next refusal."""
    file = tmp_path / "token"
    rig = Rig(workspace, put(file, "xoxb-old"))
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    for _ in range(2):
        with pytest.raises(TokenRefused):
            rig.api.auth_test()
    put(file, workspace.token)
    rig.api.auth_test()
    assert (rig.reasons, len(rig.ups)) == (["invalid_auth"], 1)


def test_a_token_from_elsewhere_is_the_same_when_read_again() -> None:
    """It came from a variable, for example."""
    secret = Secret("xoxb-1")
    assert secret.read_again() is secret
    assert BotToken(secret).newer_than(secret) is None


def test_socket_mode_signs_in_again_while_the_bot_token_is_refused(workspace: Workspace) -> None:
    """Who we are is known from before; at the first time it is not."""
    rig = Rig(workspace, Secret(workspace.token), "socket")
    first = rig.api.sign_in()
    workspace.token = "xoxb-another"
    again = rig.api.sign_in()
    assert (again.team, again.bot) == (first.team, first.bot)
    assert rig.reasons == ["invalid_auth"]
    fresh = Rig(workspace, Secret("xoxb-1"), "socket")
    with pytest.raises(TokenRefused):
        fresh.api.sign_in()
