"""Facts about the events that a service gets, against a real node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from rtmpump.client import BrokerUnavailable, Client, Event, EventStream, NotAnswerable
from rtmpump.errors import ConfigError
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.client.conftest import Connect, Publish
from tests.support.broker import Broker
from tests.support.broker_node import (
    add_user,
    close_connections,
    consumer_timeout,
    delete_user,
    names_in,
    set_permissions,
)
from tests.support.paths import PYTHONPATH
from tests.support.waiting import SECONDS, wait_until

QUEUE = "consumer.test"
PRODUCT = "rtmpump"
# Prints each event, then waits for a line before it goes on.
SERVICE = f"""
import sys
from rtmpump.client import Client
with Client(sys.argv[1]) as client:
    for event in client.events("message.#", queue="{QUEUE}"):
        print(event.message_id, event.redelivered, flush=True)
        sys.stdin.readline()
print("ended in order", flush=True)
"""


def ids(stream: EventStream, count: int) -> list[str]:
    """The ids of the next events; the last one is not done yet."""
    taken = [stream.take(SECONDS) for _ in range(count)]
    return [event.message_id for event in taken if event is not None]


def one(stream: EventStream) -> Event:
    """The next event."""
    event = stream.take(SECONDS)
    assert event is not None
    return event


def test_an_event_has_what_slack_and_the_pump_say(client: Client, publish: Publish) -> None:
    """And only those come that a pattern takes."""
    events = client.events("message.#", "star_added")
    publish("message.me_message", "m:1", text="hi", properties={"headers": {"team": "T1"}})
    publish("star_added", "e:1")
    event = one(events)
    assert (event.key, event.type, event.subtype) == ("message.me_message", "message", "me_message")
    assert json.loads(event.body) == event.json() == {"type": "message", "text": "hi"}
    assert (event.message_id, event.headers["team"], event.redelivered) == ("m:1", "T1", False)
    assert (event.answer_by, repr(event)) == (None, "<Event message.me_message m:1>")
    assert (one(events).type, events.take(0)) == ("star_added", None)


def test_an_event_is_acknowledged_when_the_next_one_is_asked_for(
    broker_url: str, broker: Broker, publish: Publish
) -> None:
    """The one that was in hand at the end is there for the next client, with its successors."""
    with Client(broker_url) as first:
        stream = first.events(queue=QUEUE)
        for number in range(300):
            publish("message", f"m:{number}")
        assert ids(stream, 298) == [f"m:{number}" for number in range(298)]
    wait_until(lambda: broker.count(QUEUE) == 3)
    with Client(broker_url) as second:
        stream = second.events(queue=QUEUE)
        event = one(stream)
        assert (event.message_id, event.redelivered) == ("m:297", True)
        assert ids(stream, 2) == ["m:298", "m:299"]
        assert stream.take(0) is None
    wait_until(lambda: broker.count(QUEUE) == 0)


def test_a_loop_that_is_stopped_finishes_its_event_and_one_that_breaks_does_not(
    client: Client, broker: Broker, publish: Publish
) -> None:
    """So an error in the loop gives the event back too."""
    stream = client.events(queue=QUEUE)
    for number in range(9):
        publish("message", f"m:{number}")

    def work() -> None:
        for event in stream:
            raise ValueError(event.message_id)

    with pytest.raises(ValueError, match="m:0"):
        work()
    wait_until(lambda: broker.count(QUEUE) == 9)
    got = []
    for event in client.events(queue=QUEUE):
        got.append(event.message_id)
        if len(got) == 9:
            client.stop()
    assert got == [f"m:{number}" for number in range(9)]
    wait_until(lambda: broker.count(QUEUE) == 0)


def test_repeats_are_passed_over_also_after_a_new_connection(
    client: Client, node: RabbitNode, broker_url: str, publish: Publish
) -> None:
    """What is in hand when the connection breaks is not handed out a second time."""
    stream = client.events(queue=QUEUE)
    for id in ("m:1", "m:1", "m:2", "m:3"):
        publish("message", id)
    assert ids(stream, 2) == ["m:1", "m:2"]
    close_connections(node, broker_url.rpartition("/")[2], product=PRODUCT)
    publish("message", "m:1")
    publish("message", "m:4")
    assert ids(stream, 2) == ["m:3", "m:4"]
    assert stream.take(0) is None


def test_several_at_once_without_repeats(client: Client, broker: Broker, publish: Publish) -> None:
    """They are all acknowledged by the next call."""
    stream = client.events(queue=QUEUE)
    for id in ("m:1", "m:2", "m:1", ""):
        publish("message", id)
    got: list[Event] = []
    while len(got) < 3:
        got += stream.take_all(timeout=SECONDS)
    assert [event.message_id for event in got] == ["m:1", "m:2", ""]
    assert stream.take_all() == []
    stream.close()
    wait_until(lambda: broker.count(QUEUE) == 0)


@contextmanager
def service(url: str) -> Iterator[tuple[subprocess.Popen[str], IO[str], Callable[[], None]]]:
    """SERVICE as a process: what it says, and a function that lets it go on."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin = process.stdin

        def go_on() -> None:
            stdin.write("\n")
            stdin.flush()

        try:
            yield process, process.stdout, go_on
        finally:
            process.kill()


