"""Facts about the shell lines of the documentation: bash reads them, and most of them run.

What needs root, the network or another machine is listed in `tests.support.shell.ELSEWHERE`, each
with the reason. All else is run, for real, against a simulated workspace, a private RabbitMQ node
and a real pump; only `/etc`, `/opt` and `/var` are a folder of the test.
"""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support import usage
from tests.support.broker import Broker
from tests.support.broker_node import add_vhost, delete_vhost
from tests.support.cli import Running, environment
from tests.support.markdown import page, pages
from tests.support.pump import PumpProcess
from tests.support.shell import ELSEWHERE, OTHER_SHELLS, Statement, World, statements
from tests.support.terminal import Terminal
from tests.support.waiting import SECONDS

pytestmark = pytest.mark.real

PAGES = [one.name for one in pages() if statements(one)]
VHOST = "test-docs"
DEAD = "rtm.outbound.dead"
ENDLESS = ("rtmpump tail",)
ENDLESS_SECONDS = 3
CTRL_D = "\x04"


class Stage:
    """The world of the statements, with a workspace, a broker and a pump in it."""

    def __init__(self, world: World, workspace: Workspace, broker: Broker) -> None:
        self.world = world
        self.workspace = workspace
        self.broker = broker

    def run(self, statement: Statement) -> None:
        """Run a statement as the documentation has it, and see it succeed."""
        if statement.is_for_another_shell:
            return
        if "rtmpump dead" in statement.text:
            self._bury()
        if statement.text.startswith("rtmpump init") and "--help" not in statement.text:
            self._set_up(statement.text)
            return
        text, good = statement.text, {0}
        if text.startswith(ENDLESS):
            text, good = f"timeout -s INT {ENDLESS_SECONDS} {text}", {124}
        done = self.world.run(text, self._typed(statement.text), SECONDS)
        assert done.returncode in good, f"{statement.where}: {text}\n{done.stdout}{done.stderr}"

    def _set_up(self, text: str) -> None:
        """Answer each question when it comes: what is typed before a hidden one is thrown away."""
        world, text = self.world, self.world.inside(text)
        named = re.search(r"-c (\S+)", text)
        config = named[1] if named else world.environment["RTMPUMP_CONFIG"]
        env = dict(world.environment)
        if named:
            env |= {"RTMPUMP_SPOOL_PATH": f"{config}.db", "RTMPUMP_HTTP_LISTEN": "127.0.0.1:0"}
        with Terminal(["bash", "-c", text], world.checkout, env) as person:
            if Path(config).exists():
                person.answer("Set mode, tokens and broker in it? [Y/n]: ", "")
            person.answer("1 or 2", "1")
            person.answer("xoxb-…): ", self.workspace.token)
            person.answer("xapp-…): ", self.workspace.app_token)
            person.answer("URL of RabbitMQ", "")
            assert person.end() == 0, person.text

    def _bury(self) -> None:
        """Put a dead letter with the id of the documentation into the queue."""
        command = {"channel": "nowhere", "text": "hi"}
        self.broker.publish(command, queue=DEAD, message_id="ID")

    def _typed(self, text: str) -> str:
        """Return what a person types while the statement runs; Ctrl-D ends what is pasted."""
        if "broker-url" in text:
            return f"{self.world.environment['RTMPUMP_BROKER_URL']}\n{CTRL_D}"
        if "app-token" in text:
            return f"{self.workspace.app_token}\n{CTRL_D}"
        if "slack-token" in text:
            return f"{self.workspace.token}\n{CTRL_D}"
        return f"y\n{CTRL_D}"


