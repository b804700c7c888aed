"""Facts about commands that are large: they are refused without being held, or wait in RabbitMQ."""

from __future__ import annotations

import json

import pytest

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.workspace import Workspace
from tests.pumps.outbound.test_sender import (
    StartRig,
    end_connections,
    is_empty,
    message,
    texts,
)
from tests.support.broker import Broker
from tests.support.sender import SenderRig
from tests.support.waiting import wait_until

LIMIT = 65_536


def padded(text: str, size: int) -> bytes:
    """Return a good command of so many bytes."""
    body = json.dumps(message(text)).encode()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("size", [LIMIT + 1, 200_000, 3 * 131_064, 4 << 20])
def test_a_body_over_the_limit_is_refused_and_nothing_of_it_is_held(
    start: StartRig, broker: Broker, workspace: Workspace, size: int
) -> None:
    """It has its result; RabbitMQ keeps it whole in the dead queue; those around it are sent."""
    rig = start()
    body = padded("large", size)
    before = broker.command(message("before"))
    large = broker.command(body, headers={"mine": 1}, message_id="m")
    after = broker.command(message("after"))
    assert broker.result(large).json["error"] == {
        "code": "too_long",
        "message": f"the body is {size:,} bytes; send at most 65,536",
    }
    assert broker.result(before).json["ok"]
    assert broker.result(after).json["ok"]
    letter = broker.dead()
    assert letter.body == body
    assert letter.headers["mine"] == 1
    assert letter.headers["x-death"][0]["reason"] == "rejected"
    wait_until(lambda: is_empty(rig, broker))
    assert not broker.more_results(large)
    assert texts(workspace) == ["before", "after"]
    assert rig.metrics.snapshot().dead_letters == {"too_long": 1}
    assert rig.ups == 1


def test_a_body_at_the_limit_is_sent(start: StartRig, broker: Broker, workspace: Workspace) -> None:
    """65,536 bytes are no byte too many."""
    start()
    assert broker.result(broker.command(padded("fits", LIMIT))).json["ok"]
    assert texts(workspace) == ["fits"]


def limit_to(rig: SenderRig, size: int) -> None:
    """Have the sender hold no more bytes than that."""
    rig.sender._limit._most = size


def test_what_is_over_the_limit_waits_in_rabbitmq_and_keeps_its_order(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """With room for three of them, sixty commands go out once each and in order."""
    rig = start()
    limit_to(rig, 30_000)
    commands = [broker.command(padded(str(number), 9_000)) for number in range(60)]
    assert all(broker.result(command).json["ok"] for command in commands)
    wait_until(lambda: is_empty(rig, broker))
    assert texts(workspace) == [str(number) for number in range(60)]
    assert not any(broker.more_results(command) for command in commands)
    assert rig.sender._limit.held == 0


def test_the_limit_holds_while_slack_is_silent(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """What is held stays below it, whatever waits behind; then all goes on in order."""
    workspace.faults.reply_policy = faults.NEVER
    rig = start(reply_timeout=600)
    limit_to(rig, 60_000)
    for number in range(60):
        broker.publish(padded(str(number), 9_000))
    wait_until(lambda: rig.sender.waiting == 60)
    assert rig.sender._limit.held <= 60_000
    assert len(rig.sender._jobs) < 7


def test_order_holds_across_the_end_of_a_connection_at_the_limit(
    node: RabbitNode, start: StartRig, broker: Broker, broker_url: str, workspace: Workspace
) -> None:
    """What was held and what was postponed come again, and go out once and in order."""
    rig = start(reply_timeout=600)
    # So late that nothing goes back to the queue before the connection has ended.
    workspace.faults.reply_policy = lambda _frame: faults.late(4.0)
    limit_to(rig, 60_000)
    commands = [broker.command(padded(str(number), 9_000)) for number in range(60)]
    wait_until(lambda: rig.sender._limit.postponed and not broker.count("rtm.outbound"))
    end_connections(node, broker_url)
    wait_until(lambda: rig.ups == 2 and rig.sender._limit.postponed)
    workspace.faults.reply_policy = faults.NORMAL
    assert all(broker.result(command).json["ok"] for command in commands)
    wait_until(lambda: is_empty(rig, broker))
    assert texts(workspace) == [str(number) for number in range(60)]


def test_what_expired_while_it_was_postponed_holds_up_nothing(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """RabbitMQ drops it on its way back, and the pump does not wait for it."""
    rig = start(rate=20.0, burst=1)
    limit_to(rig, 30_000)
    for number in range(40):
        # RabbitMQ counts their time anew from each return, and the pump from each delivery.
        broker.publish(padded(f"dies {number}", 9_000), expiration="1")
    last = broker.command(message("last"))
    assert broker.result(last).json["ok"]
    wait_until(lambda: is_empty(rig, broker))
    assert texts(workspace)[-1] == "last"


def test_large_headers_count_too(start: StartRig, broker: Broker, workspace: Workspace) -> None:
    """As many bytes as they came in, however many objects Python makes of them."""
    workspace.faults.reply_policy = faults.NEVER
    rig = start(reply_timeout=600)
    limit_to(rig, 200_000)
    headers = {f"h{number}": True for number in range(8_000)}
    for number in range(10):
        broker.publish(message(str(number)), headers=headers)
    wait_until(lambda: rig.sender.waiting == 10)
    assert len(rig.sender._jobs) <= 4
    assert rig.sender._limit.held <= 200_000


def test_headers_come_back_in_the_dead_letter(start: StartRig, broker: Broker) -> None:
    """They were kept as they came, and are read only then."""
    start()
    headers = {"a": "b", "n": 5, "list": [1, {"x": None}], "bytes": b"\xff\x00"}
    broker.publish(b"garbage", headers=headers)
    assert headers.items() <= broker.dead().headers.items()


def test_nothing_is_held_of_what_was_acked(start: StartRig, broker: Broker) -> None:
    """The pump remembers who they were, not what was in them."""
    rig = start()
    commands = [
        broker.command(
            padded(str(number), 9_000), headers={"mine": "x" * 9_000}, message_id=str(number)
        )
        for number in range(20)
    ]
    for command in commands:
        broker.result(command)
    wait_until(lambda: is_empty(rig, broker))
    remembered = [job for _, job in rig.sender._orphans._acked]
    assert len(remembered) == 20
    assert {(job.body, job.properties, job.command) for job in remembered} == {(b"", None, None)}
