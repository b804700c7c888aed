"""Facts about the private RabbitMQ node, with real brokers and pika."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pika
import pytest

from rtmpump.errors import ServiceUnreachable
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq import install
from rtmpump.sandbox.rabbitmq import node as node_module
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.support.broker_node import note_all

QUEUE = "kept"


def put(node: RabbitNode, body: bytes) -> None:
    """Publish a persistent message to a durable queue, with a confirm."""
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(QUEUE, durable=True)
        properties = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("", QUEUE, body, properties, mandatory=True)


def take(node: RabbitNode) -> bytes | None:
    """Return the next message of the queue, or None."""
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        _, _, body = connection.channel().basic_get(QUEUE, auto_ack=True)
        return body


def wait_until(true: Callable[[], bool], seconds: float = 100.0) -> bool:
    """Whether `true` became so in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def processes_with(word: str) -> list[int]:
    """Return the processes (no zombies) that have `word` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and word.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def listening(pid: int) -> list[tuple[str, int]]:
    """Return where a process listens for TCP, from /proc; "elsewhere" if not on 127.0.0.1."""
    files = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        # One that is no socket may be closed meanwhile.
        with suppress(FileNotFoundError):
            files.add(os.readlink(file))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    local = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in files]
    return [
        ("127.0.0.1" if host == "0100007F" else "elsewhere", int(port, 16))
        for host, _, port in (address.partition(":") for address in local)
    ]


def test_a_started_node_takes_messages(node: RabbitNode) -> None:
    """start() returns when it can be used, on the port of its URL."""
    put(node, b"one")
    assert take(node) == b"one"
    assert node.running
    assert str(node.port) in node.url


def test_pid_is_the_erlang_machine(node: RabbitNode) -> None:
    """It is the process to measure or to stop."""
    assert "beam" in Path(f"/proc/{node.pid}/cmdline").read_text()


def test_ctl_asks_this_node(node: RabbitNode) -> None:
    """The program `rabbitmqctl` finds it by its own name, cookie and epmd."""
    assert node.ctl("eval", "node().").strip().strip("'") == node.name
    with pytest.raises(ServiceUnreachable, match="rabbitmqctl nonsense"):
        node.ctl("nonsense")


@pytest.mark.parametrize("tool", ["erl_call", "rabbitmqctl"])
def test_evaluate_asks_this_node(
    node: RabbitNode, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Erlang's own program or without it, the values are the same; an error is one."""
    if tool == "rabbitmqctl":
        monkeypatch.setattr(install, "erl_call", lambda: "")
    assert node.evaluate("node()").strip("'") == node.name
    assert node.evaluate('X = [{a, "x"}, {b, <<"y">>}], lists:reverse(X)') == (
        '[{b,<<"y">>},{a,"x"}]'
    )
    for wrong in ("1 = 2", "nonsense(", "lists:nonsense()"):
        with pytest.raises(ServiceUnreachable, match=tool):
            node.evaluate(wrong)


