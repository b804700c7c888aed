"""Facts about the apps of deploy/examples/: forms, selects and commands, behind RabbitMQ."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.deploy.conftest import EXAMPLES
from tests.support.broker_node import add_vhost, delete_vhost
from tests.support.programs import LONG_ANSWERS
from tests.support.pump import PumpProcess
from tests.support.running import Start

VHOST = "test-apps"
SLACK = {
    "mode": "socket",
    "answered": ["slash_command", "interactive.block_suggestion", "interactive.view_submission"],
}


class Stage(NamedTuple):
    """A pump between a workspace and a vhost."""

    workspace: Workspace
    broker_url: str


@pytest.fixture(scope="module")
def stage(node: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all apps."""
    url = add_vhost(node, VHOST)
    with (
        Workspace(token="xoxb-apps", app_token="xapp-apps") as workspace,
        PumpProcess(
            tmp_path_factory.mktemp("pump"),
            workspace,
            url,
            slack=SLACK | {"app_token": workspace.app_token},
            outbound={"api_methods": ["views.open"]},
            program=LONG_ANSWERS,
        ) as pump,
    ):
        # Slack's three seconds are short for all that a busy machine does in them.
        workspace.faults.ack_seconds = workspace.faults.trigger_ttl = 60.0
        pump.wait_ready()
        pump.wait_log("answers.on")
        yield Stage(workspace, url)
    delete_vhost(node, VHOST)


@pytest.fixture(params=["python", "node"])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Give the beginning of a command line, up to the folder of the programs."""
    if request.param == "python":
        return [sys.executable, str(EXAMPLES / "python"), "py"]
    return ["node", str(request.getfixturevalue("node_folder")), "js"]


def services(folder: Path) -> Path:
    """Make the database of the app."""
    with closing(sqlite3.connect(folder / "services.db")) as db:
        db.execute("CREATE TABLE services (name TEXT)")
        db.executemany("INSERT INTO services VALUES (?)", [("billing",), ("search",), ("storage",)])
        db.commit()
    return folder / "services.db"


def test_a_form_is_opened_filled_checked_and_carried_out(
    kit: list[str], start: Start, stage: Stage, tmp_path: Path
) -> None:
    """The options come while a person types, and a day in the past is refused in the form."""
    program, folder, end = kit
    service = {"py": "search", "js": "storage"}[end]
    app = start([program, f"{folder}/app.{end}", str(services(tmp_path))], stage.broker_url)
    app.wait_for(lambda: "waiting" in app.err())
    alice = stage.workspace.person("U0ALICE")
    slash = alice.slash("/deploy")
    app.wait_for(lambda: alice.views)
    app.wait_for(lambda: slash.acknowledged)
    typed = alice.suggest("service", "s")
    app.wait_for(lambda: typed.acknowledged)
    answer: Any = typed.answer
    assert [one["value"] for one in answer["options"]] == ["search", "storage"]
    late = alice.submit({"what": {"service": service}, "when": {"day": "2020-01-01"}})
    app.wait_for(lambda: late.acknowledged)
    assert late.answer == {
        "response_action": "errors",
        "errors": {"when": "Choose a day in the future."},
    }
    assert len(alice.views) == 1
    good = alice.submit({"what": {"service": service}, "when": {"day": "2999-12-31"}})
    app.wait_for(lambda: not alice.views)
    assert good.answer is None
    words = f"<@U0ALICE>: {service} will be deployed on 2999-12-31."
    app.wait_for(lambda: any(one.text == words for one in stage.workspace.sent))


def test_an_echo_is_said_in_a_thread(kit: list[str], start: Start, stage: Stage) -> None:
    """Once for what people say, and never for its own words."""
    program, folder, end = kit
    bot = start([program, f"{folder}/echo.{end}"], stage.broker_url)
    said = f"echo this, {end}"

    def echoes() -> list[Any]:
        return [one for one in stage.workspace.sent if one.text == said]

    def heard() -> bool:
        # The queue is bound a moment after the program began.
        if not echoes():
            stage.workspace.say("general", said)
        return bool(echoes())

    bot.wait_for(heard)
    assert all(one.thread_ts for one in echoes())


def test_an_old_bot_runs_with_one_import_changed(start: Start, stage: Stage) -> None:
    """It connects, hears a message, and answers in its thread; its face is that of slackclient."""
    bot = start([sys.executable, str(EXAMPLES / "python" / "old_bot.py")], stage.broker_url)
    bot.wait_for(lambda: "connected" in bot.out())
    stage.workspace.say("general", "!ping")
    bot.wait_for(lambda: any(one.text == "pong" for one in stage.workspace.sent))
    (pong,) = (one for one in stage.workspace.sent if one.text == "pong")
    assert pong.thread_ts
