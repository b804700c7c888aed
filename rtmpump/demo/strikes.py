"""What `--chaos` breaks, and when: the WebSocket, the pump, the broker, in random order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from rtmpump.demo.screen import Screen
from rtmpump.demo.stage import PumpProcess
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace

_EVERY: Final = 5.0
_FIRST, _LAST = 0.12, 0.7


class Strike(NamedTuple):
    """What is broken how many seconds after the start."""

    at: float
    name: str


def plan(seed: int, seconds: float, kinds: tuple[str, ...]) -> list[Strike]:
    """Return each kind once, more if there is time, at random times that leave time to recover."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    names = list(kinds)
    chance.shuffle(names)
    while len(names) < seconds / _EVERY:
        names.append(chance.choice(kinds))
    times = sorted(chance.uniform(_FIRST * seconds, _LAST * seconds) for _ in names)
    return [Strike(at, name) for at, name in zip(times, names, strict=True)]


class Strikes:
    """Carries out a plan on its own threads; `wait` waits until all that was stopped runs again."""

    def __init__(
        self,
        workspace: Workspace,
        node: RabbitNode | None,
        pump: PumpProcess,
        screen: Screen,
        mode: str = "rtm",
    ) -> None:
        self._workspace = workspace
        self._node = node
        self._pump = pump
        self._screen = screen
        self._stop = threading.Event()
        self._busy = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.error: Exception | None = None
        self._ways: dict[str, Callable[[], None]] = {
            "cut": self._cut,
            "reset": self._reset,
            "kill": self._kill_pump,
        }
        if mode == "socket":
            self._ways["refresh"] = self._refresh
        if node is not None:
            self._ways["restart"] = self._restart_broker

    def begin(self, seed: int, seconds: float) -> None:
        """Start the plan."""
        strikes = plan(seed, seconds, tuple(self._ways))
        self._spawn(lambda: self._carry_out(strikes))

    def wait(self, timeout: float) -> bool:
        """Break nothing more; return True when all that was stopped runs again."""
        self._stop.set()
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _carry_out(self, strikes: list[Strike]) -> None:
        began = time.monotonic()
        for at, name in strikes:
            if self._stop.wait(max(0.0, began + at - time.monotonic())):
                return
            # A restart of the broker takes seconds; other strikes in that time are the best test.
            if name == "restart":
                self._spawn(self._ways[name])
            else:
                self._ways[name]()

    def _spawn(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as error:
                self.error = error

        thread = threading.Thread(target=run, name="demo-strikes", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _cut(self) -> None:
        self._screen.strike("the WebSocket is cut (FIN, no goodbye)")
        self._workspace.cut()

    def _reset(self) -> None:
        self._screen.strike("the WebSocket is reset (RST)")
        self._workspace.reset()

    def _refresh(self) -> None:
        self._screen.strike("Slack renews every WebSocket (disconnect, refresh_requested)")
        self._workspace.disconnect("refresh_requested", close_after=2.0)

    def _kill_pump(self) -> None:
        self._screen.strike(f"the pump is killed (kill -9 {self._pump.pid})")
        self._pump.kill()
        self._pump.start()
        self._screen.heal(f"the pump is started again (process {self._pump.pid})")

    def _restart_broker(self) -> None:
        if self._node is None or not self._busy.acquire(blocking=False):
            return
        try:
            self._screen.strike("RabbitMQ is stopped")
            with self._screen.waiting("RabbitMQ is away"):
                self._node.stop()
                self._node.start()
            self._screen.heal("RabbitMQ is up again")
        finally:
            self._busy.release()
