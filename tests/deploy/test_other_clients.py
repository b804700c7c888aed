"""Facts about client libraries that know nothing of rtmpump: they declare in their ordinary way."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker_node import add_vhost, delete_vhost
from tests.support.pump import PumpProcess
from tests.support.waiting import SECONDS

CLIENTS = Path(__file__).parent / "clients"
VHOST = "test-other-clients"


class Client:
    """A program that declares, and consumes until it is told that this is the last."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def run(self, url: str, mode: str) -> str:
        """Run it to its end; return what it printed."""
        command = [*self._command, url, mode]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=["pika", "kombu", "faststream", "amqplib"])
def client(request: pytest.FixtureRequest) -> Client:
    """Each client, if it is there."""
    name = request.param
    if name == "amqplib":
        folder = request.getfixturevalue("node_folder")
        shutil.copy(CLIENTS / "by_amqplib.mjs", folder)
        return Client(["node", str(folder / "by_amqplib.mjs")])
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"there is no {name} here: pip install -e '.[dev]' -c constraints.txt")
    return Client([sys.executable, str(CLIENTS / f"by_{name}.py")])


@pytest.fixture
def url(node: RabbitNode) -> Iterator[str]:
    """A vhost where no pump ever was."""
    yield add_vhost(node, VHOST)
    delete_vhost(node, VHOST)


def test_it_declares_before_the_pump_and_after_it(client: Client, url: str, tmp_path: Path) -> None:
    """Neither gets a 406; and it reads every event, also one that is no JSON."""
    client.run(url, "declare")
    with Workspace() as workspace, PumpProcess(tmp_path, workspace, url) as pump:
        pump.wait_ready()
        client.run(url, "declare")
        workspace.emit({"type": "message", "channel": "C1", "ts": "1.000001", "text": "first"})
        workspace.emit(b"no JSON")
        workspace.emit({"type": "message", "channel": "C1", "ts": "1.000002", "text": "last"})
        said = client.run(url, "consume")
        assert all(word in said for word in ("first", "no JSON", "last")), said
        assert not pump.logged("type.refused")