def test_a_service_that_dies_in_the_middle_of_an_event_gets_it_again(
    client: Client, broker_url: str, publish: Publish
) -> None:
    """With kill -9; of what it had done before, at most the last moments come again."""
    client.events(queue=QUEUE).close()
    for id in ("m:1", "m:2", "m:3"):
        publish("message", id)
    with service(broker_url) as (process, said, go_on):
        assert said.readline() == "m:1 False\n"
        go_on()
        assert said.readline() == "m:2 False\n"
        process.kill()
    with service(broker_url) as (_, said, go_on):
        line = said.readline()
        if line == "m:1 True\n":
            go_on()
            line = said.readline()
        assert line == "m:2 True\n"
        go_on()
        assert said.readline() == "m:3 True\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service_after_its_event(
    client: Client, broker: Broker, broker_url: str, publish: Publish, number: signal.Signals
) -> None:
    """The event in hand is acknowledged, the others stay; what follows the loop is done."""
    client.events(queue=QUEUE).close()
    publish("message", "m:1")
    publish("message", "m:2")
    with service(broker_url) as (process, said, go_on):
        assert said.readline() == "m:1 False\n"
        process.send_signal(number)
        go_on()
        assert said.readline() == "ended in order\n"
        assert process.wait(SECONDS) == 0
    wait_until(lambda: broker.count(QUEUE) == 1)


