"""Facts about many events at once, in this process and in one of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

import websocket

from rtmpump.sandbox.slack.flood import messages
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import connect

PROGRAM = (sys.executable, "-m", "rtmpump.sandbox.slack")


def test_a_flood_arrives_whole_and_in_order() -> None:
    """Every body once and in order; an event of another thread may come between two of them."""
    bodies = list(messages(20_000, 300))
    with Workspace() as workspace, connect(workspace) as client:
        flood = threading.Thread(target=workspace.emit_many, args=(bodies,))
        other = threading.Thread(target=workspace.emit, args=(b"other",))
        flood.start()
        other.start()
        got = [client.socket.recv_data()[1] for _ in range(len(bodies) + 1)]
        flood.join()
        other.join()
        got.remove(b"other")
        assert got == bodies


def test_the_messages_are_as_long_as_asked_and_differ() -> None:
    """Each is an event with its own, greater ts."""
    bodies = list(messages(3, 300))
    stamps = [json.loads(body)["ts"] for body in bodies]
    assert {len(body) for body in bodies} == {300}
    assert stamps == sorted(set(stamps))
    assert json.loads(next(messages(1, 1)))["type"] == "message"


def test_a_slow_reader_holds_up_the_flood() -> None:
    """No more is taken from the source than the buffers of two sockets hold; stop() ends it."""
    taken = 0

    def bodies() -> Iterator[bytes]:
        nonlocal taken
        while taken < 50_000:
            taken += 1
            yield b"x" * 10_000

    with Workspace() as workspace, connect(workspace):
        flood = threading.Thread(target=workspace.emit_many, args=(bodies(),))
        flood.start()
        seen = -1
        while seen != taken:
            seen = taken
            time.sleep(0.3)
        assert taken < 10_000
        assert flood.is_alive()
        workspace.stop()
        flood.join(100)
        assert not flood.is_alive()


def test_a_flood_can_have_a_rate() -> None:
    """It is never faster than asked; events without a connected client are not counted."""
    with Workspace() as workspace:
        assert workspace.emit_many(messages(10, 100)) == 0
        with connect(workspace):
            started = time.monotonic()
            assert workspace.emit_many(messages(100, 100), rate=500) == 100
            assert time.monotonic() - started >= 0.19


def test_a_flood_can_wait_for_somebody() -> None:
    """With `hold` nothing is lost before the first connection."""
    with Workspace() as workspace:
        flood = threading.Thread(
            target=workspace.emit_many, args=(list(messages(10, 100)),), kwargs={"hold": True}
        )
        flood.start()
        # Whoever waits for hello alone would race the first event: both are in order anyway.
        with connect(workspace) as client:
            assert [client.get()["text"][:9] for _ in range(10)] == [f"{n:09d}" for n in range(10)]
        flood.join()


def test_a_process_of_its_own_floods_and_reports() -> None:
    """One line with where it is, one with the rate when the flood is done; SIGTERM ends it."""
    with subprocess.Popen([*PROGRAM, "--flood", "1000"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        place = json.loads(process.stdout.readline())
        client = websocket.create_connection(_url(place), timeout=100)
        frames = [json.loads(client.recv()) for _ in range(1001)]
        assert [frame["type"] for frame in frames] == ["hello"] + ["message"] * 1000
        report = json.loads(process.stdout.readline())
        assert report["frames"] == 1000
        assert report["rate"] > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
        client.close()


def test_a_process_of_its_own_ends_with_its_parent() -> None:
    """Also when the parent is killed with -9."""
    program = (
        "import os, signal, subprocess, sys\n"
        f"child = subprocess.Popen({list(PROGRAM)!r}, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 100
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _url(place: dict[str, str]) -> str:
    headers = {"Authorization": f"Bearer {place['token']}"}
    call = urllib.request.Request(place["api_url"] + "rtm.connect", b"", headers)  # noqa: S310
    with urllib.request.urlopen(call, timeout=100) as answer:  # noqa: S310
        return str(json.load(answer)["url"])


def _runs(pid: int) -> bool:
    """Return whether a process exists that is no zombie: an orphan may have no reaping parent."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
