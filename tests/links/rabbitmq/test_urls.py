"""Facts about the file that holds RabbitMQ's URLs, where several connections use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmpump.config import Broker, Secret
from rtmpump.links.rabbitmq import connection
from rtmpump.links.rabbitmq.connection import BrokerConnection
from rtmpump.links.rabbitmq.urls import read_again
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.links.rabbitmq.test_connection import Listener


def test_a_file_that_another_connection_has_read_before(
    node: RabbitNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is refused with the old URL tries the new one, whichever connection found it."""

    def read_by_both(broker: Broker) -> None:
        read_again(broker)
        read_again(broker)

    monkeypatch.setattr(connection, "read_again", read_by_both)
    right = node.start().url
    old = Secret(right.replace("guest:guest", "guest:old"))
    file = tmp_path / "url"
    file.touch(mode=0o600)
    file.write_text(right)
    listener = Listener(BrokerConnection.close)
    broker = Broker(url=old, urls=(old,), url_file=str(file))
    listener.rabbit = BrokerConnection("broker_events", broker, listener)
    listener.rabbit.run()
    assert listener.thread