def test_work_may_take_longer_than_two_heartbeats(
    connect: Connect, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection lives on, as the thread that has it does no work."""
    caplog.set_level("INFO", "rtmpump.client")
    # Two of one second may go by on a busy machine.
    stream = connect(heartbeat=3).events(queue=QUEUE)
    publish("message", "m:1")
    one(stream)
    time.sleep(7.0)
    publish("message", "m:2")
    assert not one(stream).redelivered
    ours = [record.message for record in caplog.records if record.name == "rtmpump.client"]
    assert len(ours) == 1, ours


def test_work_that_takes_longer_than_rabbitmq_waits_is_not_done_twice(
    client: Client, node: RabbitNode, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes the event back, ends the channel, and delivers it again, which is passed over."""
    with consumer_timeout(node, 1000):
        stream = client.events(queue=QUEUE)
        publish("message", "m:1")
        publish("message", "m:2")
        one(stream)
        wait_until(lambda: "away" in caplog.text)
    assert ids(stream, 1) == ["m:2"]
    assert "choose a smaller prefetch" in caplog.text
    assert stream.take(0) is None


def test_a_temporary_queue_is_gone_with_the_client(
    broker_url: str, broker: Broker, node: RabbitNode
) -> None:
    """And one with a name stays."""
    vhost = broker_url.rpartition("/")[2]
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    before = names_in(node, vhost)
    with Client(broker_url) as client:
        client.events()
        client.events(queue=QUEUE)
        assert len(names_in(node, vhost)) == len(before) + 2
    wait_until(lambda: names_in(node, vhost) == sorted([*before, QUEUE]))


def test_a_queue_that_exists_is_used_as_it_is(
    client: Client, broker: Broker, publish: Publish
) -> None:
    """Also where it is of another kind than ours would be."""
    broker.queue(name=QUEUE, x_max_length=5)
    stream = client.events("message", queue=QUEUE)
    publish("message", "m:1")
    assert ids(stream, 1) == ["m:1"]


def test_a_user_with_the_least_rights_can_consume(
    node: RabbitNode, broker: Broker, broker_url: str, connect: Connect, publish: Publish
) -> None:
    """It may not declare the exchange, so that must be there; what it may not, it is told."""
    user, vhost = "client-test", broker_url.rpartition("/")[2]
    add_user(node, user, "opens-nothing")
    with ExitStack() as stack:
        stack.callback(delete_user, node, user)
        ours = r"^consumer\."
        set_permissions(node, vhost, user, ours, ours, rf"({ours}|^rtm\.)")
        client = connect(f"amqp://{user}:opens-nothing@127.0.0.1:{node.port}/{vhost}")
        with pytest.raises(BrokerUnavailable, match="start rtmpump") as caught:
            client.events(queue=QUEUE)
        assert caught.value.code == "not_found"
        broker.channel.exchange_declare("rtm.events", "topic", durable=True)
        stream = client.events(queue=QUEUE)
        with pytest.raises(BrokerUnavailable, match="permission") as caught:
            client.events(queue="rtm.outbound")
        assert caught.value.code == "access_refused"
        publish("message", "m:1")
        assert ids(stream, 1) == ["m:1"]


def test_an_answer_goes_where_the_event_says(
    client: Client, broker: Broker, publish: Publish
) -> None:
    """In time, to a queue that is there; otherwise the service learns that it was no use."""
    stream = client.events()
    answers = broker.queue()

    def ask(to: str, seconds: float) -> Event:
        by = round((time.time() + seconds) * 1000)
        asked = {"reply_to": to, "correlation_id": "c1", "headers": {"answer_by": by}}
        publish("slash_command", "", properties=asked)
        event = one(stream)
        assert event.answer_by == by / 1000
        return event

    assert ask(answers, 60).answer({"text": "hi"})
    message = broker.get(answers)
    assert (message.json, message.properties.correlation_id) == ({"text": "hi"}, "c1")
    assert ask(answers, 60).answer()
    assert broker.get(answers).body == b""
    assert not ask(answers, -1).answer({"text": "late"})
    assert not ask("nowhere", 60).answer({"text": "nobody"})
    publish("message", "m:1")
    with pytest.raises(NotAnswerable, match="answered"):
        one(stream).answer({"text": "who asked?"})


def test_a_broker_that_is_away_or_refuses_is_said(node: RabbitNode, connect: Connect) -> None:
    """A wrong password at once, and never shown."""
    with pytest.raises(BrokerUnavailable) as caught:
        connect("amqp://127.0.0.1:1/", timeout=3).events()
    assert caught.value.code == "refused"
    with pytest.raises(BrokerUnavailable) as caught:
        connect(f"amqp://guest:wrong-word@127.0.0.1:{node.port}/%2F").events()
    assert caught.value.code == "auth"
    assert "wrong-word" not in str(caught.value)
    assert "in the URL" in str(caught.value)
    with pytest.raises(ConfigError, match="url: must be a URL") as no_url:
        Client("https://guest:wrong-word@localhost/")
    assert "wrong-word" not in str(no_url.value)


def test_an_import_brings_neither_the_daemon_nor_its_libraries(tmp_path: Path) -> None:
    """A service pays for RabbitMQ alone."""
    heavy = "slack_sdk", "sqlite3", "click", "prometheus_client", "websocket", "rtmpump.daemon"
    code = f"import sys, rtmpump.client; print([m for m in {heavy} if m in sys.modules])"
    # Coverage, where it measures, imports sqlite3 for itself.
    env = {key: of for key, of in os.environ.items() if not key.startswith("COVERAGE_")}
    env["PYTHONPATH"] = PYTHONPATH
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, cwd=tmp_path)
    assert told.stdout == b"[]\n", told.stderr
