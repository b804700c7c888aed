"""The benches: `python tests/bench flood|backlog|idle`. They print figures and prove nothing."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import common
import pika

from rtmpump.sandbox.rabbit import RabbitNode

OBVIOUS = str(Path(__file__).with_name("obvious.py"))


def main() -> None:
    """Run one bench."""
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    parser.add_argument("bench", choices=("flood", "backlog", "idle"), nargs="?", default="flood")
    parser.add_argument("--events", type=int, default=0, help="how many; each bench has a default")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(common.machine())
    benches = {"flood": flood, "backlog": backlog, "idle": idle}
    benches[options.bench](options)


def flood(options: argparse.Namespace) -> None:
    """The pump against the obvious script, in turns: confirmed events a second."""
    events = options.events or 150_000
    pumped: list[float] = []
    obvious: list[float] = []
    with RabbitNode() as node:
        for number in range(options.rounds):
            obvious.append(_obvious_round(node.url, events // 10, number))
            pumped.append(_pump_round(node.url, events, number))
            print(f"round {number + 1}: obvious {obvious[-1]:.0f}/s, pump {pumped[-1]:.0f}/s")
    script, pump = statistics.median(obvious), statistics.median(pumped)
    print(f"{'':20}{'events/s':>10}{'lowest':>10}{'highest':>10}")
    for name, rates in (("obvious script", obvious), ("rtmpump", pumped)):
        row = (statistics.median(rates), min(rates), max(rates))
        print(f"{name:20}" + "".join(f"{rate:10.0f}" for rate in row))
    print(f"ratio {pump / script:.1f}")


def _obvious_round(url: str, events: int, number: int) -> float:
    queue = common.Queue(url, f"bench.obvious.{number}", "bench.obvious", "#")
    with (
        common.workspace(events, 200) as slack,
        common.process(OBVIOUS, slack["api_url"], slack["token"], url, "bench.obvious"),
    ):
        rate, _ = queue.rate(events)
    queue.drain()
    return rate


def _pump_round(url: str, events: int, number: int) -> float:
    # Messages only: hello and the pump's own events are not in the count.
    queue = common.Queue(url, f"bench.pump.{number}", "rtm.events", "message.#")
    with (
        tempfile.TemporaryDirectory() as folder,
        common.workspace(events, 200) as slack,
        common.pump(Path(folder), slack, url),
    ):
        rate, _ = queue.rate(events)
    queue.drain()
    return rate


def backlog(options: argparse.Namespace) -> None:
    """With the broker down events go to the spool; with it back all come out, in order."""
    events = options.events or 1_000_000
    with RabbitNode() as node, tempfile.TemporaryDirectory() as folder:
        queue = common.Queue(node.url, "bench.backlog", "rtm.events", "message.#")
        node.stop()
        with (
            common.workspace(events, 300) as slack,
            common.pump(Path(folder), slack, node.url, "[retry]\nmax = 2\n") as pump,
        ):
            began = time.monotonic()
            with common.Peak(pump.pid) as peak:
                slack["process"].stdout.readline()
                filled = time.monotonic() - began
                print(f"{events} events of 300 bytes went in within {filled:.0f} s")
                print(f"highest RSS {peak.mib:.0f} MiB")
                node.start()
                seen = _consume_in_order(node.url, events)
        emptied = time.monotonic() - began - filled
        print(f"{seen} came out, in order, within {emptied:.0f} s; highest RSS {peak.mib:.0f} MiB")
        del queue


def _consume_in_order(url: str, events: int) -> int:
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.basic_qos(prefetch_count=1000)
    last = -1
    messages = channel.consume("bench.backlog", inactivity_timeout=60)
    for seen, (method, properties, _) in enumerate(messages, 1):
        if method is None or properties is None:
            raise SystemExit(f"only {seen - 1} came")
        seq = (properties.headers or {})["seq"]
        if seq <= last:
            raise SystemExit(f"seq {seq} came after {last}")
        last = seq
        if seen % 500 == 0 or seen == events:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if seen == events:
            break
    return seen


def idle(options: argparse.Namespace) -> None:
    """A workspace in which nothing happens, for a minute."""
    with (
        RabbitNode() as node,
        tempfile.TemporaryDirectory() as folder,
        common.workspace(0, 0) as slack,
        common.pump(Path(folder), slack, node.url) as pump,
    ):
        time.sleep(10)
        began, used = time.monotonic(), common.cpu(pump.pid)
        time.sleep(60)
        share = (common.cpu(pump.pid) - used) / (time.monotonic() - began)
        print(f"idle: RSS {common.rss(pump.pid):.0f} MiB, {100 * share:.2f} % of a core")


if __name__ == "__main__":
    main()
