"""Facts about events, from a workspace through a real pump and a real broker to a consumer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pytest

from rtmpump.core.event_types import OF_APPS, TYPES
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker, Message
from tests.support.paths import DATA
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

# These two end the connection; they have tests of their own. hello makes events of ours.
ENDS = ("goodbye", "team_migration_started", "hello")
MIB = 1 << 20
Event = dict[str, Any]


def documented() -> list[Event]:
    """An example of each documented event, and a message of each documented subtype."""
    lines = (DATA / "rtm_events.jsonl").read_text().splitlines()
    examples = [json.loads(line)["event"] for line in lines]
    known = json.loads((DATA / "rtm_types.json").read_text())
    seen = {event["type"] for event in examples}
    bare = [{"type": type} for type in known["types"] if type not in seen]
    messages = [
        {"type": "message", "subtype": subtype, "channel": "C1", "ts": f"1700000000.{n:06d}"}
        for n, subtype in enumerate(known["message_subtypes"])
    ]
    error: Event = {"type": "error", "error": {"code": 4, "msg": "cannot process message"}}
    every = [*examples, *bare, *messages, error]
    return [event for event in every if event["type"] not in ENDS]


def as_frame(event: Event) -> bytes:
    """JSON as no encoder of ours would write it: bytes that are changed on the way show."""
    return json.dumps(event, indent=1, ensure_ascii=False).encode() + b"\n "


def key_of(event: Event) -> str:
    """The routing key by the words of the contract."""
    return ".".join([event["type"], *([event["subtype"]] if "subtype" in event else [])])


def slack_s(messages: Iterable[Message]) -> list[Message]:
    """Without the pump's own events."""
    return [message for message in messages if not message.key.startswith("rtmpump.")]


def own(broker: Broker, queue: str, subtype: str) -> Event:
    """The next event of the pump's own with this subtype; others are dropped."""
    while True:
        message = broker.get(queue)
        if message.key == f"rtmpump.{subtype}":
            body: Event = message.json
            return body


def milliseconds(moment: str) -> int:
    """An RFC 3339 time as milliseconds since 1970."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def now_ms() -> int:
    """The time."""
    return time.time_ns() // 1_000_000


def message(number: int) -> bytes:
    """A numbered message event."""
    event = {"type": "message", "channel": "C0GENERAL", "user": "U0ALICE", "text": str(number)}
    return json.dumps(event | {"ts": f"1700000000.{number:06d}"}).encode()


@pytest.fixture
def pump(start_pump: StartPump) -> PumpProcess:
    """A pump with its defaults."""
    return start_pump()


@pytest.fixture
def events(pump: PumpProcess, broker: Broker) -> str:
    """A queue that gets all events from now on."""
    return broker.all_from_now_on()


def test_every_documented_event_arrives_with_its_key_and_unchanged(
    events: str, broker: Broker, workspace: Workspace
) -> None:
    """Key `<type>` or `<type>.<subtype>`, bytes and order as sent, ids all different."""
    sent = documented()
    assert {event["type"] for event in sent} >= set(TYPES) - {*ENDS, *OF_APPS, "rtmpump"}
    workspace.emit_many([as_frame(event) for event in sent])
    got = broker.take_until(events, lambda got: len(slack_s(got)) >= len(sent))
    assert [one.key for one in got] == [key_of(event) for event in sent]
    assert [one.body for one in got] == [as_frame(event) for event in sent]
    assert len({one.properties.message_id for one in got}) == len(sent)


def test_an_event_has_all_properties_and_headers_of_the_contract(
    events: str, broker: Broker, workspace: Workspace
) -> None:
    """Those of section 4, and channel and user only where the event has them as strings."""
    sent, began = documented(), now_ms()
    workspace.emit_many([as_frame(event) for event in sent])
    got = broker.take(events, len(sent))
    first = got[0].headers["seq"]
    for number, (event, one) in enumerate(zip(sent, got, strict=True)):
        properties, headers = one.properties, one.headers
        assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
        assert (properties.type, properties.app_id) == (key_of(event), "rtmpump")
        received_at = headers.pop("received_at")
        assert began <= received_at <= now_ms()
        assert properties.timestamp == received_at // 1000
        named = {k: event[k] for k in ("channel", "user") if isinstance(event.get(k), str)}
        about = {"team": workspace.team, "bot": workspace.bot, "seq": first + number}
        assert headers == about | named


def test_each_type_has_an_exchange_that_takes_all_its_subtypes_and_no_other_type(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """A queue bound to `rtm.<type>` with "#" gets these events, and only these."""
    sent = documented()
    types = sorted({event["type"] for event in sent} & set(TYPES))
    queues = {type: broker.queue((f"rtm.{type}", "#")) for type in types}
    workspace.emit_many([as_frame(event) for event in sent])
    for type, queue in queues.items():
        mine = [as_frame(event) for event in sent if event["type"] == type]
        assert [one.body for one in broker.take(queue, len(mine))] == mine
    assert all(broker.poll(queue) is None for queue in queues.values())


def test_the_exchanges_of_documented_types_are_there_before_the_first_event(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Even while Slack has not been reached once, a consumer can bind."""
    workspace.down()
    start_pump(ready=False).wait_ready("broker_events")
    missing = [type for type in TYPES if not broker.exists(exchange=f"rtm.{type}")]
    assert missing == []


