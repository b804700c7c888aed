"""Facts about the programs of docs/client.md: each runs as it stands, with a real pump."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rtmpump import client
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.markdown import page
from tests.support.paths import PYTHONPATH
from tests.support.programs import LONG_ANSWERS
from tests.support.sandbox_clients import last_message
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import SECONDS, wait_until

GREETER, SENDER, ANSWERING, BOT = page("docs/client.md").blocks("python")
DOCSTRING = textwrap.dedent(
    "".join(line + "\n" for line in str(client.__doc__).splitlines() if line.startswith("    "))
)
QUEUES = ("consumer.greeter", "consumer.commands")


@pytest.fixture
def _pump(start_pump: StartPump) -> None:
    start_pump(outbound={"rate": 1000.0, "burst": 1000, "api_methods": ["reactions.add"]})


@contextmanager
def program(text: str, broker_url: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of the page; it is ended by SIGTERM."""
    env = os.environ | {"PYTHONPATH": PYTHONPATH, "RTMPUMP_BROKER_URL": broker_url}
    with subprocess.Popen(
        [sys.executable, "-c", text], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.usefixtures("_pump")
@pytest.mark.parametrize("text", [GREETER.text, DOCSTRING], ids=["page", "docstring"])
def test_the_greeter_greets_and_ends_in_order(
    workspace: Workspace, broker: Broker, broker_url: str, text: str
) -> None:
    """In the thread of the one who said hello."""
    with program(text, broker_url) as process:
        wait_until(lambda: broker.exists(queue=QUEUES[0]) and has_consumer(broker, QUEUES[0]))
        ts = workspace.say("general", "hello")
        assert workspace.wait(lambda: workspace.sent)
        assert (workspace.sent[-1].text, last_message(workspace)["thread_ts"]) == ("Hi!", ts)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert broker.count(QUEUES[0]) == 0


@pytest.mark.usefixtures("_pump")
def test_the_sender_sends_and_reacts(workspace: Workspace, broker_url: str) -> None:
    """And says the ts of its message."""
    with program(SENDER.text, broker_url) as process:
        assert process.communicate(timeout=SECONDS)[0] == f"sent {workspace.sent[0].ts}\n"
    assert [call.method for call in workspace.calls].count("reactions.add") == 1


def test_the_answering_one_answers_and_apologizes(
    start_socket: StartSocketPump, workspace: Workspace, broker: Broker, broker_url: str
) -> None:
    """In time inside Slack's acknowledgement, too late with a message."""
    pump = start_socket(slack={"answered": ["slash_command"]}, program=LONG_ANSWERS)
    pump.wait_log("answers.on")
    with program(ANSWERING.text, broker_url):
        wait_until(lambda: broker.exists(queue=QUEUES[1]) and has_consumer(broker, QUEUES[1]))
        asked = workspace.slash("/say", "hi")
        assert workspace.wait(lambda: asked.acknowledged)
        assert asked.answer == {"text": "You said hi."}
        late = {"reply_to": broker.queue(), "headers": {"answer_by": 1}}
        body = {"text": "hi", "channel_id": "C0GENERAL"}
        broker.publish(body, exchange="rtm.events", queue="slash_command", **late)
        assert workspace.wait(lambda: workspace.sent)
    assert workspace.sent[-1].text == "Sorry, that took too long."


@pytest.mark.usefixtures("_pump")
def test_the_bot_answers(workspace: Workspace, broker_url: str) -> None:
    """As soon as it is connected."""
    with program(BOT.text, broker_url):
        wait_until(lambda: workspace.say("random", "ping") and workspace.sent)
    assert workspace.sent[-1].text == "pong"


def has_consumer(broker: Broker, queue: str) -> bool:
    """Whether somebody consumes a queue, so that it is bound."""
    declared = broker.channel.queue_declare(queue, passive=True)
    return bool(declared.method.consumer_count)
