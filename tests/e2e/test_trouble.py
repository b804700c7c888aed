"""Facts about trouble with Slack: commands wait for its end, and none dies of it."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.faults import ApiFault, Hang, HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.http import ask
from tests.support.socket_mode import StartSocketPump, wait_connections
from tests.support.waiting import wait_until

POST = "chat.postMessage"
QUICK = {"rate": 1000.0, "burst": 100}
FOR_PEOPLE = {"initial": 0.5, "max": 60, "jitter": "none"}
FAULTS: dict[str, ApiFault] = {
    "503": HttpAnswer(503, {}, "<html>"),
    "429": HttpAnswer(429),
    "429, 1 s": HttpAnswer(429, {"Retry-After": "1"}),
    "rate_limited": "rate_limited",
    "ratelimited": "ratelimited",
    "service_unavailable": "service_unavailable",
    "token_revoked": "token_revoked",
    "token_expired": "token_expired",
    "account_inactive": "account_inactive",
}


def name(number: int) -> str:
    """The id of a channel."""
    return f"C{number:03d}"


def send(broker: Broker, workspace: Workspace, channels: int, each: int = 1) -> list[str]:
    """Commands to that many channels, one to each in turn; returns their correlation ids."""
    workspace.channels.update({name(one).lower(): name(one) for one in range(channels)})
    return [
        broker.command({"channel": name(one), "text": str(number)})
        for number in range(each)
        for one in range(channels)
    ]


def assert_all_came(workspace: Workspace, channels: int, each: int = 1) -> None:
    """Each channel has its messages once and in order."""
    texts = defaultdict(list)
    for message in workspace.sent:
        texts[message.channel].append(message.text)
    right = [str(number) for number in range(each)]
    assert texts == {name(one): right for one in range(channels)}


def meets(workspace: Workspace, fault: ApiFault | None, method: str = "*") -> None:
    """What each call meets from now on; None: nothing."""
    workspace.faults.api_errors[method] = deque([fault] * 10_000 if fault else [])


def test_what_lasts_kills_no_command(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Though it lasts longer than all attempts together; no attempt is counted."""
    start_socket(outbound=QUICK | {"max_attempts": 1})
    for kind, fault in FAULTS.items():
        meets(workspace, fault)
        sent = send(broker, workspace, 10, 3)
        # Many pauses long: the tests' pauses are of 0.05 to 2 seconds.
        time.sleep(2.5)
        assert (workspace.sent, broker.count("rtm.outbound.dead")) == ([], 0), kind
        meets(workspace, None)
        results = [broker.result(one).json for one in sent]
        ends = {(one["ok"], one["attempts"], one["uncertain"]) for one in results}
        assert ends == {(True, 1, False)}, kind
        assert_all_came(workspace, 10, 3)
        workspace.sent.clear()


