"""Facts about what a service sends, through a real node and a real pump."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pika
import pytest

from rtmpump.client import (
    BrokerUnavailable,
    Client,
    ClientError,
    CommandFailed,
    Result,
    ResultMissing,
)
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.client.conftest import Connect
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.broker_node import close_connections, memory_alarm, set_permissions
from tests.support.sandbox_clients import last_message
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import SECONDS, wait_until

FAST: dict[str, Any] = {"rate": 1000.0, "burst": 1000, "api_rate": 100.0}
ALLOWED = {"api_methods": ["reactions.add"]}


def failure(call: Callable[[], object]) -> ClientError:
    """The error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value


def held(client: Client) -> int:
    """How many commands a client keeps in memory: no public call can say it."""
    commands = client._link.commands
    return len(commands._outbox) + len(commands._waiting)


def test_a_message_and_a_call_bring_back_what_slack_said(
    start_pump: StartPump, client: Client, workspace: Workspace
) -> None:
    """As values where it was done, as errors with a code where not."""
    start_pump(outbound=FAST | ALLOWED)
    result = client.send("general", "hello")
    sent = workspace.sent[-1]
    assert (sent.channel, sent.text) == ("C0GENERAL", "hello")
    assert result == Result("C0GENERAL", sent.ts, 1, False, None)
    client.send("C0GENERAL", "in a thread", thread_ts=result.ts, reply_broadcast=True)
    assert last_message(workspace)["thread_ts"] == result.ts
    assert last_message(workspace)["reply_broadcast"] is True

    failed = failure(lambda: client.send("nowhere", "hello"))
    assert isinstance(failed, CommandFailed)
    assert (failed.code, failed.attempts, failed.uncertain) == ("channel_not_found", 0, False)

    thumb: dict[str, Any] = {"channel": "C0GENERAL", "timestamp": result.ts, "name": "thumbsup"}
    assert client.call("reactions.add", **thumb) == {"ok": True}
    assert failure(lambda: client.call("reactions.add", **thumb)).code == "slack_already_reacted"
    assert failure(lambda: client.call("chat.delete")).code == "invalid_command"

    assert len(client.enqueue("general", "later", thread_ts=result.ts)) == 32
    assert workspace.wait(lambda: workspace.sent[-1].text == "later")
    asked = client.submit({"type": "typing", "channel": "general"})
    assert asked.result(SECONDS)["ok"] is True


def test_in_socket_mode_a_message_may_have_blocks(
    start_socket: StartSocketPump, client: Client, workspace: Workspace
) -> None:
    """And its result has Slack's whole response."""
    start_socket(outbound=FAST)
    blocks = [{"type": "divider"}]
    result = client.send("general", "hello", blocks=blocks)
    assert result.response is not None
    assert (result.response["ok"], result.response["ts"]) == (True, result.ts)


def test_twenty_threads_send_at_once(
    start_pump: StartPump, client: Client, workspace: Workspace
) -> None:
    """Each gets its own result, while another one reads events on the same connection."""
    start_pump(outbound=FAST)
    stream = client.events("message")
    together = threading.Barrier(20)

    def send(number: int) -> list[tuple[str, str]]:
        together.wait(SECONDS)
        texts = [f"{number}-{turn}" for turn in range(5)]
        return [(text, client.send("general", text).ts) for text in texts]

    with ThreadPoolExecutor(20) as pool:
        pairs = [pair for pairs in pool.map(send, range(20)) for pair in pairs]
    assert sorted(pairs) == sorted((sent.text, sent.ts) for sent in workspace.sent)
    workspace.say("general", "hi")
    event = stream.take(SECONDS)
    assert event is not None
    assert event.json()["text"] == "hi"


