"""What the tests of the client share: a client, and events as the pump publishes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rtmpump.client import Client
from tests.support.broker import Broker

Connect = Callable[..., Client]
Publish = Callable[..., None]


@pytest.fixture
def connect(broker_url: str) -> Iterator[Connect]:
    """Makes clients of this test's vhost; all are closed with the test."""
    with ExitStack() as stack:

        def make(url: str = "", **options: Any) -> Client:
            return stack.enter_context(Client(url or broker_url, **options))

        yield make


@pytest.fixture
def client(connect: Connect) -> Client:
    """A client that nothing has been asked of."""
    return connect()


@pytest.fixture
def publish(broker: Broker) -> Publish:
    """Publishes an event as the pump does: `publish("message.me_message", "id-1", text="hi")`."""

    def publish(key: str, id: str, *, properties: Any = None, **fields: Any) -> None:
        body = json.dumps({"type": key.partition(".")[0], **fields})
        given = {"type": key, "message_id": id, "app_id": "rtmpump"} | (properties or {})
        broker.publish(body, exchange="rtm.events", queue=key, **given)

    return publish
