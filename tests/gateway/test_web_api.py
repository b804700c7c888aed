"""The Web API as a program calls it: two lists, tokens, and Slack's own answers."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.gateway.conftest import StartGateway
from tests.support.broker import Broker
from tests.support.gateway import OTHER, TOKEN, GatewayProcess
from tests.support.socket_mode import StartSocketPump

METHODS = ["conversations.list", "conversations.history", "views.open", "reactions.add"]


def request(
    gateway: GatewayProcess, path: str, body: bytes | None = None, **headers: str
) -> dict[str, Any]:
    """A request as it is; returns the answer."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = urllib.request.Request(gateway.api_url + path, body, given)  # noqa: S310 - our own
    with urllib.request.urlopen(sent, timeout=60) as got:  # noqa: S310
        answer: dict[str, Any] = json.load(got)
        return answer


def test_calls_over_a_pump_in_socket_mode(
    start_socket: StartSocketPump,
    start_gateway: StartGateway,
    broker: Broker,
    workspace_that_retries: Workspace,
) -> None:
    """Who is asked, what may be called, and how: by form, JSON, query, and in three places."""
    workspace = workspace_that_retries
    start_socket(outbound={"api_methods": ["conversations.list"], "rate": 100.0, "burst": 100})
    bot = {"token": TOKEN, "api_methods": METHODS}
    gateway = start_gateway(
        slack={"mode": "socket"},
        clients={"bot": bot, "mute": {"token": OTHER, "send": False}},
    )
    who = gateway.call("auth.test")
    assert (who["ok"], who["user_id"], who["team_id"]) == (True, workspace.bot, workspace.team)
    listed = gateway.call("conversations.list")
    assert {one["name"] for one in listed["channels"]} >= {"general"}
    said = gateway.call(
        "chat.postMessage", channel="general", text="form", blocks='[{"type": "divider"}]'
    )
    assert (said["ok"], said["message"]["text"]) == (True, "form")
    body = json.dumps({"channel": "general", "text": "json", "unfurl_links": False}).encode()
    kind = {"Content_Type": "application/json; charset=utf-8"}
    assert request(gateway, f"chat.postMessage?token=xoxp-{TOKEN}", body, **kind)["ok"]
    assert request(gateway, f"chat.postMessage?token={TOKEN}&channel=general&text=get")["ok"]
    assert [one.text for one in workspace.sent] == ["form", "json", "get"]
    # A list that lacks it: the gateway's, the pump's, and the right to send.
    theirs = gateway.call("users.list")
    assert theirs["error"] == "not_allowed"
    assert "[gateway.clients.bot]" in theirs["message"]
    pumps = gateway.call("reactions.add", channel="C1", name="x", timestamp="1.0")
    assert pumps["error"] == "not_allowed"
    assert "outbound.api_methods" in pumps["message"]
    assert gateway.call("chat.postMessage", OTHER, channel="general", text="x")["error"] == (
        "not_allowed"
    )
    # Slack's own refusal, in Slack's own word.
    assert gateway.call("chat.postMessage", channel="C0NOTHERE", text="x")["error"] == (
        "channel_not_found"
    )


@pytest.mark.parametrize(
    ("path", "body", "kind", "error"),
    [
        ("nothing", b"", "", "unknown_method"),
        ("files.upload", b"content=x", "application/x-www-form-urlencoded", None),
        ("auth.test", b"{", "application/json", "invalid_json"),
        ("auth.test", b"[1]", "application/json", "json_not_object"),
        ("auth.test", b"x", "text/plain", "invalid_post_type"),
        ("auth.test", b"x=" + b"y" * 300_000, "application/x-www-form-urlencoded", "too_large"),
        (
            "conversations.list",
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            "file_uploads_not_supported",
        ),
    ],
)
def test_bad_input_is_refused_in_a_word(
    gateway_alone: GatewayProcess, path: str, body: bytes, kind: str, error: str | None
) -> None:
    """Nothing of it reaches RabbitMQ."""
    headers = {"Content_Type": kind} if kind else {}
    answer = request(gateway_alone, path, body, Authorization=f"Bearer {TOKEN}", **headers)
    assert answer["ok"] is False
    assert (error or "file_uploads_not_supported") in answer["error"]


def test_parts_without_a_value_count_too(gateway_alone: GatewayProcess) -> None:
    """By their names: else a body that never ends would fill the memory."""
    part = 'Content-Disposition: form-data; name="%d"\r\n\r\n\r\n'
    body = "".join(f"--b\r\n{part % number}" for number in range(3000)) + "--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    answer = request(gateway_alone, "auth.test", body.encode(), Content_Type=kind)
    assert answer["error"] == "request_too_large"


def test_no_pump_no_broker(gateway_alone: GatewayProcess) -> None:
    """Without a queue of commands a call fails at once, and says what is missing."""
    answer = gateway_alone.call("chat.postMessage", channel="C1", text="x")
    assert answer["error"] == "service_unavailable"
    assert "rtm.outbound" in answer["message"]
    assert gateway_alone.get("/readyz")[0] == gateway_alone.get("/livez")[0] == 200


def test_over_a_pump_of_rtm(
    start_pump: StartPump, start_gateway: StartGateway, workspace: Workspace
) -> None:
    """A message goes over the WebSocket; its answer has what Slack's has."""
    start_pump()
    gateway = start_gateway()
    said = gateway.call("chat.postMessage", channel="general", text="hi", as_user="true")
    assert said["ok"] is True
    assert said["channel"] == workspace.sent[0].channel
    assert (said["ts"], said["message"]["text"]) == (workspace.sent[0].ts, "hi")
    assert gateway.call("auth.test")["user_id"] == workspace.bot
