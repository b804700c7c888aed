"""From the start of the process to its first event, and from a cut WebSocket to the next hello."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.bench.common import Queue, log, pump, wait


def run(times: int) -> dict[str, float]:
    """Medians in seconds; the broker is warm, and Slack answers at once."""
    starts, reconnects = [], []
    with RabbitNode() as node:
        # The first start declares; all others find it done.
        for _ in range(times + 1):
            start, reconnect = _once(node.url)
            starts.append(start)
            reconnects.append(reconnect)
    found = {
        "first_event_s": round(statistics.median(starts[1:]), 3),
        "reconnect_s": round(statistics.median(reconnects), 3),
    }
    log(f"starting: {found}")
    return found


def _once(url: str) -> tuple[float, float]:
    queue = Queue(url, "bench.starting", "rtm.events", "hello")
    with Workspace() as slack, tempfile.TemporaryDirectory() as folder:
        where = {"api_url": slack.api_url, "token": slack.token}
        began = time.monotonic()
        with pump(Path(folder), where, url):
            first = wait(lambda: queue.count() >= 1, every=0.005) - began
            began = time.monotonic()
            slack.cut()
            again = wait(lambda: slack.connections > 1 and bool(slack.live), every=0.002) - began
    queue.delete()
    return first, again
