"""Facts about what a service hears of its connection, and about streams, against a real node."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rtmpump.client import BrokerUnavailable, Client, EventStream
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.client.conftest import Connect, Publish
from tests.support.broker import Broker
from tests.support.broker_node import (
    add_user,
    close_connections,
    delete_user,
    names_in,
    set_permissions,
)
from tests.support.line import Line
from tests.support.waiting import SECONDS, wait_until

STREAM = "rtm.stream"
PRODUCT = "rtmpump"


class Heard:
    """What a listener is told, among the events that were taken."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.where = ""

    def link_up(self, link: str, where: str) -> None:
        """Note the beginning of the delivery."""
        self.all.append("up")
        self.where = where

    def link_down(self, retry: RetryDetails) -> None:
        """Note why RabbitMQ is away, once."""
        if self.all[-1] != "down":
            self.all.append("down")

    def take(self, stream: EventStream, last: str) -> None:
        """Take events up to and with this one."""
        while not self.all or self.all[-1] != last:
            event = stream.take(SECONDS)
            assert event is not None
            self.all.append(event.message_id)


def test_a_listener_hears_when_rabbitmq_goes_and_comes(
    client: Client, node: RabbitNode, broker_url: str, publish: Publish
) -> None:
    """In the order of the events; what a temporary queue had delivered before is not lost."""
    heard, vhost = Heard(), broker_url.rpartition("/")[2]
    stream = client.events(listener=heard)
    for id in ("m:1", "m:2", "m:3"):
        publish("message", id)
    heard.take(stream, "m:1")
    waiting = (
        '[Count || Q <- rabbit_amqqueue:list(<<"' + vhost + '">>), {_, Count} <- '
        "rabbit_amqqueue:info(Q, [messages_unacknowledged])]"
    )
    wait_until(lambda: "3" in node.evaluate(waiting))
    close_connections(node, vhost, product=PRODUCT)
    heard.take(stream, "m:3")
    while heard.all[-2:] != ["down", "up"]:
        assert stream.take(0.1) is None
    publish("message", "m:4")
    heard.take(stream, "m:4")
    assert heard.all == ["up", "m:1", "m:2", "m:3", "down", "up", "m:4"]
    assert heard.where == client.where == f"127.0.0.1:{node.port}, vhost {vhost}"
    assert (client.node, client.vhost) == (f"127.0.0.1:{node.port}", vhost)


def test_a_listener_hears_after_the_events_that_came_before(
    client: Client, node: RabbitNode, broker_url: str, publish: Publish
) -> None:
    """Also where all that is here is taken at once; it can learn when it happened."""
    heard, vhost = Heard(), broker_url.rpartition("/")[2]
    stream = client.events(listener=heard)
    assert stream.take(0) is None
    for id in ("m:1", "m:2"):
        publish("message", id)
    wait_until(lambda: stream._received.qsize() == 2)
    close_connections(node, vhost, product=PRODUCT)
    wait_until(lambda: len(stream._reports) >= 2)
    later = time.monotonic()
    assert [event.message_id for event in stream.take_all()] == ["m:1", "m:2"]
    assert heard.all == ["up"]
    assert stream.take(0) is None
    assert heard.all == ["up", "down", "up"]
    assert 0 < stream.reported_at <= later