def test_without_a_pump_nothing_is_sent_and_it_is_said(client: Client, broker: Broker) -> None:
    """There is no queue; or there is one, and the command is worth nothing after the wait."""
    failed = failure(lambda: client.send("general", "hello"))
    assert isinstance(failed, BrokerUnavailable)
    assert (failed.code, failed.uncertain) == ("no_queue", False)
    broker.queue(name="rtm.outbound", x_queue_type="quorum")
    client.enqueue("general", "first")
    command = broker.get("rtm.outbound")
    assert command.json == {"type": "message", "channel": "general", "text": "first"}
    assert (command.properties.reply_to, command.properties.expiration) == (None, None)

    asked = client.submit({"channel": "general", "text": "hello"})
    command = broker.get("rtm.outbound")
    for id in ("another", command.properties.correlation_id):
        properties = pika.BasicProperties(correlation_id=id)
        broker.channel.basic_publish("", str(command.properties.reply_to), b"[]", properties)
    error = asked.exception(SECONDS)
    assert isinstance(error, ResultMissing)
    assert (error.code, asked.confirmed) == ("no_result", True)


def test_a_command_says_when_rabbitmq_has_it(client: Client, broker: Broker) -> None:
    """Before its result, or instead of one; and a queue says how much waits in it."""
    refused = client.submit({"channel": "general", "text": "hello"})
    assert refused.settled.wait(SECONDS)
    assert not refused.confirmed
    assert failure(lambda: client.depth("rtm.outbound")).code == "not_found"
    broker.queue(name="rtm.outbound")
    waiting = client.submit({"channel": "general", "text": "hello"})
    assert waiting.settled.wait(SECONDS)
    assert (waiting.confirmed, waiting.done()) == (True, False)
    kept = client.submit({"text": "no reply"}, reply=False)
    assert kept.settled.wait(SECONDS)
    assert (kept.confirmed, kept.result(0)) == (True, {})
    assert client.depth("rtm.outbound") == (2, 0)


@pytest.mark.parametrize("end", ["connection", "client"])
def test_a_question_about_a_queue_ends_with_the_connection(
    connect: Connect, node: RabbitNode, broker: Broker, broker_url: str, end: str
) -> None:
    """Or with the client, and not with its timeout."""
    queue = broker.queue(name="rtm.outbound")
    client = connect(timeout=600)
    with memory_alarm(node), ThreadPoolExecutor(1) as pool:
        # Of who published, RabbitMQ reads nothing more.
        client.submit({"channel": "general", "text": "hello"})
        wait_until(lambda: client.is_blocked)
        asked = pool.submit(client.depth, queue)
        wait_until(lambda: len(client._link._counts) == 1)
        if end == "client":
            client.close()
        else:
            close_connections(node, broker_url.rpartition("/")[2], product="rtmpump")
        error = asked.exception(SECONDS)
    assert isinstance(error, BrokerUnavailable)
    assert error.code == ("closed" if end == "client" else "closed_by_broker")


def test_a_client_that_is_closed_while_it_waits_is_uncertain(
    broker: Broker, connect: Connect
) -> None:
    """The command expires when nobody would wait any more, so it is not sent much later."""
    broker.queue(name="rtm.outbound", x_queue_type="quorum")
    client = connect(timeout=200)
    failed: list[ClientError] = []
    thread = threading.Thread(
        target=lambda: failed.append(failure(lambda: client.send("general", "hello"))),
    )
    thread.start()
    command = broker.get("rtm.outbound")
    assert command.properties.expiration == "200000"
    client.close()
    thread.join(SECONDS)
    assert (failed[0].code, failed[0].uncertain) == ("uncertain", True)
    assert failure(lambda: client.send("general", "hello")).code == "closed"


def test_no_result_in_time_is_uncertain(client: Client, broker: Broker) -> None:
    """Nobody takes the command, and the client can't know."""
    broker.queue(name="rtm.outbound", x_queue_type="quorum")
    client.connect(SECONDS)
    error = failure(lambda: client.send("general", "hello", timeout=15))
    assert isinstance(error, ResultMissing)
    assert (error.code, error.uncertain) == ("timeout", True)
    wait_until(lambda: held(client) == 0)


