"""What tests of gaps do and ask: a pump that is away, and what came of it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker, Message
from tests.support.pump import PumpProcess

While = Callable[[], object]


def all_events(broker: Broker) -> str:
    """A queue that gets all events from the very first."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    return broker.queue(("rtm.events", "#"), name="all")


def away(pump: PumpProcess, workspace: Workspace, meanwhile: While) -> None:
    """Something happens while the pump is stopped."""
    pump.terminate()
    assert pump.wait() == 0
    meanwhile()
    pump.start()


def is_closing(message: Message) -> bool:
    """Whether this event closes a gap."""
    return message.key == "rtmpump.backfilled"


def until_closed(broker: Broker, count: int = 1) -> list[Message]:
    """All events until so many gaps were closed, and what else is there then."""
    got = broker.take_until("all", lambda got: sum(map(is_closing, got)) >= count, 60)
    return got + broker.drain("all")


def once(got: Sequence[Message]) -> list[Message]:
    """The first of each message id."""
    return list({one.properties.message_id: one for one in reversed(got)}.values())[::-1]


def filled(got: Sequence[Message], channel: str = "") -> list[Message]:
    """What came from the history, of one channel or of all."""
    found = [one for one in got if one.headers.get("backfill") is True]
    return [one for one in found if channel in ("", one.headers["channel"])]


def texts(got: Sequence[Message]) -> list[str]:
    """What was said."""
    return [one.json["text"] for one in got]


def closing(got: Sequence[Message]) -> list[dict[str, Any]]:
    """The events that close gaps."""
    return [one.json for one in got if is_closing(one)]
