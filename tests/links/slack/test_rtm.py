"""Facts about RTM as a source of events: its connections and their numbers."""

from __future__ import annotations

import pytest

from rtmpump.core import frames
from rtmpump.errors import NotConnected
from rtmpump.links.slack.rtm import RtmSource
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.rtm import collect, live, say


def test_wake_without_a_connection_is_nothing(rtm: RtmSource) -> None:
    """Neither are close and goodbye."""
    rtm.wake()
    rtm.say_goodbye()
    rtm.close()


def test_nothing_can_be_read_before_open(rtm: RtmSource) -> None:
    """NotConnected, as for writing."""
    with pytest.raises(NotConnected):
        rtm.read(0)
    with pytest.raises(NotConnected):
        rtm.send(b"{}", connection=1)


def test_a_frame_for_an_older_connection_is_not_written(
    rtm: RtmSource, workspace: Workspace
) -> None:
    """Connections are numbered 1, 2, 3 …; only the number of the present one is good."""
    assert rtm.current is None
    assert [live(rtm, workspace), rtm.current] == [1, 1]
    assert [live(rtm, workspace), rtm.current] == [2, 2]
    for number in (0, 1, 3):
        with pytest.raises(NotConnected):
            rtm.send(say(number), connection=number)
    rtm.send(say(2), connection=2)
    assert workspace.wait(lambda: workspace.frames)
    assert [frame["id"] for frame in workspace.frames] == [2]


def test_a_ping_is_a_frame_of_rtm(rtm: RtmSource, workspace: Workspace) -> None:
    """Slack answers with a pong of the same id."""
    number = live(rtm, workspace)
    rtm.ping(frames.ping(7), connection=number)
    (pong,) = collect(rtm, 1)
    assert rtm.parse(pong) == frames.Pong(7)
