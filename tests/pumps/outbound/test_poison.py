"""Facts about results and dead letters that RabbitMQ does not take: they stop no other command."""

from __future__ import annotations

import json
import time
from functools import partial

import pika
import pytest

from rtmpump.config import Outbound
from rtmpump.links.rabbitmq import results, topology
from rtmpump.links.rabbitmq.one_by_one import Parcel
from rtmpump.pumps.outbound.sender import Finish
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.pumps.outbound.test_sender import (
    StartRig,
    end_connections,
    is_empty,
    message,
    texts,
)
from tests.support.broker import Broker
from tests.support.broker_node import frame_max, max_message_size
from tests.support.poison import foreign_reply_address, require_punishment
from tests.support.sender import SenderRig
from tests.support.waiting import wait_until

_DIRECT = "amq.rabbitmq.reply-to"


def undeliverable(rig: SenderRig) -> int:
    """Return how many results were given up."""
    return rig.metrics.snapshot().results_undeliverable


def move_clock(rig: SenderRig, seconds: float) -> None:
    """Let time pass for the results that are tried again."""
    rig.sender._results._now = lambda: time.monotonic() + seconds


class DirectRequester:
    """A service that reads its results by direct reply-to."""

    def __init__(self, broker: Broker) -> None:
        self._connection = broker.connection
        self._channel = broker.connection.channel()
        self._came: list[str] = []
        self._asked = 0
        self._channel.basic_consume(
            _DIRECT, lambda *args: self._came.append(args[2].correlation_id), auto_ack=True
        )

    def ask(self, command: dict[str, str]) -> None:
        """Send a command, and wait for its result."""
        self._asked += 1
        number = str(self._asked)
        properties = pika.BasicProperties(reply_to=_DIRECT, correlation_id=number)
        body = json.dumps(command).encode()
        self._channel.basic_publish("", "rtm.outbound", body, properties)

        def came() -> bool:
            self._connection.process_data_events(0.05)
            return number in self._came

        wait_until(came, what="for the result")


def test_a_poisonous_reply_address_stops_none_of_twenty_others(
    start: StartRig, broker: Broker, workspace: Workspace, broker_url: str
) -> None:
    """Each good requester gets its one result; the poisonous one's command is sent and acked."""
    require_punishment(broker_url)
    rig = start()
    good = [broker.command(message(f"good {number}")) for number in range(10)]
    broker.publish(
        message("poisonous"), reply_to=foreign_reply_address(), correlation_id="c", message_id="m"
    )
    good += [broker.command(message(f"good {number}")) for number in range(10, 20)]
    assert all(broker.result(command).json["ok"] for command in good)
    wait_until(lambda: is_empty(rig, broker), what="for the poisonous one")
    assert not any(broker.more_results(command) for command in good)
    assert sorted(texts(workspace)) == sorted([*(f"good {n}" for n in range(20)), "poisonous"])
    assert rig.ups == 1
    assert undeliverable(rig) == 1


def test_a_poisonous_reply_address_of_a_failed_command_leaves_one_dead_letter(
    start: StartRig, broker: Broker, broker_url: str
) -> None:
    """The letter is safe before the result is tried, and is not repeated."""
    require_punishment(broker_url)
    rig = start()
    broker.publish(b"garbage", reply_to=foreign_reply_address(), message_id="m")
    assert broker.dead().properties.message_id == "m"
    wait_until(lambda: is_empty(rig, broker))
    assert broker.drain("rtm.outbound.dead") == []
    assert undeliverable(rig) == 1


def test_direct_requesters_beside_poisonous_ones_each_get_their_one_result(
    start: StartRig, broker: Broker, broker_url: str
) -> None:
    """They share the connection that is ended forty times, and lose nothing by it."""
    require_punishment(broker_url)
    rig = start()
    got: list[str] = []
    channel = broker.connection.channel()
    channel.basic_consume(
        _DIRECT, lambda *args: got.append(args[2].correlation_id or ""), auto_ack=True
    )
    for number in range(20):
        broker.publish(message("x"), reply_to=foreign_reply_address(f"r@{number}"))
        good = pika.BasicProperties(reply_to=_DIRECT, correlation_id=str(number))
        body = json.dumps(message("good")).encode()
        channel.basic_publish("", "rtm.outbound", body, good)

    def all_came() -> bool:
        broker.connection.process_data_events(0.05)
        return is_empty(rig, broker) and len(got) >= 20

    wait_until(all_came)
    assert sorted(got) == sorted(map(str, range(20)))
    assert undeliverable(rig) == 20
    assert rig.ups == 1


