"""A workspace in which nothing happens: what the pump then costs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import cpu, log, pump, rss, workspace


def run(seconds: float) -> dict[str, float]:
    """Memory, and the part of a core."""
    with (
        RabbitNode() as node,
        tempfile.TemporaryDirectory() as folder,
        workspace(0) as slack,
        pump(Path(folder), slack, node.url) as one,
    ):
        time.sleep(5)
        began, used = time.monotonic(), cpu(one.pid)
        time.sleep(seconds)
        share = (cpu(one.pid) - used) / (time.monotonic() - began)
        found = {"rss_mib": round(rss(one.pid)), "percent_of_a_core": round(100 * share, 2)}
    log(f"idle: {found}")
    return found
