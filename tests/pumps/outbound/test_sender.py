"""Facts about the sender that a black box hardly shows; the others are in e2e/test_outbound."""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Callable, Iterator

import pika
import pika.exceptions
import pytest

from rtmpump.core.frames import Reply
from rtmpump.core.refusals import Refusals
from rtmpump.pumps.outbound.sender import Finish
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker
from tests.support.broker_node import clear_policy, close_connections, fill, set_policy
from tests.support.sender import SenderRig
from tests.support.waiting import wait_until

GENERAL, RANDOM = "C0GENERAL", "C0RANDOM"
StartRig = Callable[..., SenderRig]


def texts(workspace: Workspace, channel: str = "") -> list[str]:
    """Return the texts that Slack took, in order."""
    return [sent.text for sent in workspace.sent if not channel or sent.channel == channel]


def message(text: str, channel: str = GENERAL) -> dict[str, str]:
    """Return a command."""
    return {"channel": channel, "text": text}


def end_connections(node: RabbitNode, broker_url: str) -> None:
    """Have the broker end every connection of the pump in this vhost."""
    close_connections(node, broker_url.rsplit("/", 1)[1], product="rtmpump")


def is_empty(rig: SenderRig, broker: Broker) -> bool:
    """Return whether nothing is left in the pump and in the queue."""
    return not rig.sender.waiting and not broker.count("rtm.outbound")


def test_a_dead_queue_that_is_gone_loses_no_dead_letter(start: StartRig, broker: Broker) -> None:
    """The letter comes back before its own ack: that ack must not count."""
    rig = start()
    broker.channel.queue_delete("rtm.outbound.dead")
    command = broker.command(b"garbage")
    wait_until(lambda: rig.ups == 2, what="for a new connection")
    assert broker.dead().body == b"garbage"
    assert broker.result(command).json["error"]["code"] == "invalid_command"
    wait_until(lambda: is_empty(rig, broker))
    assert broker.more_results(command) == []


def test_a_rejected_command_is_counted_by_its_type(start: StartRig, broker: Broker) -> None:
    """As far as it can be read: what is no command at all is "invalid"."""
    rig = start()
    call = {"type": "api", "method": "reactions.add"}
    for command in (call, b"garbage"):
        broker.result(broker.command(command))
    counts = rig.metrics.snapshot().commands
    assert counts == {type: {"invalid_command": 1} for type in ("api", "invalid")}


def test_a_full_dead_queue_does_not_hold_back_the_answer(
    node: RabbitNode, start: StartRig, broker: Broker, broker_url: str
) -> None:
    """The letter is tried again until it is taken; the command stays in its queue until then."""
    vhost = broker_url.rsplit("/", 1)[1]
    rig = start()
    set_policy(node, vhost, "dead$", max_length=1, overflow="reject-publish")
    # Only where it refuses already is no letter taken before RabbitMQ finds that it is full.
    fill(broker, "rtm.outbound.dead")
    letters = {f"garbage {number}" for number in range(12)}
    commands = [broker.command(letter) for letter in letters]
    for command in commands:
        assert broker.result(command).json["ok"] is False
    assert rig.sender.waiting
    seen: set[str] = set()
    while not seen >= letters:
        seen.add(broker.dead().body.decode())
    wait_until(lambda: is_empty(rig, broker))
    assert not any(broker.more_results(command) for command in commands)
    # Each counts once, however often its letter was refused.
    assert rig.metrics.snapshot().dead_letters == {"invalid_command": len(commands)}


def test_a_result_that_is_refused_is_tried_again(
    node: RabbitNode, start: StartRig, broker: Broker, broker_url: str
) -> None:
    """Also on a new connection; it comes once, and only then the command is acked."""
    vhost = broker_url.rsplit("/", 1)[1]
    queue = broker.queue(name="full")
    set_policy(node, vhost, "^full$", max_length=0, overflow="reject-publish")
    fill(broker, queue)
    broker.channel.queue_purge(queue)
    rig = start()
    rig.sender._results._refusals = Refusals(0.5)
    broker.publish(message("hi"), reply_to=queue, correlation_id="c", message_id="m")
    wait_until(lambda: "nacked" in rig.ended)
    # Not a queue that is deleted and made anew: a result between the two would be lost.
    clear_policy(node, vhost)
    assert broker.get(queue).json["ok"]
    wait_until(lambda: is_empty(rig, broker))
    assert broker.poll(queue) is None


