"""From the spool to RabbitMQ: many in flight, in order, none lost.

Laws:

- The spool is the only source. A new connection, a nack and a restart are the same case: go back to
  the first event that is not confirmed, and read on from there.
- An event leaves the spool only when it and all before it are confirmed.
- An event that no queue takes comes back (`mandatory`), and `Unrouted` says what becomes of it. An
  alternate exchange can't do this: the binding of `rtm.<type>` to `rtm.events` is a route.
- Nothing is read while the broker is blocked, because pika buffers without a bound.
- A broker that confirms nothing for long is taken for dead, whatever its heartbeats say. On a slow
  line the time counts from the last sign of life.
- A broker that refuses all for long gets a new connection: there a queue may take events again.
- An event that the broker will never take must not stop the others: the pump finds it by sending
  one by one, logs it and drops it. A type exchange that can't be declared is left out.

One thread, one connection. `wake`, `stop` and `finish` may be called from other threads.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.confirm_window import ConfirmWindow
from rtmpump.core.refusals import Refusals
from rtmpump.core.routes import Route, route
from rtmpump.core.standstill import NOT_CONNECTED
from rtmpump.errors import LinkError, SpoolError, SpoolFailed
from rtmpump.links.answers import Answers
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.answer_queue import AnswerQueue
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.declaring import ACCESS_REFUSED, Groups, Refusal
from rtmpump.links.rabbitmq.errors import TOO_LARGE
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.rabbitmq.type_exchanges import TypeExchanges
from rtmpump.links.rabbitmq.unrouted import Unrouted
from rtmpump.links.retry import keep_trying
from rtmpump.metrics import Metrics
from rtmpump.spool import Cursor, Row, Spool

LINK: Final = "broker_events"
_CHUNK: Final = 128
# Bytes that may be in flight, apart from one read: pika and the broker hold them in memory.
_BURST_MAX: Final = 32 << 20
_IDLE_FLUSH: Final = 0.5
_CHECK_EVERY: Final = 1.0
_NACK_DELAY_MAX: Final = 5.0
_CONFIRM_TIMEOUT_MIN: Final = 20.0
_NACKED: Final = "nacked"

_log = log.get("publisher")


class Publisher:
    """The pump of the inbound trip; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        metrics: Metrics,
        lifecycle: Lifecycle,
        answers: Answers | None = None,
    ) -> None:
        self._config = config
        self._spool = spool
        self._metrics = metrics
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._window = ConfirmWindow(config.events.confirm_window)
        self._types = TypeExchanges(config)
        self._connection = BrokerConnection(LINK, config.broker, self)
        self._cursor = Cursor(spool, keeps=config.spool.when_full == "drop_oldest")
        self._unrouted = Unrouted(config, metrics, self._window, self._find, self._proceed)
        self._answer_queue = AnswerQueue(answers)
        self._let_go_upto = self._one_by_one_upto = self._burst = 0
        self._woken = self._finishing = self._ready = False
        self._held_back = self._is_blocked = self._is_declaring = False
        self._asked_at: float | None = None
        self._nack_delay = config.retry.initial
        self._refusals = Refusals()
        self._checked_at = 0.0
        self._patient_from = 0.0
        self._flush_planned = False
        self._obstacle = ""

    @property
    def obstacle(self) -> str:
        """What keeps events from going out, if something does: one word. From any thread."""
        if self._is_blocked:
            return "broker_blocked"
        return self._obstacle or ("no_confirm" if self._ready else NOT_CONNECTED)

    def run(self) -> None:
        """Publish until a stop, or until the spool is empty after `finish`."""
        keep_trying(self._session, policy=self._config.retry, lifecycle=self.lifecycle)

    def wake(self) -> None:
        """Look into the spool again, or notice a stop. From any thread."""
        if not self._woken or self._stop.is_set():
            self._woken = True
            self._connection.call(self._look)

    def stop(self) -> None:
        """End at once; what the spool holds stays there. From any thread."""
        self._stop.set()
        self.wake()

    def finish(self) -> None:
        """End as soon as the spool is empty. From any thread."""
        self._finishing = True
        if self._is_empty():
            self._stop.set()
        self._woken = False
        self.wake()

    def _session(self) -> None:
        self.lifecycle.progress()
        self._cursor.go_back(max(self._window.confirmed_upto, self._let_go_upto))
        self._window.reset(self._cursor.at)
        self._ready = self._held_back = self._is_blocked = self._flush_planned = False
        self._is_declaring = self._woken = False
        self._connection = BrokerConnection(
            LINK, self._config.broker, self, self.lifecycle.progress
        )
        self._unrouted.begin(self._connection)
        # After this line `wake` reaches the new connection; what was set before is seen here.
        if self._stop.is_set():
            return
        try:
            self._connection.run()
        except LinkError as error:
            self._learn_from(error)
            raise
        finally:
            self._ready = False
            self._answer_queue.ended()
            self._metrics.link(LINK, False)
            self._metrics.blocked(False)

    # What the connection calls.

    def ready(self) -> None:
        """Declare what events need, then publish."""
        self._patient_from = self._checked_at = self._asked_at = time.monotonic()
        self._check()
        mode, events = self._config.broker.declare, self._config.events
        if mode == "none":
            self._declared([])
        elif mode == "passive":
            items = topology.events(events)
            self._connection.declare(items, passive=True, done=lambda: self._declared([]))
        else:
            items = topology.basis(events)
            self._connection.declare(items, passive=False, done=self._declare_the_rest)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Trim confirmed events from the spool; go back after a nack."""
        try:
            if ok:
                self._confirmed(tag, multiple)
            else:
                self._metrics.nacked(self._window.nack(tag, multiple))
        except ValueError as error:
            self._connection.fail("protocol", str(error))
        else:
            self._proceed()

    def returned(self, properties: Properties) -> None:
        """Note that no queue took an event; it is forwarded when its ack comes."""
        self._answer_queue.returned(properties)
        seq = (properties.headers or {}).get("seq")
        if isinstance(seq, int) and self._window.returned(seq):
            self._metrics.returned(1)

    def delivered(self, delivery: Delivery) -> None:
        """Do nothing: this pump consumes nothing on this channel."""

    def blocked(self, is_blocked: bool) -> None:
        """Stop reading the spool while the broker has an alarm."""
        self._is_blocked = is_blocked
        self._answer_queue.blocked(is_blocked)
        self._metrics.blocked(is_blocked)
        self._patient_from = time.monotonic()
        if is_blocked:
            _log.warning("broker.blocked", fix="free memory or disk on the RabbitMQ node")
        else:
            _log.info("broker.unblocked")
            self._pump()

    # How it goes on.

    def _declare_the_rest(self) -> None:
        groups = {**self._unrouted.groups(), **self._types.groups()}
        self._connection.declare_groups(groups, self._declared)

    def _declared(self, refusals: list[Refusal]) -> None:
        unrouted = [one for one in refusals if one.group in self._unrouted.groups()]
        for one in unrouted:
            if one.reason == ACCESS_REFUSED:
                # Nothing is lost while the pump says what is missing, and waits for it.
                self._connection.fail(one.reason, one.detail)
                return
        self._unrouted.connected(unrouted)
        self._types.declared(self._types.groups(), refusals)
        self._ready = True
        self._asked_at = None
        self._metrics.link(LINK, True)
        self.lifecycle.listener.link_up(LINK, self._connection.node)
        self._answer_queue.connected(self._connection)
        self._look()

    def _look(self) -> None:
        self._woken = False
        if not self._ends():
            self._pump()

    def _ends(self) -> bool:
        """Close if a stop was asked for, or all is done."""
        if self._finishing and self._is_empty():
            self._stop.set()
        if self._stop.is_set():
            self._ready = False
            self._connection.close()
        return self._stop.is_set()

    def _proceed(self) -> None:
        """Go on after an ack or a nack: trim the spool, then go back or publish more."""
        self._spool.confirm(self._window.confirmed_upto)
        self._cursor.forget(self._window.confirmed_upto)
        first = self._window.rewind()
        if first is not None:
            self._go_back(first)
        elif not (self._finishing and self._ends()):
            self._pump()

    def _pump(self) -> None:
        """Publish as much as the confirm window takes, in chunks: acks are read in between."""
        if not self._ready or self._held_back or self._is_blocked or self._is_declaring:
            return
        room = self._room()
        if not room:
            return
        rows = self._read(min(room, _CHUNK))
        if rows and self._publish(rows) and len(rows) == _CHUNK:
            self._connection.later(0, self._pump)
        elif not rows and not self._window.in_flight:
            self._idle()

    def _room(self) -> int:
        window = self._window
        if not window.in_flight:
            self._burst = 0
            return 1 if window.confirmed_upto < self._one_by_one_upto else window.room()
        if self._burst > _BURST_MAX or window.confirmed_upto < self._one_by_one_upto:
            return 0
        room = window.room()
        # A few free places aren't worth a read; the next acks free more.
        return room if room >= self._config.events.confirm_window // 4 else 0

    def _read(self, limit: int) -> list[Row]:
        try:
            return self._cursor.read(limit)
        except SpoolFailed as failure:
            _log.error("spool.read_failed", problem=failure.problem)
            self._obstacle = "disk"
            self._hold_back(_CHECK_EVERY)
            return []

    def _publish(self, rows: list[Row]) -> bool:
        """Publish rows in order; return False if a type exchange has to be declared first."""
        events: list[tuple[Route, bytes]] = []
        known = self._types.known
        is_known = True
        self._answer_queue.behind(rows[0].received_ms)
        for row in rows:
            name, body = _event(row)
            event = self._answer_queue.asked(name), body
            type = name.type
            if type not in known and not self._know(type):
                is_known = False
                break
            events.append(event)
        self._send(events)
        return is_known

    def _send(self, events: list[tuple[Route, bytes]]) -> None:
        # Mandatory for a stream too: its binding may be missing where others declare it.
        self._connection.publish_events(self._config.events.exchange, events, mandatory=True)
        now = time.monotonic()
        for name, body in events:
            self._window.sent(name.seq, now, name.received_ms)
            self._cursor.at = name.seq
            self._burst += len(body)

    def _know(self, type: str) -> bool:
        """Return whether this type's exchange is there; if not, begin to declare it."""
        groups = self._types.learn(type)
        if not groups:
            return True
        self._is_declaring, self._asked_at = True, time.monotonic()
        self._connection.declare_groups(groups, lambda refusals: self._known(groups, refusals))
        return False

    def _known(self, groups: Groups, refusals: list[Refusal]) -> None:
        self._types.declared(groups, refusals)
        self._go_on_after_declaring()

    def _go_on_after_declaring(self) -> None:
        self._is_declaring, self._asked_at = False, None
        self._look()

    def _confirmed(self, tag: int, multiple: bool) -> None:
        acked = self._window.ack(tag, multiple)
        self._unrouted.take(acked)
        if acked.confirmed:
            self._obstacle = ""
            self._nack_delay = self._config.retry.initial
            self._refusals.taken()
            self._metrics.confirmed(len(acked.confirmed))
            now = time.time()
            self._metrics.confirm_latencies(
                [now - received_ms / 1000 for _, received_ms in acked.confirmed]
            )

    def _find(self, seq: int) -> tuple[Route, bytes] | None:
        row = self._cursor.find(seq)
        return None if row is None else _event(row)

    def _go_back(self, first: int) -> None:
        """Publish the refused event and all that follow it again, after a wait.

        If the broker refuses for long, do it on a new connection; less often each time.
        """
        self._obstacle = _NACKED
        self._cursor.go_back(first - 1)
        self._hold_back(self._nack_delay)
        if self._unrouted.is_gone:
            self._is_declaring, self._asked_at = True, time.monotonic()
            self._unrouted.declare_again(self._unrouted_is_declared)
        else:
            _log.warning("events.nacked", first_seq=first, wait=self._nack_delay)
            if self._refusals.refused(time.monotonic()):
                detail = "the broker refuses all; is a queue full, or without a leader?"
                self._connection.fail(_NACKED, detail, at_once=True)
                return
        self._nack_delay = min(2 * self._nack_delay, _NACK_DELAY_MAX)

    def _unrouted_is_declared(self, refusals: list[Refusal]) -> None:
        self._unrouted.declared_again(refusals)
        self._go_on_after_declaring()

    def _hold_back(self, delay: float) -> None:
        self._held_back = True
        self._connection.later(delay, self._go_on)

    def _go_on(self) -> None:
        self._held_back = False
        self._look()

    def _idle(self) -> None:
        """Trim the spool when nothing happens, so that its size is right."""
        self._answer_queue.idle()
        if self._finishing and self._ends():
            return
        if not self._flush_planned:
            self._flush_planned = True
            self._connection.later(_IDLE_FLUSH, self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if not self._window.in_flight:
            self._spool.flush()

    def _check(self) -> None:
        """Fail the connection if an event waits too long for its confirm; the broker is dead."""
        self.lifecycle.progress()
        now = time.monotonic()
        if now - self._checked_at > 5 * _CHECK_EVERY:
            # We slept (SIGSTOP, a frozen VM), not the broker; its answers may be in the socket.
            self._patient_from = now
        self._checked_at = now
        if self._connection.shows_life():
            self._patient_from = now
        oldest = self._asked_at or self._window.oldest_sent()
        limit = max(2.0 * self._config.broker.heartbeat, _CONFIRM_TIMEOUT_MIN)
        if oldest is not None and not self._is_blocked:
            waited = now - max(oldest, self._patient_from)
            if waited > limit:
                detail = f"no confirm for {waited:.0f} s; has each quorum queue a leader?"
                self._connection.fail("confirm_timeout", detail, at_once=True)
        self._connection.later(_CHECK_EVERY, self._check)

    def _learn_from(self, error: LinkError) -> None:
        """Find out what the broker will never take, so that it does not end each connection."""
        if error.reason == TOO_LARGE and self._window.in_flight:
            if self._window.in_flight == 1:
                self._let_go(self._cursor.at, error)
            else:
                self._one_by_one_upto = self._cursor.at
        elif error.reason != _NACKED:
            return
        # The next connection does something else than this one, so it counts as a first try.
        error.at_once, error.held = True, math.inf

    def _let_go(self, seq: int, error: LinkError) -> None:
        lost: list[tuple[str, int]] = []
        with suppress(SpoolFailed):
            lost = [(_route(row).message_id, len(row.body)) for row in self._spool.read(seq - 1, 1)]
        fix = "raise max_message_size in RabbitMQ; this event is lost"
        _log.error("event.refused_by_broker", seq=seq, lost=lost, problem=error.detail, fix=fix)
        self._let_go_upto = seq
        self._spool.confirm(seq)
        self._metrics.dropped("refused_by_broker", 1)

    def _is_empty(self) -> bool:
        try:
            return self._spool.usage().events == 0
        except SpoolError:
            # The publisher's own thread meets the error when it reads, and logs it.
            return False


def _event(row: Row) -> tuple[Route, bytes]:
    """Return the names of an event, and the body that consumers get."""
    name = _route(row)
    return name, name.body or row.body


def _route(row: Row) -> Route:
    team, bot, epoch, source = row.origin
    return route(
        row.body,
        seq=row.seq,
        received_ms=row.received_ms,
        team=team,
        bot=bot,
        epoch=epoch,
        source=source,
    )