@pytest.fixture(scope="module")
def stage(node: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Start one pump for all pages, whose port and spool are where the pages say."""
    url, port, gateway_port = add_vhost(node, VHOST), free_port(), free_port()
    bot, app = (f"{kind}-{secrets.token_hex(16)}" for kind in ("xoxb", "xapp"))
    with Workspace(token=bot, app_token=app) as workspace, Broker(url) as broker:
        env = {
            "RTMPUMP_BROKER_URL": url,
            "RTMPUMP_SLACK_API_URL": workspace.api_url,
            "RTMPUMP_HTTP_LISTEN": f"127.0.0.1:{port}",
        }
        world = World(tmp_path_factory.mktemp("world"), environment(env))
        (world.root / "var/lib/rtmpump").mkdir()
        (world.root / "etc/rtmpump/gateway").mkdir(parents=True)
        program = world.root / "etc/rtmpump/gateway/helpdesk"
        program.write_text(secrets.token_hex(24))
        program.chmod(0o640)
        for name, token in (("slack-token", bot), ("slack-app-token", app)):
            (world.root / "etc/rtmpump" / name).write_text(token)
        world.environment["RTMPUMP_CONFIG"] = str(world.root / "etc/rtmpump/config.toml")
        world.environment["RTMPUMP_SPOOL_PATH"] = str(world.root / "var/lib/rtmpump/spool.db")
        spool = {"path": str(world.root / "var/lib/rtmpump/spool.db")}
        folder, listen = tmp_path_factory.mktemp("pump"), {"listen": f"127.0.0.1:{port}"}
        world.port, world.gateway_port = port, gateway_port
        sections: dict[str, Any] = {
            "gateway": {"listen": f"127.0.0.1:{gateway_port}"},
            "gateway.clients.helpdesk": {"token_file": str(program)},
        }
        pump = PumpProcess(folder, workspace, url, spool=spool, http=listen, **sections)
        with pump, Running(folder, "gateway", "-c", str(pump.config), env=env) as gateway:
            pump.wait_ready()
            gateway.wait_line("broker.connected")
            # It is what the pages talk about: the daemon that runs with this configuration.
            (world.root / "etc/rtmpump/config.toml").symlink_to(pump.config)
            yield Stage(world, workspace, broker)
    delete_vhost(node, VHOST)


@pytest.mark.parametrize("name", PAGES)
def test_bash_can_read_each_block(name: str) -> None:
    """`bash -n` finds no mistake."""
    for block in page(name).blocks("sh", "bash", "console"):
        done = subprocess.run(
            ["bash", "-n"], input=block.text, capture_output=True, text=True, timeout=SECONDS
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{name}:{block.line}"


@pytest.mark.parametrize("name", PAGES)
def test_each_call_of_rtmpump_is_right(name: str) -> None:
    """Also those that are not run: the commands and options are there."""
    for statement in statements(page(name)):
        for words in statement.commands():
            if words[:1] and Path(words[0]).name == "rtmpump" and words[1:]:
                assert usage.problems(" ".join(words[1:])) == [], statement


def test_the_installation_of_the_readme_works(stage: Stage) -> None:
    """Line by line, from the package to the first event."""
    for statement in statements(page("README.md")):
        stage.run(statement)
    config = (stage.world.root / "etc/rtmpump/config.toml").read_text()
    assert '\nmode = "socket"\n' in config


def test_each_other_line_works(stage: Stage) -> None:
    """Page by page, line by line; one that stands in several pages runs once."""
    once: dict[str, Statement] = {}
    for name in PAGES:
        if name != "README.md":
            for statement in statements(page(name)):
                once.setdefault(re.sub(r"\s+# [^'\"]*$", "", statement.text), statement)
    for statement in once.values():
        stage.run(statement)


def test_no_exception_is_left_that_nothing_needs() -> None:
    """Each program that is replaced, and each line for another shell, is somewhere."""
    everything = [one for name in PAGES for one in statements(page(name))]
    called = {Path(words[0]).name for one in everything for words in one.commands() if words}
    assert set(ELSEWHERE) - called == set()
    for beginning in OTHER_SHELLS:
        assert any(one.text.startswith(beginning) for one in everything)


def test_a_path_of_this_machine_is_never_used(tmp_path: Path) -> None:
    """What a block removes or writes is in the world of the test."""
    world = World(tmp_path, {})
    moved = world.inside("rm -r /etc/x /opt/rtmpump; echo 1 >/var/lib/x")
    assert str(tmp_path) in moved
    assert " /etc" not in moved
    with pytest.raises(AssertionError, match="/usr/bin/x is of this machine"):
        world.inside("rm -r /usr/bin/x")
