"""Facts about the process that ends what its owner left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rtmpump.errors import ServiceUnreachable
from rtmpump.sandbox.rabbitmq.keeping import Keeper

ENVIRONMENT = {"PATH": os.environ["PATH"]}
# One sleeper in the group, one that hides in a session of its own and is nobody's child.
FAMILY = ["sh", "-c", "setsid sleep 601 & echo $! > hidden; exec sleep 602"]


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def gone(pid: int, seconds: float = 100.0) -> bool:
    """Whether the process ended in time."""
    deadline = time.monotonic() + seconds
    while runs(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def number_in(file: Path) -> int:
    """Return the number that a process soon writes into `file`."""
    deadline = time.monotonic() + 100
    while not file.exists() or not file.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(file.read_text())


def test_the_end_takes_hidden_descendants_and_the_folder(tmp_path: Path) -> None:
    """Also a process that left the group is killed; the folder is gone."""
    folder = tmp_path / "kept"
    folder.mkdir()
    keeper = Keeper(str(folder))
    pid = keeper.run("family", FAMILY, ENVIRONMENT, str(folder / "log"))
    hidden = number_in(folder / "hidden")
    assert keeper.alive("family")
    keeper.end()
    assert not folder.exists()
    assert not runs(pid)
    assert not runs(hidden)
    keeper.end()
    assert not keeper.alive("family")


def test_a_folder_of_the_owner_stays(tmp_path: Path) -> None:
    """With "" nothing is removed."""
    keeper = Keeper("")
    keeper.run("sleeper", ["sleep", "600"], ENVIRONMENT, str(tmp_path / "log"))
    keeper.end()
    assert tmp_path.exists()


def test_a_signal_goes_to_the_group(tmp_path: Path) -> None:
    """`alive` is false as soon as the whole group has ended, and its zombies are reaped."""
    keeper = Keeper("")
    pid = keeper.run("sleeper", ["sleep", "600"], ENVIRONMENT, str(tmp_path / "log"))
    keeper.signal("sleeper", signal.SIGTERM)
    assert gone(pid)
    assert not keeper.alive("sleeper")
    keeper.signal("sleeper", signal.SIGTERM)
    keeper.end()


def test_what_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    """The keeper goes on after it."""
    keeper = Keeper("")
    with pytest.raises(ServiceUnreachable, match="No such file"):
        keeper.run("nothing", ["/no/such/program"], ENVIRONMENT, str(tmp_path / "log"))
    assert not keeper.alive("nothing")
    keeper.run("sleeper", ["sleep", "600"], ENVIRONMENT, str(tmp_path / "log"))
    assert keeper.alive("sleeper")
    keeper.end()


def test_a_forked_copy_of_the_owner_does_not_keep_it_alive(tmp_path: Path) -> None:
    """The owner dies; a fork of it still holds the lifeline, and the end comes all the same."""
    program = (
        "import os, signal, sys, time\n"
        "from rtmpump.sandbox.rabbitmq.keeping import Keeper\n"
        "keeper = Keeper('')\n"
        f"pid = keeper.run('s', ['sleep', '600'], {ENVIRONMENT!r}, {str(tmp_path / 'log')!r})\n"
        "fork = os.fork()\n"
        "if fork == 0:\n"
        "    os.close(1)\n"
        "    time.sleep(600)\n"
        "print(pid, fork, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False
    )
    sleeper, fork = map(int, done.stdout.split())
    try:
        assert gone(sleeper)
        assert runs(fork)
    finally:
        os.kill(fork, signal.SIGKILL)
