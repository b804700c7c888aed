"""Facts about commands of the type api: from RabbitMQ through a real pump to the Web API."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.faults import Hang, HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.broker_node import close_connections
from tests.support.pump import PumpProcess
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import wait_until

ADD = "reactions.add"
POST = "chat.postMessage"
ALLOWED: dict[str, Any] = {
    "api_methods": [ADD, POST, "pins.add"],
    "api_rate": 200.0,
    "rate": 200.0,
    "burst": 50,
}
FINE = {"ok": True}


@pytest.fixture
def pump(start_pump: StartPump) -> PumpProcess:
    """A pump that may call three methods."""
    return start_pump(outbound=ALLOWED)


def api(method: str = ADD, **arguments: Any) -> dict[str, Any]:
    """A command that calls a method."""
    return {"type": "api", "method": method, "arguments": arguments}


def thumb(workspace: Workspace, **arguments: Any) -> dict[str, Any]:
    """A command that reacts to a new message."""
    ts = workspace.say("general", "x")
    return api(**{"channel": "C0GENERAL", "timestamp": ts, "name": "thumbsup"} | arguments)


def made(workspace: Workspace, method: str = ADD) -> list[dict[str, str]]:
    """The arguments of the calls of a method, in order."""
    return [call.args for call in list(workspace.calls) if call.method == method]


def meets(workspace: Workspace, *faults: Any, method: str = ADD) -> None:
    """What the next calls of a method meet."""
    workspace.faults.api_errors[method] = deque(faults)


def assert_failed(result: Any, code: str, attempts: int, uncertain: bool = False) -> str:
    """The result is a failure with exactly these values; gives its message."""
    message = result.get("error", {}).get("message", "")
    assert message
    error = {"code": code, "message": message}
    wanted = {"ok": False, "error": error, "attempts": attempts, "uncertain": uncertain}
    assert result == wanted
    return str(message)


@pytest.mark.usefixtures("pump")
def test_a_method_is_called_and_its_answer_brought_back(
    broker: Broker, workspace: Workspace
) -> None:
    """With the arguments as Slack takes them; the queue is empty afterwards."""
    command = thumb(workspace)
    result = broker.ask(command)
    assert result == {"ok": True, "response": FINE, "attempts": 1, "uncertain": False}
    assert made(workspace) == [command["arguments"]]
    wait_until(lambda: broker.count("rtm.outbound") == 0)


def test_in_socket_mode_it_is_the_same(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """And a message waits for the chat.postMessage of its channel that came before it."""
    start_socket(outbound=ALLOWED)
    command = thumb(workspace)
    result = broker.ask(command)
    assert result == {"ok": True, "response": FINE, "attempts": 1, "uncertain": False}
    meets(workspace, HttpAnswer(500), method=POST)
    first = broker.command(api(POST, channel="C0GENERAL", text="first"))
    second = broker.command({"channel": "C0GENERAL", "text": "second"})
    assert broker.result(first).json["attempts"] == 2
    assert broker.result(second).json["ok"]
    assert [one["text"] for one in made(workspace, POST)] == ["first", "first", "second"]


@pytest.mark.usefixtures("pump")
def test_arguments_of_every_kind_arrive(broker: Broker, workspace: Workspace) -> None:
    """Text as it is, all else as JSON, as a form has it; null is left out."""
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*ö* & =\n"}}]
    given = {"channel": "C0GENERAL", "text": "a&b=ö", "blocks": blocks, "unfurl_links": False}
    meets(workspace, FINE | {"ts": "1.2", "message": {"text": "ö"}}, method=POST)
    result = broker.ask(api(POST, **given, n=3, half=0.5, none=None))
    assert result["response"] == FINE | {"ts": "1.2", "message": {"text": "ö"}}
    (arrived,) = made(workspace, POST)
    assert json.loads(arrived.pop("blocks")) == blocks
    text = {"channel": "C0GENERAL", "text": "a&b=ö"}
    assert arrived == text | {"unfurl_links": "false", "n": "3", "half": "0.5"}


@pytest.mark.usefixtures("pump")
def test_a_method_without_arguments_is_called(broker: Broker, workspace: Workspace) -> None:
    """They may be left out."""
    meets(workspace, FINE, method="pins.add")
    assert broker.ask({"type": "api", "method": "pins.add"})["ok"]


REJECTS: list[tuple[dict[str, Any], str]] = [
    (api("chat.delete"), '"method"'),
    (api("reactions.ad"), "reactions.add"),
    ({"type": "api"}, '"method"'),
    ({"type": "api", "method": 5}, '"method"'),
    ({"type": "api", "method": "reactions"}, '"method"'),
    ({"type": "api", "method": "reactions.add/../x"}, '"method"'),
    (api() | {"arguments": []}, '"arguments"'),
    (api(token="xoxb-1"), "token"),
    (api(Token="xoxb-1"), "token"),
    (api(**{"": "x"}), '"arguments"'),
    (api(x=[[]] * 3, y="\ud800"), "surrogate"),
    (api(x={"a": ["\ud800"]}), "surrogate"),
    (api(x=float("nan")), "NaN"),
    (api() | {"channel": "C0GENERAL"}, '"channel"'),
    ({"channel": "C0GENERAL", "text": "x", "method": ADD}, '"method"'),
]


@pytest.mark.usefixtures("pump")
def test_what_can_never_be_called_is_answered_and_dead_lettered(
    broker: Broker, workspace: Workspace
) -> None:
    """At once, with the field by name; Slack is not asked."""
    deep: Any = []
    for _ in range(40):
        deep = [deep]
    before = len(workspace.calls)
    for body, word in [*REJECTS, (api(x=deep), "deep")]:
        message = assert_failed(broker.ask(body), "invalid_command", attempts=0)
        assert word in message, body
        assert "xoxb-1" not in message
        assert broker.dead().headers["rtmpump-error-message"] == message
    assert len(workspace.calls) == before


def test_nothing_is_allowed_unless_the_config_names_it(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """The reason names the key and the method."""
    start_pump()
    message = assert_failed(broker.ask(api()), "invalid_command", attempts=0)
    assert "outbound.api_methods" in message
    assert ADD in message
    assert not made(workspace)


@pytest.mark.usefixtures("pump")
def test_slack_s_no_is_final(broker: Broker, workspace: Workspace) -> None:
    """The code is Slack's; order in the channel goes on."""
    command = thumb(workspace)
    assert broker.ask(command)["ok"]
    assert_failed(broker.ask(command), "slack_already_reacted", attempts=1)
    assert broker.dead().json == command
    missing = {"ok": False, "error": "missing_scope", "needed": "reactions:write"}
    meets(workspace, missing)
    message = assert_failed(broker.ask(thumb(workspace)), "slack_missing_scope", attempts=1)
    assert "reactions:write" in message
    meets(workspace, "not_allowed_token_type")
    assert_failed(broker.ask(thumb(workspace)), "slack_not_allowed_token_type", attempts=1)


