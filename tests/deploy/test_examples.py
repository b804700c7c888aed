"""Facts about deploy/examples/: each program runs against a real RabbitMQ and a real pump."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker
from tests.support.broker_node import add_vhost, delete_vhost
from tests.support.paths import ROOT
from tests.support.pump import PumpProcess
from tests.support.running import Start
from tests.support.waiting import SECONDS, wait_until

EXAMPLES = ROOT / "deploy" / "examples"
EVENT = {"type": "reaction_added", "user": "U1", "reaction": "tada", "event_ts": "1.000001"}
VHOST = "test-examples"
TEXT = 'Say "hi" & \\bye $HOME `x` ö 🎉\nand more'


class Kit(NamedTuple):
    """The programs of one language; `consume` and `send` are the beginnings of command lines."""

    name: str
    consume: list[str]
    send: list[str]


class Stage(NamedTuple):
    """A pump between a workspace and a vhost."""

    workspace: Workspace
    broker_url: str
    broker: Broker


@pytest.fixture(scope="module")
def stage(node: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all tests here, for each of them takes a while to begin."""
    url = add_vhost(node, VHOST)
    folder = tmp_path_factory.mktemp("pump")
    with Workspace() as workspace, PumpProcess(folder, workspace, url) as pump:
        pump.wait_ready()
        with Broker(url) as broker:
            yield Stage(workspace, url, broker)
    delete_vhost(node, VHOST)


@pytest.fixture(scope="module")
def empty_vhost(node: RabbitNode) -> Iterator[str]:
    """The URL of a vhost where no pump ever was."""
    yield add_vhost(node, f"{VHOST}-empty")
    delete_vhost(node, f"{VHOST}-empty")


@pytest.fixture(params=["python", "node", "shell"])
def kit(request: pytest.FixtureRequest) -> Kit:
    """The programs of each language, if it can be run here."""
    if request.param == "python":
        begin, folder, end = [sys.executable], EXAMPLES / "python", "py"
    elif request.param == "node":
        begin, folder, end = ["node"], request.getfixturevalue("node_folder"), "js"
    else:
        for tool in ("amqp-publish", "jq"):
            if shutil.which(tool) is None:
                pytest.skip(f"there is no {tool} here: apt-get install amqp-tools jq")
        begin, folder, end = [], EXAMPLES / "shell", "sh"
    consume, send = (str(folder / f"{name}.{end}") for name in ("consume", "send"))
    return Kit(request.param, [*begin, consume], [*begin, send])


def events(printed: str) -> list[Any]:
    """The events of the lines that a consumer printed, with or without a routing key before."""
    lines = [line for line in printed.splitlines() if line.endswith("}")]
    return [json.loads(line[line.index("{") :]) for line in lines]


def test_a_consumer_prints_the_events_of_its_type(kit: Kit, start: Start, stage: Stage) -> None:
    """And of no other; what it handled is acknowledged, and its queue outlives it if it can."""
    consumer = start([*kit.consume, EVENT["type"]], stage.broker_url)
    consumer.wait_for(lambda: "waiting" in consumer.err())
    numbers = count()

    def printed() -> list[Any]:
        # The shell's word comes before its binding: events are sent until one arrives.
        if not events(consumer.out()):
            stage.workspace.say("general", "not for you")
            stage.workspace.emit(EVENT | {"event_ts": f"1.{next(numbers):06}"})
        return events(consumer.out())

    consumer.wait_for(printed)
    stage.workspace.emit(EVENT | {"event_ts": "2.000000"})
    consumer.wait_for(lambda: "2.000000" in consumer.out())
    assert all(event == EVENT | {"event_ts": event["event_ts"]} for event in printed())
    if kit.name != "shell":
        # What is printed is not acknowledged yet: it ends in order.
        consumer.process.send_signal(signal.SIGINT)
        assert consumer.process.wait(SECONDS) == 0
        queue = f"example-{kit.name}.{EVENT['type']}"
        wait_until(lambda: stage.broker.count(queue) == 0, what="for the acks")


@pytest.mark.parametrize("kit", ["python", "node"], indirect=True)
def test_a_consumer_passes_over_repeats(kit: Kit, start: Start, stage: Stage) -> None:
    """The same message_id again is acknowledged and not printed."""
    consumer = start([*kit.consume, "star_added"], stage.broker_url)
    consumer.wait_for(lambda: "waiting" in consumer.err())
    for id, number in (("e:1", 1), ("e:1", 1), ("e:2", 2)):
        body = {"type": "star_added", "number": number}
        stage.broker.publish(body, exchange="rtm.events", queue="star_added", message_id=id)
    consumer.wait_for(lambda: '"number":2' in consumer.out().replace(" ", ""))
    assert [event["number"] for event in events(consumer.out())] == [1, 2]


def test_a_sender_gets_the_result_of_its_message(kit: Kit, start: Start, stage: Stage) -> None:
    """It prints what Slack answered and ends with 0; the text arrives as it was given."""
    sender = start([*kit.send, "general", TEXT], stage.broker_url)
    assert sender.process.wait(SECONDS) == 0, sender.err()
    sent = stage.workspace.sent[-1]
    assert (sent.channel, sent.text) == ("C0GENERAL", TEXT)
    wanted = {"ok": True, "channel": "C0GENERAL", "ts": sent.ts, "attempts": 1, "uncertain": False}
    assert json.loads(sender.out()) == wanted


@pytest.mark.parametrize("kit", ["shell"], indirect=True)
def test_a_sender_leaves_no_queue_behind(
    kit: Kit, start: Start, stage: Stage, node: RabbitNode
) -> None:
    """The others use direct reply-to, which is no queue; the shell's is deleted at the end."""
    sender = start([*kit.send, "general", "hi"], stage.broker_url)
    assert sender.process.wait(SECONDS) == 0, sender.err()
    listed = node.ctl("list_queues", "--vhost", VHOST, "--silent", "name").split()
    assert "rtm.outbound" in listed
    assert not {name for name in listed if not name.startswith(("rtm.", "example-"))}


def test_a_sender_tells_why_its_message_was_not_sent(kit: Kit, start: Start, stage: Stage) -> None:
    """It prints the reason and ends with 1."""
    sender = start([*kit.send, "nowhere", "hi"], stage.broker_url)
    assert sender.process.wait(SECONDS) == 1, sender.err()
    assert json.loads(sender.out())["error"]["code"] == "channel_not_found"


@pytest.mark.parametrize("kit", ["python", "node"], indirect=True)
def test_a_sender_says_when_there_is_no_queue_for_it(
    kit: Kit, start: Start, empty_vhost: str
) -> None:
    """No pump was ever here: it fails at once instead of waiting for a result."""
    sender = start([*kit.send, "general", "hi"], empty_vhost)
    assert sender.process.wait(SECONDS) == 1
    assert "rtm.outbound" in sender.err() or "Unroutable" in sender.err()


def test_each_program_that_is_there_is_in_the_readme() -> None:
    """And no package has a lock file, which would hold addresses."""
    readme = (EXAMPLES / "README.md").read_text()
    programs = [
        file
        for folder in ("python", "node", "shell")
        for file in (EXAMPLES / folder).iterdir()
        if file.stem in ("consume", "send")
    ]
    assert len(programs) == 6
    assert all(file.name in readme for file in programs)
    assert not list(EXAMPLES.rglob("*lock*"))
    package = json.loads((EXAMPLES / "node" / "package.json").read_text())
    assert all(version[0].isdigit() for version in package["dependencies"].values())
