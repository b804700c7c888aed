"""Who is compared: the obvious script, the Node.js pair, rtmpump, and raw pika as the ceiling."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from tests.bench.common import HERE, Process, Slack, process, pump, script

NATIVE = HERE / "native"
Start = Callable[[Slack, str, Path], AbstractContextManager[Process]]


class Subject(NamedTuple):
    """`share` is how many of the events it gets, so that no round lasts for ever."""

    name: str
    title: str
    exchange: str
    share: float
    start: Start


def _obvious(slack: Slack, url: str, _folder: Path) -> AbstractContextManager[Process]:
    return script("obvious", slack["api_url"], slack["token"], url, "bench.obvious")


def _native(slack: Slack, url: str, _folder: Path) -> AbstractContextManager[Process]:
    # amqplib does not know the percent sign in a vhost's name.
    plain = url.replace("/%2F", "")
    arguments = (slack["api_url"], slack["token"], plain, "bench.native")
    return process("node", str(NATIVE / "native.js"), *arguments)


def _pump(slack: Slack, url: str, folder: Path) -> AbstractContextManager[Process]:
    return pump(folder, slack, url)


OBVIOUS = Subject("obvious", "the obvious script", "bench.obvious", 0.07, _obvious)
NATIVE_PAIR = Subject("native", "Node.js pair", "bench.native", 1.0, _native)
PUMP = Subject("rtmpump", "rtmpump", "rtm.events", 1.0, _pump)


def subjects() -> list[Subject]:
    """Those that can run here."""
    return [OBVIOUS, *([NATIVE_PAIR] if _has_native() else []), PUMP]


def _has_native() -> bool:
    """Install the Node.js pair beside its script (git ignores it); False where there is no npm."""
    npm = shutil.which("npm")
    if not (npm and shutil.which("node")):
        return False
    if not (NATIVE / "node_modules" / "amqplib").exists():
        subprocess.run([npm, "install", "--silent", "--no-audit"], cwd=NATIVE, check=True)
    return True
