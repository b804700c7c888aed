"""Facts about the lock on a real broker: who holds it, what the next one learns, what ends it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rtmpump.config import Broker as BrokerConfig
from rtmpump.config import Config, Ha, Secret
from rtmpump.config import Retry as RetryPolicy
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.rabbitmq import topology
from rtmpump.metrics import Metrics
from rtmpump.pumps.lease import LINK, ActiveRole, Lease
from rtmpump.sandbox.ports import free_port
from tests.support.links import LinkLog
from tests.support.pump import Broker, wait_until

LOCK = "rtmpump.lock"
DAY_MS = 86_400_000


class Host:
    """One candidate, with its lease on a thread; `watermark` is what it knows."""

    def __init__(self, url: str, watermark: int | None = None, **broker: Any) -> None:
        self.watermark = watermark
        self.terms: list[int | None] = []
        self.ends: list[str] = []
        self.failures: list[RetryDetails] = []
        self.metrics = Metrics()
        self.role = ActiveRole()
        self.lease = Lease(
            Config(
                broker=BrokerConfig(url=Secret(url), urls=(Secret(url),), **broker),
                retry=RetryPolicy(initial=0.05, max=1.0),
                ha=Ha(enabled=True),
            ),
            self.metrics,
            self.role,
            watermark=lambda: self.watermark,
            lifecycle=Lifecycle(LinkLog([], self.failures)),
            listener=self,
        )
        self.thread = threading.Thread(target=self.lease.run, daemon=True)
        self.thread.start()

    def elected(self, watermark_ms: int | None) -> None:
        """It is the active one."""
        self.terms.append(watermark_ms)

    def deposed(self, why: str) -> None:
        """It is no more."""
        self.ends.append(why)

    @property
    def connected(self) -> bool:
        """Whether it stands for election."""
        return bool(self.metrics.snapshot().links.get(LINK))

    def leave(self) -> None:
        """Hand over, and end."""
        self.lease.release()
        self.thread.join(100)
        assert not self.thread.is_alive()


@pytest.fixture
def start(broker_url: str) -> Iterator[Callable[..., Host]]:
    """Starts candidates that end with the test."""
    with ExitStack() as stack:

        def one(watermark: int | None = None, url: str = broker_url, **broker: Any) -> Host:
            host = Host(url, watermark, **broker)
            stack.callback(host.leave)
            return host

        yield one


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def held(host: Host) -> Host:
    """Waits until it is the active one, and its listener was called."""
    wait_until(lambda: host.terms and host.role.is_held())
    return host


def test_the_first_has_it_and_the_next_learns_what_it_knew(start: Callable[..., Host]) -> None:
    """The latest watermark goes with the lock, whichever pump had it before."""
    first = held(start(1000))
    second = start(500)
    wait_until(lambda: second.connected)
    third = start()
    wait_until(lambda: third.connected)
    first.watermark = 2000
    first.leave()
    assert first.ends
    assert not first.role.is_held()
    held(second)
    second.watermark = None
    second.leave()
    held(third)
    assert (first.terms, second.terms, third.terms) == ([None], [2000], [2000])
    assert (second.metrics.active, third.metrics.active) == (False, True)


def test_the_next_learns_since_when_the_first_was_to_read(start: Callable[..., Host]) -> None:
    """Without a hello: what came since the election may not have been read."""
    before = now_ms()
    first = held(start())
    after = now_ms()
    second = start()
    wait_until(lambda: second.connected)
    # Many tokens later it is still the moment of the election.
    wait_until(lambda: first.lease._claim._number > 5)
    first.leave()
    held(second)
    (watermark,) = second.terms
    assert watermark is not None
    assert before <= watermark <= after
    assert first.terms == [None]


def test_what_was_known_before_is_not_taken_for_less(start: Callable[..., Host]) -> None:
    """An election hides nothing: the one before was at a time of its own, and so was its end."""
    first = held(start(1000))
    second = start()
    wait_until(lambda: second.connected)
    first.leave()
    held(second)
    third = start()
    wait_until(lambda: third.connected)
    second.leave()
    held(third)
    assert (second.terms, third.terms) == ([1000], [1000])


def test_two_never_hold_it_at_once(start: Callable[..., Host]) -> None:
    """Ten candidates that come and go; each that is there holds it at its time."""
    hosts = [start() for _ in range(4)]
    for _ in range(6):
        wait_until(lambda: any(host.role.is_held() for host in hosts))
        holders = [host for host in hosts if host.role.is_held()]
        assert len(holders) == 1
        holders[0].leave()
        hosts.remove(holders[0])
        hosts.append(start())


def test_a_clock_that_is_ahead_hides_no_gap(start: Callable[..., Host]) -> None:
    """What the one before says of the future can only be wrong: the gap is wide then."""
    first = held(start(now_ms() + DAY_MS))
    before = now_ms()
    second = start()
    wait_until(lambda: second.connected)
    first.leave()
    held(second)
    (watermark,) = second.terms
    assert watermark is not None
    assert before - DAY_MS <= watermark <= now_ms() - DAY_MS


def test_what_others_put_into_the_queue_disturbs_nobody(
    start: Callable[..., Host], broker: Broker
) -> None:
    """It is taken away, and the lock stays where it is."""
    host = held(start())
    for body in (b"", b"junk", b"[" * 50_000, json.dumps({"by": "x", "number": -1}).encode()):
        broker.publish(body, queue=LOCK)
    wait_until(lambda: broker.count(LOCK) == 0)
    time.sleep(1.5)
    assert host.role.is_held()
    assert host.ends == []


def test_a_queue_of_another_kind_is_refused(start: Callable[..., Host], broker: Broker) -> None:
    """Without the single active consumer both would hold the lock; the line says what to do."""
    broker.queue(name=LOCK, x_queue_type="quorum", x_delivery_limit=1_000_000)
    host = start()
    wait_until(lambda: host.failures)
    assert host.failures[0].reason == "precondition_failed"
    for word in (LOCK, "x-single-active-consumer", "delete it"):
        assert word in host.failures[0].detail
    assert not host.role.is_held()


@pytest.mark.parametrize("declare", ["passive", "none"])
def test_it_declares_nothing_that_it_may_not(
    start: Callable[..., Host], broker: Broker, declare: str
) -> None:
    """It waits for the queue, however often that takes, and works with one that is there."""
    host = start(declare=declare)
    wait_until(lambda: host.failures)
    assert host.failures[0].reason == "not_found"
    arguments = {k.replace("-", "_"): v for k, v in topology.lock(LOCK).arguments.items()}
    broker.queue(name=LOCK, **arguments)
    held(host)


def test_a_queue_that_is_deleted_ends_the_term(start: Callable[..., Host], broker: Broker) -> None:
    """At once, and the next begins with what was known."""
    host = held(start(7))
    broker.channel.queue_delete(LOCK)
    wait_until(lambda: host.ends)
    host.watermark = 8
    wait_until(lambda: len(host.terms) == 2)
    assert "went away" in host.ends[0]


def test_it_ends_while_the_broker_is_away(start: Callable[..., Host]) -> None:
    """Between two tries as well as in one."""
    host = start(url=f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F")
    wait_until(lambda: len(host.failures) > 2)
    host.leave()
    assert host.terms == []
    assert host.ends == []


def test_no_try_is_far_away(start: Callable[..., Host]) -> None:
    """Without a lock nothing is read from Slack, so the backoff of other links is too slow."""
    host = start()
    assert host.lease._policy.max <= 2
    assert host.lease._policy.initial <= 2