def test_a_call_that_finds_no_connection_is_made_again(
    node: RabbitNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erlang's program may fail to connect on a loaded machine; nothing was evaluated then."""
    tried, program = tmp_path / "tried", tmp_path / "erl_call"
    program.write_text(
        f'#!/bin/sh\n[ -e {tried} ] && exec {install.erl_call()} "$@"\n'
        f"touch {tried}\necho 'erl_call: failed to connect to node x' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(install, "erl_call", lambda: str(program))
    assert node.evaluate("1 + 1") == "2"
    assert tried.exists()


def test_it_listens_on_loopback_only(node: RabbitNode) -> None:
    """No port of it is open to the network."""
    addresses = listening(node.pid)
    assert ("127.0.0.1", node.port) in addresses
    assert {address for address, _ in addresses} == {"127.0.0.1"}


def test_it_keeps_nothing_outside_its_folder(node: RabbitNode) -> None:
    """Data, log, cookie and settings are all inside."""
    # Not by rglob, which fails where a running node removes a folder of its own meanwhile.
    inside = {name for _, folders, files in os.walk(node.folder) for name in (*folders, *files)}
    assert {".erlang.cookie", "rabbitmq.conf", "enabled_plugins", "rabbit.log"} <= inside
    assert "Starting RabbitMQ" in node.logs


def test_data_survives_a_restart(node: RabbitNode) -> None:
    """stop() and start() keep messages and port."""
    put(node, b"two")
    port = node.port
    node.restart()
    assert node.port == port
    assert take(node) == b"two"


def test_confirmed_data_survives_a_kill(node: RabbitNode) -> None:
    """kill() is a crash: the port is shut at once, and what was confirmed is there after it."""
    put(node, b"three")
    note_all(node)
    node.kill()
    assert (node.running, node.pid) == (False, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node.port), timeout=100)
    node.start()
    assert take(node) == b"three"


def test_a_frozen_node_can_be_killed(node: RabbitNode) -> None:
    """A machine that was stopped with SIGSTOP answers nothing, and ends all the same."""
    os.kill(node.pid, signal.SIGSTOP)
    node.kill()
    assert not node.running
    node.start()


def test_settings_and_neighbours(node: RabbitNode) -> None:
    """A second node has its own ports and settings; close() leaves no process and no folder."""
    with RabbitNode(config={"vm_memory_high_watermark.absolute": "123MB"}) as other:
        assert len({node.port, other.port}) == 2
        setting = other.evaluate("vm_memory_monitor:get_vm_memory_high_watermark()")
        assert setting == '{absolute,"123MB"}'
        folder = other.folder
        assert processes_with(str(folder))
    assert not folder.exists()
    assert processes_with(str(folder)) == []
    assert node.running


def test_a_given_folder_is_kept_and_used_again(tmp_path: Path) -> None:
    """Another object with the same folder finds the data; plugins are enabled."""
    with RabbitNode(folder=tmp_path, plugins=("rabbitmq_event_exchange",)) as node:
        put(node, b"four")
        assert "rabbitmq_event_exchange" in node.ctl("status")
        name = node.name
    with RabbitNode(folder=tmp_path) as node:
        assert node.name == name
        assert take(node) == b"four"
    assert processes_with(str(tmp_path)) == []


def test_a_node_dies_with_its_parent() -> None:
    """A parent that is killed with -9 leaves no process and no folder."""
    program = (
        "import os, signal\n"
        "from rtmpump.sandbox.rabbitmq.node import RabbitNode\n"
        "node = RabbitNode().start()\n"
        "print(node.folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    folder = Path(done.stdout.decode().strip())
    assert folder.is_absolute()
    assert wait_until(lambda: not folder.exists() and not processes_with(str(folder)))


def test_a_node_that_cannot_start_says_why() -> None:
    """A setting that RabbitMQ refuses ends in one error with its own words, and nothing stays."""
    node = RabbitNode(config="no.such.setting = 1")
    with pytest.raises(ServiceUnreachable, match=r"no\.such\.setting"), node:
        pass
    assert not node.folder.exists()
    assert not node.running


def test_a_port_that_was_taken_meanwhile_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its first start a node moves to other ports when another process was faster.

    Each of its three ports is taken once: one start shows it for all.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = int(other.getsockname()[1])
        left = ["_epmd_port", "_dist_port", "port"]
        choose_ports = RabbitNode._choose_ports

        def choose_a_taken_one(node: RabbitNode) -> None:
            choose_ports(node)
            if left:
                setattr(node, left.pop(0), taken)

        monkeypatch.setattr(RabbitNode, "_choose_ports", choose_a_taken_one)
        monkeypatch.setattr(node_module, "_MOVES", 3)
        with RabbitNode() as node:
            assert left == []
            assert taken not in (node.port, node._dist_port, node._epmd_port)


def test_a_node_that_is_not_running_has_nothing_to_tell() -> None:
    """Before the first start there is no process, no log, and rabbitmqctl is not tried."""
    node = RabbitNode()
    assert (node.running, node.pid, node.logs) == (False, 0, "")
    with pytest.raises(ServiceUnreachable, match="does not run"):
        node.ctl("status")
    with pytest.raises(ServiceUnreachable, match="does not run"):
        node.evaluate("1")
    node.stop()
    node.kill()
    node.close()


# Opens its two ports one after the other, as RabbitMQ does, but with a second between.
SLOW_SERVER = r"""#!{python}
import os, re, socket, time

settings = open(os.environ["RABBITMQ_CONFIG_FILE"]).read()
first, second = map(int, re.findall(r"^listeners.*:(\d+)$", settings, re.M))
with socket.create_server(("127.0.0.1", first)) as one:
    client, _ = one.accept()
    client.sendall(b"\x01")
    time.sleep(1)
    with socket.create_server(("127.0.0.1", second)):
        time.sleep(60)
"""


@pytest.mark.parametrize("key", ["listeners.tcp.2", "listeners.ssl.default"])
def test_a_node_is_started_when_all_its_ports_are_open(tmp_path: Path, key: str) -> None:
    """Those that its configuration opens come after the one for AMQP."""
    server = tmp_path / "rabbitmq-server"
    server.write_text(SLOW_SERVER.format(python=sys.executable))
    server.chmod(0o755)
    port = free_port()
    with RabbitNode(config={key: f"127.0.0.1:{port}"}, server=server):
        socket.create_connection(("127.0.0.1", port)).close()
