"""Facts about commands that come again on one connection: none is sent twice, and none is lost."""

from __future__ import annotations

from collections.abc import Callable

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker
from tests.support.sender import SenderRig
from tests.support.waiting import wait_until

Start = Callable[..., SenderRig]


def test_a_command_that_is_sent_anew_is_no_return_of_the_failed_one(
    start: Start, broker: Broker, workspace: Workspace
) -> None:
    """It has the name of one that failed and was acknowledged, and the pump itself gave it back."""
    rig = start(rate=1.0, burst=1)
    queue = broker.queue(name="answers")
    named = {"message_id": "m1", "correlation_id": "c1", "reply_to": queue}
    again = {"channel": "nowhere", "text": "again"}
    broker.publish(again, queue="rtm.outbound", **named)
    assert broker.get(queue).json["error"]["code"] == "channel_not_found"
    # So that one large command is all that it holds.
    rig.sender._limit._most = 1000
    for number in range(3):
        command = {"channel": "general", "text": "b" * 900 + str(number)}
        broker.publish(command, queue="rtm.outbound")
    wait_until(lambda: bool(workspace.sent))
    broker.publish(again, queue="rtm.outbound", **named)
    assert broker.get(queue).json["error"]["code"] == "channel_not_found"
    assert broker.count("rtm.outbound.dead") == 2


def test_two_equal_commands_that_come_back_are_both_sent(
    start: Start, broker: Broker, workspace: Workspace
) -> None:
    """Their producer gave both the same correlation id; a connection ended in between."""
    # The next one is not sent before all are there.
    rig = start(rate=0.3, burst=1)
    queue = broker.queue(name="answers")
    broker.publish({"channel": "general", "text": "first"}, queue="rtm.outbound")
    wait_until(lambda: len(workspace.sent) == 1)
    for _ in range(2):
        command = {"channel": "general", "text": "ping"}
        broker.publish(command, queue="rtm.outbound", correlation_id="flow", reply_to=queue)
    wait_until(lambda: rig.sender.waiting >= 2)
    connection = rig.sender._connection
    connection.call(lambda: connection.fail("test", "the test ends it"))
    results = [broker.get(queue).json["ok"] for _ in range(2)]
    assert results == [True, True]
    assert [one.text for one in workspace.sent] == ["first", "ping", "ping"]
    wait_until(lambda: broker.count("rtm.outbound") == 0)
