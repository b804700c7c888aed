"""What the benches share: processes, the queue that counts, and what it all costs."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pika

from rtmpump.sandbox.slack import flood
from tests.support.paths import ROOT

HERE = Path(__file__).parent
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
SIZE = 200
CHANNELS = 1000
QUORUM = {"x-queue-type": "quorum"}
Slack = dict[str, Any]
Process = subprocess.Popen[str]


@contextmanager
def process(*arguments: str) -> Iterator[Process]:
    """A process; ended at the end, whatever happened. A first argument with a dash is Python's."""
    python = [sys.executable] if arguments[0].startswith("-") else []
    one = subprocess.Popen(
        [*python, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        bufsize=1,
        cwd=ROOT,
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


def script(name: str, *arguments: str) -> AbstractContextManager[Process]:
    """A module of this folder as a process."""
    return process("-m", f"tests.bench.{name}", *arguments)


def told(one: Process) -> Any:
    """The next line of JSON that a process says."""
    assert one.stdout is not None
    return json.loads(one.stdout.readline())


def ask(one: Process, **what: object) -> None:
    """Say a line of JSON to a process."""
    assert one.stdin is not None
    one.stdin.write(json.dumps(what) + "\n")


@contextmanager
def workspace(events: int) -> Iterator[Slack]:
    """A simulated workspace that floods its first connection; `api_url`, `token`, `process`."""
    options = ("--flood", str(events), "--size", str(SIZE))
    with process("-m", "rtmpump.sandbox.slack", *options) as one:
        yield {**told(one), "process": one}


def messages(events: int, size: int = SIZE) -> Iterator[bytes]:
    """The bodies that the flood has."""
    return flood.messages(events, size)


def rtm_connect(api_url: str, token: str) -> str:
    """The URL of a WebSocket."""
    request = urllib.request.Request(  # noqa: S310
        f"{api_url}rtm.connect", data=b"", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return str(json.load(response)["url"])


@contextmanager
def pump(
    folder: Path,
    slack: Slack,
    broker_url: str,
    more: str = "",
    *,
    cap: str = "8GiB",
    program: Sequence[str] = ("-m", "rtmpump"),
) -> Iterator[Process]:
    """The daemon with its defaults: spool on, `sync = "full"`; Socket Mode with an `app_token`.

    The key `answered` of the workspace is one whose envelopes wait for a consumer.
    `cap` is the size that the spool may have, `program` what Python is given to run.
    """
    config = folder / "config.toml"
    config.touch(mode=0o600)
    mode = ""
    if "app_token" in slack:
        mode = f'mode = "socket"\napp_token = "{slack["app_token"]}"\n'
    if "answered" in slack:
        mode += f'answered = ["{slack["answered"]}"]\n'
    http = "" if "[http]" in more else '[http]\nlisten = ""\n'
    config.write_text(
        f"""
[slack]
api_url = "{slack["api_url"]}"
token = "{slack["token"]}"
{mode}[broker]
url = "{broker_url}"
[spool]
path = "{folder / "spool.db"}"
max_bytes = "{cap}"
[log]
level = "warning"
{http}
{more}
"""
    )
    with process(*program, "run", "-c", str(config)) as one:
        yield one


class Queue:
    """A quorum queue that counts; one connection of its own."""

    def __init__(self, url: str, name: str, exchange: str, key: str, **arguments: Any) -> None:
        self._channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
        self.name = name
        self._channel.exchange_declare(exchange, "topic", durable=True)
        self._channel.queue_declare(name, durable=True, arguments=QUORUM | arguments)
        self._channel.queue_bind(name, exchange, key)

    def count(self) -> int:
        """How many messages are ready."""
        return int(self._channel.queue_declare(self.name, passive=True).method.message_count)

    def delete(self) -> None:
        """Delete the queue and all in it."""
        self._channel.queue_delete(self.name)
        self._channel.connection.close()


def wait(condition: Callable[[], bool], timeout: float = 180, every: float = 0.02) -> float:
    """Wait until it holds; gives the time at which it did. Raises TimeoutError."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(every)
    return time.monotonic()


class Meter:
    """Processor time of processes by name, and of all others on this machine, from now on."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids
        self._began = time.monotonic()
        self._used = {name: cpu(pid) for name, pid in pids.items()}
        self._own = time.process_time()
        self._busy = _busy()

    def read(self, events: int) -> dict[str, float]:
        """Rate; microseconds of each process an event; cores that strangers used meanwhile."""
        seconds = time.monotonic() - self._began
        used = {name: cpu(pid) - self._used[name] for name, pid in self._pids.items()}
        own = time.process_time() - self._own
        others = max(0.0, _busy() - self._busy - own - sum(used.values())) / seconds
        costs = {f"{name}_us": round(1e6 * spent / events, 2) for name, spent in used.items()}
        return {"rate": round(events / seconds), **costs, "others": round(others, 2)}


def _busy() -> float:
    user, nice, system, _idle, _wait, *more = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, *more))) / TICK


def cpu(pid: int) -> float:
    """Seconds of processor time, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def writes(pid: int) -> int:
    """How many calls of the kernel have written something: commits, sends and wake-ups."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["syscw"])


def rss(pid: int) -> float:
    """Resident memory in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


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


def machine() -> dict[str, str]:
    """What this runs on, and the versions that matter."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True) if node else None
    return {
        "machine": f"{os.cpu_count()} cores of {model}, Linux {platform.release()}",
        "python": platform.python_version(),
        "pika": pika.__version__,
        "sqlite": sqlite3.sqlite_version,
        "node": version.stdout.strip() if version else "none",
    }


def log(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)
