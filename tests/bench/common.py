"""What the benches share: the processes that they start, and what those cost."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
QUORUM = {"x-queue-type": "quorum"}


@contextmanager
def process(*arguments: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A Python process; ended at the end, whatever happened."""
    one = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        env=os.environ | (env or {}),
    )
    try:
        yield one
    finally:
        one.terminate()
        try:
            one.wait(30)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


@contextmanager
def workspace(events: int, size: int, rate: float | None = None) -> Iterator[dict[str, Any]]:
    """A simulated workspace that floods its first connection; gives its `api_url` and `token`."""
    options = ["--flood", str(events), "--size", str(size)]
    if rate:
        options += ["--rate", str(rate)]
    with process("-m", "rtmpump.sandbox.workspace", *options) as one:
        assert one.stdout is not None
        yield {**json.loads(one.stdout.readline()), "process": one}


@contextmanager
def pump(
    folder: Path, slack: dict[str, Any], broker_url: str, more: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """The daemon with its defaults: spool on, `sync = "full"`."""
    config = folder / "config.toml"
    config.write_text(
        f"""
[slack]
api_url = "{slack["api_url"]}"
token = "{slack["token"]}"
[broker]
url = "{broker_url}"
[spool]
path = "{folder / "spool.db"}"
max_bytes = "4GiB"
[http]
listen = ""
[log]
level = "warning"
{more}
"""
    )
    with process("-m", "rtmpump", "run", "-c", str(config)) as one:
        yield one


class Queue:
    """A quorum queue that counts; one connection of its own."""

    def __init__(self, url: str, name: str, exchange: str, key: str) -> None:
        self._url = url
        self.name = name
        self._connect()
        alternate = {"alternate-exchange": "rtm.unrouted"} if exchange == "rtm.events" else None
        self._channel.exchange_declare(exchange, "topic", durable=True, arguments=alternate)
        self._channel.queue_declare(name, durable=True, arguments=QUORUM)
        self._channel.queue_bind(name, exchange, key)

    def _connect(self) -> None:
        self._channel = pika.BlockingConnection(pika.URLParameters(self._url)).channel()

    def count(self) -> int:
        """How many messages are ready."""
        return int(self._channel.queue_declare(self.name, passive=True).method.message_count)

    def drain(self) -> None:
        """Delete the queue and all in it."""
        self._channel.queue_delete(self.name)

    def rate(self, events: int, timeout: float = 180) -> tuple[float, float]:
        """Events a second from the first tenth to all of them, and the seconds that took."""
        start = wait(lambda: self.count() >= events // 10, timeout)
        first = self.count()
        end = wait(lambda: self.count() >= events, timeout)
        return (events - first) / (end - start), end - start


def wait(condition: Callable[[], bool], timeout: float, every: float = 0.02) -> float:
    """Wait until it holds; gives the time at which it did. Raises TimeoutError."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(every)
    return time.monotonic()


def rss(pid: int) -> float:
    """Resident memory in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


def cpu(pid: int) -> float:
    """Seconds of processor time, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Peak:
    """The highest resident memory of a process while this is entered, in MiB."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.mib = max(self.mib, rss(self._pid))


def machine() -> str:
    """One line on what this ran on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, pika {pika.__version__}"
    )
