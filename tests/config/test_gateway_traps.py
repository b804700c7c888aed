"""Which tables of the gateway's programs do not do what they seem to."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmpump import config
from tests.support.config import load

SOCKET = '[slack]\nmode = "socket"\napp_token = "xapp-1"\n'


def risks(folder: Path, text: str) -> list[str]:
    """What is wrong, in the words for people."""
    return [trap.risk for trap in config.gateway_traps(load(folder, text))]


@pytest.mark.parametrize(
    ("events", "answered", "unasked"),
    [
        ('"#"', "", ""),
        ('"*.view_submission"', "", ""),
        ('"message"', "", ""),
        ('"slash_command"', "", "slash_command"),
        ('"slash_command"', '"slash_command"', ""),
        ('"interactive.*"', '"interactive"', ""),
        ('"interactive.#"', '"interactive.view_submission"', "interactive.block_suggestion"),
        ('"interactive.#.view_submission"', "", "interactive.view_submission"),
        ('"interactive"', "", ""),
        ('"interactive.block_actions"', "", ""),
    ],
)
def test_only_what_a_pattern_names_is_missed(
    tmp_path: Path, events: str, answered: str, unasked: str
) -> None:
    """A type alone in slack.answered is all its subtypes; `#` names nothing."""
    text = f"{SOCKET}answered = [{answered}]\n[gateway.clients.a]\nevents = [{events}]\n"
    wanted = [f"what the program answers to {unasked} does not reach Slack"] if unasked else []
    assert risks(tmp_path, text) == wanted


def test_rtm_has_no_slash_commands(tmp_path: Path) -> None:
    """Nor anything interactive."""
    text = '[gateway.clients.a]\nevents = ["slash_command", "message"]\n'
    assert risks(tmp_path, text) == [
        'Slack sends nothing for slash_command where slack.mode is "rtm"'
    ]
