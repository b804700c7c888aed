"""Facts about the AMQP client of `check` and `dead`, against a real node."""

from __future__ import annotations

import pytest

from rtmpump import config
from rtmpump.config import Secret
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.client import BrokerClient
from rtmpump.links.rabbitmq.topology import Queue
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.support.broker import Broker


def settings(url: str) -> config.Broker:
    """Return settings with this one node."""
    return config.Broker(url=Secret(url), urls=(Secret(url),))


def test_it_tells_its_name_to_the_broker(node: RabbitNode, broker_url: str) -> None:
    """So an operator knows the connection."""
    with BrokerClient("dead", settings(broker_url)) as client:
        info = "rabbit_networking:connection_info(P, [client_properties, vhost])"
        listed = node.evaluate(f"[{info} || P <- rabbit_networking:connections()]")
        assert client.vhost == broker_url.rpartition("/")[2]
        assert client.node.endswith(f":{node.port}")
    assert "rtmpump dead" in listed


def test_a_node_that_is_away_is_a_link_error() -> None:
    """It comes out of `with`, in the main thread."""
    with (
        pytest.raises(LinkError, match="refused"),
        BrokerClient("dead", settings("amqp://127.0.0.1:1/")),
    ):
        pytest.fail("there is nobody")


def test_a_wrong_password_is_told_and_not_shown(node: RabbitNode) -> None:
    """The reason is `auth`."""
    url = f"amqp://guest:wrong-word@127.0.0.1:{node.port}/%2F"
    with pytest.raises(LinkError) as caught, BrokerClient("dead", settings(url)):
        pytest.fail("the password is wrong")
    assert caught.value.reason == "auth"
    assert "wrong-word" not in str(caught.value)


def test_what_ended_the_link_is_raised_at_each_later_question(broker_url: str) -> None:
    """A client whose channel was closed never hangs."""
    with BrokerClient("check", settings(broker_url)) as client:
        for _ in range(2):
            with pytest.raises(LinkError, match="not_found"):
                client.passive(Queue("nowhere", {}))
        with pytest.raises(LinkError, match="not_found"):
            client.receive()


def test_what_is_not_there_in_time_is_not_waited_for(broker: Broker, broker_url: str) -> None:
    """And what comes later is still taken."""
    queue = broker.queue()
    with BrokerClient("dead", settings(broker_url)) as client:
        assert client.take(queue, 2, 0.01) == []
        broker.publish(b"1", queue=queue)
        broker.publish(b"2", queue=queue)
        assert [one.body for one in client.take(queue, 2, 5.0)] == [b"1", b"2"]
