"""Facts about the notifier, with real sockets in the manager's place."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rtmpump.links.systemd import Notifier

pytestmark = pytest.mark.real


class Manager:
    """Listens where NOTIFY_SOCKET points to; `address` as the kernel takes it."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(address)

    def heard(self) -> str:
        """Return the next datagram."""
        return self.socket.recv(65_536).decode()

    def heard_nothing(self) -> bool:
        """Whether no datagram is there; they arrive within `sendto`, so there is no waiting."""
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(65_536)
        except BlockingIOError:
            return True


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Return the path of the socket."""
    return str(tmp_path / "notify")


@pytest.fixture
def manager(name: str) -> Iterator[Manager]:
    """Run a manager that listens at the path `name`."""
    manager = Manager(name)
    with manager.socket:
        yield manager


def test_each_call_is_one_datagram(manager: Manager, name: str) -> None:
    """The words are those of sd_notify(3)."""
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("connected to Slack")
    notifier.watchdog()
    notifier.stopping()
    heard = [manager.heard() for _ in range(4)]
    assert heard == ["READY=1", "STATUS=connected to Slack", "WATCHDOG=1", "STOPPING=1"]
    assert manager.heard_nothing()


def test_an_abstract_name_works() -> None:
    """`@name` is a socket without a file."""
    name = f"rtmpump-{secrets.token_hex(8)}"
    manager = Manager(f"\0{name}")
    with manager.socket:
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert manager.heard() == "READY=1"


def test_a_status_is_one_line(manager: Manager, name: str) -> None:
    """A line break in it can't say READY=1 or name another process."""
    Notifier({"NOTIFY_SOCKET": name}).status("down:\nMAINPID=1\r\n\tsoon")
    assert manager.heard() == "STATUS=down: MAINPID=1 soon"


def test_a_long_status_is_cut_between_characters(manager: Manager, name: str) -> None:
    """It stays below the 4,096 bytes of the manager, and valid UTF-8."""
    Notifier({"NOTIFY_SOCKET": name}).status("x" + "é" * 4000)
    assert manager.heard() == "STATUS=x" + "é" * 1023


def test_a_status_with_a_lone_surrogate_is_told(manager: Manager, name: str) -> None:
    """What a broken peer said can be shown."""
    Notifier({"NOTIFY_SOCKET": name}).status("odd \udc80")
    assert manager.heard() == "STATUS=odd ?"


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "relative/path"])
def test_without_a_socket_of_ours_nothing_happens(name: str) -> None:
    """No variable, or another kind of address, makes every call do nothing."""
    notifier = Notifier({"NOTIFY_SOCKET": name} if name else {})
    notifier.ready()
    notifier.status("x")
    notifier.watchdog()
    notifier.stopping()


def test_a_manager_that_is_gone_is_no_error(name: str) -> None:
    """No manager listens, or only a file is left of the socket."""
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    Path(name).touch()
    notifier.ready()


def test_a_manager_that_reads_nothing_does_not_hold_us(manager: Manager, name: str) -> None:
    """When its buffer is full a call gives up by itself; earlier reports are kept."""
    notifier = Notifier({"NOTIFY_SOCKET": name})
    manager.socket.setblocking(False)
    filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with filler:
        filler.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                filler.sendto(b"full", name)
    notifier.watchdog()
    assert manager.heard() == "full"


def test_the_interval_is_half_of_what_is_allowed() -> None:
    """WATCHDOG_USEC is in microseconds; WATCHDOG_PID, where given, must be us."""
    us = {"WATCHDOG_USEC": "60000000"}
    assert Notifier(us).watchdog_interval == 30.0
    assert Notifier(us | {"WATCHDOG_PID": str(os.getpid())}).watchdog_interval == 30.0


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "²"},
        {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_watchdog_of_ours_there_is_no_interval(env: dict[str, str]) -> None:
    """Nothing, nonsense, and what is meant for another process."""
    assert Notifier(env).watchdog_interval is None
