"""The consumer: records what it receives, and shows it."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime
from typing import Any

from rtmpump.demo.chatter import CHANNELS
from rtmpump.demo.screen import Screen
from rtmpump.demo.tally import Tally
from rtmpump.links.rabbitmq.listener import Delivery

_NAMES = {id: f"#{name}" for name, id in CHANNELS.items() if not name.startswith("U")}


class Consumer:
    """Consumes all events; `greeted` is set when the first `rtmpump.connected` arrives."""

    def __init__(self, tally: Tally, screen: Screen) -> None:
        self._tally = tally
        self._screen = screen
        self.greeted = threading.Event()
        self.gaps = 0

    def seen(self, delivery: Delivery) -> None:
        """Take an event from RabbitMQ."""
        properties = delivery.properties
        key = str(properties.type or "")
        now_ms = time.time() * 1000
        is_new = self._tally.received(str(properties.message_id), delivery.body, now_ms)
        event = _parsed(delivery.body)
        if key == "rtmpump.connected":
            self.greeted.set()
        if key == "rtmpump.gap" and is_new:
            self.gaps += 1
            self._tally.gap(_ms(event.get("from")), _ms(event.get("to")))
        is_own = key.startswith("rtmpump.")
        self._screen.event(key if is_new else f"{key} (again)", _in_words(event), always=is_own)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _in_words(event: dict[str, Any]) -> str:
    """Return an event in a few words."""
    if event.get("type") == "rtmpump":
        rest = {key: value for key, value in event.items() if key not in ("type", "subtype")}
        return ", ".join(f"{key} {value}" for key, value in rest.items())
    item, message = event.get("item"), event.get("message")
    inner = message if isinstance(message, dict) else item if isinstance(item, dict) else {}
    channel = event.get("channel") or inner.get("channel") or ""
    user = event.get("user") or inner.get("user") or ""
    text = event.get("text") or inner.get("text") or _what(event)
    thread = "in a thread: " if event.get("thread_ts") else ""
    place = _NAMES.get(str(channel), str(channel))
    speaker = f"{user}: " if user and text else str(user)
    return f"{place:<10} {speaker}{thread}{text}" if place else f"{speaker}{text}"


def _what(event: dict[str, Any]) -> str:
    if event.get("type") == "reaction_added":
        return f":{event.get('reaction')}:"
    if event.get("type") == "user_typing":
        return "…"
    return str(event.get("presence") or "")


def _ms(rfc3339: object) -> float:
    return datetime.fromisoformat(str(rfc3339)).timestamp() * 1000
