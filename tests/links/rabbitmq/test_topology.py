"""Facts about what is declared; a real RabbitMQ has the last word on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import UnroutableError

from rtmpump import metrics
from rtmpump.config import Broker, Config, Events, Ha, Outbound, Secret
from rtmpump.core.event_types import TYPES
from rtmpump.core.routes import clean
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.topology import Binding, Exchange, Item, Queue
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.support.broker_node import add_vhost

pytestmark = pytest.mark.quick

WITH_STREAM = Config(events=Events(stream="rtm.stream", stream_max_age="12h"))
NAMES = st.sampled_from(["rtm.events", "rtm.unrouted", "rtm.message", "rtm.hello", "other", "x"])


def on_vhost(node: RabbitNode, vhost: str, config: Config = WITH_STREAM) -> tuple[Config, str]:
    """Make a vhost; give the configuration that uses it and its URL."""
    add_vhost(node.start(), vhost)
    url = node.url.replace("%2F", quote(vhost, safe=""))
    broker = Broker(url=Secret(url))
    return Config(broker=broker, events=config.events, outbound=config.outbound), url


def imported(node: RabbitNode, config: Config, folder: Path) -> dict[str, Any]:
    """Import the definitions of `config`; give them."""
    definitions = topology.definitions(config)
    file = folder / "definitions.json"
    file.write_text(json.dumps(definitions))
    node.ctl("import_definitions", str(file))
    return definitions


def exported(node: RabbitNode, vhost: str, said: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Give what the node itself says of a vhost, with the fields that `said` has."""
    file = folder / "exported.json"
    node.ctl("export_definitions", str(file))
    found = json.loads(file.read_text())
    # RabbitMQ 3.10 does not export whether an exchange is internal; newer ones say more than we do.
    return {
        part: [
            {key: row.get(key, False) for key in entries[0]}
            for row in found[part]
            if row["vhost"] == vhost
        ]
        for part, entries in said.items()
    }


def in_one_order(definitions: dict[str, Any]) -> dict[str, list[str]]:
    """Give the entries of each part in an order that does not hang on the node."""
    return {
        part: sorted(json.dumps(entry, sort_keys=True) for entry in entries)
        for part, entries in definitions.items()
    }


def declare(channel: BlockingChannel, item: Item) -> None:
    """Declare one item as the pump does."""
    match item:
        case Exchange(name, kind, arguments):
            channel.exchange_declare(name, kind, durable=True, arguments=dict(arguments))
        case Queue(name, arguments):
            channel.queue_declare(name, durable=True, arguments=dict(arguments))
        case Binding(source, destination, "queue", key):
            channel.queue_bind(destination, source, key)
        case Binding(source, destination, "exchange", key):
            channel.exchange_bind(destination, source, key)


def items(config: Config) -> list[Item]:
    """Give all that is declared."""
    return topology.events(config.events) + topology.outbound(config.outbound)


def exchanges(items: list[Item]) -> dict[str, Exchange]:
    """Give the exchanges by name."""
    return {item.name: item for item in items if isinstance(item, Exchange)}


def assert_in_order(items: list[Item]) -> None:
    """Assert that each item comes once, and after those that it names."""
    there: set[tuple[str, str]] = set()
    for item in items:
        if isinstance(item, Binding):
            assert ("exchange", item.source) in there
            assert (item.destination_kind, item.destination) in there
            continue
        key = ("exchange" if isinstance(item, Exchange) else "queue", item.name)
        assert key not in there
        there.add(key)


@pytest.mark.real
def test_definitions_can_be_imported_and_are_what_the_node_then_has(
    node: RabbitNode, tmp_path: Path
) -> None:
    """RabbitMQ takes the whole file, and says afterwards exactly what it says."""
    config, _ = on_vhost(node, "imported/é")
    said = imported(node, config, tmp_path)
    found = exported(node, "imported/é", said, tmp_path)
    assert in_one_order(found) == in_one_order(said)
    assert {part: len(entries) for part, entries in found.items()} == {
        "exchanges": 2 + len(TYPES),
        "queues": 4,
        "bindings": 2 + len(TYPES),
    }


@pytest.mark.real
def test_declaring_what_was_imported_changes_nothing(node: RabbitNode, tmp_path: Path) -> None:
    """No argument differs between the file and the declaration: there is no 406, even twice."""
    config, url = on_vhost(node, "declared-after")
    imported(node, config, tmp_path)
    before = bindings(node, "declared-after")
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for item in items(config) * 2:
            declare(channel, item)
    assert bindings(node, "declared-after") == before


