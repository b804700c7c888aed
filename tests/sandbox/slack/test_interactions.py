"""Commands, shortcuts and buttons of the simulated workspace, and what an app answers to them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from slack_sdk.webhook import WebhookClient

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import SocketApp, web_client

BUTTON = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
CHOICE = {"type": "external_select", "action_id": "pick", "min_query_length": 1}
ACTIONS = {"type": "actions", "block_id": "row", "elements": [BUTTON | {"value": "v"}, CHOICE]}


@pytest.fixture
def app(workspace: Workspace) -> Iterator[SocketApp]:
    """An app with a connection of Socket Mode."""
    with SocketApp(workspace) as app:
        yield app


def post(url: str, members: object) -> tuple[int, Any]:
    """Send an answer to a response URL without slack_sdk; return status and body."""
    call = urllib.request.Request(url, json.dumps(members).encode())  # noqa: S310
    try:
        with urllib.request.urlopen(call, timeout=100) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_slash_command_has_all_its_fields(workspace: Workspace, app: SocketApp) -> None:
    """Those that Slack documents, in the channel where it was used."""
    workspace.person("U0BOB").slash("/deploy", "now", "random")
    payload = app.take()
    url, trigger = payload.pop("response_url"), payload.pop("trigger_id")
    assert url.startswith(workspace.api_url.removesuffix("/api/") + "/")
    assert trigger.count(".") == 2
    assert payload == {
        "token": "sandbox",
        "team_id": workspace.team,
        "team_domain": "sandbox",
        "channel_id": "C0RANDOM",
        "channel_name": "random",
        "user_id": "U0BOB",
        "user_name": "bob",
        "command": "/deploy",
        "text": "now",
        "api_app_id": "A0SANDBOX",
        "is_enterprise_install": "false",
    }


def test_a_response_url_takes_five_answers(workspace: Workspace, app: SocketApp) -> None:
    """slack_sdk's client for it is content; only what is `in_channel` is a message."""
    workspace.slash("/deploy")
    url = app.take()["response_url"]
    webhook = WebhookClient(url)
    assert webhook.send(text="for you").status_code == 200
    assert webhook.send(text="for all", response_type="in_channel").status_code == 200
    event = app.take()["event"]
    assert (event["text"], event["bot_id"]) == ("for all", "B0PUMP")
    assert [one.members["text"] for one in workspace.responses] == ["for you", "for all"]
    assert post(url, {})[1] == {"ok": False, "error": "no_text"}
    for _ in range(3):
        assert post(url, {"text": "x"}) == (200, {"ok": True})
    assert post(url, {"text": "x"}) == (404, {"ok": False, "error": "used_url"})
    assert post(url + "x", {"text": "x"})[0] == 404


def test_a_command_can_be_answered_at_once(workspace: Workspace, app: SocketApp) -> None:
    """What comes with the acknowledgement is seen like what comes through the URL."""
    envelope = workspace.slash("/deploy")
    app.answer({"text": "done", "response_type": "in_channel"})
    assert app.take()["event"]["text"] == "done"
    assert envelope.answer["text"] == "done"
    assert [(one.url, one.channel) for one in workspace.responses] == [("", "C0GENERAL")]


def test_a_late_answer_is_not_heeded(workspace: Workspace, app: SocketApp) -> None:
    """Slack has told the person by then that the app did not respond."""
    workspace.faults.ack_seconds = 0.0
    envelope = workspace.slash("/deploy")
    assert workspace.wait(lambda: envelope.given_up)
    app.answer({"text": "done"})
    assert workspace.wait(lambda: envelope.acknowledged)
    assert envelope.answer == {"text": "done"}
    assert workspace.responses == []


def test_shortcuts_are_global_or_of_a_message(workspace: Workspace, app: SocketApp) -> None:
    """That of a message names it and can be answered; both have a trigger."""
    alice = workspace.person()
    alice.shortcut("make")
    payload = app.take()
    assert (payload["type"], payload["callback_id"]) == ("shortcut", "make")
    assert "response_url" not in payload
    assert payload["trigger_id"]
    ts = workspace.say("general", "look", user="U0BOB")
    app.take()
    alice.shortcut("keep", "general", ts)
    payload = app.take()
    assert (payload["type"], payload["message_ts"]) == ("message_action", ts)
    assert payload["message"]["text"] == "look"
    assert payload["channel"] == {"id": "C0GENERAL", "name": "general"}
    assert payload["response_url"]
    assert payload["trigger_id"]
    with pytest.raises(LookupError, match="no message"):
        alice.shortcut("keep", "general", "1.2")


def test_a_button_can_be_pressed_and_its_message_replaced(
    workspace: Workspace, app: SocketApp
) -> None:
    """The payload has the action and the message; the answer may replace or delete that."""
    client = web_client(workspace)
    ts = client.chat_postMessage(channel="general", text="sure?", blocks=[ACTIONS])["ts"]
    app.take()
    workspace.person().press("go", channel="general", ts=ts)
    payload = app.take()
    (action,) = payload["actions"]
    assert (payload["type"], action["action_id"], action["value"]) == ("block_actions", "go", "v")
    assert (action["block_id"], action["type"]) == ("row", "button")
    assert payload["container"]["message_ts"] == payload["message"]["ts"] == ts
    webhook = WebhookClient(payload["response_url"])
    webhook.send(text="sure", replace_original=True)
    event = app.take()["event"]
    assert (event["subtype"], event["message"]["text"]) == ("message_changed", "sure")
    webhook.send_dict({"delete_original": True})
    assert app.take()["event"]["subtype"] == "message_deleted"
    with pytest.raises(LookupError):
        workspace.person().press("go", channel="general", ts=ts)


def test_a_select_menu_asks_for_options(workspace: Workspace, app: SocketApp) -> None:
    """The options are the answer; what is chosen comes as an action."""
    ts = web_client(workspace).chat_postMessage(channel="general", text="x", blocks=[ACTIONS])["ts"]
    app.take()
    alice = workspace.person()
    asked = alice.suggest("pick", "be", channel="general", ts=ts)
    options = {"options": [{"text": {"type": "plain_text", "text": "Bee"}, "value": "bee"}]}
    payload = app.answer(options)
    assert (payload["type"], payload["value"]) == ("block_suggestion", "be")
    assert (payload["action_id"], payload["block_id"]) == ("pick", "row")
    assert payload["container"]["type"] == "message"
    assert workspace.wait(lambda: asked.answer == options)
    alice.press("pick", options["options"][0], channel="general", ts=ts)
    assert app.take()["actions"][0]["selected_option"]["value"] == "bee"


def test_socket_mode_is_pinged(workspace: Workspace) -> None:
    """slack-go ends a connection that gets no ping for half a minute."""
    workspace.faults.ping_seconds = 0.01
    with SocketApp(workspace) as app:
        for _ in range(2):
            opcode, data = app.socket.recv_data(control_frame=True)
            assert (opcode, data[:9]) == (websocket.ABNF.OPCODE_PING, b"Ping from")
        assert workspace.wait(lambda: len(workspace.pongs) >= 2)
