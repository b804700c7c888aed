"""Facts about the connection that writes lock tokens: what must not be able to end it again."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from rtmpump.config import Broker as BrokerConfig
from rtmpump.config import Retry, Secret
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.links.rabbitmq.lock_notes import LockNotes
from tests.support.broker import Broker
from tests.support.waiting import SECONDS

LOCK = "rtmpump.lock"
# A process of another life of a node, in the form that RabbitMQ gives to direct reply addresses.
STALE = "amq.rabbitmq.reply-to.g1h2AA5yZXBseUA0NTg5MTg4MQAAqKIAAAAAZ0AAAA==.abc"


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[RetryDetails]:
    """Give the ends of the connection, as they are reported."""
    ends: list[RetryDetails] = []
    monkeypatch.setattr("rtmpump.links.rabbitmq.lock_notes._report_end", ends.append)
    return ends


@pytest.fixture
def notes(broker_url: str, broker: Broker, ends: list[RetryDetails]) -> Iterator[LockNotes]:
    """Give one that runs; its queue is there."""
    broker.queue(name=LOCK)
    url = Secret(broker_url)
    notes = LockNotes(BrokerConfig(url=url, urls=(url,)), Retry(initial=0.01, max=0.1), LOCK)
    thread = threading.Thread(target=notes.run, daemon=True)
    thread.start()
    yield notes
    notes.close()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_an_address_that_ends_the_connection_is_answered_once(
    notes: LockNotes, ends: list[RetryDetails]
) -> None:
    """RabbitMQ 3.10 closes the connection for it; the next questions from there don't."""
    notes.write(b"first")
    assert notes.wait_for(b"first", SECONDS)
    notes.answer(STALE, b"question")
    for number in range(20):
        notes.answer(STALE, b"question")
        token = str(number).encode()
        notes.write(token)
        assert notes.wait_for(token, SECONDS)
    assert len(ends) <= 1, ends
