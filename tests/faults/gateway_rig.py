"""A pump, two gateways and the programs behind them: what a run of the gateway needs.

Each name asks for other events, and one of them has several connections, on both gateways.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.faults import traffic
from tests.faults.fan_out import Hands, NameAccounts
from tests.faults.ledger import Ledger
from tests.faults.modes import SOCKET
from tests.faults.proxy import Proxy
from tests.faults.tokens import Tokens
from tests.support.broker import Broker
from tests.support.broker_node import note_all
from tests.support.gateway import GatewayProcess
from tests.support.paths import ROOT
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

HEARTBEAT: Final = 2
# A gateway sends again what nobody acknowledged: the second time after more than a minute.
RECOVERS_IN: Final = 120.0
_STOPS_IN: Final = 40.0
_LOOK_EVERY: Final = 0.05
_URL: Final = "amqp://guest:guest@127.0.0.1:{}/%2F"
_SETTINGS: Final[dict[str, dict[str, object]]] = {
    "broker": {"heartbeat": HEARTBEAT},
    "retry": {"initial": 0.1, "max": 2, "healthy_after": 1},
    "log": {"level": "info"},
}


class Name(NamedTuple):
    """A name of the gateway: its patterns, which events it wants, and where its programs connect.

    `gateways` has one number for each program.
    """

    name: str
    events: list[str]
    wants: Callable[[int], bool]
    gateways: tuple[int, ...]

    @property
    def token(self) -> str:
        """Made up by the operator."""
        return f"Faults-Token-of-{self.name}-0123456789"

    @property
    def queue(self) -> str:
        """Its queue."""
        return f"rtm.gateway.{self.name}"


# `events.body` makes each fourth one a message, and the others `user_typing`.
NAMES: Final = (
    Name("everything", ["#"], lambda number: True, (0,)),
    Name("workers", ["message.#"], lambda number: number % 4 == 0, (0, 0, 1)),
    Name("typing", ["user_typing.#", "reaction_added"], lambda number: number % 4 != 0, (1,)),
)
GATEWAYS: Final = 2


class Program:
    """A process of a name; each start has a file of records of its own."""

    def __init__(self, name: Name, api_url: str, accounts: NameAccounts, folder: Path) -> None:
        self.name = name.name
        self.starts = 0
        self._token = name.token
        self._api_url = api_url
        self._accounts = accounts
        self._folder = folder
        self._lock = threading.Lock()
        self.start()

    def start(self) -> None:
        """Start it, again or for the first time."""
        self.starts += 1
        self._hands = Hands(self._accounts)
        records = self._folder / f"{self.name}-{id(self)}-{self.starts}"
        records.touch()
        self._file = records.open("rb")
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.gateway_program", self._api_url, str(records)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"TOKEN": self._token},
            )

    def end(self, number: signal.Signals) -> None:
        """Send a signal that ends it, and take in what it said last."""
        self.process.send_signal(number)
        self.process.wait(_STOPS_IN)
        self.look()
        with self._lock:
            self._hands.end()
            self._file.close()

    def look(self) -> None:
        """Take in what it wrote since."""
        with self._lock:
            if not self._file.closed:
                self._hands.read(self._file.read())

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None


class GatewayRig:
    """One run; `close` ends all."""

    def __init__(self, seed: int, rate: float) -> None:
        self.dice = random.Random(seed)
        self.ledger = Ledger(sends_again=True)
        self.keeps_folder = False
        self.peak_kib = 0
        self.longest_recovery = 0.0
        self.accounts = {name.name: NameAccounts(name.name, name.wants) for name in NAMES}
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="rtmpump-gateway-"))
            stack.callback(self._remove_folder)
            self.workspace = stack.enter_context(Workspace())
            self.tokens = Tokens(self.folder, self.workspace)
            self.node = stack.enter_context(RabbitNode())
            self._enter_networks(stack)
            self.gateways = [self._gateway(stack) for _ in range(GATEWAYS)]
            self._enter_programs(stack)
            self.pump = stack.enter_context(self._pump())
            self.flood = traffic.Flood(self.workspace, self.ledger, rate)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End all; the folder with the logs stays if `keeps_folder` was set."""
        self._stack.close()

    # What strikes do.

    def hold(self, low: float, high: float) -> None:
        """For so many seconds it stays as it is."""
        time.sleep(self.dice.uniform(low, high))

    def kill_node(self) -> None:
        """Kill the node once it can know all its queues again afterwards."""
        note_all(self.node)
        self.node.kill()

    def stop(self, process: PumpProcess) -> None:
        """Stop the pump or a gateway in order."""
        process.end_in_order(_STOPS_IN)

    @contextmanager
    def frozen(self, pid: int) -> Iterator[None]:
        """A process that doesn't get the CPU."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def weigh(self) -> None:
        """Note the most memory that a gateway ever took."""
        for gateway in self.gateways:
            self.peak_kib = max(self.peak_kib, traffic.memory(gateway.pid).get("VmHWM", 0))

    # Whether all is well.

    def check(self) -> None:
        """Fail if a part of the rig has ended by itself."""
        for process in (self.pump, *self.gateways):
            assert process.running, f"it has ended\n{process.log_text()[-5000:]}"
        for program in self.programs:
            assert program.running, f"a program of {program.name} has ended"

    def recover(self) -> float:
        """Wait until all names have all events up to now; return the seconds that took."""
        began, upto = time.monotonic(), self.ledger.emitted_count + 1
        wait_until(
            lambda: self.ledger.emitted_count >= upto and self._have(upto),
            RECOVERS_IN,
            lambda: f"for {upto} events: {self.missing(upto)}",
        )
        took = time.monotonic() - began
        self.longest_recovery = max(self.longest_recovery, took)
        self.weigh()
        return took

    def settle(self) -> None:
        """Wait until Slack knows that all was accepted, and every name has all of it."""
        upto = self.ledger.emitted_count
        wait_until(lambda: not self.unaccepted(), RECOVERS_IN, "for the pump to accept all")
        with suppress(AssertionError):
            wait_until(lambda: self._have(upto), RECOVERS_IN)

    def unaccepted(self) -> int:
        """How many events Slack was not told of yet."""
        return sum(one.kind == "events_api" for one in self.workspace.unacknowledged())

    def missing(self, upto: int) -> dict[str, int]:
        """How many of the first events each name lacks."""
        return {name: one.lost(upto) for name, one in self.accounts.items()}

    def connected(self) -> bool:
        """Whether each gateway has just the connections that it should."""
        wanted = [sum(name.gateways.count(at) for name in NAMES) for at in range(GATEWAYS)]
        return [connections(gateway) for gateway in self.gateways] == wanted

    def left(self) -> dict[str, int]:
        """How many messages lie in each queue of the gateways."""
        names = [name.queue for name in NAMES] + ["rtm.gateway.dropped"]
        with Broker(self.node.url) as broker:
            return {name: broker.count(name) for name in names}

    def stop_looking(self) -> None:
        """End the thread that reads what programs write."""
        self._over.set()
        self._thread.join()

    def _have(self, upto: int) -> bool:
        self.check()
        return not any(one.waits(upto) for one in self.accounts.values())

    def _look(self) -> None:
        while not self._over.wait(_LOOK_EVERY):
            for program in self.programs:
                program.look()

    # Its parts.

    def _enter_networks(self, stack: ExitStack) -> None:
        self.slack_proxy = stack.enter_context(Proxy(self.workspace.port))
        self.pump_proxy = stack.enter_context(Proxy(self.node.port))
        self.gateway_proxy = stack.enter_context(Proxy(self.node.port))
        self.workspace.faults = SOCKET.fair(f"127.0.0.1:{self.slack_proxy.port}")

    def _gateway(self, stack: ExitStack) -> GatewayProcess:
        sections: dict[str, Any] = {key: dict(value) for key, value in _SETTINGS.items()}
        url = _URL.format(self.gateway_proxy.port)
        tables = {
            name.name: {"token": name.token, "events": name.events, "queue": name.queue}
            for name in NAMES
        }
        gateway = GatewayProcess(
            self.folder, url, clients=tables, slack={"mode": "socket"}, **sections
        )
        stack.enter_context(gateway)
        gateway.wait_connected()
        return gateway

    def _enter_programs(self, stack: ExitStack) -> None:
        """Programs connect by way of a proxy, and no event may come before the queues are bound."""
        self.program_proxies = [
            stack.enter_context(Proxy(gateway.port)) for gateway in self.gateways
        ]
        for name in NAMES:
            wait_until(partial(self._is_bound, name.queue), what=f"for {name.queue}")
        urls = [f"http://127.0.0.1:{proxy.port}/api/" for proxy in self.program_proxies]
        self.programs = []
        for name in NAMES:
            for at in name.gateways:
                program = Program(name, urls[at], self.accounts[name.name], self.folder)
                stack.callback(program.process.kill)
                self.programs.append(program)
        stack.callback(self._kill_programs)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="records", daemon=True)
        self._thread.start()
        stack.callback(self.stop_looking)
        wait_until(self.connected, RECOVERS_IN, "for the programs")

    def _is_bound(self, queue: str) -> bool:
        return any(gateway.logged("gateway.queue_bound", queue=queue) for gateway in self.gateways)

    def _kill_programs(self) -> None:
        for program in self.programs:
            program.process.kill()
            program.process.wait(_STOPS_IN)

    def _pump(self) -> PumpProcess:
        sections: dict[str, Any] = {key: dict(value) for key, value in _SETTINGS.items()}
        sections["slack"] = SOCKET.settings(self.tokens.app_file) | {
            "token": "",
            "token_file": str(self.tokens.file),
            "api_url": f"http://127.0.0.1:{self.slack_proxy.port}/api/",
            "answered": [],
            "ping_interval": 2,
            "ping_timeout": 2,
            "hello_timeout": 4,
        }
        url = _URL.format(self.pump_proxy.port)
        return PumpProcess(self.folder, self.workspace, url, **sections)

    def _remove_folder(self) -> None:
        if not self.keeps_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def connections(gateway: GatewayProcess) -> int:
    """How many WebSockets a gateway has; -1 if it doesn't answer."""
    try:
        _, page = gateway.get("/metrics")
    except OSError:
        return -1
    lines = (line for line in page.splitlines() if line.startswith("rtmpump_gateway_connections{"))
    return sum(round(float(line.rpartition(" ")[2])) for line in lines)
