"""Facts about the way of commands to Slack."""

from __future__ import annotations

import threading

import pytest

from rtmpump.config import Slack
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.daemon.slack_gate import SlackGate
from rtmpump.errors import NotConnected
from rtmpump.links.active_role import ActiveRole
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.pumps.web_api_workers import Crew, WebApiWorkers
from tests.support.rtm import rtm_source


def gate(role: ActiveRole, *, rtm: bool = True) -> SlackGate:
    """A gate with one worker that does not run, and no connection."""
    calls = WebApiWorkers(SlackApi(Slack()), Crew(1, 0), stop=threading.Event())
    return SlackGate(role, rtm_source(Slack()) if rtm else None, calls)


def ignore(_answer: CallAnswer) -> None:
    """No call is made here."""


def test_without_a_lease_it_is_open() -> None:
    """The call is taken; the frame reaches RTM, which is not connected."""
    role = ActiveRole()
    assert gate(role).submit("chat.postMessage", {}, ignore) == 0.0
    with pytest.raises(NotConnected) as caught:
        gate(role).send(b"{}", 1)
    assert caught.value.detail == "connection 1 is over"


def test_it_is_shut_when_the_role_has_run_out() -> None:
    """Nothing is written, and the call is to be tried again later."""
    role = ActiveRole()
    role.until = 0.0
    assert gate(role).submit("chat.postMessage", {}, ignore) > 0.0
    with pytest.raises(NotConnected) as caught:
        gate(role).send(b"{}", 1)
    assert caught.value.reason == "standby"


def test_socket_mode_takes_no_frames() -> None:
    """Its commands are calls of the Web API."""
    with pytest.raises(NotConnected):
        gate(ActiveRole(), rtm=False).send(b"{}", 1)
