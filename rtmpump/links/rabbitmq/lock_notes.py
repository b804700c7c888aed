"""Writes tokens into the lock queue, and answers questions, on a connection of its own.

RabbitMQ reads nothing more of a connection that publishes while there is an alarm. So who holds the
lock must not publish on the connection that consumes it.

Laws:

- One token is under way at a time, with confirm. Of those that wait the newest is enough.
- No token is written twice. What was not confirmed when a connection ended is left to its writer,
  who makes a new one soon.
- A token carries a direct reply address. Who acts answers a question there with the question.
- RabbitMQ closes the connection (541) of who answers to an address on a node that seems gone. So an
  address at which a connection ended gets no second answer: the asker makes a new one when it
  connects anew, as it does when nobody answers.

Any thread may call any method of `LockNotes` but `run`, and those of a listener.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final, NamedTuple

from rtmpump import log
from rtmpump.config import Broker, Retry
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.rabbitmq.connection import REPLIES, BrokerConnection, Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.retry import keep_trying

LINK: Final = "broker_lock_notes"
_ALIVE_EVERY: Final = 5.0
_CONFIRM_WITHIN: Final = 10.0
_ANSWERS_MOST: Final = 32
_BAD_MOST: Final = 64

_log = log.get("lease")


class _Message(NamedTuple):
    key: str
    body: bytes


class LockNotes:
    """The newest token that is to be in the queue; `run` is the body of a thread."""

    def __init__(self, broker: Broker, policy: Retry, queue: str) -> None:
        self._broker = broker
        self._policy = policy
        self._queue = queue
        self.lifecycle = Lifecycle()
        self._changed = threading.Condition()
        self._waiting: bytes | None = None
        self._answers: deque[_Message] = deque(maxlen=_ANSWERS_MOST)
        self._under_way: _Message | None = None
        self._bad_addresses: deque[str] = deque(maxlen=_BAD_MOST)
        self._answered: bytes | None = None
        self._written_at = 0.0
        self._confirmed: bytes | None = None
        self._is_open = False
        self.is_blocked = False
        """Whether RabbitMQ takes nothing now, because of an alarm. Any thread may read it."""
        self._connection = BrokerConnection(LINK, broker, self)

    def run(self) -> None:
        """Write until `close`."""
        keep_trying(
            self._session, policy=self._policy, lifecycle=self.lifecycle, report=_report_end
        )

    def write(self, token: bytes) -> None:
        """Have a token written as soon as that is possible."""
        with self._changed:
            self._waiting = token
            connection = self._connection
        connection.call(self._next)

    def answer(self, reply_to: str, question: bytes) -> None:
        """Tell who asked that we act."""
        with self._changed:
            if reply_to in self._bad_addresses:
                return
            self._answers.append(_Message(reply_to, question))
            connection = self._connection
        connection.call(self._next)

    def is_answered(self, question: bytes) -> bool:
        """Return whether this one was the last that was answered."""
        with self._changed:
            return self._answered == question

    def wait_for(self, token: bytes, within: float) -> bool:
        """Wait until RabbitMQ has this token; return False if it has not in so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._confirmed == token, within)

    def close(self) -> None:
        """Write no more."""
        self.lifecycle.stop.set()
        with self._changed:
            connection = self._connection
        connection.call(connection.close)

    def _session(self) -> None:
        with self._changed:
            self._connection = BrokerConnection(LINK, self._broker, self, self.lifecycle.progress)
            if self._under_way is not None and self._under_way.key != self._queue:
                self._bad_addresses.append(self._under_way.key)
            self._under_way = None
            self._answers.clear()
            self._is_open = self.is_blocked = False
        # After this line `close` reaches the new connection; what was set before is seen here.
        if not self.lifecycle.stop.is_set():
            self._connection.run()

    # What the connection calls.

    def ready(self) -> None:
        """Write what waits."""
        self._connection.consume_replies()
        self._is_open = True
        self._tick()
        self._next()

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Note that RabbitMQ has the token; what it refuses is written again with the next."""
        with self._changed:
            if ok and self._under_way is not None and self._under_way.key == self._queue:
                self._confirmed = self._under_way.body
            self._under_way = None
            self._changed.notify_all()
        self._next()

    def returned(self, properties: Properties) -> None:
        """Begin anew: the queue is gone, and the lease will make it again."""
        self._connection.fail("not_found", f"the queue {self._queue} is not there")

    def delivered(self, delivery: Delivery) -> None:
        """Take in an answer."""
        with self._changed:
            self._answered = delivery.body

    def blocked(self, is_blocked: bool) -> None:
        """Be patient while the broker takes nothing."""
        self.is_blocked = is_blocked
        self._written_at = time.monotonic()

    def _tick(self) -> None:
        self.lifecycle.progress()
        late = time.monotonic() - self._written_at > _CONFIRM_WITHIN
        if self._under_way is not None and late and not self.is_blocked:
            self._connection.fail("confirm_timeout", "RabbitMQ does not confirm a lock token")
            return
        self._connection.later(_ALIVE_EVERY, self._tick)

    def _next(self) -> None:
        with self._changed:
            if not self._is_open or self._under_way is not None:
                return
            if self._answers:
                message = self._answers.popleft()
            elif self._waiting is not None:
                message, self._waiting = _Message(self._queue, self._waiting), None
            else:
                return
            self._under_way, self._written_at = message, time.monotonic()
        properties = Properties(
            content_type="application/json",
            delivery_mode=2,
            app_id="rtmpump",
            type="rtmpump.lock",
            reply_to=REPLIES,
        )
        # RabbitMQ returns all that is mandatory and goes to a direct reply address.
        is_token = message.key == self._queue
        self._connection.publish("", message.key, message.body, properties, is_token)


def _report_end(retry: RetryDetails) -> None:
    _log.warning(
        "lock.unwritten", reason=retry.reason, detail=retry.detail, retry_in=round(retry.wait, 1)
    )
