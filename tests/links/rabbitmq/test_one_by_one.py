"""Facts about what may end a connection to RabbitMQ: it goes alone, and only it is left out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rtmpump.config import Broker as BrokerConfig
from rtmpump.config import Retry, Secret
from rtmpump.core.outbound.job import Job, Part, fingerprint
from rtmpump.core.outbound.mailbox import BrokerAnswer
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.connection import Properties
from rtmpump.links.rabbitmq.dead_letters import Version, letter_versions
from rtmpump.links.rabbitmq.one_by_one import OneByOne, Parcel
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.support.broker import Broker
from tests.support.broker_node import max_message_size
from tests.support.poison import foreign_reply_address, require_punishment
from tests.support.waiting import wait_until


class Line(OneByOne):
    """The line under test, and what it reported, in order."""

    def __init__(self, url: str) -> None:
        self.reported: list[tuple[Parcel, BrokerAnswer]] = []
        broker = BrokerConfig(url=Secret(url), urls=(Secret(url),))
        super().__init__(broker, Retry(initial=0.05, max=0.5), self._keep)

    def _keep(self, parcel: Parcel, answer: BrokerAnswer) -> None:
        self.reported.append((parcel, answer))

    def send(self, *parcels: Parcel) -> None:
        """Submit all, and wait until something was reported of each."""
        wanted = len(self.reported) + len(parcels)
        for parcel in parcels:
            self.submit(parcel)
        wait_until(lambda: len(self.reported) >= wanted, what="for the line")

    @property
    def answers(self) -> dict[str, BrokerAnswer]:
        """What became of each, by its queue."""
        return {parcel.queue: answer for parcel, answer in self.reported}


@pytest.fixture
def line(broker_url: str) -> Iterator[Line]:
    """A line to this test's vhost."""
    line = Line(broker_url)
    yield line
    line.close()
    line.check()


def job() -> Job:
    """Return a job."""
    return Job(1, fingerprint(b"body", "m", None, None), Properties(), b"body", 0.0)


def result(queue: str, body: bytes = b"{}") -> Parcel:
    """Return a result."""
    return Parcel(job(), Part.RESULT, queue, (Version(Properties(), body),))


def letter(queue: str, body: bytes = b"body", **headers: Any) -> Parcel:
    """Return a dead letter of a command with these headers."""
    given = Properties(headers=headers, message_id="m")
    return Parcel(job(), Part.LETTER, queue, letter_versions(given, body, {"rtmpump-x": 1}))


def test_a_poisonous_result_is_left_out_and_the_others_arrive_once(
    line: Line, broker: Broker, broker_url: str
) -> None:
    """It ends the connection twice, and each of twenty good ones around it is taken."""
    require_punishment(broker_url)
    queues = [broker.queue() for _ in range(20)]
    poison = foreign_reply_address()
    line.send(*map(result, queues[:10]), result(poison), *map(result, queues[10:]))
    assert line.answers == dict.fromkeys(queues, BrokerAnswer.TAKEN) | {
        poison: BrokerAnswer.LEFT_OUT
    }
    assert [len(broker.drain(queue)) for queue in queues] == [1] * 20


def test_many_poisonous_results_do_not_wait_for_each_other(
    line: Line, broker: Broker, broker_url: str
) -> None:
    """No pause grows between them: each costs two connections, and no time beside that."""
    require_punishment(broker_url)
    poisons = [foreign_reply_address(f"rabbit@{number}") for number in range(30)]
    good = broker.queue()
    line.send(*map(result, poisons), result(good))
    assert line.answers == dict.fromkeys(poisons, BrokerAnswer.LEFT_OUT) | {
        good: BrokerAnswer.TAKEN
    }


def test_what_no_queue_takes_is_reported_as_such(line: Line) -> None:
    """It came back, which is no end of a connection."""
    line.send(result("nobody"))
    assert line.answers == {"nobody": BrokerAnswer.RETURNED}


def test_an_address_of_a_requester_that_is_gone_counts_as_taken(line: Line) -> None:
    """RabbitMQ says nothing else of a direct reply address, and returns all that is mandatory."""
    address = "amq.rabbitmq.reply-to.garbage"
    line.send(result(address))
    assert line.answers == {address: BrokerAnswer.TAKEN}


def test_a_dead_letter_that_no_connection_survives_loses_its_body_last(
    node: RabbitNode, line: Line, broker: Broker
) -> None:
    """Where the broker takes no message of that size, what is left arrives and says so."""
    queue = broker.queue()
    with max_message_size(node, 100):
        line.send(letter(queue, b"x" * 101, mine=1))
    (got,) = broker.drain(queue)
    assert got.body == b""
    assert got.headers == {"rtmpump-x": 1, "rtmpump-left-out": "headers, body"}
    assert got.properties.message_id == "m"


class Ends(Line):
    """A line whose connections end with these errors, before the broker can say anything."""

    def __init__(self, url: str, *reasons: str) -> None:
        super().__init__(url)
        self._reasons = list(reasons)

    def _next(self) -> None:
        super()._next()
        if self._under_way is not None and self._reasons:
            raise LinkError("test", self._reasons.pop(0), at_once=True)


@pytest.mark.parametrize(
    ("reasons", "left_out"),
    [
        (("internal_error",), None),
        (("internal_error",) * 2, "headers"),
        (("code_501",) * 2, "headers"),
        (("lost",) * 2, "headers"),
        (("internal_error",) * 4, "headers, body"),
        (("internal_error",) * 6, None),
        (("closed_by_broker",) * 4, None),
        (("access_refused",) * 4, None),
        (("heartbeat",) * 4, None),
    ],
)
def test_a_letter_loses_only_what_it_must(
    broker_url: str, broker: Broker, reasons: tuple[str, ...], left_out: str | None
) -> None:
    """Twice for each step; and nothing where the broker itself is in trouble, or with anything."""
    line, queue = Ends(broker_url, *reasons), broker.queue()
    try:
        line.send(letter(queue, mine=1))
    finally:
        line.close()
    line.check()
    assert line.answers == {queue: BrokerAnswer.TAKEN}
    got = broker.drain(queue)[-1]
    assert got.headers.get("rtmpump-left-out") == left_out
    assert ("mine" in got.headers) == (left_out is None)
    assert got.body == (b"" if left_out == "headers, body" else b"body")


def test_headers_that_cannot_fit_are_left_out_before_they_break_anything(
    line: Line, broker: Broker
) -> None:
    """A frame of the broker holds 131,072 bytes, and these headers more."""
    queue = broker.queue()
    line.send(letter(queue, mine="x" * 131_000))
    (got,) = broker.drain(queue)
    assert got.headers == {"rtmpump-x": 1, "rtmpump-left-out": "headers"}
    assert got.body == b"body"


def test_without_a_thread_it_is_a_link_error(
    line: Line, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is not in the line then; the next one is, as soon as there is a thread."""

    def none(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    queue = broker.queue()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        with pytest.raises(LinkError) as caught:
            line.submit(result(queue))
    assert caught.value.reason == "scarce"
    line.send(result(queue))
    assert len(broker.drain(queue)) == 1