@pytest.mark.real
def test_importing_what_was_declared_changes_nothing(node: RabbitNode, tmp_path: Path) -> None:
    """The order of declaration is right on an empty broker, and the file fits what it makes."""
    config, url = on_vhost(node, "declared-before")
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for item in items(config):
            declare(channel, item)
    before = queues(node, "declared-before")
    imported(node, config, tmp_path)
    assert queues(node, "declared-before") == before


def bindings(node: RabbitNode, vhost: str) -> str:
    """Return all bindings of a vhost, as Erlang writes them."""
    found = node.evaluate(f'lists:sort(rabbit_binding:list(<<"{vhost}">>))')
    assert "rtm.unrouted" in found
    return found


def queues(node: RabbitNode, vhost: str) -> str:
    """Return the queues of a vhost with their arguments, as Erlang writes them."""
    info = "rabbit_amqqueue:info(Q, [name, arguments])"
    found = node.evaluate(f'lists:sort([{info} || Q <- rabbit_amqqueue:list(<<"{vhost}">>)])')
    assert "rtm.outbound.dead" in found
    return found


@pytest.mark.real
def test_a_queue_of_a_type_gets_its_events_alone(node: RabbitNode) -> None:
    """Events with and without subtype go through rtm.message; what no queue takes is returned."""
    config, url = on_vhost(node, "routed", Config())
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for item in items(config):
            declare(channel, item)
        channel.queue_declare("mine", exclusive=True)
        channel.queue_bind("mine", "rtm.message", "#")
        channel.confirm_delivery()
        for key in ("message", "message.me_message"):
            channel.basic_publish("rtm.events", key, key.encode(), mandatory=True)
        for key in ("hello", "never_heard_of"):
            with pytest.raises(UnroutableError):
                channel.basic_publish("rtm.events", key, b"lonely", mandatory=True)
        assert bodies(channel, "mine") == [b"message", b"message.me_message"]
        assert bodies(channel, "rtm.unrouted") == []


@pytest.mark.real
def test_an_expired_command_is_dead_lettered(node: RabbitNode) -> None:
    """A command whose expiration passes unread is in the dead queue afterwards."""
    config, url = on_vhost(node, "expired", Config())
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for item in topology.outbound(config.outbound):
            declare(channel, item)
        channel.confirm_delivery()
        late = pika.BasicProperties(expiration="1", delivery_mode=2)
        channel.basic_publish("", "rtm.outbound", b"late", late, mandatory=True)
        for _, _, body in channel.consume("rtm.outbound.dead", inactivity_timeout=30):
            assert body == b"late"
            break
        channel.cancel()