def test_what_ends_the_connection_at_the_first_subscription_is_said(
    connect: Connect, node: RabbitNode, broker: Broker, broker_url: str
) -> None:
    """And at once: neither the client nor RabbitMQ may have one more channel."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    with pytest.raises(BrokerUnavailable) as caught:
        connect(f"{broker_url}?channel_max=1", timeout=600).events(passive=True)
    assert (caught.value.code, "channel_max" in str(caught.value)) == ("not_allowed", True)
    add_user(node, "narrow", "narrow")
    vhost = broker_url.rpartition("/")[2]
    set_permissions(node, vhost, "narrow", ".*", ".*", ".*")
    limits = '<<"{\\"max-channels\\":1}">>'
    node.evaluate(f'rabbit_auth_backend_internal:set_user_limits(<<"narrow">>, {limits}, <<"t">>)')
    narrow = connect(broker_url.replace("guest:guest", "narrow:narrow"), timeout=600)
    with pytest.raises(BrokerUnavailable) as caught:
        narrow.events(passive=True)
    assert caught.value.code == "not_allowed"
    delete_user(node, "narrow")


def test_a_client_that_is_closed_while_a_subscription_begins_says_so(
    connect: Connect, node: RabbitNode, broker_url: str
) -> None:
    """It does not wait until its timeout."""
    with Line(node.port) as line:
        client = connect(broker_url.replace(f":{node.port}/", f":{line.port}/"), timeout=600)
        client.connect(SECONDS)
        line.freeze()
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(client.events)
            wait_until(lambda: len(client._link._streams) == 1)
            client.close()
            error = begun.exception(SECONDS)
    assert isinstance(error, BrokerUnavailable)
    assert error.code == "closed"


def test_an_exchange_that_must_be_there_is_not_made(
    client: Client, node: RabbitNode, broker: Broker, broker_url: str
) -> None:
    """A service that only looks on leaves nothing behind, no queue either."""
    vhost = broker_url.rpartition("/")[2]
    names = names_in(node, vhost)
    for queue in ("", "", "consumer.test"):
        with pytest.raises(BrokerUnavailable) as caught:
            client.events(passive=True, queue=queue)
        assert caught.value.code == "not_found"
    assert names_in(node, vhost) == names
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    assert client.events(passive=True).take(0) is None


def test_a_stream_is_read_from_a_time_on_and_goes_on_where_it_stopped(
    client: Client, node: RabbitNode, broker: Broker, broker_url: str, publish: Publish
) -> None:
    """Each event comes once, with its repeats if they are wanted; patterns hold here too."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    broker.queue(("rtm.events", "#"), name=STREAM, x_queue_type="stream")
    now = round(time.time() * 1000)

    def emit(key: str, id: str, at: int = now) -> None:
        publish(key, id, properties={"headers": {"received_at": at}})

    emit("message", "old", now - 7_200_000)
    emit("hello", "other")
    for id in ("m:1", "m:1", "m:2"):
        emit("message.me_message", id)
    heard = Heard()
    stream = client.replay(STREAM, 3600, "message.#", repeats=True, listener=heard)
    event = stream.take(SECONDS)
    assert event is not None
    assert (event.message_id, event.received_at) == ("m:1", now / 1000)
    heard.all.append("m:1")
    heard.take(stream, "m:2")
    close_connections(node, broker_url.rpartition("/")[2], product=PRODUCT)
    emit("message", "m:2")
    emit("message", "m:3")
    heard.take(stream, "m:3")
    assert heard.all == ["up", "m:1", "m:1", "m:2", "down", "up", "m:2", "m:3"]
    again = client.replay(STREAM, 3600, "message.#")
    Heard.take(others := Heard(), again, "m:3")
    assert others.all == ["m:1", "m:2", "m:3"]


def test_what_is_no_stream_is_said(client: Client, broker: Broker) -> None:
    """One that is not there, and a queue that keeps its messages."""
    with pytest.raises(BrokerUnavailable) as caught:
        client.replay(STREAM, 60)
    assert caught.value.code == "not_found"
    broker.publish(b"kept", queue=broker.queue(name=STREAM, x_queue_type="quorum"))
    with pytest.raises(BrokerUnavailable) as caught:
        client.replay(STREAM, 60)
    assert caught.value.code == "precondition_failed"
    wait_until(lambda: broker.count(STREAM) == 1)


def test_a_client_may_try_once_only(connect: Connect) -> None:
    """It says at once what each node answered, and waits for none."""
    client = connect("amqp://127.0.0.1:1/", timeout=SECONDS)
    with pytest.raises(BrokerUnavailable) as caught:
        client.connect_once()
    assert (caught.value.code, client.node) == ("refused", "")


def test_each_node_of_several_says_its_own(connect: Connect, broker_url: str) -> None:
    """What the first one said is neither lost nor taken for what the last one said."""
    wrong = broker_url.replace("guest:guest", "nobody:wrong")
    client = connect(["amqp://127.0.0.1:1/", wrong], timeout=SECONDS)
    with pytest.raises(BrokerUnavailable) as caught:
        client.connect_once()
    refused, login = caught.value.message.split(" | ")
    assert (caught.value.code, refused) == ("auth", "127.0.0.1:1: connection refused")
    assert "RabbitMQ refused the user 'nobody' or its password" in login
    with pytest.raises(BrokerUnavailable) as caught:
        connect(wrong, timeout=SECONDS).connect_once()
    assert caught.value.message.endswith("; check both in the URL")
