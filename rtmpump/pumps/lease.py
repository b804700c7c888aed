"""Which of two pumps is the active one: RabbitMQ decides, by a queue with a single active consumer.

Laws:

- `core.lock_claim` decides what a lock token proves, and for how long. Here are the connection, the
  clock and the listener.
- The connection has a heartbeat of its own, half of `broker.heartbeat`. RabbitMQ gives the lock to
  another pump two to three of these heartbeats after our last sign of life. We give it up ourselves
  one and a half after the last token that came back was sent. So there is none for a while, but
  never two.
- A connection that ends takes the claim with it at once, whatever ended it: RabbitMQ may have given
  the lock away already.
- While the broker has an alarm it reads nothing that we publish, and so no token comes back. It
  does not count our heartbeats then either: what it sends us shows that it holds our connection.
- A pump that is elected and knows no watermark writes the moment of the election into its tokens,
  before it reads. From then on a pump was to read, and the next one announces what was not read.
- The clock goes on while the machine sleeps: a pump that wakes up is no longer the active one.

One thread, one connection. `release` and `ActiveRole.is_held` may be called from other threads.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

from msgspec.structs import replace

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.lock_claim import LockClaim
from rtmpump.core.watermark import by_another_clock
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.retry import keep_trying
from rtmpump.metrics import Metrics

LINK: Final = "broker_lock"
_PREFETCH: Final = 100
_ASKS_EVERY: Final = 1.0
# Without the lock nothing is read, so no try may be far away.
_LONGEST_WAIT: Final = 2.0

_log = log.get("lease")


class LeaseListener(Protocol):
    """Who is called at an election; on the thread of the lease, and for a short time."""

    def elected(self, watermark_ms: int | None) -> None:
        """Begin to work: we are the active one, and the one before us had this watermark."""

    def deposed(self, why: str) -> None:
        """End the work: we are not the active one any more."""


class ActiveRole:
    """Until when this pump may act as the active one, in seconds of `CLOCK_BOOTTIME`.

    The lease sets `until`, any thread may ask. Without a lease it is for ever.
    """

    def __init__(self) -> None:
        self.until = math.inf

    def is_held(self) -> bool:
        """Return whether this pump is the active one at this moment."""
        return _now() < self.until


class Lease:
    """The claim of this process on the lock `ha.lock`; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        role: ActiveRole,
        *,
        watermark: Callable[[], int | None],
        lifecycle: Lifecycle,
        listener: LeaseListener,
    ) -> None:
        """Begin without the lock; `watermark` is called on the thread of the lease."""
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
        self._role = role
        role.until = 0.0
        self._watermark = watermark
        self._listener = listener
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._host = f"{socket.gethostname()}:{os.getpid()}"
        self._connection = BrokerConnection(LINK, self._broker, self)
        self._claim = self._new_claim()
        self._elected = False
        self._responsible_since_ms: int | None = None
        self._blocked_at: int | None = None
        self._confirmed_at = 0.0
        self._releasing = False

    def run(self) -> None:
        """Stand for election until a stop or a `release`."""
        keep_trying(self._session, policy=self._policy, lifecycle=self.lifecycle)

    def release(self) -> None:
        """Hand the lock over at once, with our watermark, and stand for it no more.

        From any thread.
        """
        self._stop.set()
        self._connection.call(self._hand_over)

    def _session(self) -> None:
        self.lifecycle.progress()
        self._claim = self._new_claim()
        self._blocked_at = None
        self._connection = BrokerConnection(LINK, self._broker, self, self.lifecycle.progress)
        # After this line `release` reaches the new connection; what was set before is seen here.
        if self._stop.is_set():
            return
        why = ""
        try:
            self._connection.run()
        except Exception as error:
            why = str(error)
            raise
        finally:
            self._depose(why)
            self._metrics.link(LINK, False)

    def _new_claim(self) -> LockClaim:
        return LockClaim(secrets.token_hex(16), self._host, 1.5 * self._heartbeat)

    # What the connection calls.

    def ready(self) -> None:
        """Declare the lock queue, then consume."""
        item = topology.lock(self._queue)
        if self._mode == "none":
            self._declared()
        else:
            passive = self._mode == "passive"
            self._connection.declare([item], passive=passive, done=self._declared)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Note that RabbitMQ has a token of ours."""
        if ok:
            self._confirmed_at = _now()

    def returned(self, properties: Properties) -> None:
        """End the connection: the queue is gone."""
        self._connection.fail("not_found", f"the queue {self._queue} is not there", at_once=True)

    def delivered(self, delivery: Delivery) -> None:
        """Take in a token: RabbitMQ takes us for the active one."""
        now = _now()
        for tag in self._claim.received(delivery.body, delivery.tag, now):
            self._connection.ack(tag)
        is_held = self._is_held(now)
        if not self._elected:
            self._elect() if is_held else self._ask()
        elif not is_held:
            self._give_up()

    def blocked(self, is_blocked: bool) -> None:
        """Publish no token while the broker reads nothing of us."""
        self._blocked_at = self._connection.received if is_blocked else None
        if not is_blocked:
            self._confirmed_at = _now()
            self._ask()

    # How it goes on.

    def _declared(self) -> None:
        self._confirmed_at = _now()
        self._connection.consume(self._queue, _PREFETCH)
        self._metrics.link(LINK, True)
        self.lifecycle.listener.link_up(LINK, self._connection.node)
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
        is_held = self._is_held(now)
        if self._elected and not is_held:
            self._give_up()
        elif is_held and not self._elected:
            self._elect()
        elif self._blocked_at is None and now - self._confirmed_at > 3.0 * self._heartbeat:
            self._connection.fail("confirm_timeout", "RabbitMQ takes no token for the lock")
        self._connection.later(self._asks_every, self._tick)

    def _ask(self) -> None:
        """Publish a token; if we are the active one it comes back."""
        if self._blocked_at is not None:
            return
        body = self._claim.token(_now(), self._watermark_here())
        # That of a standby has no news and must not pile up in a queue without a consumer.
        expires = None if self._elected else str(round(3000 * self._heartbeat))
        properties = Properties(
            content_type="application/json",
            delivery_mode=2,
            app_id="rtmpump",
            type="rtmpump.lock",
            expiration=expires,
        )
        self._connection.publish("", self._queue, body, properties, True)

    def _watermark_here(self) -> int | None:
        watermark_ms = self._watermark()
        return self._responsible_since_ms if watermark_ms is None else watermark_ms

    def _watch_what_comes(self, now: float) -> None:
        received = self._connection.received
        if received != self._blocked_at:
            self._blocked_at = received
            self._claim.extend(now)

    def _is_held(self, now: float) -> bool:
        """Return whether the lock is ours, and let the other threads know for how long."""
        until = self._claim.held_until(now)
        self._role.until = until if self._elected else 0.0
        return bool(until)

    def _elect(self) -> None:
        if self._stop.is_set():
            return
        self._elected = True
        self._is_held(_now())
        watermark_ms, now_ms = self._claim.watermark_ms, time.time_ns() // 1_000_000
        if watermark_ms is None:
            self._responsible_since_ms = now_ms
        else:
            watermark_ms = by_another_clock(watermark_ms, now_ms)
        self._metrics.active = True
        _log.info("lock.taken", lock=self._queue, before=self._claim.before)
        # The token that came back may have no watermark yet. This one has, and is on its way before
        # anything is read.
        self._ask()
        self._listener.elected(watermark_ms)

    def _give_up(self) -> None:
        self._connection.fail("lock_lost", "no token came back in time", at_once=True)

    def _depose(self, why: str) -> None:
        was_elected, self._elected = self._elected, False
        self._role.until = 0.0
        if was_elected:
            self._metrics.active = False
            write = _log.info if self._releasing else _log.warning
            write("lock.left" if self._releasing else "lock.lost", lock=self._queue, why=why)
            self._listener.deposed(why)

    def _hand_over(self) -> None:
        """Leave the last watermark, then close; RabbitMQ hands it to the next pump."""
        if self._releasing:
            return
        self._releasing = True
        if self._connection.is_open and self._elected:
            # The close comes behind it, and it need not come back to us.
            self._ask()
            self._depose("it was handed over")
        self._connection.close()


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
