"""Which of two pumps is the active one: RabbitMQ decides, by a queue with a single active consumer.

Laws:

- What a note proves, and for how long, is `core.lock_claim`'s affair; here are its connection, its
  clock and who is told.
- The connection has a heartbeat of its own, half of `broker.heartbeat`: RabbitMQ gives the lock to
  another two to three of these after it last heard of us, and we give it up ourselves one and a
  half after the last note that came back was sent. So there is nobody, rather than two.
- A connection that ends takes the claim with it at once, whatever ended it: then RabbitMQ may have
  given the lock away already.
- While the broker has an alarm it reads nothing that we publish, and so no note comes back. It does
  not count our heartbeats then either: what it sends us shows that it holds our connection.
- Who is elected and knows of nothing that was covered names the moment of the election, before it
  reads: from then on somebody was to read, and the next one tells what nobody read.
- The clock goes on while the machine sleeps: whoever wakes up is no longer the active one.

One thread, one connection. `is_held` and `release` may be called from other threads.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from threading import Lock
from typing import Final, Protocol

from msgspec.structs import replace

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.lock_claim import Claim
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.connection import BrokerConnection, Delivery, Properties
from rtmpump.links.retry import keep_trying
from rtmpump.metrics import Metrics

LINK: Final = "broker_lock"
_PREFETCH: Final = 100
_ASKS_EVERY: Final = 1.0
# While there is no lock nobody reads: no try may be far away.
_LONGEST_WAIT: Final = 2.0

_log = log.get("lease")


class Candidate(Protocol):
    """Who wants to know; both are called on the thread of the lease and return at once."""

    def elected(self, covered_until_ms: int | None) -> None:
        """We are the active one; all that Slack sent up to then was stored or told by a gap."""

    def deposed(self, why: str) -> None:
        """We are the active one no more."""


class Lease:
    """The claim of this process on the lock `ha.lock`; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        candidate: Candidate,
        *,
        covered: Callable[[], int | None],
        lifecycle: Lifecycle,
    ) -> None:
        """`covered`: up to when all that Slack sent is stored here (ms), asked from this thread."""
        self._queue = config.ha.lock
        self._mode = config.broker.declare
        self._heartbeat = max(1, config.broker.heartbeat // 2)
        self._broker = replace(config.broker, heartbeat=self._heartbeat)
        self._asks_every = min(_ASKS_EVERY, self._heartbeat / 4)
        retry = config.retry
        self._policy = replace(
            retry, initial=min(retry.initial, _LONGEST_WAIT), max=min(retry.max, _LONGEST_WAIT)
        )
        self._metrics = metrics
        metrics.active = False
        self._candidate = candidate
        self._covered = covered
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._host = f"{socket.gethostname()}:{os.getpid()}"
        self._lock = Lock()
        self._rabbit = BrokerConnection(LINK, self._broker, self)
        self._claim = self._new_claim()
        self._elected = False
        self._responsible_since_ms: int | None = None
        self._blocked_at: int | None = None
        self._confirmed_at = 0.0
        self._releasing = False

    def run(self) -> None:
        """Stand for election until `release` was called or `stop` is set."""
        keep_trying(self._session, policy=self._policy, lifecycle=self.lifecycle)

    def is_held(self) -> bool:
        """Whether we are the active one at this moment. From any thread."""
        with self._lock:
            return self._elected and self._claim.is_held(_now())

    def release(self) -> None:
        """Hand the lock over at once, with what we know, and stand for it no more.

        From any thread.
        """
        self._stop.set()
        self._rabbit.call(self._hand_over)

    def _session(self) -> None:
        self.lifecycle.progress()
        with self._lock:
            self._claim = self._new_claim()
        self._blocked_at = None
        self._rabbit = BrokerConnection(LINK, self._broker, self)
        # After this line `release` reaches the new connection; what was set before is seen here.
        if self._stop.is_set():
            return
        why = ""
        try:
            self._rabbit.run()
        except Exception as error:
            why = str(error)
            raise
        finally:
            self._depose(why)
            self._metrics.link(LINK, False)

    def _new_claim(self) -> Claim:
        return Claim(secrets.token_hex(16), self._host, 1.5 * self._heartbeat)

    # What the connection tells us.

    def ready(self) -> None:
        """Declare the lock queue, then consume."""
        item = topology.lock(self._queue)
        if self._mode == "none":
            self._declared()
        else:
            passive = self._mode == "passive"
            self._rabbit.declare([item], passive=passive, done=self._declared)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """RabbitMQ has a note of ours."""
        if ok:
            self._confirmed_at = _now()

    def returned(self, properties: Properties) -> None:
        """The queue is gone."""
        self._rabbit.fail("not_found", f"the queue {self._queue} is not there", at_once=True)

    def delivered(self, delivery: Delivery) -> None:
        """A note came: RabbitMQ takes us for the active one."""
        now = _now()
        with self._lock:
            acks = self._claim.received(delivery.body, delivery.tag, now)
            is_held = self._claim.is_held(now)
        for tag in acks:
            self._rabbit.ack(tag)
        if not self._elected:
            self._elect() if is_held else self._ask()
        elif not is_held:
            self._give_up()

    def blocked(self, is_blocked: bool) -> None:
        """The broker reads nothing more of us, or does again."""
        self._blocked_at = self._rabbit.received if is_blocked else None
        if not is_blocked:
            self._confirmed_at = _now()
            self._ask()

    # How it goes on.

    def _declared(self) -> None:
        self._confirmed_at = _now()
        self._rabbit.consume(self._queue, _PREFETCH)
        self._metrics.link(LINK, True)
        self.lifecycle.listener.link_up(LINK, self._rabbit.node)
        self._tick()

    def _tick(self) -> None:
        self.lifecycle.progress()
        if self._releasing:
            return
        now = _now()
        if self._blocked_at is not None:
            self._watch_what_comes(now)
        else:
            self._ask()
        with self._lock:
            is_held = self._claim.is_held(now)
        if self._elected and not is_held:
            self._give_up()
        elif is_held and not self._elected:
            self._elect()
        elif self._blocked_at is None and now - self._confirmed_at > 3.0 * self._heartbeat:
            self._rabbit.fail("confirm_timeout", "RabbitMQ takes no note for the lock")
        self._rabbit.later(self._asks_every, self._tick)

    def _ask(self) -> None:
        """Publish a note; if we are the active one it comes back."""
        if self._blocked_at is not None:
            return
        with self._lock:
            body = self._claim.ask(_now(), self._covered_here())
        # That of a standby tells nothing and must not pile up where nobody takes it.
        expires = None if self._elected else str(round(3000 * self._heartbeat))
        properties = Properties(
            content_type="application/json",
            delivery_mode=2,
            app_id="rtmpump",
            type="rtmpump.lock",
            expiration=expires,
        )
        self._rabbit.publish("", self._queue, body, properties, True)

    def _covered_here(self) -> int | None:
        covered = self._covered()
        return self._responsible_since_ms if covered is None else covered

    def _watch_what_comes(self, now: float) -> None:
        received = self._rabbit.received
        if received != self._blocked_at:
            self._blocked_at = received
            with self._lock:
                self._claim.extend(now)

    def _elect(self) -> None:
        if self._stop.is_set():
            return
        with self._lock:
            self._elected = True
            covered, before = self._claim.covered_until_ms, self._claim.before
        now_ms = time.time_ns() // 1_000_000
        if covered is None:
            self._responsible_since_ms = now_ms
        else:
            # The clock of the one before may be ahead of ours.
            covered = min(covered, now_ms)
        self._metrics.active = True
        _log.info("lock.taken", lock=self._queue, before=before)
        # A note that says nothing yet of what we know may have been the one that came back. This
        # one is on its way before anybody reads.
        self._ask()
        self._candidate.elected(covered)

    def _give_up(self) -> None:
        self._rabbit.fail("lock_lost", "no note came back in time", at_once=True)

    def _depose(self, why: str) -> None:
        with self._lock:
            was_elected, self._elected = self._elected, False
        if was_elected:
            self._metrics.active = False
            tell = _log.info if self._releasing else _log.warning
            tell("lock.left" if self._releasing else "lock.lost", lock=self._queue, why=why)
            self._candidate.deposed(why)

    def _hand_over(self) -> None:
        """Leave the last word on what was covered, then close; RabbitMQ hands it to the next."""
        if self._releasing:
            return
        self._releasing = True
        if self._rabbit.is_open and self._elected:
            # The close comes behind it, and it need not come back to us.
            self._ask()
            self._depose("it was handed over")
        self._rabbit.close()


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
