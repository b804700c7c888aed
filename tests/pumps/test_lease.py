"""Facts about the lock on a real broker: who holds it, what the next one learns, what ends it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from rtmpump.config import Broker as BrokerConfig
from rtmpump.config import Config, Ha, Secret
from rtmpump.config import Retry as RetryPolicy
from rtmpump.core.lock_claim import TokenKind
from rtmpump.links import clock
from rtmpump.links.active_role import ActiveRole
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.rabbitmq import topology
from rtmpump.metrics import Metrics
from rtmpump.pumps import lease
from rtmpump.pumps.lease import LINK, Lease
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.support.broker import Broker
from tests.support.broker_node import consumer_timeout, memory_alarm
from tests.support.links import LinkLog
from tests.support.waiting import wait_until

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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last word of one that leaves is waited for as long as a busy machine needs."""
    monkeypatch.setattr(lease, "_LAST_WITHIN", 60.0)


@pytest.mark.usefixtures("patient")
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


def is_given(host: Host) -> bool:
    """Whether RabbitMQ takes it for the active one."""
    return host.lease._claim.is_given


def crash(host: Host) -> None:
    """End its connections, as a kill does; it does not come back."""
    host.lease._stop.set()
    host.lease._notes.close()
    connection = host.lease._connection
    connection.call(partial(connection.fail, "killed", "by the test"))
    host.thread.join(100)


def test_who_is_given_the_lock_acts_only_when_older_claims_have_run_out(
    start: Callable[..., Host],
) -> None:
    """The one before may live on, on a node that RabbitMQ has lost; only its word helps."""
    first = held(start(heartbeat=4))
    patient = start(heartbeat=4000)
    wait_until(lambda: patient.lease._others_known)
    crash(first)
    wait_until(lambda: is_given(patient))
    for _ in range(3):
        proved = patient.lease._claim.held_until(clock.elapsed())
        wait_until(lambda: patient.lease._claim.held_until(clock.elapsed()) > proved)  # noqa: B023
    assert patient.terms == []
    assert not patient.role.is_held()


@pytest.mark.usefixtures("patient")
def test_who_is_handed_the_lock_acts_at_once(start: Callable[..., Host]) -> None:
    """The one before says that it is done; else this one would wait for a quarter of an hour."""
    first = held(start(1000, heartbeat=4))
    second = start(heartbeat=4000)
    wait_until(lambda: second.lease._others_known)
    first.leave()
    held(second)
    assert second.terms == [1000]


def test_an_alarm_changes_nothing(
    start: Callable[..., Host], node: RabbitNode, broker: Broker
) -> None:
    """It is held on, passed on, and taken up again by one that starts, though nothing is published.

    What the tokens say is as old as the alarm then.
    """
    first = held(start(1000))
    second = start()
    wait_until(lambda: second.connected)
    wait_until(lambda: first.lease._claim.keeps_own_note)
    with memory_alarm(node):
        proved = first.role.until
        wait_until(lambda: first.role.until > proved + first.lease._lasts)
        first.watermark = 2000
        crash(first)
        held(second)
        crash(second)
        third = held(start())
    assert first.ends == ["broker_lock: killed (by the test)"]
    assert second.terms == third.terms == [1000]


def test_without_a_token_an_alarm_leaves_nobody_active_and_that_is_said(
    start: Callable[..., Host], node: RabbitNode, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is new can't get one; no pump is a good standby then, and it ends by itself."""
    monkeypatch.setattr(lease, "_NOBODY_KNOWN", 0.5)
    with memory_alarm(node):
        hosts = start(), start()
        for host in hosts:
            wait_until(partial(_stands_still, host))
            assert host.lease.lifecycle.halts[0].reason == lease.NO_LOCK
            assert host.terms == []
    wait_until(lambda: any(host.role.is_held() for host in hosts))
    for host in hosts:
        wait_until(lambda: not _stands_still(host))  # noqa: B023


def test_a_standby_whose_questions_nobody_answers_is_none(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue takes them and somebody is given them, who does not act, for whatever reason."""
    monkeypatch.setattr(lease, "_NOBODY_KNOWN", 0.5)
    monkeypatch.setattr(lease, "_QUESTIONS_EVERY", 1.0)
    first = start(heartbeat=4000)
    wait_until(lambda: is_given(first))
    second = start()
    wait_until(lambda: second.connected)
    wait_until(partial(_stands_still, second))
    assert second.lease.lifecycle.halts[0].reason == lease.NO_LOCK
    first.leave()
    held(second)
    third = start()
    wait_until(lambda: third.lease._others_known)
    wait_until(lambda: not _stands_still(third))


def _stands_still(host: Host) -> bool:
    return bool(host.lease.lifecycle.halts)


def test_a_lock_is_not_taken_away_for_being_held_for_long(
    start: Callable[..., Host], node: RabbitNode
) -> None:
    """No token is in our hands for longer than a moment, also in an alarm (`consumer_timeout`)."""
    with consumer_timeout(node, 1_000):
        host = held(start())
        with memory_alarm(node):
            since = clock.elapsed()
            wait_until(lambda: clock.elapsed() > since + 6)
            assert host.role.is_held()
    assert host.ends == []


def test_where_it_is_unknown_until_when_others_read_that_is_long_ago(
    start: Callable[..., Host], broker: Broker
) -> None:
    """The queue was deleted with all tokens; a standby that knew of another pump is careful."""
    first = held(start(7))
    second = start()
    wait_until(lambda: second.lease._others_known)
    first.lease._stop.set()
    before = now_ms()
    broker.channel.queue_delete(LOCK)
    held(second)
    (watermark,) = second.terms
    assert watermark is not None
    assert before - DAY_MS <= watermark <= now_ms() - DAY_MS


def test_the_clock_of_another_pump_is_compared(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and the watermark is told by the slower clock: the gap must not be too small."""
    monkeypatch.setattr(lease, "_QUESTIONS_EVERY", 0.1)
    first = held(start(1_000_000))
    second = start()
    wait_until(lambda: second.connected)
    second.lease._claim.token = partial(_slow, second.lease._claim.token)  # type: ignore[method-assign]
    wait_until(lambda: first.lease._clocks.behind_ms >= 300_000)
    noted = first.lease._noted_at
    wait_until(lambda: first.lease._noted_at > noted + 2)
    first.leave()
    held(second)
    assert second.terms[0] is not None
    assert 600_000 < second.terms[0] <= 700_000


def _slow(token: Callable[..., bytes], kind: TokenKind, now_ms: int, *more: Any) -> bytes:
    """Make a token as a pump does whose clock is five minutes slow."""
    return token(kind, now_ms - 300_000, *more)


@pytest.mark.parametrize("declare", ["passive", "none"])
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ({"x_queue_type": "quorum"}, "several consumers"),
        # It has both mistakes. While pumps come one by one, each sees that it is no quorum queue.
        ({}, "can't be the lock"),
        ({"x_single_active_consumer": True}, "no quorum queue"),
    ],
)
def test_a_queue_that_can_be_no_lock_is_found_out(
    start: Callable[..., Host], broker: Broker, declare: str, kind: dict[str, Any], why: str
) -> None:
    """Whoever declared it: two pumps could be active, so none is, and the line says what to do."""
    broker.queue(name=LOCK, **kind)
    hosts = [start(declare=declare) for _ in range(2)]
    told = partial(_told, hosts, why)
    wait_until(told, what=lambda: str([host.failures for host in hosts]))
    assert all(host.terms == [] for host in hosts)


def _told(hosts: list[Host], why: str) -> bool:
    return any(why in failure.detail for host in hosts for failure in host.failures)


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