@pytest.mark.usefixtures("pump")
def test_retry_after_is_obeyed(broker: Broker, workspace: Workspace) -> None:
    """A 429 is no attempt, and what was not done is not uncertain."""
    limited = HttpAnswer(429, {"Retry-After": "1"})
    meets(workspace, limited)
    asked = broker.command(thumb(workspace))
    result = broker.result(asked).json
    assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 1, False)
    times = [call.time for call in workspace.calls if call.method == ADD]
    assert times[1] - times[0] >= 1.0


@pytest.mark.usefixtures("pump")
def test_a_deeply_nested_answer_ends_nothing(broker: Broker, workspace: Workspace) -> None:
    """It is a success without that member; one that can't be read at all is asked for again."""
    for depth in range(950, 1_000):
        deep = '{"ok": true, "n": 1, "deep": ' + "[" * depth + "]" * depth + "}"
        meets(workspace, HttpAnswer(200, body=deep), FINE)
        result = broker.ask(api(channel="C0GENERAL", timestamp="1.000001", name="x"))
        assert result["ok"]
        if result["attempts"] > 1:
            break
        assert (result["response"], result["left_out"]) == ({"ok": True, "n": 1}, ["deep"])
    assert broker.ask(thumb(workspace))["ok"]


def test_a_limited_method_holds_up_no_other(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Nor the messages of that channel; within the queue order is kept."""
    start_pump(outbound=ALLOWED)
    meets(workspace, HttpAnswer(429, {"Retry-After": "60"}))
    broker.publish(thumb(workspace))
    assert workspace.wait(lambda: made(workspace))
    broker.publish(thumb(workspace))
    meets(workspace, FINE, method="pins.add")
    assert broker.ask(api("pins.add", channel="C0GENERAL"))["ok"]
    assert broker.ask({"channel": "C0GENERAL", "text": "a message"})["ok"]
    assert len(made(workspace)) == 1


def test_a_failure_for_ever_ends_after_max_attempts(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """What is certain as "max_attempts", what is not as such and as uncertain."""
    start_pump(outbound=ALLOWED | {"max_attempts": 2})
    meets(workspace, *["request_timeout"] * 2)
    assert_failed(broker.ask(thumb(workspace)), "max_attempts", attempts=2)
    assert broker.dead().headers["rtmpump-attempts"] == 2
    meets(workspace, HttpAnswer(500), Reset())
    assert_failed(broker.ask(thumb(workspace)), "max_attempts", attempts=2, uncertain=True)


def test_an_answer_that_never_comes_is_asked_for_again(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """With "resend"; the result says that it may have been done twice."""
    # A busy machine answers the second time in that time.
    start_pump(outbound=ALLOWED | {"reply_timeout": 6})
    meets(workspace, Hang(20))
    result = broker.ask(thumb(workspace))
    assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 2, True)


def test_an_answer_that_never_comes_is_a_dead_letter_if_so_wished(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """With "dead-letter" it is never called twice; "timeout" or "uncertain" is the code."""
    start_pump(outbound=ALLOWED | {"reply_timeout": 6, "on_uncertain": "dead-letter"})
    meets(workspace, Hang(20))
    assert_failed(broker.ask(thumb(workspace)), "timeout", attempts=1, uncertain=True)
    meets(workspace, Reset())
    assert_failed(broker.ask(thumb(workspace)), "uncertain", attempts=1, uncertain=True)
    assert len(made(workspace)) == 2


def test_calls_wait_while_slack_is_away(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """However often no connection was had: no attempt is counted, nothing is uncertain."""
    pump = start_pump(outbound=ALLOWED | {"max_attempts": 1})
    command = thumb(workspace)
    workspace.down()
    asked = broker.command(command)
    pump.wait_log("slack.rests", count=3, reason="unreachable", way="web_api")
    workspace.up()
    result = broker.result(asked).json
    assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 1, False)


@pytest.mark.usefixtures("pump")
def test_no_websocket_is_needed(broker: Broker, workspace: Workspace) -> None:
    """A call is made while Slack gives us no connection."""
    workspace.faults.api_errors["rtm.connect"] = deque(["internal_error"] * 1000)
    command = thumb(workspace)
    workspace.cut()
    assert workspace.wait(lambda: not workspace.live)
    assert broker.ask(command)["ok"]
    assert not workspace.live


def test_an_expired_call_is_not_made(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Its `expiration` passes while it waits for its turn."""
    start_pump(outbound=ALLOWED | {"api_rate": 0.01, "burst": 1})
    assert broker.ask(thumb(workspace))["ok"]
    assert_failed(broker.ask(thumb(workspace), expiration="200"), "timeout", attempts=0)
    assert len(made(workspace)) == 1


@pytest.mark.usefixtures("pump")
def test_order_is_kept_within_a_channel_queue(broker: Broker, workspace: Workspace) -> None:
    """One method and channel: in order, though one of them fails at first."""
    meets(workspace, FINE, HttpAnswer(500), *[FINE] * 20)
    asked = [
        broker.command(api(channel="C0GENERAL", timestamp="1.2", name=f"n{n}")) for n in range(10)
    ]
    assert all(broker.result(one).json["ok"] for one in asked)
    names = [args["name"] for args in made(workspace)]
    assert names == ["n0", "n1", *(f"n{n}" for n in range(1, 10))]


@pytest.mark.usefixtures("pump")
def test_a_posted_message_keeps_the_order_of_its_channel(
    broker: Broker, workspace: Workspace
) -> None:
    """chat.postMessage waits in the queue of its channel, at that channel's rate."""
    meets(workspace, *[FINE | {"ts": "1.2"}] * 10, method=POST)
    asked = [broker.command(api(POST, channel="C0GENERAL", text=str(n))) for n in range(10)]
    assert all(broker.result(one).json["ok"] for one in asked)
    assert [args["text"] for args in made(workspace, POST)] == [str(n) for n in range(10)]


@pytest.mark.usefixtures("pump")
def test_a_large_answer_is_cut_to_its_small_members(broker: Broker, workspace: Workspace) -> None:
    """The result names what it had to leave out."""
    large = {"messages": [{"text": "x" * 100}] * 1000, "response_metadata": {"next_cursor": "c"}}
    meets(workspace, FINE | large, method="pins.add")
    result = broker.ask(api("pins.add"))
    assert result == {
        "ok": True,
        "response": FINE | {"response_metadata": {"next_cursor": "c"}},
        "left_out": ["messages"],
        "attempts": 1,
        "uncertain": False,
    }


def test_arguments_stand_in_no_log(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Not even where the call fails; neither does the token, at any level."""
    pump = start_pump(outbound=ALLOWED, log={"level": "info"})
    meets(workspace, HttpAnswer(500), "invalid_blocks", method=POST)
    result = broker.ask(api(POST, channel="C0GENERAL", text="very private"))
    assert_failed(result, "slack_invalid_blocks", attempts=2, uncertain=True)
    pump.terminate()
    assert pump.wait() == 0
    assert pump.logged("command.failed", method=POST)
    assert "very private" not in pump.output()


def test_a_stop_waits_for_the_answer_under_way(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """SIGTERM between call and answer: the command is settled, not called again."""
    meets(workspace, Hang(1.0))
    asked = broker.command(thumb(workspace))
    assert workspace.wait(lambda: made(workspace))
    pump.terminate()
    assert pump.wait() == 0
    assert broker.result(asked).json["ok"]
    assert broker.count("rtm.outbound") == 0


def test_a_killed_pump_loses_no_call(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """Killed while Slack owes an answer, the next pump calls again; each has one result."""
    meets(workspace, Hang(20))
    asked = broker.command(thumb(workspace))
    assert workspace.wait(lambda: made(workspace))
    pump.kill()
    pump.start()
    # The dead pump's call may have been carried out or not, nobody knows.
    wait_until(lambda: len(made(workspace)) == 2)
    assert broker.result(asked).json["attempts"] == 1
    assert broker.more_results(asked) == []


def test_a_call_is_not_made_twice_because_the_broker_went_away(
    pump: PumpProcess, broker_url: str, workspace: Workspace, node: RabbitNode
) -> None:
    """The redelivery gets Slack's answer, and the next call of its queue waits for that."""
    meets(workspace, Hang(6.0))
    with Broker(broker_url) as broker:
        queue = broker.queue()
        for name in ("one", "two"):
            broker.publish(thumb(workspace), reply_to=queue, correlation_id=name, message_id=name)
        assert workspace.wait(lambda: made(workspace))
    close_connections(node, broker_url.rpartition("/")[2])
    pump.wait_log("broker_commands.connected", count=2)
    with Broker(broker_url) as broker:
        results = broker.take(queue, 2)
        assert [one.properties.correlation_id for one in results] == ["one", "two"]
        for result in (one.json for one in results):
            assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 1, False)
        times = [call.time for call in workspace.calls if call.method == ADD]
        assert len(times) == 2
        assert times[1] - times[0] >= 6.0
        wait_until(lambda: broker.count("rtm.outbound") == 0)
        assert broker.poll(queue) is None
