"""Cost grows with work alone: an event at the beginning, after many, and with many in the spool."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from pathlib import Path

from common import Meter, Peak, Process, Queue, Slack, log, pump, wait, workspace

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbit import RabbitNode

Figures = dict[str, float]


class _Watched:
    """A running pump, and what it says of itself."""

    def __init__(self, one: Process, port: int, node: RabbitNode) -> None:
        self.pid = one.pid
        self._url = f"http://127.0.0.1:{port}/status"
        self._node = node

    def events(self, kind: str) -> int:
        """How many were `received` or `confirmed`."""
        try:
            with urllib.request.urlopen(self._url, timeout=5) as answer:  # noqa: S310
                counted = json.load(answer)["metrics"]["events"][kind]
        except OSError:
            return 0
        return sum(counted.values()) if isinstance(counted, dict) else int(counted)

    def span(self, kind: str, first: int, last: int) -> Figures:
        """Rate and cost between two counts."""
        wait(lambda: self.events(kind) >= first, 1800, 0.1)
        start, meter = self.events(kind), Meter(process=self.pid)
        wait(lambda: self.events(kind) >= last, 1800, 0.1)
        return meter.read(self.events(kind) - start)


def run(events: int) -> dict[str, Figures]:
    """Live first, then a backlog of that many that is filled and drained."""
    span = max(events // 25, 20_000)
    found: dict[str, Figures] = {}
    with RabbitNode() as node, tempfile.TemporaryDirectory() as folder:
        live = Path(folder) / "live"
        live.mkdir()
        # Kept short: what is measured is the pump, not the disk of the broker.
        queue = Queue(node.url, "bench.growth", "rtm.events", "message.#", **{"x-max-length": 1000})
        with workspace(events) as slack, _watched(live, slack, node) as (one, peak):
            _keep(found, "live, first", one.span("confirmed", 10_000, 10_000 + span))
            _keep(found, "live, last", one.span("confirmed", events - span, events))
        found["live, last"]["rss_mib"] = round(peak.mib)
        backlog = Path(folder) / "backlog"
        backlog.mkdir()
        node.stop()
        with workspace(events) as slack, _watched(backlog, slack, node) as (one, peak):
            _keep(found, "fill, first", one.span("received", 10_000, 10_000 + span))
            _keep(found, "fill, last", one.span("received", events - span, events))
            node.start()
            _keep(found, "drain, first", one.span("confirmed", 10_000, 10_000 + span))
            _keep(found, "drain, last", one.span("confirmed", events - span, events))
        found["drain, last"]["rss_mib"] = round(peak.mib)
        del queue
    return found


def _keep(found: dict[str, Figures], name: str, figures: Figures) -> None:
    found[name] = figures
    log(f"growth, {name}: {figures}")


class _watched:
    """A pump with its port, and the peak of its memory."""

    def __init__(self, folder: Path, slack: Slack, node: RabbitNode) -> None:
        self._port, self._node = free_port(), node
        more = f'[http]\nlisten = "127.0.0.1:{self._port}"\n[retry]\nmax = 2\n'
        self._pump = pump(folder, slack, node.url, more)

    def __enter__(self) -> tuple[_Watched, Peak]:
        one = self._pump.__enter__()
        self._peak = Peak(one.pid).__enter__()
        return _Watched(one, self._port, self._node), self._peak

    def __exit__(self, *error: object) -> None:
        self._peak.__exit__()
        self._pump.__exit__(None, None, None)
