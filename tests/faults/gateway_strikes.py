"""Strikes against the gateways, the pump, the broker, the programs, and the networks between them.

Each breaks one thing, holds it for a while, and mends it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Final

from tests.faults.gateway_rig import HEARTBEAT, GatewayRig, Program
from tests.faults.proxy import HALF_OPEN, Proxy, Weather
from tests.support.broker_node import memory_alarm
from tests.support.pump import PumpProcess

Strike = Callable[[GatewayRig], object]
KINDS: Final[dict[str, Strike]] = {}
ENDS_GATEWAY: Final[dict[str, Strike]] = {}
"""Those that end the process of a gateway."""


def _enter(name: str, kinds: dict[str, Strike] = KINDS) -> Callable[[Strike], Strike]:
    def enter(strike: Strike) -> Strike:
        kinds[name] = strike
        return strike

    return enter


def _kill(rig: GatewayRig, process: PumpProcess) -> None:
    rig.weigh()
    process.kill()
    rig.hold(0, 2)
    process.start()


def _restart(rig: GatewayRig, process: PumpProcess) -> None:
    rig.weigh()
    rig.stop(process)
    rig.hold(0, 1)
    process.start()


def _freeze(rig: GatewayRig, pid: int, high: float) -> None:
    with rig.frozen(pid):
        rig.hold(0.5, high)


# The gateways.


@_enter("gateway: kill -9", ENDS_GATEWAY)
def _kill_gateway(rig: GatewayRig) -> None:
    _kill(rig, rig.dice.choice(rig.gateways))


@_enter("gateway: kill -9 of both", ENDS_GATEWAY)
def _kill_both(rig: GatewayRig) -> None:
    rig.weigh()
    for gateway in rig.gateways:
        gateway.kill()
    rig.hold(0, 3)
    for gateway in rig.gateways:
        gateway.start()


@_enter("gateway: kill -9 while it starts", ENDS_GATEWAY)
def _kill_at_start(rig: GatewayRig) -> None:
    gateway = rig.dice.choice(rig.gateways)
    for _ in range(3):
        gateway.kill()
        gateway.start()
        rig.hold(0, 2)


@_enter("gateway: SIGTERM", ENDS_GATEWAY)
def _stop_gateway(rig: GatewayRig) -> None:
    _restart(rig, rig.dice.choice(rig.gateways))


@_enter("gateway: one after the other stopped and started", ENDS_GATEWAY)
def _roll(rig: GatewayRig) -> None:
    for gateway in rig.gateways:
        _restart(rig, gateway)
        gateway.wait_connected()


@_enter("gateway: SIGSTOP")
def _freeze_gateway(rig: GatewayRig) -> None:
    _freeze(rig, rig.dice.choice(rig.gateways).pid, 3 * HEARTBEAT + 4)


# The programs.


def _end_program(rig: GatewayRig, program: Program, how: signal.Signals) -> None:
    program.end(how)
    rig.hold(0, 2)
    program.start()


@_enter("program: kill -9")
def _kill_program(rig: GatewayRig) -> None:
    _end_program(rig, rig.dice.choice(rig.programs), signal.SIGKILL)


@_enter("program: SIGTERM")
def _stop_program(rig: GatewayRig) -> None:
    _end_program(rig, rig.dice.choice(rig.programs), signal.SIGTERM)


@_enter("program: SIGSTOP")
def _freeze_program(rig: GatewayRig) -> None:
    _freeze(rig, rig.dice.choice(rig.programs).process.pid, 20)


@_enter("programs: all of a name killed")
def _kill_name(rig: GatewayRig) -> None:
    name = rig.dice.choice(rig.programs).name
    ours = [program for program in rig.programs if program.name == name]
    for program in ours:
        program.end(signal.SIGKILL)
    rig.hold(0, 4)
    for program in ours:
        program.start()


# The pump.


@_enter("pump: kill -9")
def _kill_pump(rig: GatewayRig) -> None:
    _kill(rig, rig.pump)


@_enter("pump: SIGTERM")
def _stop_pump(rig: GatewayRig) -> None:
    _restart(rig, rig.pump)


@_enter("pump: SIGSTOP")
def _freeze_pump(rig: GatewayRig) -> None:
    _freeze(rig, rig.pump.pid, 3 * HEARTBEAT + 1)


# The broker.


@_enter("broker: kill -9")
def _kill_broker(rig: GatewayRig) -> None:
    rig.kill_node()
    rig.hold(0, 2)
    rig.node.start()


@_enter("broker: stop and start")
def _restart_broker(rig: GatewayRig) -> None:
    rig.node.stop()
    rig.hold(0, 2)
    rig.node.start()


@_enter("broker: SIGSTOP")
def _freeze_broker(rig: GatewayRig) -> None:
    _freeze(rig, rig.node.pid, 3 * HEARTBEAT + 1)


@_enter("broker: memory alarm")
def _alarm(rig: GatewayRig) -> None:
    with memory_alarm(rig.node):
        rig.hold(0.5, 4)


@_enter("broker: connections closed by an operator")
def _close_connections(rig: GatewayRig) -> None:
    rig.node.ctl("close_all_connections", "maintenance")


@_enter("broker: channels killed")
def _kill_channels(rig: GatewayRig) -> None:
    rig.node.evaluate("[exit(P, kill) || P <- rabbit_channel:list_local()]")


# The networks.


def _weather(rig: GatewayRig, proxy: Proxy, weather: Weather) -> None:
    proxy.weather = weather
    try:
        rig.hold(0.5, 6)
    finally:
        proxy.heal()


def _networks(rig: GatewayRig) -> dict[str, Proxy]:
    return {
        "programs' network": rig.dice.choice(rig.program_proxies),
        "gateways' network to the broker": rig.gateway_proxy,
        "pump's network to the broker": rig.pump_proxy,
        "Slack's network": rig.slack_proxy,
    }


def _cut(network: str, rig: GatewayRig) -> None:
    _networks(rig)[network].cut()


def _reset(network: str, rig: GatewayRig) -> None:
    _networks(rig)[network].reset()


def _spoil(network: str, weather: Weather, rig: GatewayRig) -> None:
    _weather(rig, _networks(rig)[network], weather)


_WEATHERS: Final = {
    "delay": Weather(delay=0.7),
    "one byte at a time": Weather(step=1),
    "stall": Weather(stalls=True),
    "half open": HALF_OPEN,
    "half open, up": Weather(loses=frozenset({"up"})),
    "half open, down": Weather(loses=frozenset({"down"})),
}
for _network in ("programs' network", "gateways' network to the broker"):
    KINDS[f"{_network}: cut"] = partial(_cut, _network)
    KINDS[f"{_network}: reset"] = partial(_reset, _network)
    for _which, _one in _WEATHERS.items():
        KINDS[f"{_network}: {_which}"] = partial(_spoil, _network, _one)
for _network in ("pump's network to the broker", "Slack's network"):
    KINDS[f"{_network}: cut"] = partial(_cut, _network)
    KINDS[f"{_network}: half open"] = partial(_spoil, _network, HALF_OPEN)
