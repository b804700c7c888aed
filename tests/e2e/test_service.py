"""The pump under a service manager: what it tells on a real NOTIFY_SOCKET (sd_notify(3))."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtmpump.sandbox.ports import free_port
from tests.pump_help import PumpProcess, wait_until

StartPump = Callable[..., PumpProcess]


class Manager:
    """The service manager's end of the socket; `told` is all that it was told so far."""

    def __init__(self, path: Path) -> None:
        self.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        self._told: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    @property
    def told(self) -> list[str]:
        """Everything up to now."""
        while True:
            try:
                self._told.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self._told


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that waits for a sign of life every 0.4 seconds."""
    one = Manager(tmp_path / "notify")
    yield one
    one.socket.close()


def test_a_service_manager_is_told_how_it_goes(start_pump: StartPump, manager: Manager) -> None:
    """READY=1, the status in words, signs of life, and STOPPING=1."""
    pump = start_pump(env=manager.env)
    wait_until(lambda: "STATUS=all links are up" in manager.told)
    wait_until(lambda: manager.told.count("WATCHDOG=1") >= 3)
    assert manager.told.index("READY=1") < manager.told.index("STATUS=all links are up")
    assert "STOPPING=1" not in manager.told
    pump.terminate()
    assert pump.wait() == 0
    assert "STOPPING=1" in manager.told


def test_a_broker_that_is_down_does_not_hold_up_the_boot(
    start_pump: StartPump, manager: Manager
) -> None:
    """READY=1 comes all the same, and the status names what is away."""
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F"
    start_pump(ready=False, env=manager.env, broker={"url": url})
    wait_until(lambda: "READY=1" in manager.told)
    wait_until(lambda: "STATUS=waiting for broker_events, broker_commands" in manager.told)
