"""Who is called back by a connection to RabbitMQ, and with what."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import pika

from rtmpump.links.rabbitmq.large_bodies import DroppedBody
from rtmpump.links.rabbitmq.tolerant_reading import headers_size

Properties = pika.BasicProperties


class Delivery(NamedTuple):
    """One message for a consumer; `redelivered` says that it was delivered before.

    `size` is that of body and headers in bytes, as they came; `dropped` that of a body that was too
    large to be kept, or 0.
    """

    tag: int
    redelivered: bool
    properties: Properties
    body: bytes
    size: int = 0
    dropped: int = 0

    @property
    def deliveries(self) -> int:
        """How often a quorum queue delivered it before, and took it back; 0 if it does not say."""
        count = (self.properties.headers or {}).get("x-delivery-count")
        return count if isinstance(count, int) else 0


class ConnectionListener(Protocol):
    """What a connection calls back, always on the thread of `run`."""

    def ready(self) -> None:
        """Begin: the channel is open and confirms are on."""

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Take the broker's `basic.ack` (`ok`) or `basic.nack` for `tag`, or for all up to it."""

    def returned(self, properties: Properties) -> None:
        """Take back a mandatory message that no queue took; its ack comes after this."""

    def delivered(self, delivery: Delivery) -> None:
        """Take a message for our consumer."""

    def blocked(self, is_blocked: bool) -> None:
        """Learn whether the broker has an alarm and takes no publishes (`connection.blocked`)."""


def delivery(method: Any, properties: Properties, body: bytes) -> Delivery:
    """Return what pika delivers as a `Delivery`."""
    size = len(body) + headers_size(properties)
    dropped = body.size if isinstance(body, DroppedBody) else 0
    return Delivery(method.delivery_tag, method.redelivered, properties, body, size, dropped)
