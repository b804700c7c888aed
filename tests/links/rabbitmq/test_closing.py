"""Facts about the end of a connection that consumes: what goes back, and to whom."""

from __future__ import annotations

import pytest

from rtmpump.links.rabbitmq import connection
from rtmpump.links.rabbitmq.connection import BrokerConnection
from tests.links.rabbitmq.test_connection import Listener, made, running
from tests.support.broker import Broker
from tests.support.waiting import wait_until


def consumer(url: str, queue: str, prefetch: int) -> tuple[BrokerConnection, Listener]:
    """Make a connection that consumes a queue; its listener keeps the deliveries."""
    return made(url, on_ready=lambda rabbit: rabbit.consume(queue, prefetch))


def filled(broker: Broker, count: int) -> str:
    """Return a queue with a single active consumer, and this many messages in it."""
    queue = broker.queue(x_queue_type="quorum", x_single_active_consumer=True)
    for number in range(count):
        broker.channel.basic_publish("", queue, b"%d" % number)
    return queue


def bodies(listener: Listener) -> list[int]:
    """Return what it was delivered, in order."""
    return [int(one.body) for one in listener.got]


def test_a_close_puts_back_all_before_the_next_consumer_gets_anything(
    broker_url: str, broker: Broker
) -> None:
    """A close of pika would cancel first, and the next consumer would begin behind ours."""
    queue = filled(broker, 30)
    first, ours = consumer(broker_url, queue, 10)
    second, theirs = consumer(broker_url, queue, 30)
    with running(first):
        wait_until(lambda: len(ours.got) == 10)
        with running(second):
            wait_until(lambda: second.is_open)
            first.call(lambda: first.ack(3))
            wait_until(lambda: len(ours.got) == 11)
            first.call(first.close)
            wait_until(lambda: len(theirs.got) == 29)
    assert bodies(ours) == list(range(11))
    assert bodies(theirs) == [0, 1, *range(3, 30)]


def test_all_acks_arrive_before_a_close(
    broker_url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ would discard most of those that it has just got, and all of that come again."""
    # A busy machine needs longer for two hundred.
    monkeypatch.setattr(connection, "_ACKS_ARRIVE", 5.0)
    monkeypatch.setattr(connection, "_CLOSE_TIMEOUT", 10.0)
    queue = filled(broker, 210)

    def ack_all_and_close() -> None:
        for one in listener.got:
            rabbit.ack(one.tag)
        rabbit.close()

    rabbit, listener = consumer(broker_url, queue, 200)
    with running(rabbit) as thread:
        wait_until(lambda: len(listener.got) == 200)
        rabbit.call(ack_all_and_close)
        thread.join(100)
    after, rest = consumer(broker_url, queue, 300)
    with running(after):
        wait_until(lambda: len(rest.got) >= 10)
    assert bodies(rest) == list(range(200, 210))
