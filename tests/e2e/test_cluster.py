"""Facts about a cluster of three nodes: any of them may be killed, also the one that we are on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pika.exceptions
import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.e2e.test_crash import (
    Flood,
    all_events,
    assert_nothing_accepted_is_lost,
    gaps,
    numbers,
    stop_well,
)
from tests.support.broker_node import note_all
from tests.support.cluster import SIZE, cluster
from tests.support.pump import SECONDS, Broker, PumpProcess, wait_until


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RabbitNode]]:
    """Three nodes, once for all tests."""
    with cluster() as nodes:
        yield nodes


def our_node(pump: PumpProcess, nodes: list[RabbitNode], link: str) -> RabbitNode:
    """The node that this link of the pump is on."""
    where = pump.logged(f"{link}.connected")[-1]["where"]
    return next(node for node in nodes if where.endswith(f":{node.port}"))


def wait_for_members(node: RabbitNode) -> None:
    """Waits until all members of all queues are online, as this node sees it."""
    online = "length(proplists:get_value(online, rabbit_amqqueue:info(Q, [online])))"
    counts = f"[{online} || Q <- rabbit_amqqueue:list()]"
    wait_until(
        lambda: node.evaluate(f"lists:usort({counts})") == f"[{SIZE}]", what="for all members"
    )


def ask(node: RabbitNode, text: str) -> bool:
    """Whether a message was sent; a queue without a leader refuses commands for a moment."""
    deadline = time.monotonic() + SECONDS
    while True:
        # Anew each time: a channel that met the queue without a leader refuses for ever.
        with Broker(node.url) as broker:
            try:
                return bool(broker.ask({"channel": "general", "text": text})["ok"])
            except pika.exceptions.NackError:
                assert time.monotonic() < deadline
        time.sleep(0.1)


def confirms_more_than(port: int, count: int) -> Callable[[], bool]:
    """Whether the broker has taken more events than that, when it is called."""
    return lambda: confirmed(port) > count


def confirmed(port: int) -> int:
    """How many events the broker has taken from the pump."""
    with urlopen(f"http://127.0.0.1:{port}/status", timeout=SECONDS) as answer:
        return int(json.load(answer)["metrics"]["events"]["confirmed"])


def test_any_node_may_be_killed(
    nodes: list[RabbitNode], workspace: Workspace, tmp_path: Path
) -> None:
    """Under load, one after the other: no event is lost, commands are answered, it goes on soon."""
    with Broker(nodes[0].url) as broker:
        all_events(broker, "all", x_queue_type="quorum")
    wait_for_members(nodes[0])
    settings: dict[str, Any] = {"urls": [node.url for node in nodes], "heartbeat": 3}
    port = free_port()
    with (
        PumpProcess(
            tmp_path, workspace, "", broker=settings, http={"listen": f"127.0.0.1:{port}"}
        ) as pump,
        Flood(workspace, pause=0.02) as flood,
    ):
        pump.wait_ready()
        flood.wait_for(100)
        for _ in range(SIZE - 1):
            victim = our_node(pump, nodes, "broker_events")
            others = [node for node in nodes if node is not victim]
            note_all(victim)
            victim.kill()
            wait_until(confirms_more_than(port, len(flood.at)), 100, pump.output)
            assert ask(others[-1], "still here")
            victim.start()
            wait_for_members(others[0])
        flood.wait_for(100)
        flood.end()
        assert stop_well(pump)["left_in_spool"] == 0
    with Broker(nodes[0].url) as broker:
        got = broker.take_until("all", lambda got: numbers(got[-1:]) == [len(flood.at) - 1])
    once = assert_nothing_accepted_is_lost(got)
    assert numbers(once) == list(range(len(flood.at)))
    assert gaps(once) == []
    assert workspace.connections == 1