def test_a_command_that_waits_when_the_connection_ends_is_uncertain(
    client: Client, broker: Broker, broker_url: str, node: RabbitNode
) -> None:
    """Nobody can know whether the pump has it, so it is not sent again; the next one goes."""
    broker.queue(name="rtm.outbound", x_queue_type="quorum")
    asked = client.submit({"channel": "general", "text": "hello"})
    wait_until(lambda: broker.count("rtm.outbound") == 1)
    close_connections(node, broker_url.rpartition("/")[2], product="rtmpump")
    error = asked.exception(SECONDS)
    assert isinstance(error, ResultMissing)
    assert (error.code, error.uncertain) == ("uncertain", True)
    client.enqueue("general", "after")
    assert [broker.get("rtm.outbound").json["text"] for _ in range(2)] == ["hello", "after"]


def error_of_a_submit(client: Client) -> BaseException | None:
    """None where no connection was found up in time: each is refused soon."""
    try:
        return client.submit({"channel": "general", "text": "again"}).exception(SECONDS)
    except BrokerUnavailable:
        return None


def test_only_a_refused_publish_is_surely_not_sent(
    client: Client, broker: Broker, broker_url: str, node: RabbitNode
) -> None:
    """Not what is in the queue when RabbitMQ refuses something else, such as the events."""
    broker.queue(name="rtm.outbound", x_queue_type="quorum")
    client.events(queue="consumer.test")
    asked = client.submit({"channel": "general", "text": "hello"})
    wait_until(lambda: asked.confirmed)
    vhost = broker_url.rpartition("/")[2]
    set_permissions(node, vhost, "guest", ".*", ".*", "^(?!consumer).*")
    close_connections(node, vhost, product="rtmpump")
    error = asked.exception(SECONDS)
    assert isinstance(error, ResultMissing)
    # Until each try is refused: the queue is there, and this user may not read it.
    for _ in range(3):
        wait_until(lambda: type(error_of_a_submit(client)) is ResultMissing)


def test_a_user_that_may_not_publish_has_sent_nothing(
    client: Client, broker: Broker, broker_url: str, node: RabbitNode
) -> None:
    """RabbitMQ closes the channel of the publish itself."""
    broker.queue(name="rtm.outbound", x_queue_type="quorum")
    set_permissions(node, broker_url.rpartition("/")[2], "guest", ".*", "^$", ".*")
    error = failure(lambda: client.send("general", "hello"))
    assert isinstance(error, BrokerUnavailable)
    assert (error.code, error.uncertain) == ("access_refused", False)


def test_what_rabbitmq_does_not_take_is_taken_back(connect: Connect, node: RabbitNode) -> None:
    """Under an alarm nothing leaves, so the error says that nothing was sent."""
    client = connect(timeout=0.5)
    with memory_alarm(node):
        # RabbitMQ says so at the first publish.
        client.connect(SECONDS)
        first = client.submit({"channel": "general", "text": "first"})
        wait_until(lambda: client.is_blocked)
        failed = failure(lambda: client.send("general", "hello"))
        assert isinstance(failed, BrokerUnavailable)
        assert failed.code == "blocked"
        assert client.submit({"channel": "general", "text": "taken back"}).cancel()
        # The first is written.
        wait_until(lambda: held(client) == 1)
    assert isinstance(first.exception(SECONDS), BrokerUnavailable)


def test_a_service_lives_through_a_restart_of_its_node(
    client: Client, node: RabbitNode, broker_url: str
) -> None:
    """Events of a durable queue go on, with what was in hand not handed out twice."""
    stream = client.events(queue="consumer.test")
    with Broker(broker_url) as broker:
        for id in ("m:1", "m:2"):
            broker.publish(b"{}", exchange="rtm.events", queue="message", message_id=id)
    first = stream.take(SECONDS)
    node.restart()
    second = stream.take(SECONDS)
    assert first is not None
    assert second is not None
    assert (first.message_id, second.message_id) == ("m:1", "m:2")
    assert client.down_for() == 0.0
    assert failure(lambda: client.send("general", "hello")).code == "no_queue"
