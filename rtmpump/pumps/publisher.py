"""From the spool to RabbitMQ: many in flight, in order, none lost.

Laws:

- The spool is the only source. A new connection, a nack and a restart are all the same thing: go
  back to the first event that is not confirmed and read on from there.
- An event leaves the spool only when it and all before it are confirmed.
- What no queue took comes back (`mandatory`) and goes to the unrouted exchange. An alternate
  exchange alone can't do this: the binding of `rtm.<type>` to `rtm.events` counts as a route.
- Nothing is read while the broker is blocked: what pika buffers has no bound.
- A broker that confirms nothing for long is taken for dead, whatever its heartbeats say.

One thread, one connection. `wake` and `finish` may be called from other threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any, Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.documented import TYPES
from rtmpump.core.routes import UNKNOWN, Route, route
from rtmpump.core.window import Window
from rtmpump.errors import SpoolFailed
from rtmpump.links import topology
from rtmpump.links.rabbit import Delivery, Properties, Rabbit
from rtmpump.links.retry import Retry, hold
from rtmpump.metrics import Metrics
from rtmpump.spool import Row, Spool

LINK: Final = "broker_events"
_CHUNK: Final = 128
_IDLE_FLUSH: Final = 0.5
_CHECK_EVERY: Final = 1.0
_NACK_DELAY_MAX: Final = 5.0
_CONFIRM_TIMEOUT_MIN: Final = 20.0

_log = log.get("publisher")


class Publisher:
    """The pump of the inbound trip; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        metrics: Metrics,
        *,
        stop: Event,
        up: Callable[[str, str], None],
        down: Callable[[Retry], None],
    ) -> None:
        self._config = config
        self._spool = spool
        self._metrics = metrics
        self._stop = stop
        self._up = up
        self._down = down
        self._window = Window(config.events.confirm_window)
        self._types = _Types(config)
        self._rabbit = Rabbit(LINK, config.broker, self)
        self._cursor = 0
        self._woken = False
        self._finishing = False
        self._ready = False
        self._held_back = False
        self._is_blocked = False
        self._nack_delay = config.retry.initial
        self._unblocked_at = 0.0
        self._flush_planned = False
        self._told_unrouted = 0.0

    def run(self) -> None:
        """Publish until `stop` is set, or `finish` was called and the spool is empty."""
        hold(self._session, policy=self._config.retry, stop=self._stop, told=self._down)

    def wake(self) -> None:
        """There is something new in the spool, or a stop was asked for. From any thread."""
        if not self._woken:
            self._woken = True
            self._rabbit.call(self._look)

    def finish(self) -> None:
        """End as soon as the spool is empty; setting `stop` ends it at once. From any thread."""
        self._finishing = True
        if self._is_empty():
            self._stop.set()
        self._woken = False
        self.wake()

    def _session(self) -> None:
        if self._stop.is_set():
            return
        self._window.reset(max(self._window.confirmed_upto, 0))
        self._cursor = self._window.confirmed_upto
        self._ready = self._held_back = self._is_blocked = self._flush_planned = False
        self._woken = False
        self._rabbit = Rabbit(LINK, self._config.broker, self)
        try:
            self._rabbit.run()
        finally:
            self._ready = False
            self._metrics.link(LINK, False)
            self._metrics.blocked(False)

    # What the connection tells us.

    def ready(self) -> None:
        """Declare what events need, then publish."""
        mode = self._config.broker.declare
        if mode == "none":
            self._declared()
            return
        items = [*topology.events(self._config.events), *self._types.items()]
        self._rabbit.declare(items, passive=mode == "passive", done=self._declared)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Let confirmed events leave the spool; go back after a nack."""
        if ok:
            self._confirmed(tag, multiple)
        else:
            refused = self._window.nack(tag, multiple)
            self._metrics.nacked(refused)
        first = self._window.rewind()
        if first is not None:
            self._go_back(first)
        elif not self._held_back:
            self._pump()

    def returned(self, properties: Properties) -> None:
        """No queue took an event: it is forwarded when its ack comes."""
        seq = (properties.headers or {}).get("seq")
        if isinstance(seq, int) and self._window.returned(seq):
            self._metrics.returned(1)

    def delivered(self, delivery: Delivery) -> None:
        """Nothing is consumed here."""

    def blocked(self, is_blocked: bool) -> None:
        """Stop reading the spool while the broker has an alarm."""
        self._is_blocked = is_blocked
        self._metrics.blocked(is_blocked)
        self._unblocked_at = time.monotonic()
        if is_blocked:
            _log.warning("broker.blocked", fix="free memory or disk on the RabbitMQ node")
        else:
            _log.info("broker.unblocked")
            self._pump()

    # How it goes on.

    def _declared(self) -> None:
        self._ready = True
        self._metrics.link(LINK, True)
        self._up(LINK, self._rabbit.node)
        self._rabbit.later(_CHECK_EVERY, self._check)
        self._look()

    def _look(self) -> None:
        self._woken = False
        if self._stop.is_set():
            self._rabbit.close()
        elif self._finishing and self._is_empty():
            self._stop.set()
            self._rabbit.close()
        else:
            self._pump()

    def _pump(self) -> None:
        """Publish as much as the window takes, in chunks, so that acks are read in between."""
        if not self._ready or self._held_back or self._is_blocked:
            return
        window = self._window
        room = window.room()
        # A few free places aren't worth a read; the next acks bring more.
        if window.in_flight and room < self._config.events.confirm_window // 4:
            return
        rows = self._read(min(room, _CHUNK))
        if rows and self._publish(rows) and len(rows) == _CHUNK:
            self._rabbit.later(0, self._pump)
        elif not rows and not window.in_flight:
            self._idle()

    def _read(self, limit: int) -> list[Row]:
        try:
            return self._spool.read(self._cursor, limit)
        except SpoolFailed as failure:
            _log.error("spool.read_failed", problem=str(failure))
            self._hold_back(_CHECK_EVERY)
            return []

    def _publish(self, rows: list[Row]) -> bool:
        """Publish rows in order; False if a type exchange has to be declared first."""
        events, window, rabbit = self._config.events, self._window, self._rabbit
        mandatory = not events.stream
        now = time.monotonic()
        for row in rows:
            name = _route(row)
            if name.type not in self._types.known and not self._know(name.type):
                return False
            rabbit.publish(
                events.exchange, name.routing_key, row.body, _properties(name), mandatory
            )
            window.sent(row.seq, now, row.received_ms)
            self._cursor = row.seq
        return True

    def _know(self, type: str) -> bool:
        """See to it that this type's exchange is there; False while it is being declared."""
        items = self._types.learn(type)
        if not items:
            return True
        self._held_back = True
        self._rabbit.declare(items, passive=False, done=self._go_on)
        return False

    def _confirmed(self, tag: int, multiple: bool) -> None:
        acked = self._window.ack(tag, multiple)
        for seq in acked.resend:
            self._forward(seq)
        if acked.confirmed:
            self._nack_delay = self._config.retry.initial
            self._metrics.confirmed(len(acked.confirmed))
            now = time.time()
            self._metrics.confirm_latencies(
                [now - received_ms / 1000 for _, received_ms in acked.confirmed]
            )
        self._spool.confirm(self._window.confirmed_upto)
        if self._finishing and self._is_empty():
            self._look()

    def _forward(self, seq: int) -> None:
        """Publish what no queue took to the unrouted exchange, or let go of it if there is none."""
        unrouted = self._config.events.unrouted
        rows = self._spool.read(seq - 1, 1)
        if not unrouted or not rows or rows[0].seq != seq:
            self._window.settle(seq)
            self._tell_unrouted()
            return
        name = _route(rows[0])
        self._rabbit.publish(unrouted, name.routing_key, rows[0].body, _properties(name), False)
        self._window.resent(seq, time.monotonic())

    def _tell_unrouted(self) -> None:
        self._metrics.dropped("unrouted", 1)
        now = time.monotonic()
        if now - self._told_unrouted > 60 or not self._told_unrouted:
            self._told_unrouted = now
            _log.warning("events.unrouted", fix="bind a queue, or set events.unrouted")

    def _go_back(self, first: int) -> None:
        """After a nack: wait, then publish that event and all that follow it again."""
        _log.warning("events.nacked", first_seq=first, wait=self._nack_delay)
        self._cursor = first - 1
        self._hold_back(self._nack_delay)
        self._nack_delay = min(2 * self._nack_delay, _NACK_DELAY_MAX)

    def _hold_back(self, delay: float) -> None:
        self._held_back = True
        self._rabbit.later(delay, self._go_on)

    def _go_on(self) -> None:
        self._held_back = False
        self._look()

    def _idle(self) -> None:
        """Trim the spool when nothing happens, so that its size tells the truth."""
        if not self._flush_planned:
            self._flush_planned = True
            self._rabbit.later(_IDLE_FLUSH, self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if not self._window.in_flight:
            self._spool.flush()

    def _check(self) -> None:
        """The watchdog: an event that waits too long for its confirm means a dead broker."""
        oldest = self._window.oldest_sent()
        limit = max(2.0 * self._config.broker.heartbeat, _CONFIRM_TIMEOUT_MIN)
        if oldest is not None and not self._is_blocked:
            waited = time.monotonic() - max(oldest, self._unblocked_at)
            if waited > limit:
                detail = f"no confirm for {waited:.0f} s"
                self._rabbit.fail("confirm_timeout", detail, at_once=True)
        self._rabbit.later(_CHECK_EVERY, self._check)

    def _is_empty(self) -> bool:
        return self._spool.measure().events == 0


class _Types:
    """The types whose exchange is there, and how to make the exchange of another."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._declares = config.broker.declare == "active" and bool(config.events.type_exchange)
        self._later: list[str] = []
        self.known = {UNKNOWN, *TYPES} if self._declares else _Everything()
        self._told = False

    def items(self) -> list[topology.Item]:
        """The exchanges of all types beyond the documented ones, for a new connection."""
        events = self._config.events
        return [item for type in self._later for item in topology.for_type(events, type)]

    def learn(self, type: str) -> list[topology.Item]:
        """Count a new type as known; gives what must be declared before it is published."""
        if len(self.known) >= topology.TYPES_MAX:
            self._tell_too_many(type)
            return []
        self.known.add(type)
        self._later.append(type)
        return topology.for_type(self._config.events, type)

    def _tell_too_many(self, type: str) -> None:
        if not self._told:
            self._told = True
            _log.warning(
                "types.too_many", limit=topology.TYPES_MAX, type=type, fix="bind to events.exchange"
            )


class _Everything(set[str]):
    """Knows every type: for those who declare their exchanges themselves, or want none."""

    def __contains__(self, _type: object) -> bool:
        return True


def _route(row: Row) -> Route:
    team, bot, epoch = row.origin
    return route(
        row.body, seq=row.seq, received_ms=row.received_ms, team=team, bot=bot, epoch=epoch
    )


def _properties(name: Route) -> Properties:
    headers: dict[str, Any] = name.headers
    return Properties(
        content_type="application/json",
        delivery_mode=2,
        type=name.routing_key,
        message_id=name.message_id,
        timestamp=name.timestamp,
        app_id="rtmpump",
        headers=headers,
    )
