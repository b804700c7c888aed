"""Facts about the trip from the spool to RabbitMQ: a real node, a real spool, no Slack."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rtmpump.config import Broker as BrokerConfig
from rtmpump.config import Config, Events, Secret, SpoolConfig
from rtmpump.config import Retry as RetryConfig
from rtmpump.core.event_types import TYPES
from rtmpump.core.refusals import Refusals
from rtmpump.errors import SpoolFailed
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.rabbitmq.batch_publish import BatchPublisher
from rtmpump.metrics import EventCounts, Metrics
from rtmpump.pumps.publisher import Publisher
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.spool import Row, Spool
from tests.support.broker import Broker, Message
from tests.support.broker_node import (
    close_connections,
    max_message_size,
    memory_alarm,
    note_all,
)
from tests.support.line import Line
from tests.support.links import LinkLog
from tests.support.waiting import wait_until

SECONDS = 100.0
SMALL = 20_000


def event(number: int, type: str = "message", size: int = 0) -> bytes:
    """An event that says which it is."""
    fields = {"type": type, "n": number, "ts": f"1700000000.{number:06d}", "channel": "C1"}
    return json.dumps(fields | {"text": "x" * size}).encode()


class Pumping:
    """A publisher with its spool; `run` is in a thread of its own, as in the daemon."""

    def __init__(self, folder: Path, *urls: str, **options: Any) -> None:
        events = Events(**options.pop("events", {}))
        broker: dict[str, Any] = {"urls": tuple(map(Secret, urls)), "url": Secret(urls[0])}
        broker |= options.pop("broker", {})
        settings: dict[str, Any] = {"max_bytes": 512 << 20, "when_full": "block", "sync": "normal"}
        retry_max = options.pop("retry_max", 0.5)
        settings |= options
        self.config = Config(
            broker=BrokerConfig(**broker),
            events=events,
            retry=RetryConfig(initial=0.05, max=retry_max),
            spool=SpoolConfig(**settings),
        )
        self.spool = Spool.open(folder / "spool.db", **settings)
        self.metrics = Metrics()
        self.stop = threading.Event()
        self.ups: list[str] = []
        self.downs: list[RetryDetails] = []
        self.error: BaseException | None = None
        self.publisher = Publisher(
            self.config,
            self.spool,
            self.metrics,
            Lifecycle(LinkLog(self.ups, self.downs), self.stop),
        )
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.publisher.run()
        except BaseException as error:
            self.error = error

    def start(self, *, up: bool = True) -> Pumping:
        """Run it, and wait for the link."""
        self.thread.start()
        if up:
            wait_until(lambda: self.ups, what="for the link")
        return self

    def put(self, *bodies: bytes) -> int:
        """Accept events, as the reader does."""
        items = [(int(time.time() * 1000), body) for body in bodies]
        last = self.spool.append(items, team="T1", bot="U1").last_seq
        self.publisher.wake()
        return last

    def wait_empty(self) -> None:
        """All is confirmed."""
        try:
            wait_until(lambda: self.left == 0 or self.error)
        except AssertionError:
            window = self.publisher._window
            told = (self.left, window.in_flight, window.confirmed_upto, window.room())
            pytest.fail(f"not empty: {told}, {self.counts}, {self.downs[-3:]}, {self.ups}")
        assert self.error is None

    def wait_down(self, reason: str) -> RetryDetails:
        """The link ended for this reason."""
        wait_until(lambda: any(one.reason == reason for one in self.downs), what=f"for {reason}")
        return next(one for one in self.downs if one.reason == reason)

    def wait_end(self, seconds: float = 100.0) -> None:
        """`run` returned, without an error."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "it did not end"
        assert self.error is None

    @property
    def left(self) -> int:
        """How many events wait."""
        return self.spool.usage().events

    @property
    def counts(self) -> EventCounts:
        """What was counted."""
        return self.metrics.snapshot().events

    def __enter__(self) -> Pumping:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.publisher.wake()
        if self.thread.ident:
            self.thread.join(100)
        assert not self.thread.is_alive()
        self.spool.close()


Pump = Callable[..., Pumping]


@pytest.fixture
def pump(tmp_path: Path, broker_url: str) -> Iterator[Pump]:
    """Makes publishers to this test's vhost, which end with the test."""
    made: list[Pumping] = []

    def make(*urls: str, **options: Any) -> Pumping:
        made.append(Pumping(tmp_path, *(urls or (broker_url,)), **options))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