def test_what_was_written_is_not_sent_again_when_the_broker_comes_back(
    node: RabbitNode, start: StartRig, broker: Broker, broker_url: str, workspace: Workspace
) -> None:
    """The reply that comes in the gap settles it, with one result; the next ones follow."""
    rig = start(reply_timeout=600)
    workspace.faults.reply_policy = lambda _frame: faults.late(1.0)
    commands = [broker.command(message("one")), broker.command(message("two"))]
    wait_until(lambda: len(workspace.sent) == 1)
    end_connections(node, broker_url)
    wait_until(lambda: rig.ups == 2, what="for a new connection")
    workspace.faults.reply_policy = faults.NORMAL
    for command in commands:
        assert broker.result(command).json["attempts"] == 1
    wait_until(lambda: is_empty(rig, broker))
    assert texts(workspace) == ["one", "two"]
    assert not any(broker.more_results(command) for command in commands)


@pytest.fixture
def consumer_timeout(node: RabbitNode) -> Iterator[None]:
    """A node that takes a consumer that acks too late off its queue after 3 s, not 30 min.

    Less would come before the turn of the next command on a busy machine, again and again.
    """
    settings = (
        "application:set_env(rabbit, consumer_timeout, {}),"
        " application:set_env(rabbit, channel_tick_interval, {})"
    )
    node.evaluate(settings.format(3000, 200))
    yield
    node.evaluate(settings.format(1_800_000, 60_000))


