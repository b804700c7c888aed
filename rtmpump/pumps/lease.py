"""Which of two pumps is the active one: RabbitMQ decides, by a queue with a single active consumer.

Laws:

- `core.lock_claim` decides what a lock token proves, and from when until when. Here are the
  connection, the clock and the listener.
- This connection consumes and gives back, and never publishes: RabbitMQ reads nothing more of one
  that publishes during an alarm. Tokens are written by another one (`links.rabbitmq.lock_notes`).
- A connection that ends takes the claim with it at once, whatever ended it: RabbitMQ may have given
  the lock away already.
- A pump whose queue has never been in other hands, as far as it can know, writes the moment of its
  election into its notes, before it reads. From then on a pump was to read. Where other hands are
  known, but not until when they read, that is a day ago: the gap is rather too wide.
- A standby is connected only while the leader of the queue knows it as a consumer.
- The clock goes on while the machine sleeps: a pump that wakes up is no longer the active one.

One thread, one connection. `release` and `ActiveRole.is_held` may be called from other threads.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from msgspec.structs import replace

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.lock_claim import LockClaim, TokenDelivery, TokenKind
from rtmpump.core.other_clocks import OtherClocks
from rtmpump.core.watermark import by_another_clock, later, long_ago
from rtmpump.errors import LinkError
from rtmpump.links import clock
from rtmpump.links.active_role import ActiveRole, claim_lasts
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.errors import CANCELLED
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.rabbitmq.lock_notes import LockNotes
from rtmpump.links.rabbitmq.queue_depths import Depth
from rtmpump.links.retry import keep_trying
from rtmpump.metrics import Metrics

LINK: Final = "broker_lock"
NO_LOCK: Final = "no_lock"
"""The reason where this pump is no standby, since no pump seems to hold the lock."""
_PREFETCH: Final = 100
_ROUNDS: Final = 6
_LONGEST_ROUND: Final = 1.0
_NOTES_EVERY: Final = 1.0
_NOTE_COMES: Final = 1.0
_QUESTIONS_EVERY: Final = 15.0
_LEADER_ASKED_EVERY: Final = 3.0
_LINE_LOST: Final = 12.0
_NOBODY_KNOWN: Final = 60.0
_DEAF: Final = 30.0
_STUCK: Final = 15.0
_LAST_WITHIN: Final = 1.0
# Without the lock nothing is read, so no try may be far away.
_LONGEST_WAIT: Final = 2.0

_log = log.get("lease")


class LeaseListener(Protocol):
    """Who is called at an election; on the thread of the lease, and for a short time."""

    def elected(self, watermark_ms: int | None) -> None:
        """Begin to work: we are the active one, and the one before us had this watermark."""

    def deposed(self, why: str) -> None:
        """End the work: we are not the active one any more."""


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
        # RabbitMQ gives the lock of a pump that is cut off to the next one after two to three.
        self._broker = replace(config.broker, heartbeat=max(1, config.broker.heartbeat // 2))
        self._lasts = claim_lasts(config.broker.heartbeat)
        self._policy = replace(
            config.retry,
            initial=min(config.retry.initial, _LONGEST_WAIT),
            max=min(config.retry.max, _LONGEST_WAIT),
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
        self._notes = LockNotes(config.broker, self._policy, self._queue)
        self._connection = BrokerConnection(LINK, self._broker, self)
        self._claim = self._new_claim()
        self._clocks = OtherClocks()
        self._elected = False
        self._answered_at = clock.elapsed()
        self._releasing = False
        self._known_others = False
        self._responsible_since_ms: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Know nothing of a connection yet."""
        now = clock.elapsed()
        self._given_at: float | None = None
        self._may_act_since: float | None = None
        self._noted_at = self._asked_at = self._questioned_at = -math.inf
        self._heard_at = self._in_line_at = self._proved_at = now
        self._is_in_line = self._others_known = self._is_asking = False
        self._question = b""
        self._told_ms: int | None = None
        self._left_ms: int | None = None
        self._proofs = 0
        self._end_second: Callable[[], None] | None = None

    def run(self) -> None:
        """Stand for election until a stop or a `release`."""
        notes = threading.Thread(target=self._notes.run, name="lock-notes", daemon=True)
        notes.start()
        try:
            keep_trying(self._session, policy=self._policy, lifecycle=self.lifecycle)
        finally:
            self._notes.close()
            notes.join(_LONGEST_WAIT)

    def release(self) -> None:
        """Hand the lock over at once, with our watermark, and stand for it no more.

        From any thread.
        """
        self._stop.set()
        self._connection.call(self._hand_over)

    def _session(self) -> None:
        self.lifecycle.progress()
        self._claim = self._new_claim()
        self._begin()
        self._connection = BrokerConnection(LINK, self._broker, self, self.lifecycle.progress)
        # After this line `release` reaches the new connection; what was set before is seen here.
        if self._stop.is_set():
            return
        why = ""
        try:
            self._connection.run()
        except LinkError as error:
            why = str(error)
            # Two that declare a quorum queue in the same moment can break it (RabbitMQ 3.10).
            error.at_once = error.at_once and error.reason != CANCELLED
            raise
        finally:
            self._depose(why)
            self._metrics.link(LINK, False)

    def _new_claim(self) -> LockClaim:
        return LockClaim(secrets.token_hex(16), self._host, self._lasts)

    # What the connection calls.

    def ready(self) -> None:
        """Declare the lock queue, then consume."""
        # RabbitMQ waits for a minute for a leader that is not there.
        self._connection.later(_LINE_LOST, self._expect_line)
        if self._mode == "none":
            self._consume()
        else:
            passive = self._mode == "passive"
            items = [topology.lock(self._queue)]
            self._connection.declare(items, passive=passive, done=self._consume)

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Do nothing: nothing is published here."""

    def returned(self, properties: Properties) -> None:
        """Do nothing: nothing is published here."""

    def delivered(self, delivery: Delivery) -> None:
        """Take in a token: RabbitMQ takes us for the active one."""
        if self._releasing:
            return
        headers = delivery.properties.headers or {}
        count = headers.get("x-delivery-count")
        if delivery.redelivered and not isinstance(count, int):
            self._refuse("it does not count deliveries, so it is no quorum queue")
            return
        # pika has a subclass of int for 64 bits.
        deliveries = int(count) if isinstance(count, int) else 0
        given = TokenDelivery(delivery.body, delivery.tag, deliveries)
        now = clock.elapsed()
        asked = len(self._claim.others)
        for tag in self._claim.received(given, now):
            self._connection.ack(tag)
        if self._elected and len(self._claim.others) > asked:
            self._notes.answer(str(delivery.properties.reply_to), delivery.body)
        self._take_in_watermark()
        if self._given_at is None and self._claim.is_given:
            self._given_at = self._proved_at = now
            self._join_line()
            self._ask_for_proof(now)
        self._decide(now)

    def blocked(self, is_blocked: bool) -> None:
        """Do nothing: nothing is published here."""

    # How it goes on.

    def _consume(self) -> None:
        began = self._stand if self._mode == "active" else self._look_for_others
        self._connection.consume(self._queue, _PREFETCH, began=began)

    def _expect_line(self) -> None:
        if not self._is_in_line:
            self._lose_line()

    def _lose_line(self) -> None:
        detail = f"the leader of the queue {self._queue} does not answer; has it no majority?"
        self._connection.fail("no_leader", detail)

    def _look_for_others(self) -> None:
        """Find out whether the queue, which we did not declare, has a single active consumer."""
        self._end_second = self._connection.consume_beside(
            self._queue,
            given=lambda: self._refuse("it gives its messages to several consumers"),
            began=self._stand,
        )

    def _refuse(self, why: str) -> None:
        fix = "delete it, and make it with x-queue-type=quorum and x-single-active-consumer=true"
        detail = f"the queue {self._queue} can't be the lock: {why}, and two pumps could be active"
        self._connection.fail("precondition_failed", f"{detail}; {fix}")

    def _stand(self) -> None:
        self._in_line_at = clock.elapsed()
        self._tick()

    def _join_line(self) -> None:
        """Be connected from now on, as long as the leader answers."""
        self._in_line_at = clock.elapsed()
        if not self._is_in_line:
            self._is_in_line = True
            self._metrics.link(LINK, True)
            self.lifecycle.listener.link_up(LINK, self._connection.node)

    def _tick(self) -> None:
        self.lifecycle.progress()
        if self._releasing:
            return
        now = clock.elapsed()
        if self._claim.is_given:
            self._ask_for_proof(now)
            self._decide(now)
        else:
            self._stand_by(now)
        self._connection.later(min(self._lasts / _ROUNDS, _LONGEST_ROUND), self._tick)

    def _ask_for_proof(self, now: float) -> None:
        """Give a token back, once all that lies in our socket has been taken in."""
        if not self._is_asking:
            self._is_asking = True
            give_back = partial(self._give_back, now)
            self._connection.after_deliveries(_PREFETCH, give_back)

    def _give_back(self, since: float) -> None:
        self._is_asking = False
        tag = self._claim.give_back(since)
        if tag is not None and not self._releasing:
            # From RabbitMQ 4.3 on `basic.nack` is not counted, and `basic.reject` is.
            self._connection.refuse(tag, requeue=True)

    def _decide(self, now: float) -> None:
        """Act, or act no more, as the claim is now."""
        until = self._claim.held_until(now)
        self._role.until = until if self._elected else 0.0
        if self._elected:
            if not until:
                self._connection.fail("lock_lost", "no token came back in time", at_once=True)
            elif now - self._noted_at >= _NOTES_EVERY:
                self._note(now)
            return
        if until:
            # Before that we may not know all that the one before us left.
            self._proved(now)
            if now - self._noted_at >= _NOTES_EVERY and not self._claim.keeps_own_note:
                self._note(now)
        if self._claim.may_act(now):
            since = self._may_act_since = self._may_act_since or now
            # Only what the next pump will learn may be read; an alarm must not hold us up.
            if self._claim.keeps_own_note or now - since >= _NOTE_COMES:
                self._elect(now)
                return
        else:
            self._may_act_since = None
        self._look_stuck(now)

    def _proved(self, now: float) -> None:
        """Note that tokens come again, and so that no second consumer gets them."""
        self._proved_at = now
        self._proofs += 1
        if self._end_second is not None and self._proofs > _ROUNDS:
            self._end_second()
            self._end_second = None

    def _look_stuck(self, now: float) -> None:
        if now - self._proved_at > _STUCK:
            self._connection.fail("confirm_timeout", "RabbitMQ gives no token of the lock back")
        elif self._given_at is not None and now - self._given_at > _NOBODY_KNOWN:
            self.lifecycle.halt(NO_LOCK, "RabbitMQ gives the lock to this pump, and takes it again")

    def _stand_by(self, now: float) -> None:
        """Stay in line: ask the leader, and whether another pump is the active one."""
        if now - self._in_line_at > _LINE_LOST:
            self._lose_line()
            return
        if now - self._asked_at >= _LEADER_ASKED_EVERY:
            self._asked_at = now
            self._connection.ask_depths((self._queue,), self._leader_told)
        if now - self._questioned_at >= _QUESTIONS_EVERY:
            self._questioned_at = now
            self._question = self._claim.token(TokenKind.QUESTION, _now_ms())
            self._notes.write(self._question)
        if self._notes.is_answered(self._question):
            self._answered_at = self._heard_at = now
            self._others_known = self._known_others = True
            self.lifecycle.go_on()
        elif not self._notes.is_blocked and now - self._heard_at > _DEAF:
            # After a deletion RabbitMQ can take us for a consumer and deliver nothing (3.10).
            detail = "no pump says that it holds the lock; this one stands for it anew"
            self._connection.fail("no_answer", detail)
        elif now - self._answered_at > _NOBODY_KNOWN and not (
            # During an alarm nobody can answer.
            self._notes.is_blocked and self._others_known
        ):
            self.lifecycle.halt(NO_LOCK, "no pump is known to hold the lock")

    def _leader_told(self, queue: str, depth: Depth | None) -> None:
        # Without its leader a quorum queue seems to have no consumer.
        if depth is not None and depth.consumers > 0:
            self._join_line()

    def _note(self, now: float) -> None:
        """Write what the next pump has to know."""
        self._noted_at = now
        self._notes.write(self._claim.token(TokenKind.NOTE, _now_ms(), self._watermark_told()))

    def _watermark_told(self) -> int | None:
        """Return our watermark by the clock of whoever may be the next."""
        for token in self._claim.others:
            if (differs := self._clocks.learn(token.host, token.written_ms, _now_ms())) is not None:
                _log.warning("clock.differs", host=token.host, seconds=round(differs / 1000, 1))
        self._claim.others.clear()
        watermark_ms = later(self._watermark(), self._watermark_before())
        if watermark_ms is None:
            self._responsible_since_ms = self._responsible_since_ms or _now_ms()
            watermark_ms = self._responsible_since_ms
        return watermark_ms - self._clocks.behind_ms

    def _take_in_watermark(self) -> None:
        """Look at once whether it can be right: later its time has come."""
        if self._claim.watermark_ms != self._told_ms:
            self._told_ms = self._claim.watermark_ms
            if self._told_ms is not None:
                self._left_ms = by_another_clock(self._told_ms, _now_ms())

    def _watermark_before(self) -> int | None:
        """Return until when those before us read; None if there was nobody, or we know it best."""
        if self._left_ms is not None:
            return self._left_ms
        is_unknown = self._known_others and self._watermark() is None
        return long_ago(_now_ms()) if is_unknown else None

    def _elect(self, now: float) -> None:
        if self._stop.is_set():
            return
        self._elected = True
        self._claim.act()
        self._role.until = self._claim.held_until(now)
        self.lifecycle.go_on()
        self._metrics.active = True
        _log.info("lock.taken", lock=self._queue, before=self._claim.before)
        self._listener.elected(self._watermark_before())

    def _depose(self, why: str) -> None:
        was_elected, self._elected = self._elected, False
        self._role.until = 0.0
        if was_elected:
            self._answered_at = clock.elapsed()
            self._metrics.active = False
            write = _log.info if self._releasing else _log.warning
            write("lock.left" if self._releasing else "lock.lost", lock=self._queue, why=why)
            self._listener.deposed(why)

    def _hand_over(self) -> None:
        """Leave the last watermark, then close; RabbitMQ hands it to the next pump."""
        if self._releasing:
            return
        self._releasing = True
        was_elected = self._elected
        self._depose("it was handed over")
        if was_elected and self._connection.is_open:
            last = self._claim.token(TokenKind.LAST, _now_ms(), self._watermark_told())
            self._notes.write(last)
            # What is not there in time costs the next pump a few seconds.
            self._notes.wait_for(last, _LAST_WITHIN)
        self._connection.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
