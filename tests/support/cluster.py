"""Three private RabbitMQ nodes that form a real cluster."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq import install
from rtmpump.sandbox.rabbitmq.keeping import Keeper
from rtmpump.sandbox.rabbitmq.node import Cluster, RabbitNode
from tests.support.pump import wait_until

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
        # A queue gets its members among the nodes that the one we ask knows to be up.
        wait_until(lambda: all(_running(node) == SIZE for node in nodes), 100, "for the cluster")
        yield nodes


def _running(node: RabbitNode) -> int:
    return int(node.evaluate("length(rabbit_mnesia:cluster_nodes(running))"))
