"""What tests do to a RabbitMQ node: in milliseconds, for a call of `rabbitmqctl` takes a second."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pika.exceptions import NackError

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.support.broker import Broker

_ME = '<<"test">>'


def add_vhost(node: RabbitNode, name: str) -> str:
    """Make a vhost in which guest may do everything; return its URL."""
    node.evaluate(f"ok = rabbit_vhost:add({_binary(name)}, {_ME})")
    set_permissions(node, name, "guest", ".*", ".*", ".*")
    return f"amqp://guest:guest@127.0.0.1:{node.port}/{name}"


def set_permissions(
    node: RabbitNode, vhost: str, user: str, configure: str, write: str, read: str
) -> None:
    """Say by patterns of names what a user may do in a vhost."""
    words = map(_binary, (user, vhost, configure, write, read))
    node.evaluate(f"ok = rabbit_auth_backend_internal:set_permissions({', '.join(words)}, {_ME})")


def set_policy(node: RabbitNode, vhost: str, pattern: str, **keys: object) -> None:
    """Set the one policy of a vhost, for queues whose name has this pattern."""
    definition = json.dumps({key.replace("_", "-"): value for key, value in keys.items()})
    words = map(_binary, (vhost, "one", pattern, definition))
    node.evaluate(f'ok = rabbit_policy:parse_set({", ".join(words)}, 0, <<"queues">>, {_ME})')


def clear_policy(node: RabbitNode, vhost: str) -> None:
    """Clear that policy."""
    node.evaluate(f'ok = rabbit_policy:delete({_binary(vhost)}, <<"one">>, {_ME})')


def fill(broker: Broker, queue: str) -> None:
    """Publish to a queue until it refuses: its policy needs time to take effect."""
    with suppress(NackError):
        while True:
            broker.publish(b"not ours", queue=queue)


def note_all(node: RabbitNode) -> None:
    """Have the node write to its disk what was declared: it does so some seconds later.

    RabbitMQ 3.10 loses the leader of a quorum queue for ever when it is killed before.
    """
    node.evaluate("ok = mnesia:sync_log(), [ok = dets:sync(Table) || Table <- dets:all()]")


def lose_consumers(node: RabbitNode, vhost: str, queue: str) -> None:
    """Tell a quorum queue that the nodes of its consumers are lost, and at once that they are back.

    So does a leader in a cluster whose nodes lose each other for a moment. It takes back all that
    the consumers hold, and gives it to them once more, while their connections live on.
    """
    node.evaluate(
        f"{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r({_binary(vhost)}, queue,"
        f" {_binary(queue)})), Leader = amqqueue:get_pid(Q),"
        " Channels = [element(1, C) || C <- rabbit_amqqueue:consumers(Q)],"
        " [ra:process_command(Leader, {down, C, noconnection}) || C <- Channels],"
        " [ra:process_command(Leader, {nodeup, N}) || N <- lists:usort([node(C) || C <- Channels])]"
    )


def delete_vhost(node: RabbitNode, name: str) -> None:
    """Delete a vhost with all that is in it."""
    node.evaluate(f"rabbit_vhost:delete({_binary(name)}, {_ME})")


def add_user(node: RabbitNode, name: str, password: str) -> None:
    """Make a user that has no permission yet."""
    node.evaluate(
        f"ok = rabbit_auth_backend_internal:add_user({_binary(name)}, {_binary(password)}, {_ME})"
    )


def change_password(node: RabbitNode, name: str, password: str) -> None:
    """Give a user another password; its connections stay."""
    words = ", ".join(map(_binary, (name, password)))
    node.evaluate(f"ok = rabbit_auth_backend_internal:change_password({words}, {_ME})")


def delete_user(node: RabbitNode, name: str) -> None:
    """Delete a user."""
    node.evaluate(f"rabbit_auth_backend_internal:delete_user({_binary(name)}, {_ME})")


def names_in(node: RabbitNode, vhost: str) -> list[str]:
    """Return the names of all exchanges and queues of a vhost, in one order."""
    found = node.evaluate(
        f"[element(4, element(2, X)) || X <- rabbit_exchange:list({_binary(vhost)})]"
        f" ++ [element(4, amqqueue:get_name(Q)) || Q <- rabbit_amqqueue:list({_binary(vhost)})]"
    )
    names = sorted(re.findall(r'<<"([^"]*)">>', found))
    assert "amq.topic" in names
    return names


def close_connections(node: RabbitNode, vhost: str, why: str = "test", product: str = "") -> None:
    """Close all connections to a vhost; with `product`, only those of that client."""
    ours = (
        " [{client_properties, L}] <- [rabbit_networking:connection_info(P, [client_properties])],"
        f' lists:member({{<<"product">>, longstr, {_binary(product)}}}, L)'
    )
    node.evaluate(
        f'[rabbit_networking:close_connection(P, "{why}") || P <- rabbit_networking:connections(),'
        f" [{{vhost, {_binary(vhost)}}}] =:= rabbit_networking:connection_info(P, [vhost])"
        f"{',' + ours if product else ''}]"
    )


@contextmanager
def memory_alarm(node: RabbitNode) -> Iterator[None]:
    """Have the node refuse all that is published, because it has too little memory."""
    try:
        node.evaluate("ok = vm_memory_monitor:set_vm_memory_high_watermark(1.0e-7)")
        yield
    finally:
        node.evaluate("ok = vm_memory_monitor:set_vm_memory_high_watermark(0.4)")


@contextmanager
def consumer_timeout(node: RabbitNode, milliseconds: int) -> Iterator[None]:
    """Have channels that are opened from now on look each second for what is not acknowledged."""
    keys = {"consumer_timeout": milliseconds, "channel_tick_interval": 1_000}
    before = {key: node.evaluate(f"application:get_env(rabbit, {key})") for key in keys}
    try:
        for key, value in keys.items():
            node.evaluate(f"application:set_env(rabbit, {key}, {value})")
        yield
    finally:
        for key, old in before.items():
            node.evaluate(f"application:set_env(rabbit, {key}, element(2, {old}))")


@contextmanager
def max_message_size(node: RabbitNode, size: int) -> Iterator[None]:
    """Have the node take no message over `size` bytes, on channels that are opened from now on."""
    key = "max_message_size"
    before = node.evaluate(f"element(2, application:get_env(rabbit, {key}))")
    # Where RabbitMQ keeps it depends on its version.
    both = f"application:set_env(rabbit, {key}, %s), persistent_term:put({key}, %s)"
    try:
        node.evaluate(both % (size, size))
        yield
    finally:
        node.evaluate(both % (before, before))


@contextmanager
def frame_max(node: RabbitNode, size: int) -> Iterator[None]:
    """Have the node take no frame over `size` bytes, on connections that are made from now on."""
    before = node.evaluate("element(2, application:get_env(rabbit, frame_max))")
    try:
        node.evaluate(f"application:set_env(rabbit, frame_max, {size})")
        yield
    finally:
        node.evaluate(f"application:set_env(rabbit, frame_max, {before})")


def _binary(text: str) -> str:
    """Write a text as an Erlang binary in UTF-8."""
    return f"<<{','.join(map(str, text.encode()))}>>"
