"""What the tests of the gateway share: gateways, programs of Slack's libraries, and events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.gateway import PATIENT, GatewayProcess

StartGateway = Callable[..., GatewayProcess]
Publish = Callable[..., None]


@pytest.fixture
def start_gateway(broker_url: str, tmp_path: Path) -> Iterator[StartGateway]:
    """Starts gateways of this test's vhost, by default patient ones; all end with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> GatewayProcess:
            gateway = GatewayProcess(tmp_path, broker_url, **{"program": PATIENT} | options)
            stack.enter_context(gateway)
            gateway.wait_connected()
            return gateway

        yield start


@pytest.fixture
def publish(broker: Broker) -> Publish:
    """Publishes an event as a pump over RTM does: `publish("message", n=1)`."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)

    def publish(key: str, id: str = "", *, properties: Any = None, **fields: Any) -> None:
        body = json.dumps({"type": key.partition(".")[0], **fields})
        headers = {"team": "T1", "bot": "U1", "received_at": 1_700_000_000_000}
        given = {"type": key, "message_id": id or body, "app_id": "rtmpump", "headers": headers}
        broker.publish(body, exchange="rtm.events", queue=key, **given | (properties or {}))

    return publish


@pytest.fixture
def gateway_alone(start_gateway: StartGateway) -> GatewayProcess:
    """A gateway with RabbitMQ and without a pump."""
    return start_gateway()