def test_the_exchange_of_a_new_type_is_declared_and_used(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """Its first event makes it; from then on it can be bound, also after a restart of the pump."""
    assert not broker.exists(exchange="rtm.brand_new")
    workspace.emit({"type": "brand_new", "n": 1})
    broker.wait_for_exchange("rtm.brand_new")
    queue = broker.queue(("rtm.brand_new", "brand_new.#"))
    workspace.emit({"type": "brand_new", "subtype": "odd one/ö", "n": 2})
    got = broker.get(queue)
    # The first event may have been published after the queue was bound.
    if got.json["n"] == 1:
        got = broker.get(queue)
    assert (got.json["n"], got.key) == (2, "brand_new.odd_one__")
    pump.kill()
    pump.start().wait_ready()
    workspace.wait_live()
    workspace.emit({"type": "brand_new", "n": 3})
    # Before it can come what was published, but not confirmed, at the kill.
    last = broker.take_until(queue, lambda got: any(one.json["n"] == 3 for one in got))
    assert {one.json["n"] for one in last} <= {1, 2, 3}


ODD_FRAMES = [
    (b"this is no JSON", "unknown"),
    (b'{"type": "message", ', "unknown"),
    (b'[{"type": "message"}]', "unknown"),
    (b'"message"', "unknown"),
    (b"null", "unknown"),
    (b"", "unknown"),
    (b"{}", "unknown"),
    (b'{"type": 5}', "unknown"),
    (b'{"type": ""}', "unknown"),
    (b'{"type": null, "subtype": "x"}', "unknown"),
    (b"[" * 5000 + b"]" * 5000, "unknown"),
    (b'{"type": "message", "subtype": 7}', "message"),
    ('{"type": "añb.c#*", "x": 1}'.encode(), "a_b_c__"),
    (b'{"type": "big", "text": "' + b"x" * MIB + b'"}', "big"),
]


def test_frames_that_nobody_expects_arrive_all_the_same(
    events: str, broker: Broker, workspace: Workspace
) -> None:
    """No JSON, no object, no usable type, empty, deep, large: published, none dropped."""
    for body, _ in ODD_FRAMES:
        workspace.emit(body)
    got = broker.take(events, len(ODD_FRAMES))
    assert [one.key for one in got] == [key for _, key in ODD_FRAMES]
    assert [one.body for one in got] == [body for body, _ in ODD_FRAMES]
    assert len({one.properties.message_id for one in got}) == len(ODD_FRAMES)


def test_binary_frames_arrive_with_their_bytes(
    events: str, broker: Broker, workspace: Workspace
) -> None:
    """Slack sends none; what comes is published like a text frame, and the link goes on."""
    binary = bytes(range(256))
    workspace.emit(binary, binary=True)
    workspace.emit(b'{"type": "message"}', binary=True)
    workspace.emit(b'{"type": "user_typing"}')
    got = broker.take(events, 3)
    assert [one.key for one in got] == ["unknown", "message", "user_typing"]
    assert got[0].body == binary
    assert workspace.connections == 1


def test_a_deeply_nested_event_is_not_dropped(
    events: str, broker: Broker, workspace: Workspace
) -> None:
    """Nested five thousand deep it arrives unchanged, and so does what follows."""
    deep = b'{"type": "message", "a": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    workspace.emit(deep)
    workspace.emit(message(1))
    got = broker.take(events, 2)
    assert [one.body for one in got] == [deep, message(1)]


def test_replies_and_pongs_are_no_events(events: str, broker: Broker, workspace: Workspace) -> None:
    """They belong to commands and to the connection; an echo with a type is an event."""
    workspace.emit({"ok": True, "reply_to": 1, "ts": "1.2", "text": "x"})
    workspace.emit({"ok": False, "reply_to": 2, "error": {"code": 2, "msg": "no"}})
    workspace.emit({"type": "pong", "reply_to": 3})
    workspace.emit({"type": "message", "reply_to": 4, "ok": True, "text": "echo"})
    workspace.emit(message(1))
    got = broker.take(events, 2)
    assert [one.json["text"] for one in got] == ["echo", "1"]


def test_what_no_queue_takes_is_in_unrouted_once(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """And what a queue took, by whichever exchange, is not."""
    by_type = broker.queue(("rtm.reaction_added", "#"))
    by_key = broker.queue(("rtm.events", "pin_added"))
    types = ["reaction_added", "user_typing", "pin_added", "brand_new", "team_join"] * 20
    workspace.emit_many(
        [json.dumps({"type": type, "n": n}).encode() for n, type in enumerate(types)]
    )

    def left(*taken: str) -> list[int]:
        return [n for n, type in enumerate(types) if type not in taken]

    lost = left("reaction_added", "pin_added")
    got = broker.take_until(
        "rtm.unrouted", lambda got: sum("n" in one.json for one in got) >= len(lost)
    )
    numbers = [one.json["n"] for one in got if "n" in one.json]
    assert numbers == lost
    assert len(broker.take(by_type, 20)) == len(broker.take(by_key, 20)) == 20
    # A last event that passed shows that none of the earlier ones is still on its way.
    workspace.emit({"type": "user_typing", "n": -1})
    rest = broker.get("rtm.unrouted")
    assert rest.json["n"] == -1
    assert (rest.key, rest.properties.type) == ("user_typing", "user_typing")


def test_the_first_events_wait_in_unrouted_for_a_late_consumer(
    pump: PumpProcess, broker: Broker
) -> None:
    """Slack's hello and our own `connected`, in this order; a first start has no gap."""
    got = broker.take("rtm.unrouted", 2)
    assert [one.key for one in got] == ["hello", "rtmpump.connected"]
    assert broker.poll("rtm.unrouted") is None


def test_ignored_types_are_not_published(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """`type` with all subtypes, `type.subtype` alone; others pass."""
    start_pump(events={"ignore": ["presence_change", "message.channel_join"]})
    queue = broker.all_from_now_on()
    workspace.emit({"type": "presence_change", "user": "U1"})
    workspace.emit({"type": "presence_change", "subtype": "x"})
    workspace.emit({"type": "message", "subtype": "channel_join"})
    workspace.emit({"type": "message", "subtype": "channel_leave"})
    workspace.emit(message(1))
    assert [one.key for one in broker.take(queue, 2)] == ["message.channel_leave", "message"]


def test_a_stream_keeps_all_events(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """It can be read from its start as often as one likes; nothing is unrouted beside it."""
    start_pump(events={"stream": "rtm.all"})
    workspace.emit_many([message(n) for n in range(50)])
    for _ in range(2):
        got = broker.take_until(
            "rtm.all", lambda got: len(got) >= 52, arguments={"x-stream-offset": "first"}
        )
        assert [one.key for one in got[:2]] == ["hello", "rtmpump.connected"]
        assert [one.body for one in got[2:]] == [message(n) for n in range(50)]
    assert broker.count("rtm.unrouted") == 0


def test_thousands_of_events_arrive_in_order(
    events: str, broker: Broker, workspace: Workspace
) -> None:
    """Each once, `seq` rising by one."""
    workspace.emit_many([message(n) for n in range(5000)])
    got = broker.take(events, 5000)
    assert [one.json["text"] for one in got] == [str(n) for n in range(5000)]
    first = got[0].headers["seq"]
    assert [one.headers["seq"] for one in got] == list(range(first, first + 5000))


def test_equal_events_have_different_ids(events: str, broker: Broker, workspace: Workspace) -> None:
    """Two presence changes of the same bytes are two events."""
    change = {"type": "presence_change", "user": "U0ALICE", "presence": "away"}
    workspace.emit(change)
    workspace.emit(change)
    one, other = broker.take(events, 2)
    assert one.body == other.body
    assert one.properties.message_id != other.properties.message_id


def test_a_message_id_hangs_on_the_message_alone(
    events: str, broker: Broker, workspace: Workspace
) -> None:
    """A copy of a message that people see, with other bytes, has the same id."""
    shown = {"type": "message", "channel": "C1", "ts": "1700000000.000001", "text": "x"}
    workspace.emit(shown)
    workspace.emit(shown | {"team": "T1"})
    workspace.emit(shown | {"hidden": True})
    first, copy, hidden = (one.properties.message_id for one in broker.take(events, 3))
    assert first == copy != hidden


def test_the_pump_tells_of_its_connections(
    events: str, broker: Broker, workspace: Workspace
) -> None:
    """After a cut: disconnected with a reason, connected, and a gap that holds the cut."""
    workspace.emit(message(1))
    came_at = broker.get(events).headers["received_at"]
    cut_at = now_ms()
    workspace.cut()
    disconnected = own(broker, events, "disconnected")
    assert disconnected["reason"]
    connected = own(broker, events, "connected")
    assert (connected["team"], connected["bot"]) == (workspace.team, workspace.bot)
    gap = own(broker, events, "gap")
    # Nothing but an answered ping tells that all has come.
    assert milliseconds(gap["from"]) <= came_at
    assert cut_at <= milliseconds(gap["to"]) <= now_ms()
    assert gap["reason"] == disconnected["reason"]
    assert gap.keys() == {"type", "subtype", "from", "to", "reason"}


def test_a_goodbye_is_an_event_and_a_gap(events: str, broker: Broker, workspace: Workspace) -> None:
    """The goodbye itself arrives, and so do events until the close; then there is a gap."""
    before_close = now_ms()
    # In one write, for soon after a goodbye the pump leaves by itself.
    workspace.emit_many([as_frame({"type": "goodbye"}), message(1)])
    workspace.close(1000)
    assert broker.get(events).key == "goodbye"
    assert broker.get(events).json["text"] == "1"
    assert own(broker, events, "disconnected")["reason"] == "goodbye"
    gap = own(broker, events, "gap")
    assert gap["reason"] == "goodbye"
    assert milliseconds(gap["from"]) <= now_ms()
    assert before_close <= milliseconds(gap["to"]) <= now_ms()


def test_a_migration_reconnects(events: str, broker: Broker, workspace: Workspace) -> None:
    """`team_migration_started` arrives, and the pump comes back with a gap for it."""
    workspace.emit({"type": "team_migration_started"})
    assert broker.get(events).key == "team_migration_started"
    assert own(broker, events, "gap")["reason"] == "migration"
    assert workspace.wait_live()


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_restart_is_a_gap_since_the_last_answered_ping(
    events: str, pump: PumpProcess, broker: Broker, workspace: Workspace, how: str
) -> None:
    """Or before the first one, since the connection began; to the hello, also after kill -9."""
    workspace.emit(message(1))
    came_at = broker.get(events).headers["received_at"]
    getattr(pump, how)()
    pump.wait()
    ended_at = now_ms()
    pump.start()
    gap = own(broker, events, "gap")
    assert gap["reason"] == "restart"
    assert milliseconds(gap["from"]) <= came_at
    assert ended_at <= milliseconds(gap["to"]) <= now_ms()


def test_an_empty_unrouted_lets_go_of_what_no_queue_takes(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Nothing is declared for it, and the pump goes on."""
    pump = start_pump(events={"unrouted": "", "type_exchange": ""})
    assert not broker.exists(exchange="rtm.unrouted")
    assert not broker.exists(exchange="rtm.message")
    workspace.emit(message(1))
    pump.wait_log("events.unrouted")
    queue = broker.queue(("rtm.events", "#"))
    wait_until(lambda: _arrives(broker, queue, workspace))


def _arrives(broker: Broker, queue: str, workspace: Workspace) -> bool:
    workspace.emit(message(2))
    return broker.poll(queue) is not None
