"""The AMQP properties of an event, as consumers see them."""

from __future__ import annotations

from typing import Final

import pika

from rtmpump.core.envelopes import WRAPPING_MAX
from rtmpump.core.routes import PAYLOAD, PAYLOAD_LEFT_OUT, Route

CONTENT_TYPE: Final = "application/json"
NO_JSON: Final = "application/octet-stream"
DELIVERY_MODE: Final = 2
APP_ID: Final = "rtmpump"


def event_properties(name: Route, frame_max: int = 0) -> pika.BasicProperties:
    """Return the properties of one event; its headers are those of its route.

    What Slack wrapped around an event is left out where it takes over half of a frame: a header
    that is larger than a frame (`frame_max` bytes, 0 for any) would end the connection.
    """
    headers = name.headers
    if 0 < frame_max < 2 * WRAPPING_MAX and len(headers.get(PAYLOAD, "").encode()) > frame_max // 2:
        del headers[PAYLOAD]
        headers[PAYLOAD_LEFT_OUT] = True
    return pika.BasicProperties(
        content_type=CONTENT_TYPE if name.is_json else NO_JSON,
        delivery_mode=DELIVERY_MODE,
        type=name.routing_key,
        message_id=name.message_id,
        timestamp=name.timestamp,
        app_id=APP_ID,
        reply_to=name.reply_to or None,
        correlation_id=name.correlation_id or None,
        headers=headers,
    )
