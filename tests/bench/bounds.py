"""Memory at each bound: large commands, headers, a spool at its cap, large events, a full window.

RSS at the most, in MiB; the promise is less than 150 with the first and the last of them.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pika
import pika.exceptions

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import Peak, Queue, Slack, ask, log, pump, rss, script, told, wait

_LARGE: Final = 16 << 20
# Under the 131,072 bytes of a frame, as RabbitMQ allows them.
_HEADERS: Final = 90_000
_PREFETCH: Final = 1_000
_CAP: Final = 128 << 20
_CAP_EVENTS: Final = 1_000_000
_HUGE: Final = 15 << 20
_LARGE_EVENTS: Final = 5_000
_OUTBOUND: Final = "rtm.outbound"
_DEAD: Final = "rtm.outbound.dead"
_QUIET: Final = 5.0
_ONE: Final = "[outbound]\nrate = 0.001\nburst = 1\n"


def run(large: int) -> dict[str, float]:
    """With so many commands of 16 MiB."""
    found: dict[str, float] = {}
    with RabbitNode() as node, tempfile.TemporaryDirectory() as folder:
        found["large_commands"] = large
        found["large_commands_rss_mib"], found["large_commands_s"] = _large(
            node, Path(folder) / "large", large
        )
        found["headers_of_90_kb_rss_mib"] = _headers(node, Path(folder) / "headers")
        found["spool_at_its_cap_rss_mib"] = _spool(node, Path(folder) / "spool")
        found["events_of_15_mib_rss_mib"] = _events(node, Path(folder) / "events", _HUGE, large)
        found["no_confirms_rss_mib"] = _no_confirms(node, Path(folder) / "window")
    log(f"bounds: {found}")
    return found


@contextmanager
def _slack() -> Iterator[Slack]:
    """A workspace that sends nothing."""
    with script("paced", "1", "0") as slack:
        yield told(slack)


def _large(node: RabbitNode, folder: Path, count: int) -> tuple[float, float]:
    """All lie in the queue before the pump starts; until none is left there."""
    _declare(node, folder)
    _publish(node, count, b"x" * _LARGE)
    with _slack() as slack, pump(folder, slack, node.url) as one, Peak(one.pid) as peak:
        began = time.monotonic()
        wait(lambda: _counts(node) == [0, count], 600, 0.5)
        seconds = time.monotonic() - began
        time.sleep(_QUIET)
    _purge(node)
    return round(peak.mib), round(seconds, 1)


def _headers(node: RabbitNode, folder: Path) -> float:
    """As many as the pump may hold; they wait in it for their turn."""
    _declare(node, folder)
    body = json.dumps({"channel": "C0001", "text": "x"}).encode()
    _publish(node, _PREFETCH, body, {"mine": "x" * _HEADERS})
    with _slack() as slack, pump(folder, slack, node.url, _ONE) as one, Peak(one.pid) as peak:
        _until_quiet(one.pid)
    _purge(node)
    return round(peak.mib)


def _spool(node: RabbitNode, folder: Path) -> float:
    """RabbitMQ is away, and events come until no more can be stored; then all is published."""
    folder.mkdir()
    queue = Queue(node.url, "bench.bounds", "rtm.events", "#", **{"x-max-length": 1000})
    node.stop()
    with script("phases") as slack:
        at = told(slack)
        with pump(folder, at, node.url, cap=f"{_CAP >> 20}MiB") as one, Peak(one.pid) as peak:
            ask(slack, events=_CAP_EVENTS, rate=None)
            spool = folder / "spool.db"
            wait(lambda: spool.exists() and spool.stat().st_size > 0.9 * _CAP, 600)
            _until_quiet(one.pid)
            node.start()
            wait(lambda: told(slack)["frames"] > 0, 600)
            _until_quiet(one.pid)
    del queue
    return round(peak.mib)


def _events(node: RabbitNode, folder: Path, size: int, count: int) -> float:
    """Events of about the largest size that a WebSocket message may have, one after the other."""
    folder.mkdir()
    queue = Queue(node.url, "bench.large", "rtm.events", "message.#", **{"x-max-length": 1})
    with script("phases", str(size)) as slack:
        at = told(slack)
        with pump(folder, at, node.url) as one, Peak(one.pid) as peak:
            ask(slack, events=count, rate=None)
            wait(lambda: told(slack)["frames"] > 0, 600)
            _until_quiet(one.pid)
    queue.delete()
    return round(peak.mib)


def _no_confirms(node: RabbitNode, folder: Path) -> float:
    """RabbitMQ takes what it is sent, as far as sockets go, and confirms nothing for a while."""
    folder.mkdir()
    queue = Queue(node.url, "bench.window", "rtm.events", "message.#", **{"x-max-length": 1000})
    with script("phases", str(_HEADERS)) as slack:
        at = told(slack)
        with pump(folder, at, node.url) as one, Peak(one.pid) as peak:
            ask(slack, events=1, rate=None)
            wait(lambda: told(slack)["frames"] > 0, 60)
            wait(lambda: queue.count() > 0, 60)
            os.kill(node.pid, signal.SIGSTOP)
            try:
                ask(slack, events=_LARGE_EVENTS, rate=None)
                wait(lambda: told(slack)["frames"] > 0, 600)
                time.sleep(_QUIET)
            finally:
                os.kill(node.pid, signal.SIGCONT)
            _until_quiet(one.pid)
    queue.delete()
    return round(peak.mib)


def _until_quiet(pid: int) -> None:
    """Memory has not changed for some seconds."""
    last, since = 0.0, time.monotonic()
    while time.monotonic() - since < _QUIET:
        time.sleep(0.2)
        if abs((now := rss(pid)) - last) > 0.5:
            last, since = now, time.monotonic()


def _declare(node: RabbitNode, folder: Path) -> None:
    """Let the pump declare its queues, which nobody else does."""
    folder.mkdir()
    first = folder / "first"
    first.mkdir()
    with _slack() as slack, pump(first, slack, node.url):
        wait(lambda: _counts(node) == [0, 0], 60, 0.2)


def _publish(
    node: RabbitNode, count: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(delivery_mode=2, headers=headers)
        for _ in range(count):
            channel.basic_publish("", _OUTBOUND, body, properties)


def _counts(node: RabbitNode) -> list[int]:
    """How many wait for the pump, and how many are dead; none where a queue is not there."""
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        channel = connection.channel()
        try:
            asked = [channel.queue_declare(name, passive=True) for name in (_OUTBOUND, _DEAD)]
        except pika.exceptions.ChannelClosedByBroker:
            return []
        return [one.method.message_count for one in asked]


def _purge(node: RabbitNode) -> None:
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        channel = connection.channel()
        for name in (_OUTBOUND, _DEAD):
            channel.queue_purge(name)