def test_twenty_seconds_at_the_pace_of_every_day(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Few calls are made in that time, and the first message goes when the pause is over."""
    start_socket(retry=FOR_PEOPLE)
    meets(workspace, FAULTS["503"], POST)
    sent = send(broker, workspace, 30)
    time.sleep(20.0)
    tried = [call.time for call in workspace.calls if call.method == POST]
    meets(workspace, None, POST)
    assert 3 <= len(tried) <= 15
    assert all(broker.result(one, 60).json["attempts"] == 1 for one in sent)
    assert_all_came(workspace, 30)
    # 0.5, 1, 2, 4, 8 and 16 seconds: the last one began after 15.5 of them.
    first = workspace.sent[0].received_at
    last_try = max(
        call.time for call in workspace.calls if call.method == POST and call.time < first
    )
    assert first - last_try < 60


def test_a_connection_that_is_limited_as_a_whole(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Three messages a second over RTM, and 60 channels with a message each: none dies."""
    start_pump(outbound=QUICK | {"max_attempts": 1}, retry=FOR_PEOPLE)
    workspace.faults.rate_limit = 3.0
    sent = send(broker, workspace, 60)
    assert all(broker.result(one, 120).json["attempts"] == 1 for one in sent)
    assert_all_came(workspace, 60)
    frames = [frame for frame in workspace.frames if frame["type"] == "message"]
    assert len(frames) < 60 + 60 + 60
    assert broker.count("rtm.outbound.dead") == 0


def link_up(port: int) -> str:
    """The value of the metric of the link `web_api`."""
    lines = ask(port, "/metrics")[1].decode().splitlines()
    (line,) = [one for one in lines if one.startswith('rtmpump_link_up{link="web_api"}')]
    return line.rpartition(" ")[2]


def test_a_refused_bot_token_is_reported_and_waited_for(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Not ready, with Slack's word; events go on, also over new connections; no end with 78."""
    port = free_port()
    pump = start_socket(outbound=QUICK, http={"listen": f"127.0.0.1:{port}"})
    assert (ask(port, "/readyz"), link_up(port)) == ((200, b"ok\n"), "1.0")
    token, workspace.token = workspace.token, "xoxb-another"
    sent = send(broker, workspace, 5, 2)
    by_name = broker.command({"channel": "general", "text": "by name"})
    wait_until(lambda: ask(port, "/readyz")[0] == 503)
    status, body = ask(port, "/readyz")
    assert status == 503
    assert b"web_api" in body
    assert b"invalid_auth: Slack refuses the token" in body
    assert link_up(port) == "0.0"
    before = workspace.sockets
    workspace.cut()
    # None may be gone before the first new one is there.
    wait_until(lambda: not set(before) & set(workspace.sockets))
    wait_connections(workspace, 2)
    queue = broker.queue(("rtm.events", "message"))
    workspace.emit({"type": "message", "channel": "C0GENERAL", "text": "x", "ts": "1.2"})
    assert broker.get(queue).json["text"] == "x"
    workspace.token = token
    assert all(broker.result(one).json["attempts"] == 1 for one in [*sent, by_name])
    wait_until(lambda: ask(port, "/readyz") == (200, b"ok\n"))
    wait_until(lambda: link_up(port) == "1.0")
    assert pump.running
    assert broker.count("rtm.outbound.dead") == 0


def put(file: Path, token: str) -> None:
    """Put a token into its file."""
    file.touch(mode=0o600)
    file.write_text(token)


@pytest.mark.parametrize("mode", ["socket", "rtm"])
def test_a_token_that_was_replaced_in_its_file_is_used(
    start_pump: StartPump, broker: Broker, workspace: Workspace, tmp_path: Path, mode: str
) -> None:
    """Without a restart, and without one command that fails; neither token is printed."""
    file = tmp_path / "token"
    put(file, workspace.token)
    slack = {"token": "", "token_file": str(file), "mode": mode, "app_token": workspace.app_token}
    allowed = {"api_methods": [POST]}
    pump = start_pump(outbound=QUICK | allowed, slack=slack)
    workspace.token = "xoxb-rotated-4711"
    put(file, workspace.token)
    workspace.cut()
    call = {"type": "api", "method": POST, "arguments": {"channel": "C0GENERAL", "text": "a"}}
    assert broker.ask(call)["ok"]
    assert broker.ask({"channel": "C0GENERAL", "text": "b"})["ok"]
    assert broker.ask({"channel": "random", "text": "c"})["ok"]
    assert pump.running
    assert "4711" not in pump.output()


def test_a_token_that_is_refused_still_ends_rtm(
    start_pump: StartPump, workspace: Workspace, tmp_path: Path
) -> None:
    """With 78, after its file was read again."""
    file = tmp_path / "token"
    put(file, workspace.token)
    pump = start_pump(slack={"token": "", "token_file": str(file)})
    workspace.token = "xoxb-another"
    put(file, "xoxb-wrong-as-well")
    workspace.cut()
    assert pump.wait() == 78
    assert pump.logged("token.refused", code="invalid_auth")


def test_slow_methods_hold_up_neither_messages_nor_others(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Though many calls of each wait."""
    methods = ["reactions.add", "pins.add", "users.info"]
    start_socket(outbound=QUICK | {"api_methods": methods, "api_rate": 1000, "reply_timeout": 120})

    def call(method: str, number: int) -> dict[str, Any]:
        return {"type": "api", "method": method, "arguments": {"channel": name(number)}}

    for method in methods[:2]:
        meets(workspace, Hang(300.0), method)
        for number in range(10):
            broker.publish(call(method, number))
    meets(workspace, {"ok": True}, "users.info")
    sent = send(broker, workspace, 20)
    assert all(broker.result(one).json["ok"] for one in sent)
    assert all(broker.ask(call("users.info", number))["ok"] for number in range(5))
    assert_all_came(workspace, 20)


@pytest.mark.parametrize("mode", ["socket", "rtm"])
def test_order_and_rate_of_a_channel_are_one(
    start_pump: StartPump, broker: Broker, workspace: Workspace, mode: str
) -> None:
    """By name or id, as a message or as a call."""
    slack = {"mode": mode, "app_token": workspace.app_token}
    start_pump(slack=slack, outbound={"api_methods": [POST], "rate": 4.0, "burst": 1})
    commands: list[dict[str, Any]] = []
    for number in range(3):
        texts = [f"{number}{letter}" for letter in "abcd"]
        arguments = {"channel": "general", "text": texts[1]}
        by_id = {"channel": "C0GENERAL", "text": texts[3]}
        commands += [
            {"channel": "C0GENERAL", "text": texts[0]},
            {"type": "api", "method": POST, "arguments": arguments},
            {"channel": "general", "text": texts[2]},
            {"type": "api", "method": POST, "arguments": by_id},
        ]
    asked = [broker.command(command) for command in commands]
    assert all(broker.result(one).json["ok"] for one in asked)
    assert [one.text for one in workspace.sent] == [
        f"{n}{letter}" for n in range(3) for letter in "abcd"
    ]
    # Not since the first arrived: it may have been slow on its way.
    assert workspace.sent[-1].received_at - workspace.sent[0].received_at > 11 / 4.0 - 0.5


def test_a_call_may_name_what_the_token_can_not_list(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Slack decides; a message of that name is refused, and the order is kept."""
    start_socket(outbound=QUICK | {"api_methods": [POST]})

    def call(channel: str) -> dict[str, Any]:
        return {"type": "api", "method": POST, "arguments": {"channel": channel, "text": channel}}

    del workspace.channels["random"]
    meets(workspace, {"ok": True, "ts": "1.2"}, POST)
    lists = sum(one.method == "conversations.list" for one in workspace.calls)
    for channel in ("U0ALICE", "@alice", "C0GENERAL"):
        assert broker.ask(call(channel))["ok"]
    assert sum(one.method == "conversations.list" for one in workspace.calls) == lists
    assert broker.ask(call("random"))["ok"]
    refused = broker.ask({"channel": "random", "text": "x"})
    assert refused["error"]["code"] == "channel_not_found"
