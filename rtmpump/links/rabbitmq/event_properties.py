"""The AMQP properties of an event, as consumers see them."""

from __future__ import annotations

from typing import Final

import pika

from rtmpump.core.routes import Route

CONTENT_TYPE: Final = "application/json"
DELIVERY_MODE: Final = 2
APP_ID: Final = "rtmpump"


def event_properties(name: Route) -> pika.BasicProperties:
    """Return the properties of one event; its headers are those of its route."""
    return pika.BasicProperties(
        content_type=CONTENT_TYPE,
        delivery_mode=DELIVERY_MODE,
        type=name.routing_key,
        message_id=name.message_id,
        timestamp=name.timestamp,
        app_id=APP_ID,
        headers=name.headers,
    )
