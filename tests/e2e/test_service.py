"""The pump under a service manager: what it tells on a real NOTIFY_SOCKET (sd_notify(3))."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker
from tests.support.pump import PumpProcess
from tests.support.tls import make_pair
from tests.support.waiting import wait_until

StartPump = Callable[..., PumpProcess]

# The daemon itself, but that a loop counts as hung after 8 seconds: more than its longest rest.
IMPATIENT = (
    "-c",
    "from rtmpump import cli; from rtmpump.daemon import supervisor;"
    "supervisor._STALLED_AFTER, supervisor._NODE_TIMEOUT = 8.0, 0.0;"
    "cli.main()",
)


class Manager:
    """The service manager's end of the socket; `told` is all that it was told so far."""

    def __init__(self, path: Path) -> None:
        self.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        self._told: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    @property
    def told(self) -> list[str]:
        """Everything up to now."""
        with self._lock, suppress(BlockingIOError):
            while True:
                self._told.append(self.socket.recv(4096).decode())
        return list(self._told)

    def close(self) -> None:
        """Hears no more."""
        self._over.set()
        self._thread.join()
        self.socket.close()

    def _listen(self) -> None:
        # The kernel holds ten datagrams (net.unix.max_dgram_qlen); what is told beyond is lost.
        while not self._over.wait(0.05):
            _ = self.told


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that waits for a sign of life every 0.4 seconds."""
    one = Manager(tmp_path / "notify")
    yield one
    one.close()


def test_a_service_manager_is_told_how_it_goes(start_pump: StartPump, manager: Manager) -> None:
    """READY=1, the status in words, signs of life, and STOPPING=1."""
    pump = start_pump(env=manager.env)
    wait_until(lambda: "STATUS=all links are up" in manager.told)
    wait_until(lambda: manager.told.count("WATCHDOG=1") >= 3)
    wait_until(lambda: "READY=1" in manager.told)
    assert "STOPPING=1" not in manager.told
    pump.terminate()
    assert pump.wait() == 0
    assert "STOPPING=1" in manager.told


def test_a_service_manager_is_told_the_role(start_pump: StartPump, manager: Manager) -> None:
    """A pump that stands for election says in its status which of the two it is."""
    start_pump(env=manager.env, ha={"enabled": True})
    wait_until(lambda: "STATUS=active: all links are up" in manager.told)
    assert any(told.startswith("STATUS=standby: ") for told in manager.told)


def test_a_broker_that_is_down_does_not_hold_up_the_boot(
    start_pump: StartPump, manager: Manager
) -> None:
    """READY=1 comes all the same, and the status names what is away."""
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F"
    start_pump(ready=False, env=manager.env, broker={"url": url})
    wait_until(lambda: "READY=1" in manager.told)
    wait_until(lambda: "STATUS=waiting for broker_events, broker_commands" in manager.told)


def test_a_hung_loop_gets_the_daemon_restarted(
    manager: Manager, broker: Broker, broker_url: str, tmp_path: Path
) -> None:
    """No more signs of life, so the manager kills it; the next start goes on with what was spooled.

    The loop hangs for real: the reader loads its certificates when it connects, and finds a FIFO
    that nobody writes to.
    """
    server, ca = make_pair(tmp_path, "127.0.0.1")
    queue = broker.queue(name="mine", x_max_length=0, x_overflow="reject-publish")
    with Workspace(tls=server) as workspace:
        slack = {"ca_file": ca}
        pump = PumpProcess(
            tmp_path, workspace, broker_url, env=manager.env, program=IMPATIENT, slack=slack
        )
        with pump:
            pump.wait_ready()
            broker.bind(queue, "rtm.events", "message")
            workspace.say("general", "not confirmed yet")
            pump.wait_log("events.nacked")
            aside = Path(ca).rename(tmp_path / "aside.pem")
            os.mkfifo(ca)
            workspace.cut()
            assert pump.wait_log("thread.stalled")["threads"] == ["reader"]
            fed = manager.told.count("WATCHDOG=1")
            pump.wait_log("thread.stalled", count=len(pump.logged("thread.stalled")) + 4)
            assert manager.told.count("WATCHDOG=1") == fed

            # What systemd does then (systemd.service(5), WatchdogSignal=).
            pump.signal(signal.SIGABRT)
            assert pump.wait() == -signal.SIGABRT
            aside.rename(ca)
            broker.channel.queue_delete(queue)
            broker.bind(broker.queue(name="mine"), "rtm.events", "message")
            pump.start().wait_ready()
            assert broker.get("mine").json["text"] == "not confirmed yet"
