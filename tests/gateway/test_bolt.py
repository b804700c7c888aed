"""An app of slack_bolt, unchanged but for its address and token, over a real pump."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rtmpump.sandbox.slack.workspace import Workspace
from tests.gateway.conftest import StartGateway
from tests.support.broker import Broker
from tests.support.gateway import TOKEN, GatewayProcess
from tests.support.programs import LONG_ANSWERS
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import wait_until

bolt: Any = pytest.importorskip("slack_bolt", reason="slack_bolt is not installed")

ANSWERED = ["slash_command", "interactive.view_submission"]


@contextmanager
def running(gateway: GatewayProcess) -> Iterator[Any]:
    """An app whose listeners are added before it connects, as its makers show it."""
    socket_mode: Any = pytest.importorskip("slack_bolt.adapter.socket_mode")
    from slack_sdk import WebClient

    token = f"xoxb-{TOKEN}"
    app: Any = bolt.App(token=token, client=WebClient(token=token, base_url=gateway.api_url))
    app.seen = []

    def message(event: dict[str, Any], say: Any) -> None:
        app.seen.append(event["n"])
        if event["n"] == 0:
            app.said = say(f"Hi <@{event['user']}>")

    def deploy(ack: Any, command: dict[str, Any]) -> None:
        ack(f"deploying {command['text']}")

    def form(ack: Any) -> None:
        ack(response_action="errors", errors={"name": "is taken"})

    app.event("message")(message)
    app.command("/deploy")(deploy)
    app.view("form")(form)
    handler = socket_mode.SocketModeHandler(app, f"xapp-{TOKEN}")
    handler.connect()
    try:
        yield app
    finally:
        handler.close()


def test_a_bolt_app_runs_unchanged(
    start_socket: StartSocketPump,
    start_gateway: StartGateway,
    broker: Broker,
    workspace_that_retries: Workspace,
) -> None:
    """Twenty events, a message that it says, an answered command, a modal with an error."""
    workspace = workspace_that_retries
    start_socket(slack={"answered": ANSWERED}, program=LONG_ANSWERS)
    gateway = start_gateway(slack={"mode": "socket"})
    with running(gateway) as app:
        gateway.wait_log("gateway.queue_bound")
        for number in range(20):
            ts = f"1700000000.{number:06d}"
            event = {"type": "message", "channel": "C0GENERAL", "user": "U0ALICE", "ts": ts}
            workspace.emit({**event, "n": number, "text": "x"})
        wait_until(lambda: len(app.seen) == 20)
        assert sorted(app.seen) == list(range(20))
        wait_until(lambda: hasattr(app, "said"), what=gateway.output)
        assert app.said["ok"] is True
        assert app.said["message"]["text"] == "Hi <@U0ALICE>"
        slash = workspace.slash("/deploy", "now")
        wait_until(lambda: slash.acknowledged)
        assert slash.answer == {"text": "deploying now"}
        view = {"type": "modal", "callback_id": "form", "id": "V1", "private_metadata": ""}
        submitted = workspace.interact(
            {
                "type": "view_submission",
                "user": {"id": "U7"},
                "team": {"id": workspace.team},
                "view": {**view, "state": {"values": {}}, "hash": "1", "team_id": workspace.team},
            }
        )
        wait_until(lambda: submitted.acknowledged)
        assert submitted.answer == {"response_action": "errors", "errors": {"name": "is taken"}}