def _ups_above(rig: SenderRig, ups: int) -> bool:
    return rig.ups > ups


def submitted_alone(rig: SenderRig) -> list[str]:
    """Return a list that gets the queue of each message that goes alone from now on."""
    queues: list[str] = []
    line = rig.sender._one_by_one
    submit = line.submit

    def noted(parcel: Parcel) -> None:
        queues.append(parcel.queue)
        submit(parcel)

    line.submit = noted  # type: ignore[method-assign]
    return queues


def test_an_address_that_took_one_result_is_trusted(
    node: RabbitNode, start: StartRig, broker: Broker, broker_url: str
) -> None:
    """Only its first goes alone; after an end of the connection that is so again."""
    rig = start()
    alone = submitted_alone(rig)
    requester = DirectRequester(broker)
    for ends in (1, 2):
        for _ in range(5):
            requester.ask(message("x"))
            wait_until(lambda: is_empty(rig, broker), what="for the ack")
        assert len(alone) == ends
        end_connections(node, broker_url)
        wait_until(partial(_ups_above, rig, ends), what="for the next connection")
    assert undeliverable(rig) == 0


def test_a_result_whose_confirm_is_lost_is_tried_alone(
    start: StartRig, broker: Broker, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ can lose one while all others come; the command is carried out once, and let go."""
    rig = start()
    settled = rig.sender.settled
    lost: list[int] = []

    def all_but_the_first(tag: int, multiple: bool, ok: bool) -> None:
        if not lost and not multiple:
            lost.append(tag)
            return
        settled(tag, multiple, ok)

    rig.sender.settled = all_but_the_first  # type: ignore[method-assign]
    command = broker.command(message("one"))
    assert broker.result(command).json["ok"]
    wait_until(lambda: lost, what="for the confirm")
    assert broker.result(broker.command(message("two"))).json["ok"]
    monkeypatch.setattr(results, "_CONFIRM_WITHIN", 0.0)
    wait_until(lambda: is_empty(rig, broker), what="for the ack")
    assert rig.ended[0] == "confirm_timeout"
    assert sorted(texts(workspace)) == ["one", "two"]
    assert undeliverable(rig) == 0


def test_a_trusted_address_that_becomes_poison_ends_the_connection_once(
    start: StartRig, broker: Broker, workspace: Workspace, broker_url: str
) -> None:
    """Then it goes alone, and is left out; each of the others gets its result, and no second."""
    require_punishment(broker_url)
    rig = start()
    poison = foreign_reply_address()
    rig.sender._results._prove(poison)
    good = [broker.command(message(f"good {number}")) for number in range(10)]
    broker.publish(message("poisonous"), reply_to=poison, message_id="m")
    good += [broker.command(message(f"good {number}")) for number in range(10, 20)]
    assert all(broker.result(command).json["ok"] for command in good)
    wait_until(lambda: is_empty(rig, broker), what="for the poisonous one")
    assert sorted(texts(workspace)) == sorted([*(f"good {n}" for n in range(20)), "poisonous"])
    assert rig.ups == 2
    assert undeliverable(rig) == 1


@pytest.mark.parametrize(("size", "filler"), [(8_192, 7_990), (65_536, 65_330)])
def test_a_dead_letter_that_no_frame_of_the_broker_holds_lacks_its_headers(
    node: RabbitNode, start: StartRig, broker: Broker, size: int, filler: int
) -> None:
    """It is seen beforehand, by what was negotiated; what fits keeps its headers."""
    with frame_max(node, size):
        rig = start()
        large = broker.command(b"garbage", headers={"mine": "x" * filler})
        assert broker.result(large).json["error"]["code"] == "invalid_command"
        small = broker.command(b"garbage", headers={"mine": "x" * (filler - 1_500)})
        broker.result(small)
        wait_until(lambda: is_empty(rig, broker))
    letters = [broker.dead(), broker.dead()]
    assert letters[0].headers["rtmpump-left-out"] == "headers"
    assert letters[0].body == b"garbage"
    assert len(letters[1].headers["mine"]) == filler - 1_500
    assert "rtmpump-left-out" not in letters[1].headers
    assert rig.ups == 1


def test_a_dead_letter_that_ends_the_connection_goes_alone_and_the_others_as_ever(
    node: RabbitNode, start: StartRig, broker: Broker
) -> None:
    """The broker takes no body of that size any more; only that command loses it."""
    bodies = [f"garbage {number}".encode() for number in range(10)]
    for item in topology.outbound(Outbound()):
        if isinstance(item, topology.Queue):
            broker.channel.queue_declare(item.name, durable=True, arguments=dict(item.arguments))
    large = broker.command(b"x" * 1_001, headers={"mine": 1}, message_id="large")
    with max_message_size(node, 1_000):
        rig = start()
        commands = [large, *map(broker.command, bodies)]
        for command in commands:
            assert broker.result(command).json["error"]["code"] == "invalid_command"
        wait_until(lambda: is_empty(rig, broker))
    letters = broker.drain("rtm.outbound.dead")
    assert {one.body for one in letters} == {b"", *bodies}
    (less,) = (one for one in letters if "rtmpump-left-out" in one.headers)
    assert less.headers["rtmpump-left-out"] == "headers, body"
    assert less.properties.message_id == "large"
    assert not any(broker.more_results(command) for command in commands)
    # The connection of the commands ended once, and the other one bore the rest.
    assert rig.ups == 2


@pytest.mark.parametrize("queue", ["nobody", "exchange/key", "ö" * 120, b"\xff"])
def test_a_result_that_no_queue_takes_is_given_up_and_counted(
    queue: str | bytes, start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """It is tried again for half a minute, and until then the command is not acked."""
    rig = start()
    broker.publish(message("hi"), reply_to=queue, correlation_id="c" * 255)
    wait_until(lambda: rig.sender._results._waiting)
    assert undeliverable(rig) == 0
    assert rig.sender.waiting == 1
    move_clock(rig, 31.0)
    wait_until(lambda: is_empty(rig, broker))
    assert undeliverable(rig) == 1
    assert len(workspace.sent) == 1
    assert rig.ups == 1


def test_a_reply_queue_that_comes_in_time_gets_its_result_once(
    start: StartRig, broker: Broker
) -> None:
    """The producer was slower than Slack."""
    rig = start()
    broker.publish(message("hi"), reply_to="late", correlation_id="c", message_id="m")
    wait_until(lambda: rig.sender._results._waiting)
    result = broker.get(broker.queue(name="late"))
    assert result.json["ok"]
    wait_until(lambda: is_empty(rig, broker))
    assert broker.drain("late") == []
    assert undeliverable(rig) == 0


def test_results_that_nobody_takes_leave_room_for_other_commands(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """Of more than half a window of them, the oldest are given up at once."""
    rig = start(prefetch=10)
    for number in range(50):
        broker.publish(message(f"{number}"), reply_to="nobody", correlation_id=str(number))
    assert broker.ask(message("good"))["ok"]
    wait_until(lambda: rig.sender.waiting == 5)
    assert undeliverable(rig) == 45
    assert len(workspace.sent) == 51


def test_the_id_of_a_result_stays_the_same(
    node: RabbitNode, start: StartRig, broker: Broker, broker_url: str
) -> None:
    """Who gets it twice can drop the second one; results of two commands differ."""
    rig = start()
    seen = []
    for text in ("a", "b"):
        broker.publish(message(text), reply_to="late", correlation_id=text)
    wait_until(lambda: len(rig.sender._results._waiting) == 2)
    end_connections(node, broker_url)
    ids: dict[str | None, str] = {}

    def both_wait() -> bool:
        # Each retry takes one out for a moment.
        waiting = list(rig.sender._results._waiting)
        ids.update((job.fingerprint.correlation_id, job.report.result_id) for job in waiting)
        return rig.ups == 2 and len(ids) == 2

    wait_until(both_wait)
    seen = broker.take(broker.queue(name="late"), 2)
    assert {one.properties.correlation_id: one.properties.message_id for one in seen} == ids
    assert len(set(ids.values())) == 2


def test_a_stop_gives_up_what_no_queue_takes(start: StartRig, broker: Broker) -> None:
    """Its command was carried out, and a next start would carry it out once more."""
    rig = start()
    broker.publish(message("hi"), reply_to="nobody", correlation_id="c")
    wait_until(lambda: rig.sender._results._waiting)
    rig.sender.notify(Finish())
    wait_until(lambda: rig.has_ended)
    wait_until(lambda: broker.count("rtm.outbound") == 0)
    assert undeliverable(rig) == 1
