"""The gateway: how long an event is on its way to a program, how many it carries, what it holds.

- *Latency*: 500 events a second to one program, from the publish, and from RabbitMQ's confirm to
  the pump, until the program has the envelope.
- *Rate*: the envelopes a second to 20 names, whose queues are full, acknowledgements with them.
- *Memory*: 200 connections, at rest, and at the most while events come on all of them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import Peak, Process, cpu, log, process, rss, script, told, wait
from tests.bench.flow import EXCHANGE, token
from tests.bench.latency import quantile
from tests.support.broker import Broker

RATE: Final = 500
NAMES: Final = 20
CONNECTIONS: Final = 10
"""As many as one name may have."""
_WARM_UP: Final = 0.1
_AT_ONCE: Final = 1_000_000


def run(seconds: float, envelopes: int, rounds: int) -> dict[str, float]:
    """Times in milliseconds and memory in MiB: of all rounds, or their median."""
    published: list[float] = []
    confirmed: list[float] = []
    rates: list[tuple[float, float, float]] = []
    with RabbitNode() as node:
        for number in range(rounds):
            one, other = _latency(node, int(RATE * seconds))
            published += one
            confirmed += other
            rates.append(_rate(node, envelopes // NAMES))
            log(
                f"gateway, round {number + 1}: p50 {quantile(one, 0.5):.2f} ms from the publish, "
                f"{quantile(other, 0.5):.2f} from the confirm; {rates[-1][0]:,.0f} envelopes/s"
            )
        at_rest, at_most = _memory(node, envelopes // NAMES)
    rate, gateway_us, programs_us = (
        statistics.median(column) for column in zip(*rates, strict=True)
    )
    return {
        **_quantiles("from_publish", published),
        **_quantiles("from_confirm", confirmed),
        "envelopes_a_second": round(rate),
        "us_an_envelope": round(gateway_us, 1),
        "us_an_envelope_of_the_programs": round(programs_us, 1),
        "connections": NAMES * CONNECTIONS,
        "rss_mib_at_rest": round(at_rest),
        "rss_mib_at_most": round(at_most),
    }


def _quantiles(what: str, values: list[float]) -> dict[str, float]:
    parts = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    return {f"{what}_{name}_ms": round(quantile(values, part), 2) for name, part in parts}


def _latency(node: RabbitNode, count: int) -> tuple[list[float], list[float]]:
    """From the publish, and from the confirm, in milliseconds, without the first tenth."""
    with _gateway(node, 1) as (api_url, _):
        flow = script("flow", node.url, str(RATE), str(count))
        programs = script("gateway_programs", api_url, "1", "1", str(count))
        with programs as program, flow as publisher:
            told(program)
            _wait_bound(node, 1)
            told(publisher)
            _go(publisher)
            sent, came = told(publisher), told(program)["times"]
    ours = range(int(_WARM_UP * count), count)
    return (
        [1000 * (came[str(number)] - sent["published"][number]) for number in ours],
        [1000 * (came[str(number)] - sent["confirmed"][number]) for number in ours],
    )


def _rate(node: RabbitNode, count: int) -> tuple[float, float, float]:
    """Envelopes a second; microseconds of processor time for each, of gateway and programs."""
    with _gateway(node, NAMES) as (api_url, one):
        _fill(node, count)
        used = cpu(one.pid)
        total = NAMES * count
        with script("gateway_programs", api_url, str(NAMES), "1", str(total)) as programs:
            told(programs)
            took = told(programs)
            _wait_empty(node)
        spent = cpu(one.pid) - used
    return total / took["seconds"], 1e6 * spent / total, 1e6 * took["cpu"] / total


def _memory(node: RabbitNode, count: int) -> tuple[float, float]:
    """At rest, and at the most while so many events go to each name."""
    with _gateway(node, NAMES) as (api_url, one):
        total = NAMES * count
        arguments = (api_url, str(NAMES), str(CONNECTIONS), str(total))
        with script("gateway_programs", *arguments) as programs:
            told(programs)
            _wait_bound(node, NAMES)
            time.sleep(5)
            at_rest = rss(one.pid)
            with Peak(one.pid) as peak:
                _fill(node, count)
                told(programs)
                _wait_empty(node)
    return at_rest, peak.mib


@contextmanager
def _gateway(node: RabbitNode, names: int) -> Iterator[tuple[str, Process]]:
    """A gateway with so many names, and their queues, which are gone with it."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        config = Path(folder) / "config.toml"
        config.touch(mode=0o600)
        tables = "".join(
            f'[gateway.clients.n{number}]\ntoken = "{token(number)}"\nqueue = "{_queue(number)}"\n'
            for number in range(names)
        )
        config.write_text(
            f'[broker]\nurl = "{node.url}"\n[log]\nlevel = "warning"\n'
            f'[gateway]\nlisten = "127.0.0.1:{port}"\n{tables}'
        )
        stack.callback(_delete, node, names)
        one = stack.enter_context(process("-m", "rtmpump", "gateway", "-c", str(config)))
        _wait_bound(node, names)
        yield f"http://127.0.0.1:{port}/api/", one


def _queue(number: int) -> str:
    return f"rtm.gateway.n{number}"


def _wait_bound(node: RabbitNode, names: int) -> None:
    exchange = f'rabbit_misc:r(<<"/">>, exchange, <<"{EXCHANGE}">>)'
    bound = f"length(rabbit_binding:list_for_source({exchange}))"
    wait(lambda: node.evaluate(bound) == str(names))


def _fill(node: RabbitNode, count: int) -> None:
    """Publish events, each of which goes to all names; RabbitMQ has them all when this returns."""
    with script("flow", node.url, str(_AT_ONCE), str(count)) as flow:
        told(flow)
        _go(flow)
        told(flow)


def _wait_empty(node: RabbitNode) -> None:
    """All is acknowledged, as far as can be seen from outside."""
    with Broker(node.url) as broker:
        wait(lambda: all(broker.count(_queue(number)) == 0 for number in range(NAMES)))


def _delete(node: RabbitNode, names: int) -> None:
    with Broker(node.url) as broker:
        for queue in (*map(_queue, range(names)), "rtm.gateway"):
            broker.channel.queue_delete(queue)


def _go(one: Process) -> None:
    assert one.stdin is not None
    one.stdin.write("go\n")
