"""Strikes against two pumps and three nodes, by name, each with how long nobody may read then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rtmpump.links.active_role import claim_lasts
from tests.e2e.test_standby import LOCK
from tests.faults.pair_rig import HEARTBEAT, PairRig
from tests.support.broker import Broker
from tests.support.broker_node import memory_alarm
from tests.support.pump import PumpProcess

# rtm.connect, the WebSocket and its hello; between two calls the pumps of the suite rest for 2 s.
_CONNECTS_IN: Final = 3.0
# Whoever is given the lock waits until older claims have run out (1.1 times a claim's life), and at
# most a second more until its note has come; then it connects.
TAKEN_OVER: Final = claim_lasts(HEARTBEAT) * 1.1 + 1.0 + _CONNECTS_IN
# RabbitMQ takes a silent client for dead after two to three heartbeats; the lock's is half of ours.
SILENT: Final = 3 * (HEARTBEAT / 2) + TAKEN_OVER
# Both connect anew, after two seconds at most, where their queue is gone.
ANEW: Final = 2.0 + TAKEN_OVER
NEVER: Final = 0.0


@dataclass(frozen=True)
class PairStrike:
    """What is done, and the bound in seconds; RabbitMQ's own bad times don't count.

    `whole`: all nodes have to know the same queues before.
    """

    do: Callable[[PairRig], object]
    bound: float
    whole: bool = False


KINDS: Final[dict[str, PairStrike]] = {}


def _enter(
    name: str, bound: float, whole: bool = False
) -> Callable[[Callable[[PairRig], object]], Callable[[PairRig], object]]:
    def enter(do: Callable[[PairRig], object]) -> Callable[[PairRig], object]:
        KINDS[name] = PairStrike(do, bound, whole)
        return do

    return enter


def _kill(rig: PairRig, pump: PumpProcess) -> None:
    pump.kill()
    time.sleep(rig.dice.uniform(0, 3))
    pump.start()


def _restart(rig: PairRig, pump: PumpProcess) -> None:
    rig.stop_pump(pump)
    pump.start()


def _freeze(rig: PairRig, pump: PumpProcess) -> None:
    with rig.frozen(pump):
        time.sleep(rig.dice.choice([1.0, 3.2, 6.0, 12.0, 25.0]))


def _cut(rig: PairRig, seconds: float) -> None:
    rig.cut(rig.some_node(), seconds)
    rig.rejoin()


@_enter("active pump: kill -9", TAKEN_OVER)
def _kill_active(rig: PairRig) -> None:
    _kill(rig, rig.active)


@_enter("active pump: SIGTERM", TAKEN_OVER)
def _stop_active(rig: PairRig) -> None:
    _restart(rig, rig.active)


@_enter("active pump: SIGSTOP", SILENT)
def _freeze_active(rig: PairRig) -> None:
    _freeze(rig, rig.active)


@_enter("standby: kill -9", NEVER)
def _kill_standby(rig: PairRig) -> None:
    _kill(rig, rig.standby)


@_enter("standby: SIGTERM", NEVER)
def _stop_standby(rig: PairRig) -> None:
    _restart(rig, rig.standby)


@_enter("standby: SIGSTOP", NEVER)
def _freeze_standby(rig: PairRig) -> None:
    _freeze(rig, rig.standby)


@_enter("lock queue deleted", ANEW, whole=True)
def _delete_lock(rig: PairRig) -> None:
    with Broker(rig.dice.choice(rig.nodes).url) as broker:
        broker.channel.queue_delete(LOCK)


@_enter("node: cut off for a blip", SILENT)
def _blip(rig: PairRig) -> None:
    rig.cut(rig.some_node(), 0)


@_enter("node: cut off for 1 s", SILENT)
def _cut_1(rig: PairRig) -> None:
    _cut(rig, 1)


@_enter("node: cut off for 5 s", SILENT)
def _cut_5(rig: PairRig) -> None:
    _cut(rig, 5)


@_enter("node: cut off for 20 s", SILENT)
def _cut_20(rig: PairRig) -> None:
    _cut(rig, 20)


@_enter("node: flapping", SILENT)
def _flap(rig: PairRig) -> None:
    node = rig.some_node()
    for _ in range(rig.dice.randint(3, 6)):
        rig.cut(node, rig.dice.choice([0.0, 0.0, 0.3]))
        time.sleep(rig.dice.uniform(0, 1))
    rig.rejoin()


@_enter("node: kill -9", SILENT)
def _kill_node(rig: PairRig) -> None:
    rig.kill_node(rig.some_node(), rig.dice.uniform(0, 5))


@_enter("node: stop and start", SILENT)
def _stop_node(rig: PairRig) -> None:
    rig.stop_node(rig.some_node(), rig.dice.uniform(0, 3))


@_enter("memory alarm", NEVER)
def _alarm(rig: PairRig) -> None:
    with memory_alarm(rig.dice.choice(rig.nodes)):
        time.sleep(rig.dice.choice([1.0, 4.0, 10.0, 30.0]))


@_enter("memory alarm, and a pump is killed", TAKEN_OVER)
def _alarm_kill(rig: PairRig) -> None:
    with memory_alarm(rig.dice.choice(rig.nodes)):
        time.sleep(rig.dice.uniform(0, 5))
        _kill(rig, rig.dice.choice([rig.active, rig.active, rig.standby]))
        time.sleep(rig.dice.uniform(0, 12))


@_enter("memory alarm, and a pump is restarted", TAKEN_OVER)
def _alarm_restart(rig: PairRig) -> None:
    with memory_alarm(rig.dice.choice(rig.nodes)):
        time.sleep(rig.dice.uniform(0, 5))
        _restart(rig, rig.dice.choice([rig.active, rig.active, rig.standby]))
        time.sleep(rig.dice.uniform(0, 8))


@_enter("memory alarm, and a node is cut off", SILENT)
def _alarm_cut(rig: PairRig) -> None:
    with memory_alarm(rig.dice.choice(rig.nodes)):
        time.sleep(rig.dice.uniform(0, 3))
        rig.cut(rig.some_node(), rig.dice.choice([0.0, 1.0, 8.0]))
        time.sleep(rig.dice.uniform(0, 6))
    rig.rejoin()