@pytest.mark.usefixtures("consumer_timeout")
def test_a_consumer_timeout_neither_loses_nor_doubles_a_command(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """The command was sent, and Slack's answer comes too late."""
    workspace.faults.reply_policy = faults.late(6.0)
    rig = start()
    command = broker.command(message("slow"), message_id="m")
    assert broker.result(command).json["ok"]
    wait_until(lambda: is_empty(rig, broker))
    assert "ack_timeout" in rig.ended
    assert texts(workspace) == ["slow"]
    assert broker.more_results(command) == []


@pytest.mark.usefixtures("consumer_timeout")
def test_a_consumer_timeout_loses_nothing_that_waits_for_its_turn(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """It strikes again and again where the rate is too low; all is sent once and in order."""
    rig = start(rate=1.0, burst=1)
    commands = [broker.command(message(f"n{number}")) for number in range(6)]
    assert all(broker.result(command).json["ok"] for command in commands)
    wait_until(lambda: is_empty(rig, broker))
    assert "ack_timeout" in rig.ended
    assert texts(workspace) == [f"n{number}" for number in range(6)]
    assert not any(broker.more_results(command) for command in commands)


def test_identical_commands_are_each_sent_once(
    node: RabbitNode, start: StartRig, broker: Broker, broker_url: str, workspace: Workspace
) -> None:
    """Two equal commands are two, also if the connection to the broker ends between them."""
    rig = start(reply_timeout=600)
    workspace.faults.reply_policy = lambda _frame: faults.late(1.0)
    broker.publish(message("same"))
    broker.publish(message("same"))
    wait_until(lambda: len(workspace.sent) == 1)
    end_connections(node, broker_url)
    wait_until(lambda: rig.ups == 2, what="for a new connection")
    wait_until(lambda: is_empty(rig, broker) and len(workspace.sent) >= 2)
    assert texts(workspace) == ["same", "same"]


def test_a_command_like_one_that_was_answered_is_sent_too(
    start: StartRig, broker: Broker, workspace: Workspace, node: RabbitNode, broker_url: str
) -> None:
    """Equal down to the correlation id, it waits when the broker goes away, and is no repeat."""
    rig = start(rate=0.2, burst=1)
    answers = broker.queue()
    broker.publish(message("same"), reply_to=answers, correlation_id="1")
    wait_until(lambda: workspace.sent and not rig.sender.waiting)
    broker.publish(message("same"), reply_to=answers, correlation_id="1")
    wait_until(lambda: rig.sender.waiting)
    end_connections(node, broker_url)
    assert len(broker.take(answers, 2)) == 2
    assert texts(workspace) == ["same", "same"]


def test_a_queue_that_was_deleted_is_declared_again(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """The consumer is cancelled then, and the pump begins anew."""
    rig = start()
    broker.channel.queue_delete("rtm.outbound")
    wait_until(lambda: rig.ups == 2, what="for a new connection")
    assert broker.ask(message("hi"))["ok"]
    assert texts(workspace) == ["hi"]


def test_messages_by_name_do_not_overtake_those_whose_lookup_is_answered(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """While the directory's answer is on the way, later ones of the name wait behind."""
    start()
    workspace.faults.api_errors["conversations.list"].append(faults.Hang(0.5))
    wanted = [str(number) for number in range(300)]
    last = [broker.command(message(text, "#general")) for text in wanted][-1]
    broker.result(last)
    assert texts(workspace) == wanted


def test_messages_by_id_do_not_overtake_those_whose_name_is_looked_up(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """The id may be that of the very channel that the name stands for."""
    start()
    workspace.faults.api_errors["conversations.list"].append(faults.Hang(0.5))
    wanted = [str(number) for number in range(30)]
    for number, text in enumerate(wanted):
        broker.publish(message(text, "#general" if number % 3 == 0 else GENERAL))
    wait_until(lambda: len(workspace.sent) == len(wanted))
    assert texts(workspace) == wanted


def test_a_directory_that_does_not_answer_stops_nobody_for_long(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """A name without an answer holds up the others for seconds, and is sent once it is known."""
    start()
    workspace.faults.api_errors["conversations.list"].append(faults.Hang(9.0))
    for text, channel in (("a", "general"), ("b", RANDOM), ("c", "general"), ("d", GENERAL)):
        broker.publish(message(text, channel))
    wait_until(lambda: set(texts(workspace)) >= {"b", "d"})
    assert "a" not in texts(workspace)
    wait_until(lambda: len(workspace.sent) == 4)
    assert texts(workspace, GENERAL) == ["d", "a", "c"]


def test_expiration_holds_deep_in_a_channel_queue_and_before_the_lookup(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """It ends what waits for the rate limit, and what waits for the directory."""
    rig = start(rate=0.001, burst=1)
    workspace.faults.api_errors["conversations.list"].append(faults.Hang(5.0))
    broker.ask(message("takes the token"))
    head = broker.command(message("waits"))
    late = [broker.command(message("late"), expiration="300") for _ in range(3)]
    late.append(broker.command(message("late", "random"), expiration="300"))
    for command in late:
        assert broker.result(command).json["error"]["code"] == "timeout"
    wait_until(lambda: rig.sender.waiting == 1)
    assert texts(workspace) == ["takes the token"]
    assert broker.more_results(head) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"large": "x" * 130_900},
        {"CC": ["rtm.outbound"], "BCC": ["rtm.outbound"]},
        {"of all kinds": [None, True, -1, 2**40, {"a": [1]}], "bytes": b"\xff\x00"},
        None,
    ],
)
def test_no_headers_of_a_producer_hurt_its_dead_letter(
    headers: dict[str, object] | None, start: StartRig, broker: Broker
) -> None:
    """Too large for one frame with ours, copies to others, odd values, none."""
    rig = start()
    rejected = broker.command(message(""), headers={"mine": 1})
    broker.publish(message(""), headers=headers, user_id="guest", expiration="60000")
    broker.result(rejected)
    letters = [broker.dead(), broker.dead()]
    assert letters[0].headers["mine"] == 1
    assert letters[1].headers["rtmpump-error-code"] == "invalid_command"
    assert letters[1].properties.expiration is None
    wait_until(lambda: is_empty(rig, broker))
    assert rig.ups == 1
    assert broker.drain("rtm.outbound.dead") == []


class RawHeaders(pika.BasicProperties):
    """Properties with a table of headers that pika itself would not write; nothing else."""

    def __init__(self, table: bytes) -> None:
        super().__init__(correlation_id="c", reply_to="results", message_id="m")
        self._table = table

    def encode(self) -> list[bytes]:
        """As they go over the wire."""
        (flags,), rest = struct.unpack(">H", b"".join(super().encode())[:2]), super().encode()[1:]
        table = struct.pack(">L", len(self._table)) + self._table
        return [struct.pack(">H", flags | self.FLAG_HEADERS), table, *rest]


def nested(depth: int) -> bytes:
    """Return lists in lists."""
    value = b""
    for _ in range(depth):
        value = b"A" + struct.pack(">L", len(value)) + value
    return value


@pytest.mark.parametrize(
    "value",
    [
        b"T" + struct.pack(">Q", 1 << 63),
        nested(5_000),
    ],
    ids=["time", "deep"],
)
def test_headers_that_cannot_be_read_stop_nobody(
    value: bytes, start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """Such a command is sent, or dead-lettered, like any other, and those behind it too."""
    rig = start()
    results = broker.queue(name="results")
    for body in (b'{"channel": "general", "text": "1"}', b"no command"):
        broker.channel.basic_publish("", "rtm.outbound", body, RawHeaders(b"\x01h" + value))
    assert broker.ask(message("2"))["ok"]
    assert sorted(one.json["ok"] for one in broker.take(results, 2)) == [False, True]
    assert broker.dead().body == b"no command"
    assert texts(workspace) == ["1", "2"]
    wait_until(lambda: is_empty(rig, broker))
    assert rig.ups == 1


@pytest.mark.parametrize("queue", ["amq.rabbitmq.reply-to.garbage", "rtm.outbound.dead"])
def test_a_result_goes_wherever_its_producer_wants(
    queue: str, start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """The command is acked, whatever its producer wrote as reply_to and correlation id."""
    rig = start()
    broker.publish(message("hi"), reply_to=queue, correlation_id="c" * 255)
    wait_until(lambda: workspace.sent and is_empty(rig, broker))
    assert rig.ups == 1
    assert rig.metrics.snapshot().results_undeliverable == 0


def test_typing_is_coalesced_for_each_thread(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """One indicator in three seconds; that of a thread is another one."""
    start()
    thread = {"type": "typing", "channel": GENERAL, "thread_ts": "1355517523.000005"}
    began = time.monotonic()
    for command in (thread, {"type": "typing", "channel": GENERAL}) * 3:
        assert broker.ask(command)["ok"]
    spans = 1 + int((time.monotonic() - began) / 3)
    frames = [frame for frame in workspace.frames if frame["type"] == "typing"]
    assert 2 <= len(frames) <= 2 * spans


def test_a_finish_waits_no_longer_than_for_the_replies(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """A message that would go again stays in the queue; what waits unsent as well."""
    workspace.faults.reply_policy = faults.NEVER
    rig = start(reply_timeout=1)
    broker.publish(message("unanswered"))
    broker.publish(message("unsent"))
    wait_until(lambda: any(frame["type"] == "message" for frame in workspace.frames))
    rig.sender.notify(Finish())
    wait_until(lambda: rig.has_ended)
    wait_until(lambda: broker.count("rtm.outbound") == 2)


def test_replies_that_nobody_waits_for_are_not_kept(start: StartRig) -> None:
    """Whatever Slack repeats while the broker is away, memory does not grow."""
    rig = start()
    for number in range(10_000):
        rig.sender.notify(Reply(number, True, "", "", "", None))
    assert len(rig.sender._mailbox) == 0


def test_nothing_is_left_of_commands_that_passed(
    start: StartRig, broker: Broker, workspace: Workspace
) -> None:
    """Thousands with expirations of days, answered and refused: no trace in the pump."""
    rig = start(prefetch=100)
    count = 3_000
    answers = broker.queue()
    for number in range(count):
        broker.publish(
            message(
                secrets.token_hex(4) if number % 3 else "",
                f"C0{'GENERAL' if number % 2 else 'RANDOM'}",
            ),
            reply_to=answers,
            expiration="864000000",
        )
    assert len(broker.take(answers, count)) == count
    wait_until(lambda: is_empty(rig, broker))
    dispatcher = rig.sender._dispatcher
    assert len(dispatcher._rtm._replies) == len(dispatcher._deadlines) == 0
    assert len(dispatcher._queues._queues) == 0
    assert len(dispatcher._deadlines._heap) + len(dispatcher._queues._plan) < 1_000
    assert len(rig.sender._orphans._acked) <= 100
    assert len(workspace.sent) == count - count // 3


def test_a_stop_that_comes_while_it_connects_ends_it(
    node: RabbitNode, start: StartRig, broker: Broker, broker_url: str, workspace: Workspace
) -> None:
    """It must never consume after that: another pump may have the turn for good."""
    rig = start()
    ready = rig.sender.ready

    def stopped_meanwhile() -> None:
        rig.sender.lifecycle.stop.set()
        ready()

    rig.sender.ready = stopped_meanwhile  # type: ignore[method-assign]
    end_connections(node, broker_url)
    wait_until(lambda: rig.has_ended, what="for the end")
    broker.publish(message("late"))
    assert rig.ups == 1
    assert broker.count("rtm.outbound") == 1
    assert workspace.sent == []
