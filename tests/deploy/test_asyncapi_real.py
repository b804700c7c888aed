"""Facts about what a real pump really publishes, held against deploy/asyncapi.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.asyncapi import load
from tests.support.broker import Broker, Message

DOCUMENT = load()
OWN = {"rtmpump.connected", "rtmpump.disconnected", "rtmpump.gap", "rtmpump.backfilled"}
FRAMES: list[dict[str, Any] | bytes] = [
    {"type": "message", "channel": "C0GENERAL", "user": "U1", "text": "ö", "ts": "1.000001"},
    {"type": "message", "subtype": "channel_join", "channel": "C0GENERAL", "ts": "1.000002"},
    {"type": "presence_change", "user": "U1", "presence": "away"},
    {"type": "brand new", "event_ts": "1.000003"},
    {"no": "type"},
    b"no JSON",
]


def check_event(event: Message) -> None:
    """It is as told: payload, headers, properties, and the routing key among them."""
    name = event.key.removeprefix("rtmpump.") if event.key in OWN else "event"
    message, payload = ("unusable", None) if event.key == "unknown" else (name, event.json)
    assert DOCUMENT.whole_problems(message, payload, event.properties) == []
    assert event.properties.type == event.key


def check_dead(dead: Iterable[Message]) -> None:
    """They are as told, and the four headers are there."""
    for message in dead:
        assert DOCUMENT.whole_problems("dead", message.body.decode(), message.properties) == []


def results(broker: Broker, commands: dict[str, object]) -> dict[str, Any]:
    """What the pump answered to commands that may carry more properties than needed."""
    sent = {
        name: broker.command(body, expiration="600000", user_id="guest", headers={"mine": 1})
        for name, body in commands.items()
    }
    answers = {name: broker.result(correlation) for name, correlation in sent.items()}
    for name, answer in answers.items():
        ok, is_api = answer.json["ok"], "response" in answer.json
        message = ("answered" if is_api else "done") if ok else "failed"
        assert DOCUMENT.whole_problems(message, answer.json, answer.properties) == [], name
        assert answer.properties.correlation_id == sent[name]
    return {name: answer.json for name, answer in answers.items()}


def test_events_are_as_told(start_pump: StartPump, workspace: Workspace, broker: Broker) -> None:
    """Slack's, odd ones and the pump's own; by each way, and those that no queue took."""
    start_pump(events={"backfill": True})
    ways = ["rtm.events", "rtm.message", "rtm.presence_change", "rtm.rtmpump"]
    unrouted = broker.get("rtm.unrouted")
    check_event(unrouted)
    queues = {way: broker.queue((way, "#")) for way in ways}
    for frame in FRAMES:
        workspace.emit(frame)
    workspace.say("secret", "missed, perhaps")
    workspace.cut()

    def all_is_there(got: list[Message]) -> bool:
        return {event.key for event in got} >= OWN and len(got) >= len(FRAMES) + len(OWN)

    got = broker.take_until(queues["rtm.events"], all_is_there)
    for event in got:
        check_event(event)
    assert any(event.headers.get("backfill") for event in got)
    for way, count in (("rtm.message", 2), ("rtm.presence_change", 1), ("rtm.rtmpump", 4)):
        for event in broker.take(queues[way], count):
            check_event(event)
            assert event.key.split(".")[0] == way.removeprefix("rtm.")


def test_results_and_dead_letters_are_as_told(start_pump: StartPump, broker: Broker) -> None:
    """Of each type of command, of one that is refused, and of one that nobody could read."""
    allowed = ["reactions.add", "conversations.list"]
    pump = start_pump(outbound={"rate": 100.0, "burst": 10, "api_methods": allowed})
    commands: dict[str, object] = {
        "name": {"channel": "general", "text": "hi"},
        "typing": {"type": "typing", "channel": "C0GENERAL"},
        "presence_sub": {"type": "presence_sub", "ids": ["U0ALICE"]},
        "presence_query": {"type": "presence_query", "ids": ["U0ALICE"]},
        "api": {"type": "api", "method": "conversations.list", "arguments": {"limit": 1}},
        "api_failed": {"type": "api", "method": "reactions.add", "arguments": {"channel": "C1"}},
        "api_not_allowed": {"type": "api", "method": "chat.delete"},
        "no_channel": {"channel": "nowhere", "text": "hi"},
        "no_text": {"channel": "general", "text": ""},
        "garbage": b"garbage",
    }
    answers = results(broker, commands)
    assert {name for name, answer in answers.items() if not answer["ok"]} == {
        "no_channel",
        "no_text",
        "garbage",
        "api_failed",
        "api_not_allowed",
    }
    check_dead(broker.take("rtm.outbound.dead", 5))
    pump.kill()
    broker.publish({"channel": "general", "text": "late"}, expiration="1")
    expired = broker.dead()
    assert DOCUMENT.problems("components/messages/expired/headers", expired.headers) == []
