"""Cost grows with work alone: an event at the beginning, after many, and with many in the spool."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from pathlib import Path

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import (
    Meter,
    Peak,
    Process,
    Queue,
    Slack,
    ask,
    log,
    pump,
    script,
    told,
    wait,
    writes,
)

Figures = dict[str, float]

# Events before a span, so that the start, and the change of pace, are no part of it.
_SKIPPED = 10_000
# Events a second: what the pump keeps up with, and what comes beside a backlog.
_PACE = 10_000
_NEW = 1000


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
        written = writes(self.pid)
        wait(lambda: self.events(kind) >= last, 1800, 0.1)
        events = self.events(kind) - start
        return meter.read(events) | {"writes": round((writes(self.pid) - written) / events, 3)}


def run(events: int) -> dict[str, Figures]:
    """Live first, then a backlog of that many that is filled, and drained while new events come."""
    found: dict[str, Figures] = {}
    with RabbitNode() as node, tempfile.TemporaryDirectory() as folder:
        # Kept short: what is measured is the pump, not the disk of the broker.
        queue = Queue(node.url, "bench.growth", "rtm.events", "message.#", **{"x-max-length": 1000})
        _live(found, Path(folder) / "live", node, events)
        _backlog(found, Path(folder) / "backlog", node, events)
        del queue
    return found


def live(events: int, rounds: int) -> list[dict[str, Figures]]:
    """The live part alone, again and again, each time with a broker and a pump of its own."""
    all_: list[dict[str, Figures]] = []
    for number in range(rounds):
        found: dict[str, Figures] = {}
        with RabbitNode() as node, tempfile.TemporaryDirectory() as folder:
            limits = {"x-max-length": 1000}
            queue = Queue(node.url, "bench.growth", "rtm.events", "message.#", **limits)
            log(f"live, round {number + 1}")
            _live(found, Path(folder) / "live", node, events)
            del queue
        all_.append(found)
    return all_


def _live(found: dict[str, Figures], folder: Path, node: RabbitNode, events: int) -> None:
    """Paced, so that each event is measured whole and none is read ahead; a flood lies between."""
    span = _span(events)
    with script("phases") as slack, _watched(folder, told(slack), node) as (one, peak):
        ask(slack, events=_SKIPPED + span, rate=_PACE)
        _keep(found, "live, first", one.span("confirmed", _SKIPPED, _SKIPPED + span))
        told(slack)
        middle = events - _SKIPPED - 2 * span
        ask(slack, events=middle, rate=None)
        flood = one.span("confirmed", 2 * _SKIPPED + span, _SKIPPED + span + middle)
        _keep(found, "live, flood", flood)
        told(slack)
        ask(slack, events=span, rate=_PACE)
        _keep(found, "live, last", one.span("confirmed", events - span + _SKIPPED, events))
    found["live, last"]["rss_mib"] = round(peak.mib)


def _backlog(found: dict[str, Figures], folder: Path, node: RabbitNode, events: int) -> None:
    span = _span(events)
    node.stop()
    with script("phases") as slack, _watched(folder, told(slack), node) as (one, peak):
        ask(slack, events=events, rate=None)
        _keep(found, "fill, first", one.span("received", _SKIPPED, _SKIPPED + span))
        _keep(found, "fill, last", one.span("received", events - span, events))
        told(slack)
        ask(slack, events=events, rate=_NEW)
        node.start()
        _keep(found, "drain, first", one.span("confirmed", _SKIPPED, _SKIPPED + span))
        _keep(found, "drain, last", one.span("confirmed", events - span, events))
        found["drain, last"]["new"] = one.events("received") - events
    found["drain, last"]["rss_mib"] = round(peak.mib)


def _span(events: int) -> int:
    return max(events // 25, 20_000)


def _keep(found: dict[str, Figures], name: str, figures: Figures) -> None:
    found[name] = figures
    log(f"growth, {name}: {figures}")


class _watched:
    """A pump with its port, and the peak of its memory."""

    def __init__(self, folder: Path, slack: Slack, node: RabbitNode) -> None:
        self._port, self._node = free_port(), node
        folder.mkdir()
        more = f'[http]\nlisten = "127.0.0.1:{self._port}"\n[retry]\nmax = 2\n'
        self._pump = pump(folder, slack, node.url, more)

    def __enter__(self) -> tuple[_Watched, Peak]:
        one = self._pump.__enter__()
        self._peak = Peak(one.pid).__enter__()
        return _Watched(one, self._port, self._node), self._peak

    def __exit__(self, *error: object) -> None:
        self._peak.__exit__()
        self._pump.__exit__(None, None, None)