@pytest.fixture
def small_url(node: RabbitNode, broker_url: str) -> Iterator[str]:
    """The URL of this test's vhost, while the node takes no message over SMALL bytes."""
    with max_message_size(node, SMALL):
        yield broker_url


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def numbers(messages: list[Message]) -> list[int]:
    """Which events they are."""
    return [message.json["n"] for message in messages]


def without_repeats(messages: list[Message], *, last: bool) -> list[int]:
    """Which events came, by the first or the last of the messages with the same id."""
    ordered = messages[::-1] if last else messages
    seen: set[str | None] = set()
    found = []
    for message in ordered:
        if message.properties.message_id not in seen:
            seen.add(message.properties.message_id)
            found.append(message.json["n"])
    return found[::-1] if last else found


def was_returned(one: Pumping, count: int) -> bool:
    """More events than that came back."""
    return one.counts.returned > count


def has_come_up(one: Pumping, times: int) -> bool:
    """The link was made so often."""
    return len(one.ups) >= times


def has_all(goal: int) -> Callable[[list[Message]], bool]:
    """Whether so many different events came."""
    ids: set[str | None] = set()
    looked = 0

    def have_come(got: list[Message]) -> bool:
        nonlocal looked
        ids.update(one.properties.message_id for one in got[looked:])
        looked = len(got)
        return len(ids) >= goal

    return have_come


# What arrives.


