"""A real pump and peers that mean no good: what they send hurts nobody, and no secret gets out."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path

import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.faults import HttpAnswer
from rtmpump.sandbox.slack.websocket import encode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.pump import PumpProcess

MIB = 1 << 20
SHORT_STRING = 255
ODD_WORDS = [
    "a\r\nX-Evil: 1",
    "a\x00b",
    "#",
    "*.#",
    "amq.direct",
    "../../etc",
    "\u202egnp",
    "\U0001f4a5" * 300,
    "a" * 100_000,
    " ",
    ".",
    "rtm.outbound",
]


def peak_mib(pump: PumpProcess) -> float:
    """The most memory that it ever had (proc(5), VmHWM)."""
    status = Path(f"/proc/{pump.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def test_words_of_an_event_inject_nothing(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Line breaks, wildcards, names of exchanges, long ones: clean keys, headers that fit."""
    pump = start_pump()
    queue = broker.all_from_now_on()
    for word in ODD_WORDS:
        event = {"type": word, "subtype": word, "channel": word, "user": word, "ts": word}
        workspace.emit(event)
    got = broker.take(queue, len(ODD_WORDS))
    for word, one in zip(ODD_WORDS, got, strict=True):
        assert one.json["type"] == word
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}(\.[A-Za-z0-9_-]{1,100})?", one.key)
        assert one.properties.type == one.key
        assert set(one.headers) <= {"team", "bot", "channel", "user", "received_at", "seq"}
        fits = len(word.encode()) <= SHORT_STRING
        assert (one.headers.get("channel"), one.headers.get("user")) == (
            (word, word) if fits else (None, None)
        )
        assert re.fullmatch(r"[A-Za-z0-9_.:~-]{1,255}", one.properties.message_id or "")
    assert not pump.logged("broker_events.disconnected")
    assert broker.count("rtm.outbound") == 0


def test_names_of_the_workspace_inject_nothing(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """A close reason and an error text with line breaks stay inside of their strings."""
    queue = broker.queue(name="own")
    pump = start_pump()
    broker.bind(queue, "rtm.events", "rtmpump.disconnected")
    workspace.close(1001, 'x"}\r\n{"event": "forged"}')
    told = broker.get(queue).json
    assert told["reason"] == "closed"
    pump.wait_log("slack.connected", 2)
    # While it runs a line may be half written, or come between two looks.
    pump.terminate()
    assert pump.wait() == 0
    assert not pump.logged("forged")
    assert len(pump.log_lines()) == len(pump.log_text().splitlines())


def test_what_is_too_large_takes_no_memory(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """A frame of 100 MB ends the connection, and the pump is back with its memory bounded."""
    pump = start_pump()
    queue = broker.queue(("rtm.events", "probe"))
    workspace.raw(encode(b"y" * (100 * MIB)))
    pump.wait_log("slack.disconnected", reason="too_large")
    pump.wait_log("slack.connected", 2)
    workspace.emit({"type": "probe"})
    assert broker.get(queue).key == "probe"
    assert peak_mib(pump) < 250


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_what_is_nested_too_deep_arrives_as_unknown(
    start_pump: StartPump, broker: Broker, workspace: Workspace, opening: bytes
) -> None:
    """A hundred thousand levels: published as it is, and the pump reads on."""
    start_pump()
    queue = broker.all_from_now_on()
    deep = b'{"type": "message", "x": ' + opening * 100_000
    workspace.emit(deep)
    workspace.emit({"type": "probe"})
    got = broker.take(queue, 2)
    assert [(one.key, one.body == deep) for one in got] == [("unknown", True), ("probe", False)]


def test_a_command_that_is_nested_too_deep_is_a_dead_letter(
    start_pump: StartPump, broker: Broker
) -> None:
    """Sixty thousand levels: refused; a hundred thousand, and 16 MiB: rejected unread.

    RabbitMQ 4 takes no larger message, unless it is told to.
    """
    start_pump()
    for body in (b"[" * 60_000, b'{"":' * 15_000):
        broker.publish(body)
        assert broker.dead().headers["rtmpump-error-code"] == "invalid_command"
    for body in (b"[" * 100_000, b"x" * (16 * MIB)):
        broker.publish(body)
        assert broker.dead().headers["x-death"][0]["reason"] == "rejected"
    assert broker.ask({"channel": "general", "text": "goes on"})["ok"]


def test_no_secret_in_what_it_says_at_debug(
    node: RabbitNode, workspace: Workspace, tmp_path: Path
) -> None:
    """Password of the broker, password of the proxy, ticket of the WebSocket: all of it fails."""
    passwords = [secrets.token_hex(8) for _ in range(2)]
    url = f"amqp://guest:{passwords[0]}@127.0.0.1:{node.port}/%2F"
    workspace.faults.handshakes.append(HttpAnswer(500, {}, "no"))
    with PumpProcess(tmp_path, workspace, url) as pump:
        pump.wait_log("broker_events.unreachable", reason="auth")
        pump.wait_log("slack.connected")
        workspace.cut()
        pump.wait_log("slack.connected", 2)
        said = pump.output()
    proxy = f"http://user:{passwords[1]}@127.0.0.1:{free_port()}"
    with PumpProcess(tmp_path, workspace, url, slack={"proxy": proxy}) as pump:
        pump.wait_log("slack.unreachable")
        said += pump.output()
    for secret in (*passwords, "ticket=", "/websocket/"):
        assert secret not in said
    assert json.loads(said.splitlines()[0])