def bodies(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Take all that a queue holds; what was confirmed is there."""
    taken: list[bytes] = []
    while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
        taken.append(body)
    return taken


@given(
    st.builds(
        Events,
        exchange=NAMES,
        unrouted=NAMES | st.just(""),
        type_exchange=st.sampled_from(["", "rtm.{type}", "{type}", "amq.{type}"]),
        stream=st.sampled_from(["", "rtm.stream", "rtm.message"]),
    ).filter(
        lambda events: (
            not events.unrouted or events.unrouted not in (events.exchange, events.stream)
        )
    )
)
def test_each_item_comes_once_and_after_those_that_it_names(events: Events) -> None:
    """Whatever names the configuration accepts, all can be declared from first to last."""
    assert_in_order(topology.events(events))


def test_the_dead_queue_is_there_before_the_queue_that_names_it() -> None:
    """No command can be dead-lettered into nothing, whatever the two are called."""
    first, second = topology.outbound(Outbound(queue="in", dead_queue="dead"))
    assert isinstance(second, Queue)
    assert (first.name if isinstance(first, Queue) else "", second.name) == ("dead", "in")
    assert second.arguments["x-dead-letter-routing-key"] == "dead"


def test_no_command_is_dropped_by_the_broker_in_silence() -> None:
    """Dead-lettering is at-least-once, which RabbitMQ gives only with reject-publish, unlimited."""
    dead, commands = (item for item in topology.outbound(Outbound()) if isinstance(item, Queue))
    assert commands.arguments["x-dead-letter-strategy"] == "at-least-once"
    assert commands.arguments["x-overflow"] == "reject-publish"
    for queue in (dead, commands):
        assert int(queue.arguments["x-delivery-limit"]) >= 1_000_000
        assert not {"x-max-length", "x-max-length-bytes", "x-message-ttl"} & set(queue.arguments)


def test_each_documented_type_has_an_exchange_from_the_start() -> None:
    """A consumer can bind to rtm.<type> before the first event."""
    declared = topology.events(Events())
    assert set(exchanges(declared)) == {"rtm.events", "rtm.unrouted"} | {
        f"rtm.{type}" for type in TYPES
    }
    assert Binding("rtm.events", "rtm.message", "exchange", "message.#") in declared


def test_no_exchange_has_an_argument() -> None:
    """Any program may declare each of them in its ordinary way."""
    found = exchanges(topology.events(WITH_STREAM.events))
    assert [name for name, one in found.items() if one.arguments] == []


@pytest.mark.parametrize(
    ("events", "type"),
    [
        (Events(), "events"),
        (Events(), "unrouted"),
        (Events(type_exchange=""), "message"),
        (Events(exchange="rtm.message"), "message"),
        (Events(type_exchange="{type}", unrouted="lost"), "lost"),
        (Events(type_exchange="amq.{type}"), "topic"),
    ],
)
def test_a_type_whose_exchange_would_clash_has_none(events: Events, type: str) -> None:
    """Its events go to the events exchange alone."""
    assert topology.for_type(events, type) == []


@given(st.text(min_size=1))
def test_names_of_types_fit_into_amqp(word: str) -> None:
    """With the longest pattern that the configuration takes, a name has 255 bytes at most."""
    pattern = "x" * (155 - len("{type}")) + "{type}"
    for item in topology.for_type(Events(type_exchange=pattern), clean(word)):
        assert all(len(part.encode()) <= 255 for part in item if isinstance(part, str))


def test_the_lock_is_among_them_where_there_is_an_election() -> None:
    """And people read its arguments in RabbitMQ's own words."""
    with_it = Config(ha=Ha(enabled=True, lock="the.lock"))
    (line,) = set(topology.describe(with_it)) - set(topology.describe(Config()))
    assert line.startswith("queue the.lock x-queue-type=quorum x-single-active-consumer=true")
    (queue,) = [q for q in topology.definitions(with_it)["queues"] if q["name"] == "the.lock"]
    assert queue["arguments"]["x-single-active-consumer"] is True


def test_what_is_switched_off_is_not_declared() -> None:
    """Without unrouted, type exchanges and stream, one exchange without arguments is left."""
    events = Events(unrouted="", type_exchange="")
    assert topology.events(events) == [Exchange("rtm.events", "topic", {})]


def test_the_vhost_is_that_of_the_first_url() -> None:
    """It is decoded; a URL without one means "/"; no password gets into the file."""
    for url, vhost in (("amqp://u:pw@h/a%2Fb", "a/b"), ("amqp://h", "/"), ("amqp://h/%2F", "/")):
        urls = (Secret(url), Secret("amqp://h/second"))
        definitions = topology.definitions(Config(broker=Broker(urls=urls)))
        entries = [entry for part in definitions.values() for entry in part]
        assert {entry["vhost"] for entry in entries} == {vhost}
        assert "pw" not in json.dumps(definitions)


def test_people_read_one_line_for_all_type_exchanges() -> None:
    """All else has a line of its own, and an empty argument can be seen to be empty."""
    lines = topology.describe(WITH_STREAM)
    assert lines[0] == "vhost /"
    assert "exchange rtm.events topic" in lines
    assert 'binding rtm.events -> queue rtm.stream with "#"' in lines
    assert any('x-dead-letter-exchange=""' in line for line in lines)
    assert [line for line in lines if "rtm.<type>" in line] == [lines[-1]]
    assert f"{len(TYPES)} documented types" in lines[-1]
    assert not any("rtm.message" in line for line in lines)


def test_people_read_of_no_type_exchange_where_there_is_none() -> None:
    """Switched off means no line."""
    lines = topology.describe(Config(events=Events(type_exchange="")))
    assert not any("<type>" in line for line in lines)


def test_the_documented_types_leave_room_and_metrics_count_as_many() -> None:
    """The bound is the contract's 512, for exchanges and for label values alike."""
    assert len(TYPES) < topology.TYPES_MAX == metrics.TYPES_MAX == 512
