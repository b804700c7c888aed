"""The consumer: records what it receives, and shows it."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime
from typing import Any

from rtmpump.client import Client, Event, EventStream
from rtmpump.demo.chatter import CHANNELS, PEOPLE
from rtmpump.demo.screen import Screen
from rtmpump.demo.tally import Tally, history_key
from rtmpump.sandbox.slack.workspace import BOT

_SPEAKERS = PEOPLE | {BOT: "rtmpump"}
_PLACES = {
    id: f"@{PEOPLE[name]}" if name in PEOPLE else f"#{name}" for name, id in CHANNELS.items()
}


class Consumer:
    """Consumes all events on a thread; `greeted` is set when the first `rtmpump.connected` arrives.

    `error` is what ended it, if anything did.
    """

    def __init__(self, tally: Tally, screen: Screen) -> None:
        self._tally = tally
        self._screen = screen
        self.greeted = threading.Event()
        self.gaps = 0
        self.backfilled = 0
        self.error: Exception | None = None

    def start(self, client: Client, queue: str) -> None:
        """Consume from a queue, which is there when this returns, until the client is closed.

        Raises:
            BrokerUnavailable: RabbitMQ is away, or refuses.
        """
        events = client.events(queue=queue, signals=False, repeats=True)
        threading.Thread(
            target=self._run, args=(events,), name="demo-consumer", daemon=True
        ).start()

    def _run(self, events: EventStream) -> None:
        try:
            for event in events:
                self._see(event)
        except Exception as error:
            self.error = error

    def _see(self, arrived: Event) -> None:
        key, id, body = arrived.key, arrived.message_id, arrived.body
        now_ms = time.time() * 1000
        event = _parsed(body)
        is_filled = bool(arrived.headers.get("backfill"))
        if is_filled:
            is_new = self._tally.fetched(id, history_key(event))
        else:
            is_new = self._tally.received(id, body, now_ms)
        if key == "rtmpump.connected":
            self.greeted.set()
        if key == "rtmpump.gap" and is_new:
            self.gaps += 1
            self._tally.gap(_ms(event.get("from")), _ms(event.get("to")))
        if key == "rtmpump.backfilled" and is_new:
            self.backfilled += 1
        self._show(f"{key} (again)" if not is_new else key, event, is_filled=is_filled)

    def _show(self, key: str, event: dict[str, Any], *, is_filled: bool) -> None:
        if event.get("type") == "rtmpump":
            self._screen.event(key, _own_in_words(event), always=True)
            return
        text = f"(from the history) {_in_words(event)}" if is_filled else _in_words(event)
        self._screen.event(key, text, place=_place(event))


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _own_in_words(event: dict[str, Any]) -> str:
    """Return an event of the pump's own in a few words."""
    match event.get("subtype"):
        case "gap":
            seconds = (_ms(event.get("to")) - _ms(event.get("from"))) / 1000
            return f"{seconds:.1f} s in which events may be missing: {event.get('reason')}"
        case "backfilled":
            number, channels = event.get("messages"), event.get("channels")
            return f"gap filled: {number} messages of {channels} channels fetched"
        case "disconnected":
            return f"{event.get('reason')}: {event.get('detail')}"
    rest = {key: value for key, value in event.items() if key not in ("type", "subtype")}
    return ", ".join(f"{key} {value}" for key, value in rest.items())


def _in_words(event: dict[str, Any]) -> str:
    """Return an event in a few words."""
    user = event.get("user") or _inner(event).get("user") or ""
    text = event.get("text") or _inner(event).get("text") or _what(event)
    thread = "(in a thread) " if event.get("thread_ts") else ""
    speaker = _SPEAKERS.get(str(user), str(user))
    return f"{speaker}: {thread}{text}" if speaker and text else f"{speaker}{thread}{text}"


def _place(event: dict[str, Any]) -> str:
    channel = event.get("channel") or _inner(event).get("channel") or ""
    return _PLACES.get(str(channel), str(channel))


def _inner(event: dict[str, Any]) -> dict[str, Any]:
    """Return the message or item that the event is about."""
    for inner in (event.get("message"), event.get("item")):
        if isinstance(inner, dict):
            return inner
    return {}


def _what(event: dict[str, Any]) -> str:
    if event.get("type") == "reaction_added":
        return f":{event.get('reaction')}:"
    if event.get("type") == "user_typing":
        return "…"
    return str(event.get("presence") or "")


def _ms(rfc3339: object) -> float:
    return datetime.fromisoformat(str(rfc3339)).timestamp() * 1000
