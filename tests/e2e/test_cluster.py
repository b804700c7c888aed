"""Facts about a cluster of three nodes: any of them may be killed, also the one that we are on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
from tests.pumps.test_lease import Host, held
from tests.support.broker import Broker
from tests.support.broker_node import memory_alarm, note_all
from tests.support.cluster import SIZE, cluster, cut_off
from tests.support.pump import PumpProcess
from tests.support.waiting import SECONDS, wait_until


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


class Watcher:
    """Looks all the time which of the hosts acts; `both` says when two did, `nobody` for how long.

    `longest` is that of the spans in which none did, in seconds.
    """

    def __init__(self, *hosts: Host) -> None:
        self._hosts = hosts
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.both: list[float] = []
        self.longest = 0.0

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        acted = time.monotonic()
        while not self._over.wait(0.005):
            # The one that loses it is asked last: else both may seem to act at a handover.
            active = [host for host in self._hosts if host.role.is_held()]
            now = time.monotonic()
            if len(active) > 1 and all(host.role.is_held() for host in active):
                self.both.append(now)
            if active:
                acted = now
            self.longest = max(self.longest, now - acted)


@pytest.fixture(scope="module")
def hosts(nodes: list[RabbitNode]) -> Iterator[list[Host]]:
    """Two that stand for the lock, on the second and the third node.

    Once for all tests: nodes that had lost each other don't agree on the queues that are declared
    afterwards, until they are restarted.
    """
    hosts = [Host(node.url, 1000) for node in nodes[1:]]
    yield hosts
    for host in hosts:
        host.leave()


def roles(hosts: list[Host]) -> tuple[Host, Host]:
    """Wait until one is active and the other a standby; return them."""
    wait_until(lambda: any(host.role.is_held() for host in hosts))
    wait_until(lambda: all(host.connected for host in hosts))
    active, standby = sorted(hosts, key=lambda host: not host.role.is_held())
    wait_until(lambda: active.lease._claim.keeps_own_note)
    return active, standby


def test_a_third_node_may_be_killed(nodes: list[RabbitNode], hosts: list[Host]) -> None:
    """Whether the queue's leader is on it or not: somebody is active, and never two."""
    roles(hosts)
    note_all(nodes[0])
    with Watcher(*hosts) as watcher:
        nodes[0].kill()
        roles(hosts)
        nodes[0].start()
        roles(hosts)
    assert watcher.both == []


@pytest.mark.parametrize("has_alarm", [False, True])
def test_a_node_that_is_cut_off_leaves_one_active_pump_and_no_second(
    nodes: list[RabbitNode], hosts: list[Host], has_alarm: bool
) -> None:
    """The queue has a new consumer at once, and the pump on the lost node does not hear of it.

    It stops by itself before the other begins, is no standby as long as it is cut off, and is one
    afterwards.
    """
    first, second = roles(hosts)
    ends, failures, terms = len(first.ends), len(first.failures), len(second.terms)
    node = nodes[1 + hosts.index(first)]
    with ExitStack() as stack:
        if has_alarm:
            stack.enter_context(memory_alarm(nodes[0]))
        watcher = stack.enter_context(Watcher(first, second))
        with cut_off(node, nodes):
            held(second)
            wait_until(lambda: len(first.ends) > ends and len(second.terms) > terms)
            assert "no token came back" in first.ends[ends]
            assert second.terms[-1] == 1000
            wait_until(lambda: any(end.reason == "no_leader" for end in first.failures[failures:]))
            assert not first.connected
        wait_until(lambda: first.connected)
        assert second.role.is_held()
    assert watcher.both == []
