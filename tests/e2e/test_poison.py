"""Facts about commands whose results or dead letters RabbitMQ does not take; the real process."""

from __future__ import annotations

import re
from pathlib import Path

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.broker_node import frame_max
from tests.support.poison import foreign_reply_address, require_punishment
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until


def test_poisonous_commands_stop_nobody_and_do_not_come_again(
    node: RabbitNode, start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """A foreign reply address, too large headers: others are answered, a restart repeats none."""
    require_punishment(node.url)
    address = foreign_reply_address()
    good = {"channel": "C0GENERAL", "text": "good"}
    with frame_max(node, 8_192):
        pump = start_pump(outbound={"rate": 100.0, "burst": 100})
        broker.publish(good | {"text": "poison"}, reply_to=address, message_id="m-1")
        broker.publish(b"no command", reply_to=address, message_id="m-2")
        broker.publish(b"large", headers={"mine": "x" * 7_990}, message_id="m-3")
        commands = [broker.command(good) for _ in range(20)]
        assert all(broker.result(command).json["ok"] for command in commands)
        pump.wait_log("result.undeliverable", reply_to=address, message_id="m-1")
        pump.wait_log("result.undeliverable", reply_to=address, message_id="m-2")
        pump.wait_log("dead_letter.shortened", message_id="m-3", left_out="headers")
        pump.terminate()
        assert pump.wait() == 0
        pump.start()
        pump.wait_ready()
        wait_until(lambda: broker.count("rtm.outbound") == 0)
        assert broker.ask(good)["ok"]
    assert sorted(sent.text for sent in workspace.sent) == ["good"] * 21 + ["poison"]
    assert not any(broker.more_results(command) for command in commands)
    letters = {one.properties.message_id: one for one in broker.drain("rtm.outbound.dead")}
    assert {id: one.body for id, one in letters.items()} == {"m-2": b"no command", "m-3": b"large"}


def peak_mib(pump: PumpProcess) -> int:
    """The most memory (RSS) that the process ever had, in MiB."""
    status = Path(f"/proc/{pump.pid}/status").read_text()
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kib) // 1024


def test_commands_of_16_mib_cost_no_memory(start_pump: StartPump, broker: Broker) -> None:
    """Each has its result and lies whole in the dead queue; held at once they would be 96 MiB."""
    pump = start_pump()
    before = peak_mib(pump)
    body = b"x" * (16 << 20)
    commands = [broker.command(body) for _ in range(6)]
    for command in commands:
        assert broker.result(command).json["error"]["code"] == "too_long"
    assert broker.dead().body == body
    assert peak_mib(pump) < before + 14
