"""Facts about one queue of events on a channel of its own; `tests/client` has those of its use."""

from __future__ import annotations

import pytest

from rtmpump.config import Broker as BrokerConfig
from rtmpump.config import Secret
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq import subscription as module
from rtmpump.links.rabbitmq.connection import BrokerConnection
from rtmpump.links.rabbitmq.subscription import (
    Arrival,
    SubscribingConnection,
    Subscription,
    Wanted,
)
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.links.rabbitmq.test_connection import Listener
from tests.support.line import Line

WANTED = Wanted("rtm.events", ["#"], "consumer.test", 10)


class Subscriber:
    """Keeps what a subscription calls back."""

    def __init__(self) -> None:
        self.refusals: list[LinkError] = []

    def began(self, subscription: Subscription) -> None:
        """Fail: here none may begin."""
        raise AssertionError(subscription)

    def refused(self, subscription: Subscription, error: LinkError) -> None:
        """Note why, and end."""
        self.refusals.append(error)
        subscription.connection.close()

    def arrived(self, arrival: Arrival) -> None:
        """Fail: nothing is published here."""
        raise AssertionError(arrival)


def run(url: str, listener: Listener) -> None:
    """Run a connection to its end."""
    broker = BrokerConfig(url=Secret(url), urls=(Secret(url),))
    connection = SubscribingConnection("test", broker, listener)
    listener.rabbit = connection
    connection.run()


def subscribed(connection: BrokerConnection, wanted: Wanted, subscriber: Subscriber) -> None:
    """Begin a subscription."""
    assert isinstance(connection, SubscribingConnection)
    connection.subscribe(wanted, subscriber)


def test_a_broker_that_does_not_answer_ends_the_connection(
    node: RabbitNode, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is tried on another one; heartbeats alone would keep it for ever."""
    monkeypatch.setattr(module, "_BEGINS_WITHIN", 0.3)
    with Line(node.port) as line:

        def begin(connection: BrokerConnection) -> None:
            line.freeze()
            subscribed(connection, WANTED, Subscriber())

        with pytest.raises(LinkError, match="has not answered for the queue"):
            run(broker_url.replace(f":{node.port}/", f":{line.port}/"), Listener(begin))


def test_a_refusal_ends_the_subscription_alone(broker_url: str) -> None:
    """The connection goes on; the reason is that of what was tried first."""
    subscriber = Subscriber()
    wanted = WANTED._replace(queue="amq.reserved")
    run(broker_url, Listener(lambda connection: subscribed(connection, wanted, subscriber)))
    assert [error.reason for error in subscriber.refusals] == ["access_refused"]