@pytest.mark.parametrize("is_fast", [True, False])
def test_events_arrive_in_order_with_all_they_promise(
    pump: Pump, broker: Broker, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Body unchanged; key, properties and headers as the contract has them; then it is gone.

    Also where pika has changed so that its private functions are left alone.
    """
    if not is_fast:
        monkeypatch.setattr(BatchPublisher, "_try", lambda _self: False)
    one = pump().start()
    queue = broker.queue(("rtm.events", "#"))
    bodies = [event(number) for number in range(3000)]
    for at in range(0, 3000, 100):
        one.put(*bodies[at : at + 100])
    got = broker.take(queue, 3000)
    assert [message.body for message in got] == bodies
    first = got[0].properties
    assert (got[0].key, first.type, first.app_id) == ("message", "message", "rtmpump")
    assert (first.content_type, first.delivery_mode) == ("application/json", 2)
    assert [message.headers["seq"] for message in got] == list(range(1, 3001))
    assert {"team": "T1", "bot": "U1", "channel": "C1"}.items() <= got[0].headers.items()
    one.wait_empty()
    assert one.counts.confirmed == 3000
    assert one.metrics.snapshot().links["broker_events"]


def test_a_broker_that_is_down_at_the_start(pump: Pump, node: RabbitNode, broker_url: str) -> None:
    """It is tried again until it is there, and then gets all that waits."""
    port = free_port()
    one = pump(broker_url.replace(f":{node.port}/", f":{port}/")).start(up=False)
    one.put(*map(event, range(500)))
    one.wait_down("refused")
    assert one.left == 500
    with Line(node.port, port):
        one.wait_empty()
    with Broker(broker_url) as broker:
        assert numbers(broker.take("rtm.unrouted", 500)) == list(range(500))


def test_a_broker_that_is_killed_in_between(pump: Pump, node: RabbitNode, broker_url: str) -> None:
    """Nothing is lost, the order holds but for repeats, and a repeat has the same id and body."""
    one = pump().start()
    with Broker(broker_url) as broker:
        queue = broker.queue(("rtm.events", "#"))
    note_all(node)
    feeding = threading.Thread(
        target=lambda: [one.put(*map(event, range(at, at + 50))) for at in range(0, 10_000, 50)]
    )
    feeding.start()
    wait_until(lambda: one.counts.confirmed > 200)
    node.kill()
    feeding.join()
    node.start()
    one.wait_empty()
    assert one.counts.returned == 0, one.downs
    with Broker(broker_url) as broker:
        got = broker.take_until(queue, has_all(10_000), SECONDS)
    assert without_repeats(got, last=True) == list(range(10_000))
    assert without_repeats(got, last=False) == list(range(10_000))
    by_id: dict[Any, set[bytes]] = {}
    for message in got:
        by_id.setdefault(message.properties.message_id, set()).add(message.body)
    assert {len(bodies) for bodies in by_id.values()} == {1}
    assert len(one.downs) >= 1


def test_the_spool_keeps_what_is_not_confirmed(pump: Pump, broker: Broker) -> None:
    """While the queue refuses all, the spool stays full; and the window is never exceeded."""
    one = pump(events={"confirm_window": 16}).start()
    queue = broker.queue(("rtm.events", "#"), x_max_length=0, x_overflow="reject-publish")
    most = watch_window(one)
    one.put(*map(event, range(400)))
    wait_until(lambda: one.counts.nacked >= 18)
    assert one.left == 400
    assert max(most) <= 16
    broker.channel.queue_delete(queue)
    one.wait_empty()
    assert max(most) <= 16


def watch_window(one: Pumping) -> list[int]:
    """How many were in flight after each publish."""
    seen: list[int] = [0]
    window = one.publisher._window
    real = window.__class__.sent

    class Watched(window.__class__):  # type: ignore[name-defined,misc]
        __slots__ = ()

        def sent(self, seq: int, now: float, received_ms: int = 0) -> int:
            tag = real(self, seq, now, received_ms)
            seen.append(self.in_flight)
            return tag

    window.__class__ = Watched
    return seen


def test_refusals_without_end_are_tried_on_a_new_connection(pump: Pump, broker: Broker) -> None:
    """A channel that met a quorum queue without a leader refuses for ever; another does not."""
    one = pump().start()
    one.publisher._refusals = Refusals(0.2)
    queue = broker.queue(("rtm.events", "#"), x_max_length=0, x_overflow="reject-publish")
    one.put(*map(event, range(10)))
    assert one.wait_down("nacked").wait == 0
    wait_until(lambda: sum(down.reason == "nacked" for down in one.downs) >= 2)
    broker.channel.queue_delete(queue)
    one.wait_empty()


def test_a_queue_that_refuses_gets_all_in_the_end(pump: Pump, broker: Broker) -> None:
    """After nacks: backoff, and each event arrives, in order once repeats are dropped."""
    one = pump(events={"confirm_window": 64}).start()
    queue = broker.queue(("rtm.events", "#"), x_max_length=50, x_overflow="reject-publish")
    other = broker.queue(("rtm.events", "#"))
    one.put(*map(event, range(600)))
    got: list[Message] = []
    deadline = time.monotonic() + SECONDS
    while len({message.json["n"] for message in got}) < 600 and time.monotonic() < deadline:
        time.sleep(0.05)
        got += broker.drain(queue)
    one.wait_empty()
    got += broker.drain(queue)
    assert one.counts.nacked > 0
    # What was refused here comes later than what follows it, once; the last of each is in order.
    assert sorted({message.json["n"] for message in got}) == list(range(600))
    both = broker.drain(other)
    assert without_repeats(both, last=False) == list(range(600))
    assert without_repeats(both, last=True) == list(range(600))


# What no queue takes.


def test_what_no_queue_takes_goes_to_the_unrouted_once(pump: Pump, broker: Broker) -> None:
    """Exactly once, with the same body and properties, in order."""
    one = pump().start()
    taken = broker.queue(("rtm.events", "taken"))
    bodies = [event(n, "taken" if n % 5 == 0 else "message") for n in range(2000)]
    one.put(*bodies)
    one.wait_empty()
    wait_until(lambda: broker.count("rtm.unrouted") + broker.count(taken) == 2000)
    got = broker.take("rtm.unrouted", 1600)
    assert [message.body for message in got] == [b for n, b in enumerate(bodies) if n % 5]
    assert {message.key for message in got} == {"message"}
    assert got[0].properties.message_id == "m:T1:C1:1700000000.000001:"
    assert got[0].headers["seq"] == 2
    assert numbers(broker.take(taken, 400)) == list(range(0, 2000, 5))
    assert one.counts.returned == 1600


def test_without_an_unrouted_exchange_it_is_counted(pump: Pump, broker: Broker) -> None:
    """It leaves the spool, counts as dropped, and the others go on."""
    one = pump(events={"unrouted": ""}).start()
    taken = broker.queue(("rtm.events", "taken"))
    one.put(*(event(n, "taken" if n % 2 else "message") for n in range(500)))
    one.wait_empty()
    assert one.counts.dropped == {"unrouted": 250}
    assert numbers(broker.take(taken, 250)) == list(range(1, 500, 2))
    assert not broker.exists(exchange="rtm.unrouted")


def test_what_is_unrouted_keeps_its_order(pump: Pump, broker: Broker) -> None:
    """Also where the exchange of a type is missing: all go the same way."""
    broker.channel.exchange_declare("rtm.odd", "fanout", durable=True)
    one = pump().start()
    one.put(*(event(n, "odd" if n % 3 else "message") for n in range(600)))
    one.wait_empty()
    assert numbers(broker.take("rtm.unrouted", 600)) == list(range(600))


def test_what_is_unrouted_keeps_its_order_across_connections(
    pump: Pump, broker: Broker, node: RabbitNode, broker_url: str
) -> None:
    """Connections that end in between bring repeats, and none of them in the wrong place."""
    one = pump(events={"confirm_window": 64}).start()
    for at in range(0, 3000, 300):
        one.put(*map(event, range(at, at + 300)))
        wait_until(partial(was_returned, one, at))
        close_connections(node, broker_url.rpartition("/")[2], product="rtmpump")
    one.wait_empty()
    assert one.wait_down("closed_by_broker")
    got = broker.take_until("rtm.unrouted", has_all(3000))
    assert without_repeats(got, last=False) == list(range(3000))
    assert without_repeats(got, last=True) == list(range(3000))


def test_a_deleted_queue_for_the_unrouted_is_made_again(pump: Pump, broker: Broker) -> None:
    """What comes after that is in it, once and in order; the connection goes on."""
    one = pump().start()
    one.put(event(0))
    one.wait_empty()
    broker.channel.queue_delete("rtm.unrouted")
    one.put(*map(event, range(1, 300)))
    one.wait_empty()
    assert numbers(broker.take("rtm.unrouted", 299)) == list(range(1, 300))
    assert broker.poll("rtm.unrouted") is None
    assert (one.counts.dropped, one.downs) == ({}, [])


def test_a_queue_for_the_unrouted_that_is_deleted_under_load(pump: Pump, broker: Broker) -> None:
    """What was in it is gone with it; no other event is, and the order holds."""
    one = pump(events={"confirm_window": 64}).start()
    taken = broker.queue(("rtm.events", "taken"))
    one.put(*(event(n, "taken" if n % 3 else "message") for n in range(3000)))
    wait_until(lambda: one.counts.returned > 100)
    broker.channel.queue_delete("rtm.unrouted")
    one.put(*(event(n, "taken" if n % 3 else "message") for n in range(3000, 6000)))
    one.wait_empty()
    got = without_repeats(broker.drain("rtm.unrouted"), last=True)
    assert got == list(range(got[0], 6000, 3))
    assert got[0] <= 3000
    kept = broker.take_until(taken, has_all(4000))
    assert without_repeats(kept, last=True) == [n for n in range(6000) if n % 3]
    assert one.counts.dropped == {}


def test_a_queue_for_the_unrouted_that_is_declared_otherwise(pump: Pump, broker: Broker) -> None:
    """It is used as it is, also after a restart: bound, with the arguments of somebody else."""
    one = pump().start()
    for at in (0, 100):
        broker.channel.queue_delete("rtm.unrouted")
        broker.queue(name="rtm.unrouted")
        one.put(*map(event, range(at, at + 100)))
        one.wait_empty()
        assert numbers(broker.take("rtm.unrouted", 100)) == list(range(at, at + 100))
        one.publisher._connection.call(lambda: one.publisher._connection.fail("test", "again"))
        wait_until(partial(has_come_up, one, 2 + at // 100))
    assert one.counts.dropped == {}


def test_a_queue_for_the_unrouted_that_nobody_can_declare(
    pump: Pump, broker: Broker, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events leave the spool and are counted, the others go on; and it is tried again."""
    monkeypatch.setattr("rtmpump.links.rabbitmq.unrouted._TRY_EVERY", 0.1)
    one = pump().start()
    taken = broker.queue(("rtm.events", "taken"))
    broker.channel.queue_delete("rtm.unrouted")
    with Broker(broker_url) as other:
        other.channel.queue_declare("rtm.unrouted", exclusive=True)
        one.put(*(event(n, "taken" if n % 2 else "message") for n in range(100)))
        one.wait_empty()
        assert one.counts.dropped == {"unrouted": 50}
        got = broker.take_until(taken, has_all(50))
        assert without_repeats(got, last=True) == list(range(1, 100, 2))
    number = iter(range(1000, 1_000_000))

    def is_kept() -> bool:
        one.put(event(next(number)))
        one.wait_empty()
        return broker.exists(queue="rtm.unrouted") and broker.count("rtm.unrouted") > 0

    wait_until(is_kept)
    one.put(event(100))
    one.wait_empty()
    broker.take_until("rtm.unrouted", lambda got: numbers(got)[-1:] == [100])
    assert one.downs == []


def test_a_queue_for_the_unrouted_that_is_not_ours_to_declare(pump: Pump, broker: Broker) -> None:
    """It is missing: the events are counted. It is there again: they are in it."""
    declare_by_hand(broker)
    one = pump(broker={"declare": "none"}, events={"unrouted": "mine"}).start()
    broker.channel.queue_delete("mine")
    one.put(*map(event, range(5)))
    one.wait_empty()
    assert one.counts.dropped == {"unrouted": 5}
    broker.queue(("mine", ""), name="mine")
    one.put(event(5))
    assert numbers(broker.take("mine", 1)) == [5]


class Stumbling:
    """A spool whose disk refuses some reads of single events."""

    def __init__(self, spool: Spool, times: int) -> None:
        self._spool = spool
        self.left = times

    def read(self, after: int, limit: int) -> list[Row]:
        """Fail as long as it is to."""
        if limit == 1 and self.left:
            self.left -= 1
            raise SpoolFailed("spool.db", "disk I/O error")
        return self._spool.read(after, limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spool, name)


def test_a_read_that_fails_while_forwarding(pump: Pump, broker: Broker) -> None:
    """A disk that refuses a read for a moment ends nothing and loses nothing; the order holds."""
    one = pump()
    stumbling = Stumbling(one.spool, 3)
    one.publisher._cursor._spool = stumbling  # type: ignore[assignment]
    one.start()
    one.put(*map(event, range(40)))
    one.wait_empty()
    assert stumbling.left == 0
    assert numbers(broker.take("rtm.unrouted", 40)) == list(range(40))


def test_drop_oldest_may_take_what_is_in_flight(pump: Pump, broker: Broker) -> None:
    """The publisher goes on with what is left; nothing waits for ever."""
    one = pump(max_bytes=16 << 20, when_full="drop_oldest", events={"confirm_window": 64}).start()
    queue = broker.queue(("rtm.events", "#"), x_max_length=0, x_overflow="reject-publish")
    one.put(event(0))
    wait_until(lambda: one.counts.nacked)
    for at in range(1, 8000, 50):
        one.put(*(event(n, size=4000) for n in range(at, at + 50)))
    assert one.spool.usage().first_seq > 1
    broker.channel.queue_unbind(queue, "rtm.events", "#")
    one.wait_empty()


def test_drop_oldest_between_a_refused_event_and_the_next(pump: Pump, broker: Broker) -> None:
    """What was taken before it comes again after it, although the spool has given that up."""
    one = pump(max_bytes=16 << 20, when_full="drop_oldest", events={"confirm_window": 64}).start()
    refusing = broker.queue(("rtm.events", "first"), x_max_length=0, x_overflow="reject-publish")
    queue = broker.queue(("rtm.events", "message"))
    real, given_up = one.publisher.settled, threading.Event()
    is_armed = threading.Event()

    def settled(tag: int, multiple: bool, ok: bool) -> None:
        if ok and is_armed.is_set() and not given_up.is_set():
            number = iter(range(100, 100_000))
            while one.spool.usage().first_seq < 30:
                one.put(*(event(next(number), size=50_000) for _ in range(20)))
            given_up.set()
        real(tag, multiple, ok)

    one.publisher.settled = settled  # type: ignore[method-assign]
    one.put(event(0, "first"), *(event(n, size=20_000) for n in range(1, 64)))
    wait_until(lambda: one.counts.nacked > 1)
    broker.bind(queue, "rtm.events", "first")
    is_armed.set()
    broker.channel.queue_unbind(refusing, "rtm.events", "first")
    one.wait_empty()
    assert given_up.is_set()
    got = without_repeats(broker.drain(queue), last=True)
    assert got[:64] == list(range(64))
    assert got == sorted(got)


# Exchanges of event types.


def test_type_exchanges_are_there_before_the_event(pump: Pump, broker: Broker) -> None:
    """Those of documented types from the start, another before its first event."""
    one = pump().start()
    queue = broker.queue(("rtm.message", "#"), ("rtm.reaction_added", "#"))
    one.put(event(1), event(2, "reaction_added"), event(3, "brand_new"), event(4))
    assert numbers(broker.take(queue, 3)) == [1, 2, 4]
    broker.bind(queue, "rtm.brand_new")
    one.put(event(5, "brand_new"), event(6, "brand.new.er"), event(7))
    assert numbers(broker.take(queue, 2)) == [5, 7]
    assert broker.exists(exchange="rtm.brand_new_er")
    assert numbers(broker.take("rtm.unrouted", 2)) == [3, 6]
    assert not one.downs


def test_an_exchange_that_is_deleted_is_made_again(pump: Pump, broker: Broker) -> None:
    """The broker closes the channel (404); all is declared again, and nothing is skipped."""
    one = pump().start()
    one.put(event(0, "brand_new"))
    one.wait_empty()
    for name in ("rtm.brand_new", "rtm.message", "rtm.events"):
        broker.channel.exchange_delete(name)
    one.put(*map(event, range(1, 300)), event(300, "brand_new"))
    one.wait_empty()
    assert one.wait_down("not_found").wait == 0.0
    got = broker.take_until("rtm.unrouted", has_all(301))
    assert without_repeats(got, last=True) == list(range(301))
    assert broker.exists(exchange="rtm.brand_new")
    assert broker.exists(exchange="rtm.message")


def test_the_unrouted_exchange_is_deleted(pump: Pump, broker: Broker) -> None:
    """The event whose forwarding failed is not lost."""
    one = pump().start()
    broker.channel.exchange_delete("rtm.unrouted")
    one.put(*map(event, range(50)))
    one.wait_empty()
    got = broker.take_until("rtm.unrouted", has_all(50))
    assert without_repeats(got, last=True) == list(range(50))


def test_a_type_whose_exchange_is_refused_stops_nobody(pump: Pump, broker: Broker) -> None:
    """Somebody has a fanout of this name: the event goes to the events exchange alone."""
    one = pump().start()
    broker.channel.exchange_declare("rtm.odd", "fanout", durable=True)
    queue = broker.queue(("rtm.events", "#"))
    one.put(event(1), event(2, "odd"), event(3), event(4, "odd"))
    one.wait_empty()
    got = broker.take_until(queue, has_all(4))
    assert numbers(got) == [1, 2, 3, 4]
    assert one.downs == []


def test_a_type_exchange_of_another_kind_stops_nobody(
    pump: Pump, broker: Broker, node: RabbitNode, broker_url: str
) -> None:
    """Somebody declares one again as a fanout: the pump does without, on each new connection."""
    one = pump().start()
    one.put(event(0, "brand_new"))
    one.wait_empty()
    queue = broker.queue(("rtm.events", "#"))
    for name in ("rtm.brand_new", "rtm.message", "rtm.user_typing"):
        broker.channel.exchange_delete(name)
        broker.channel.exchange_declare(name, "fanout", durable=True)
    for at in (1, 2, 3):
        one.put(event(2 * at, "brand_new"), event(2 * at + 1))
        one.wait_empty()
        close_connections(node, broker_url.rpartition("/")[2], product="rtmpump")
        wait_until(partial(has_come_up, one, at + 1))
    assert numbers(broker.take(queue, 6)) == [2, 3, 4, 5, 6, 7]
    assert {down.reason for down in one.downs} == {"closed_by_broker"}
    assert len(one.downs) == 3


@pytest.mark.parametrize("mode", ["passive", "none"])
def test_those_who_declare_themselves(pump: Pump, broker: Broker, mode: str) -> None:
    """Nothing is declared; what is missing is reported, and tried again until it is there."""
    one = pump(broker={"declare": mode}, events={"unrouted": "mine"}).start(up=False)
    one.put(event(1, "brand_new"))
    told = one.wait_down("not_found")
    assert 'broker.declare = "active"' in told.detail
    assert not broker.exists(exchange="rtm.events")
    declare_by_hand(broker)
    one.wait_empty()
    assert not broker.exists(exchange="rtm.brand_new")


def declare_by_hand(broker: Broker) -> None:
    """Make the topology by hand, as an operator does; type exchanges too, for "passive"."""
    channel = broker.channel
    channel.exchange_declare("mine", "fanout", durable=True)
    broker.queue(("mine", ""), name="mine")
    for name in ("rtm.events", *(f"rtm.{type}" for type in TYPES)):
        channel.exchange_declare(name, "topic", durable=True)


def test_a_stream_keeps_all_events(pump: Pump, broker: Broker) -> None:
    """With a stream nothing is unrouted, so nothing is forwarded."""
    one = pump(events={"stream": "rtm.log"}).start()
    one.put(*map(event, range(100)))
    one.wait_empty()
    got = broker.take_until(
        "rtm.log", lambda got: len(got) >= 100, arguments={"x-stream-offset": "first"}
    )
    assert numbers(got) == list(range(100))
    assert one.counts.returned == 0


def test_a_stream_that_is_bound_to_nothing(pump: Pump, broker: Broker) -> None:
    """Whoever declares it and forgets the binding loses nothing: the events are unrouted."""
    declare_by_hand(broker)
    broker.channel.exchange_bind("rtm.message", "rtm.events", "message.#")
    broker.queue(name="rtm.log", x_queue_type="stream")
    events = {"stream": "rtm.log", "unrouted": "mine"}
    one = pump(broker={"declare": "none"}, events=events).start()
    one.put(*map(event, range(3)))
    one.wait_empty()
    assert numbers(broker.take("mine", 3)) == [0, 1, 2]


# What the broker will never take.


def test_an_event_too_large_for_the_broker_is_let_go(tmp_path: Path, small_url: str) -> None:
    """RabbitMQ closes the channel for it; the others arrive in order, and it is counted."""
    large = {7, 60, 61, 199}
    bodies = [event(n, size=SMALL if n in large else 10) for n in range(300)]
    with Pumping(tmp_path, small_url) as one, Broker(small_url) as broker:
        one.put(*bodies[:200])
        one.start()
        queue = "rtm.unrouted"
        one.put(*bodies[200:])
        one.wait_empty()
        got = broker.take_until(queue, has_all(296))
        assert without_repeats(got, last=True) == [n for n in range(300) if n not in large]
        assert one.counts.dropped == {"refused_by_broker": 4}
        assert {told.reason for told in one.downs} == {"content_too_large"}
        assert len(one.downs) <= 8
        assert all(told.wait == 0.0 for told in one.downs)
        one.put(event(500))
        assert numbers(broker.take(queue, 1)) == [500]
        # It has not slowed down for good.
        assert one.publisher._window.confirmed_upto >= one.publisher._one_by_one_upto


def test_the_last_event_is_too_large(tmp_path: Path, small_url: str) -> None:
    """Nothing follows it, and it still leaves the spool; the next run does not meet it again."""
    with Pumping(tmp_path, small_url) as one:
        one.put(event(1), event(2, size=SMALL))
        one.start()
        one.wait_empty()
        one.publisher.finish()
        one.wait_end()
        assert one.counts.dropped == {"refused_by_broker": 1}


# Blocked, silent and absent brokers.


def test_a_blocked_broker_stops_the_reading(
    pump: Pump, broker: Broker, node: RabbitNode, broker_url: str
) -> None:
    """With a memory alarm no more than the window is read; after it all goes on by itself."""
    one = pump(events={"confirm_window": 256}).start()
    one.put(event(0))
    one.wait_empty()
    with memory_alarm(node):
        one.put(event(1))
        wait_until(lambda: one.metrics.snapshot().broker_blocked)
        cursor = one.publisher._cursor.at
        one.put(*map(event, range(2, 3000)))
        one.put(event(3000))
        wait_until(lambda: not one.publisher._woken)
        assert one.publisher._cursor.at == cursor
        assert one.left >= 2999
        assert not one.downs
    one.wait_empty()
    assert not one.metrics.snapshot().broker_blocked
    got = broker.take_until("rtm.unrouted", has_all(3001))
    assert without_repeats(got, last=True) == list(range(3001))


def test_finish_drains_and_ends(pump: Pump, broker: Broker) -> None:
    """What the spool holds is published, then `run` returns."""
    one = pump().start()
    one.put(*map(event, range(3000)))
    one.publisher.finish()
    one.wait_end(SECONDS)
    assert one.left == 0
    assert numbers(broker.take("rtm.unrouted", 3000)) == list(range(3000))
    assert one.stop.is_set()


def test_finish_with_nothing_left_ends_at_once(pump: Pump) -> None:
    """With the link up, and while the broker is away."""
    one = pump().start()
    one.publisher.finish()
    one.wait_end()


def test_finish_while_the_broker_is_away(tmp_path: Path) -> None:
    """With an empty spool it ends; with events left it waits for the broker, until `stop`."""
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    with Pumping(tmp_path, url) as one:
        one.start(up=False)
        one.wait_down("refused")
        one.put(event(1))
        one.publisher.finish()
        count = len(one.downs)
        wait_until(lambda: len(one.downs) > count)
        assert one.thread.is_alive()
        one.stop.set()
        one.publisher.wake()
        one.wait_end()
        assert one.left == 1


def test_finish_does_not_wait_for_damaged_events(pump: Pump, broker: Broker) -> None:
    """A last event whose checksum is wrong is skipped, and the drain ends all the same."""
    one = pump()
    one.put(event(1), event(2))
    one.spool._store._db.execute("UPDATE events SET body = 'x' WHERE seq = 2")
    one.spool._store._db.commit()
    one.publisher.finish()
    one.start()
    one.wait_end()
    assert numbers(broker.take("rtm.unrouted", 1)) == [1]


@pytest.mark.parametrize("woken_before", [False, True])
def test_stop_ends_a_connection_that_is_being_made(
    tmp_path: Path, silent_port: int, woken_before: bool
) -> None:
    """The peer took the connection and says nothing; `stop` does not wait for it."""
    with Pumping(tmp_path, f"amqp://guest:guest@127.0.0.1:{silent_port}/") as one:
        one.start(up=False)
        wait_until(lambda: one.publisher._connection._loop)
        if woken_before:
            one.put(event(1))
        one.stop.set()
        one.publisher.wake()
        one.wait_end(6)


def test_stop_before_the_connection_is_begun(tmp_path: Path, silent_port: int) -> None:
    """A stop that comes between two connections is heard by the next one."""
    with Pumping(tmp_path, f"amqp://guest:guest@127.0.0.1:{silent_port}/") as one:
        one.publisher.wake()
        one.stop.set()
        one.publisher.wake()
        one.start(up=False)
        one.wait_end(6)


def test_stop_ends_at_once_with_a_full_spool(pump: Pump) -> None:
    """What is not confirmed stays on disk."""
    one = pump(events={"confirm_window": 8}).start()
    one.put(*map(event, range(20_000)))
    wait_until(lambda: one.counts.confirmed > 100)
    one.stop.set()
    one.publisher.wake()
    one.wait_end(6)
    assert one.left > 0


def test_a_broker_that_stops_confirming_is_left(
    pump: Pump, monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    """Confirms that get lost end the connection; the next one brings all events."""
    monkeypatch.setattr("rtmpump.pumps.publisher._CONFIRM_TIMEOUT_MIN", 0.0)
    one = pump(broker={"heartbeat": 3}).start()
    real, lost = one.publisher.settled, []

    def deaf(tag: int, multiple: bool, ok: bool) -> None:
        if one.downs:
            real(tag, multiple, ok)
        else:
            lost.append(tag)

    one.publisher.settled = deaf  # type: ignore[method-assign]
    one.put(*map(event, range(100)))
    assert one.wait_down("confirm_timeout").wait == 0.0
    one.wait_empty()
    assert lost
    got = broker.take_until("rtm.unrouted", has_all(100))
    assert without_repeats(got, last=True) == list(range(100))


def test_bytes_that_still_leave_are_a_sign_of_life(
    pump: Pump, node: RabbitNode, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large event on a slow line takes longer than a confirm may, and comes through at once."""
    monkeypatch.setattr("rtmpump.pumps.publisher._CONFIRM_TIMEOUT_MIN", 5.0)
    with Line(node.port, is_narrow=True) as line:
        url = broker_url.replace(f":{node.port}/", f":{line.port}/")
        one = pump(url, broker={"heartbeat": 0}, retry_max=0.05).start()
        one.put(event(1))
        one.wait_empty()
        line.pause, downs = 0.1, len(one.downs)
        one.put(event(2, size=250_000))
        one.wait_empty()
        assert one.downs[downs:] == []
        line.pause = 0.0
        one.stop.set()
        one.publisher.wake()
        one.wait_end()


def test_a_broker_that_takes_no_bytes_is_left(
    pump: Pump, node: RabbitNode, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait don't leave, so the time counts."""
    monkeypatch.setattr("rtmpump.pumps.publisher._CONFIRM_TIMEOUT_MIN", 3.0)
    with Line(node.port, is_narrow=True) as line:
        url = broker_url.replace(f":{node.port}/", f":{line.port}/")
        one = pump(url, broker={"heartbeat": 0}).start()
        line.freeze()
        one.put(*(event(number, size=1 << 20) for number in range(8)))
        one.wait_down("confirm_timeout")
        line.thaw()
        one.wait_empty()


def test_declares_on_a_slow_line_have_the_time_that_they_need(
    pump: Pump, node: RabbitNode, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the answer to the one before: all together may take longer than a confirm."""
    monkeypatch.setattr("rtmpump.pumps.publisher._CONFIRM_TIMEOUT_MIN", 5.0)
    with Line(node.port) as line:
        line.pause = 0.05
        url = broker_url.replace(f":{node.port}/", f":{line.port}/")
        began = time.monotonic()
        one = pump(url, broker={"heartbeat": 0}).start()
        assert time.monotonic() - began > 5.0
        assert one.downs == []


def test_a_second_node_takes_over(pump: Pump, broker_url: str, silent_port: int) -> None:
    """The nodes are tried in order; one that is down costs nothing but the try."""
    dead = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    one = pump(dead, broker_url).start()
    one.put(event(1))
    one.wait_empty()
    assert not one.downs
    assert one.ups == [f"127.0.0.1:{broker_url.rpartition(':')[2].partition('/')[0]}"]


def test_large_events_do_not_fill_the_memory(pump: Pump, broker: Broker) -> None:
    """Bytes in flight are bounded, not only their number."""
    one = pump()
    flying: list[int] = []
    real = one.publisher._room

    def room() -> int:
        flying.append(one.publisher._burst if one.publisher._window.in_flight else 0)
        return real()

    one.publisher._room = room  # type: ignore[method-assign]
    one.put(*(event(n, size=1 << 20) for n in range(100)))
    one.start()
    one.wait_empty()
    assert max(flying) <= 40 << 20
