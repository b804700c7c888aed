"""Facts about sending in Socket Mode: chat.postMessage, with the promises of RTM."""

from __future__ import annotations

import json
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.faults import HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import wait_until

SLOW_RETRY = {"initial": 0.05, "max": 0.2, "jitter": "none"}
SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "*hé*"}}


def posts(workspace: Workspace) -> int:
    """How often chat.postMessage was called."""
    return sum(call.method == "chat.postMessage" for call in workspace.calls)


def test_a_message_is_posted_and_answered(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """By id and by name, in a thread and broadcast: as over RTM, and with Slack's answer."""
    start_socket(outbound={"rate": 100.0})
    first = broker.ask({"channel": "C0GENERAL", "text": "hé <b> &"})
    second = broker.ask(
        {"channel": "#random", "text": "b", "thread_ts": first["ts"], "reply_broadcast": True}
    )
    one, two = workspace.sent
    response = first.pop("response")
    assert (response["ok"], response["ts"], response["message"]["text"]) == (True, one.ts, one.text)
    assert first == {
        "ok": True,
        "channel": "C0GENERAL",
        "ts": one.ts,
        "attempts": 1,
        "uncertain": False,
    }
    assert second["channel"] == two.channel == "C0RANDOM"
    assert (one.text, one.thread_ts) == ("hé <b> &", None)
    assert (two.thread_ts, two.reply_broadcast) == (first["ts"], True)


def test_a_name_that_is_found_late_is_posted_too(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Past the time for which it holds up the others."""
    workspace.faults.api_errors["conversations.list"].append(faults.Hang(8.0))
    start_socket(outbound={"rate": 100.0})
    result = broker.ask({"channel": "general", "text": "late"})
    assert (result["ok"], result["attempts"]) == (True, 1)
    (sent,) = workspace.sent
    assert (sent.channel, sent.text) == ("C0GENERAL", "late")


def test_further_arguments_are_passed_through(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Each as Slack documents it; one of another type is a dead letter that names it."""
    start_socket(outbound={"rate": 100.0})
    more = {"unfurl_links": False, "username": "grüezi", "icon_emoji": ":wave:", "parse": "full"}
    metadata = {"event_type": "made", "event_payload": {"id": 1}}
    assert broker.ask({"channel": "general", "text": "t", "metadata": metadata, **more})["ok"]
    assert broker.ask({"channel": "general", "markdown_text": "# x"})["ok"]
    first, second = (call.args for call in workspace.calls if call.method == "chat.postMessage")
    assert first.pop("metadata") == json.dumps(metadata, separators=(",", ":"))
    assert first == {"channel": "C0GENERAL", "text": "t", **more, "unfurl_links": "false"}
    assert second == {"channel": "C0GENERAL", "markdown_text": "# x"}
    wrong = broker.ask({"channel": "general", "text": "t", "unfurl_links": "no"})
    assert wrong["error"]["code"] == "invalid_command"
    assert '"unfurl_links"' in broker.dead().headers["rtmpump-error-message"]


def test_blocks_and_attachments_are_passed_through(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """With a text or without; what has another shape is rejected and names the field."""
    start_socket(outbound={"rate": 100.0})
    attachment = {"color": "#36a64f", "text": "x"}
    assert broker.ask({"channel": "C0GENERAL", "text": "t", "blocks": [SECTION]})["ok"]
    assert broker.ask({"channel": "C0GENERAL", "attachments": [attachment]})["ok"]
    assert [one.blocks for one in workspace.sent] == [[SECTION], None]
    assert [one.attachments for one in workspace.sent] == [None, [attachment]]
    wrong: dict[str, list[Any]] = {
        "blocks": [{}, [], "x", [1], [SECTION, {"text": "no type"}], [SECTION] * 51],
        "attachments": [{}, [], ["x"], [attachment] * 101],
    }
    for field, values in wrong.items():
        for value in values:
            result = broker.ask({"channel": "C0GENERAL", "text": "t", field: value})
            assert result["error"]["code"] == "invalid_command", value
            assert f'"{field}"' in result["error"]["message"]
    assert broker.ask({"channel": "C0GENERAL"})["error"]["code"] == "invalid_command"
    assert len(workspace.sent) == 2


@pytest.mark.parametrize(
    "command",
    [
        {"type": "typing", "channel": "C0GENERAL"},
        {"type": "presence_sub", "ids": ["U1"]},
        {"type": "presence_query", "ids": ["U1"]},
    ],
)
def test_what_only_rtm_has_is_rejected(
    start_socket: StartSocketPump, broker: Broker, command: dict[str, object]
) -> None:
    """With the reason, in the result and in the dead letter."""
    start_socket()
    result = broker.ask(command)
    assert result["error"]["code"] == "invalid_command"
    assert "Socket Mode" in result["error"]["message"]
    assert broker.dead().headers["rtmpump-error-code"] == "invalid_command"


def test_slacks_no_is_a_dead_letter(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Slack's code comes as slack_<code>; an unknown name as channel_not_found."""
    workspace.archived.add("C0RANDOM")
    start_socket()
    result = broker.ask({"channel": "C0RANDOM", "text": "x"})
    assert result["error"]["code"] == "slack_is_archived"
    assert broker.dead().headers["rtmpump-error-code"] == "slack_is_archived"
    result = broker.ask({"channel": "nowhere", "text": "x"})
    assert result["error"]["code"] == "channel_not_found"
    assert posts(workspace) == 1


def test_a_rate_limit_is_obeyed_in_its_channel_alone(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Retry-After is waited for, order is kept, and another channel does not wait."""
    # Long enough that the message to the other channel comes in that time.
    limited = HttpAnswer(429, {"Retry-After": "10"}, '{"ok":false,"error":"ratelimited"}')
    start_socket(outbound={"rate": 100.0, "burst": 100})
    workspace.faults.api_errors["chat.postMessage"].append(limited)
    began = time.monotonic()
    slow = [broker.command({"channel": "C0GENERAL", "text": f"{n}"}) for n in range(3)]
    wait_until(lambda: posts(workspace) == 1)
    assert broker.ask({"channel": "C0RANDOM", "text": "other"})["ok"]
    results = [broker.result(one).json for one in slow]
    assert time.monotonic() - began >= 10
    assert [result["attempts"] for result in results] == [1, 1, 1]
    assert [one.text for one in workspace.sent] == ["other", "0", "1", "2"]


def test_our_own_rate_keeps_slack_content(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """At outbound.rate a Slack that takes so many a second never says no."""
    # Slack may take one late and the next at once: that makes up for a second between them.
    workspace.faults.post_rate = 1.0
    start_socket(outbound={"rate": 0.5, "burst": 1})
    sent = [broker.command({"channel": "C0GENERAL", "text": f"{n}"}) for n in range(4)]
    assert [broker.result(one).json["attempts"] for one in sent] == [1] * 4
    assert [one.text for one in workspace.sent] == list("0123")


@pytest.mark.parametrize("how", [faults.CUT_BEFORE_REPLY, faults.NEVER])
def test_what_nobody_knows_is_decided_by_on_uncertain(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace, how: faults.Answer
) -> None:
    """The answer to an accepted one is lost: a dead letter as uncertain, or sent again as such."""
    timeout = 3 if how is faults.NEVER else 60
    once = {"on_uncertain": "dead-letter", "reply_timeout": timeout, "rate": 100.0}
    pump = start_socket(outbound=once)
    workspace.faults.reply_policy = deque([how])
    result = broker.ask({"channel": "C0GENERAL", "text": "x"})
    assert (result["ok"], result["uncertain"]) == (False, True)
    assert result["error"]["code"] == ("timeout" if how is faults.NEVER else "uncertain")
    assert broker.dead().body
    pump.terminate()
    assert pump.wait() == 0
    # A busy machine answers the second time in that time.
    start_socket(outbound={"reply_timeout": 6, "rate": 100.0})
    workspace.faults.reply_policy = deque([how])
    result = broker.ask({"channel": "C0GENERAL", "text": "y"})
    assert (result["ok"], result["uncertain"], result["attempts"]) == (True, True, 2)
    assert [one.text for one in workspace.sent] == ["x", "y", "y"]


def test_slack_that_is_away_loses_no_command(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """A refused connection is no attempt: the message waits until Slack is there again."""
    start_socket(outbound={"max_attempts": 2}, retry=SLOW_RETRY)
    workspace.down()
    waiting = broker.command({"channel": "C0GENERAL", "text": "x"})
    wait_until(lambda: broker.count("rtm.outbound") == 0)
    workspace.up()
    result = broker.result(waiting).json
    assert result["ok"]
    assert [one.text for one in workspace.sent] == ["x"]


def test_it_needs_no_websocket(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """Messages go out while no connection of Socket Mode can be had."""
    pump = start_socket(retry={"initial": 5, "max": 5, "jitter": "none"})
    workspace.faults.hello = "never"
    workspace.cut()
    pump.wait_log("slack.disconnected")
    assert not workspace.sockets
    assert broker.ask({"channel": "C0GENERAL", "text": "x"})["ok"]


def more_sent(workspace: Workspace, count: int) -> Callable[[], bool]:
    """Whether more than that came to Slack, when it is called."""
    return lambda: len(workspace.sent) > count


def test_kills_lose_no_command(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """`kill -9` at any moment: each command is answered, at least once it is at Slack, in order."""
    pump = start_socket(outbound={"rate": 100.0, "burst": 100})
    commands = [broker.command({"channel": "C0GENERAL", "text": f"{n:03d}"}) for n in range(120)]
    for kill in range(4):
        wait_until(more_sent(workspace, 20 * (kill + 1)))
        pump.signal(signal.SIGKILL)
        pump.wait()
        pump.start()
    results = [broker.result(one).json for one in commands]
    assert all(result["ok"] for result in results)
    texts = [one.text for one in workspace.sent]
    first_times = list(dict.fromkeys(texts))
    assert first_times == sorted(first_times)
    assert len(first_times) == 120


def test_an_api_command_goes_beside_messages(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """`type: "api"` works in Socket Mode, with the allow-list."""
    start_socket(outbound={"api_methods": ["reactions.add"]})
    said = broker.ask({"channel": "C0GENERAL", "text": "x"})
    arguments = {"channel": "C0GENERAL", "timestamp": said["ts"], "name": "thumbsup"}
    assert broker.ask({"type": "api", "method": "reactions.add", "arguments": arguments})["ok"]
