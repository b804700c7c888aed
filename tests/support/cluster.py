"""Three private RabbitMQ nodes that form a real cluster."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq import install
from rtmpump.sandbox.rabbitmq.keeping import Keeper
from rtmpump.sandbox.rabbitmq.node import Cluster, RabbitNode
from tests.support.broker import Broker
from tests.support.waiting import wait_until

SIZE = 3


@contextmanager
def cluster() -> Iterator[list[RabbitNode]]:
    """Run the nodes; each may be stopped, killed and started."""
    shared = Cluster(cookie=secrets.token_hex(16), epmd=free_port())
    with ExitStack() as stack:
        keeper = Keeper("")
        stack.callback(keeper.end)
        epmd = [install.epmd(), "-port", str(shared.epmd), "-address", "127.0.0.1"]
        keeper.run("epmd", epmd, {}, "/dev/null")
        nodes = [RabbitNode(cluster=shared, schedulers=1) for _ in range(SIZE)]
        for node in nodes:
            stack.callback(node.close)
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(RabbitNode.start, nodes))
        for node in nodes[1:]:
            node.evaluate(
                "ok = rabbit:stop(),"
                f" ok = rabbit_mnesia:join_cluster('{nodes[0].name}', disc), ok = rabbit:start()"
            )
        for node in nodes:
            wait_until(partial(_makes_full_queues, node), 100, "for the cluster")
        yield nodes


@contextmanager
def cut_off(node: RabbitNode, nodes: list[RabbitNode]) -> Iterator[None]:
    """Have one node and all others lose each other, while clients stay connected to each."""
    others = [one for one in nodes if one is not node]
    pairs = [(node, one) for one in others] + [(one, node) for one in others]
    cookie = node.evaluate("erlang:get_cookie()")
    # They would connect again at once; cookies that differ keep them from it.
    for number, (here, there) in enumerate(pairs):
        here.evaluate(f"erlang:set_cookie('{there.name}', wrong_{number})")
    for here, there in pairs:
        here.evaluate(f"erlang:disconnect_node('{there.name}')")
    try:
        yield
    finally:
        for here, there in pairs:
            here.evaluate(f"erlang:set_cookie('{there.name}', {cookie})")
        for one in others:
            node.evaluate(f"net_kernel:connect_node('{one.name}')")


def _makes_full_queues(node: RabbitNode) -> bool:
    """Whether a queue that is declared here gets a member on each node."""
    if int(node.evaluate("length(rabbit_mnesia:cluster_nodes(running))")) < SIZE:
        return False
    members = "[length(maps:get(nodes, amqqueue:get_type_state(Q))) || Q <- rabbit_amqqueue:list()]"
    with Broker(node.url) as broker:
        name = broker.queue(x_queue_type="quorum")
        found = node.evaluate(members)
        broker.channel.queue_delete(name)
    return found == f"[{SIZE}]"
