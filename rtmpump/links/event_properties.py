"""The AMQP properties of an event, as consumers see them."""

from __future__ import annotations

from rtmpump.core.routes import Route
from rtmpump.links.rabbit import Properties


def event_properties(name: Route) -> Properties:
    """Make the properties of one event; its headers are those of the route itself."""
    return Properties(
        content_type="application/json",
        delivery_mode=2,
        type=name.routing_key,
        message_id=name.message_id,
        timestamp=name.timestamp,
        app_id="rtmpump",
        headers=name.headers,
    )
