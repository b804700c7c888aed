"""Facts about the pump where something around it is odd: its clock, or what others declared."""

from __future__ import annotations

import signal
import time
from datetime import datetime

from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker

# The daemon on a machine whose clocks were ahead since a file said so.
SLEEPY = """
import os, time
from rtmpump import cli
from rtmpump.links import clock
elapsed, time_ns = clock.elapsed, time.time_ns
def slept():
    return 3600 if os.path.exists("slept") else 0
clock.elapsed = lambda: elapsed() + slept()
time.time_ns = lambda: time_ns() + slept() * 10**9
cli.main()
"""


def test_a_machine_that_sleeps_with_a_frame_unread(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """The gap covers the hour of sleep, although an event was read just after it."""
    pump = start_pump(program=("-c", SLEEPY))
    queue = broker.all_from_now_on()
    before = time.time()
    pump.process.send_signal(signal.SIGSTOP)
    workspace.emit({"type": "message", "channel": "C1", "ts": "1.000001"})
    workspace.cut()
    (pump.folder / "slept").touch()
    pump.process.send_signal(signal.SIGCONT)
    got = broker.take_until(queue, lambda got: "rtmpump.gap" in [one.key for one in got])
    assert got[0].key == "message"
    gap = got[-1].json
    assert datetime.fromisoformat(gap["from"]).timestamp() <= before
    assert datetime.fromisoformat(gap["to"]).timestamp() >= before + 3600


def test_a_type_exchange_of_another_kind_is_told_once(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """The pump does without it, at its start and on each new connection."""
    broker.channel.exchange_declare("rtm.message", "fanout", durable=True)
    pump = start_pump()
    queue = broker.all_from_now_on()
    for number in (1, 2):
        broker.channel.exchange_delete("rtm.events")
        broker.channel.exchange_declare("rtm.events", "topic", durable=True)
        broker.bind(queue, "rtm.events")
        workspace.emit({"type": "message", "channel": "C1", "ts": f"{number}.000001"})
        assert broker.get(queue).json["ts"] == f"{number}.000001"
    assert len(pump.logged("type.refused")) == 1
