"""From RTM to Socket Mode with two real pumps on one broker: docs/from-rtm-to-socket-mode.md."""

from __future__ import annotations

import pytest

from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.e2e.test_socket_mode import (
    Flood,
    acknowledged,
    all_events,
    assert_repeats_are_equal,
    numbers,
    stop,
)
from tests.support.broker import Broker
from tests.support.socket_mode import StartSocketPump, wait_connections
from tests.support.waiting import wait_until


def test_a_change_of_mode_loses_no_event_and_doubles_none(
    start_socket: StartSocketPump,
    start_pump: StartPump,
    broker: Broker,
    workspace_that_retries: Workspace,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The new pump starts, then the old one stops: by `message_id` a consumer has each once.

    Commands go on without a break, and each is carried out once.
    """
    workspace = workspace_that_retries
    queue = all_events(broker)
    with Flood(workspace) as flood:
        old = start_pump(spool={"path": str(tmp_path_factory.mktemp("rtm") / "spool.db")})
        flood.wait_for(20)
        both = flood.sent
        new = start_socket()
        wait_connections(workspace, 2)
        assert broker.ask({"channel": "general", "text": "both run"})["ok"]
        flood.wait_for(20)
        stop(old)
        assert broker.ask({"channel": "general", "text": "the old one is gone"})["ok"]
        flood.wait_for(20)
    wait_until(acknowledged(workspace))
    stop(new)
    got = [one for one in broker.take(queue, broker.count(queue)) if b'"n":' in one.body]
    # Slack sends nothing of the time before the first hello.
    came = numbers(got)
    assert min(came) < both
    assert set(came) == set(range(min(came), flood.sent))
    assert len(came) > len(set(came))
    assert_repeats_are_equal(got)
    assert [one.text for one in workspace.sent] == ["both run", "the old one is gone"]
    assert broker.count("rtm.outbound") == broker.count("rtm.outbound.dead") == 0
