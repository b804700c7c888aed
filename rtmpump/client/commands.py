"""Publishes for any thread, and finds the result of each command.

Laws:

- `ask` and `forget` may be called from any thread; all else happens on the thread of the
  connection.
- What was not written yet when a connection ended goes on the next one. What was written, and has
  no result, ended with the connection: its reply address is gone, and nobody can know whether the
  pump has it. It is never sent a second time on our own account.
- While RabbitMQ has an alarm nothing is written, so a command that nobody waits for any more can
  still be taken back.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from rtmpump.client.errors import BrokerUnavailable, ClientError, ResultMissing, unavailable
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.connection import REPLIES, BrokerConnection, Properties
from rtmpump.links.rabbitmq.listener import Delivery

Answer: TypeAlias = dict[str, Any]


class Asked(Future[Answer]):
    """What becomes of a publish.

    `confirmed`: RabbitMQ has it. `settled` is set as soon as it has it or surely not, or as
    nobody can know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.confirmed = False
        self.settled = threading.Event()
        self.add_done_callback(lambda _: self.settled.set())

    def confirm(self) -> None:
        """Take in that RabbitMQ has it."""
        self.confirmed = True
        self.settled.set()


class Outgoing(NamedTuple):
    """What is published to a queue; `wants_result`: its end is the result and not the confirm."""

    queue: str
    body: bytes
    properties: Properties
    wants_result: bool


class Commands:
    """What waits to be published, to be confirmed, or for its result."""

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        """Take `wake`, which calls a function on the thread of the connection, if there is one."""
        self._wake = wake
        self._outbox: deque[tuple[Outgoing, Asked]] = deque()
        self._connection: BrokerConnection | None = None
        self._is_blocked = False
        self._next_tag = 1
        self._written: dict[int, str] = {}
        self._waiting: dict[str, tuple[Outgoing, Asked]] = {}
        self._end: ClientError | None = None
        self._lock = threading.Lock()

    def ask(self, outgoing: Outgoing) -> Asked:
        """Publish soon; the future gets the result of the pump, or {} for a confirm.

        It fails with a ClientError. `cancel` takes back what was not written yet.
        """
        asked = Asked()
        with self._lock:
            if self._end is not None:
                raise self._end
            self._outbox.append((outgoing, asked))
        asked.add_done_callback(self._note_cancel)
        self._wake(self.flush)
        return asked

    def forget(self, outgoing: Outgoing) -> None:
        """Note that nobody waits for its result any more."""
        self._wake(partial(self._forget, str(outgoing.properties.message_id)))

    @property
    def is_blocked(self) -> bool:
        """Whether RabbitMQ has an alarm and takes nothing."""
        return self._is_blocked

    # On the thread of the connection.

    def begin(self, connection: BrokerConnection) -> None:
        """Use a new connection."""
        self._connection = connection
        self._is_blocked = False
        self._next_tag = 1
        connection.consume_replies()
        self.flush()

    def flush(self) -> None:
        """Write all that waits."""
        connection = self._connection
        while connection is not None and not self._is_blocked:
            try:
                outgoing, asked = self._outbox.popleft()
            except IndexError:
                return
            if asked.set_running_or_notify_cancel():
                id = str(outgoing.properties.message_id)
                self._written[self._next_tag] = id
                self._waiting[id] = outgoing, asked
                self._next_tag += 1
                connection.publish("", outgoing.queue, outgoing.body, outgoing.properties, True)

    def blocked(self, is_blocked: bool) -> None:
        """Hold back while the broker has an alarm."""
        self._is_blocked = is_blocked
        self.flush()

    def returned(self, properties: Properties) -> None:
        """Take back what no queue took."""
        id = str(properties.message_id)
        if id in self._waiting:
            queue = self._waiting[id][0].queue
            problem = f"there is no queue {queue} in RabbitMQ; start rtmpump, which makes its queue"
            self._fail(id, BrokerUnavailable("no_queue", problem))

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Take the broker's confirm or refusal."""
        tags = [one for one in self._written if one <= tag] if multiple else [tag]
        for one in tags:
            id = self._written.pop(one, "")
            if id not in self._waiting:
                continue
            outgoing, asked = self._waiting[id]
            if not ok:
                problem = f"RabbitMQ refused it: the queue {outgoing.queue} is full or failing"
                self._fail(id, BrokerUnavailable("queue_refused", problem))
                continue
            if outgoing.wants_result:
                asked.confirm()
            else:
                self._end_with(id, {})

    def delivered(self, delivery: Delivery) -> None:
        """Take a result."""
        id = str(delivery.properties.correlation_id)
        if id not in self._waiting:
            return
        result = _parsed(delivery.body)
        if "ok" in result:
            self._end_with(id, result)
            return
        self._waiting[id][1].confirmed = True
        problem = "what came back is no result of rtmpump; which program consumes the queue?"
        self._fail(id, ResultMissing("no_result", problem, uncertain=True))

    def ended(self, error: LinkError | None) -> None:
        """Fail what was written and has no end; the rest waits for the next connection."""
        is_refused = self._connection is not None and self._connection.publish_refused
        self._connection = None
        self._is_blocked = False
        self._written.clear()
        why = f" ({error.reason})" if error else ""
        for id, (_, asked) in list(self._waiting.items()):
            if is_refused and error is not None and not asked.confirmed:
                self._fail(id, unavailable(error))
            else:
                problem = f"the connection to RabbitMQ ended before the result came{why}"
                missing = ResultMissing("uncertain", problem, uncertain=True)
                missing.__cause__ = error
                self._fail(id, missing)

    def close(self, error: ClientError) -> None:
        """Fail all, and from now on each `ask`, with this error."""
        with self._lock:
            self._end = error
            left = list(self._outbox)
            self._outbox.clear()
        for _, asked in left:
            if asked.set_running_or_notify_cancel():
                asked.set_exception(error)

    def _note_cancel(self, asked: Future[Answer]) -> None:
        if asked.cancelled():
            self._wake(self._drop_cancelled)

    def _drop_cancelled(self) -> None:
        """Let go of what was taken back: under an alarm nothing else empties the outbox."""
        with self._lock:
            left = [pair for pair in self._outbox if not pair[1].cancelled()]
            self._outbox.clear()
            self._outbox.extend(left)

    def _forget(self, id: str) -> None:
        self._waiting.pop(id, None)

    def _end_with(self, id: str, result: Answer) -> None:
        """End it well; this is the confirm too, which a result can overtake."""
        _, asked = self._waiting.pop(id)
        asked.confirmed = True
        asked.set_result(result)

    def _fail(self, id: str, error: ClientError) -> None:
        _, asked = self._waiting.pop(id)
        asked.set_exception(error)


def command(queue: str, fields: Answer, *, reply: bool, expires: float | None) -> Outgoing:
    """Make a command; with `expires` it is worth nothing after so many seconds."""
    id = uuid.uuid4().hex
    properties = Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id=id,
        correlation_id=id,
        reply_to=REPLIES if reply else None,
        timestamp=int(time.time()),
        expiration=None if expires is None else str(max(1, int(expires * 1000))),
        app_id="rtmpump",
    )
    return Outgoing(queue, json.dumps(fields).encode(), properties, reply)


def answer(queue: str, correlation_id: str, body: bytes) -> Outgoing:
    """Make the answer to an event."""
    properties = Properties(
        content_type="application/json",
        correlation_id=correlation_id,
        message_id=uuid.uuid4().hex,
        app_id="rtmpump",
    )
    return Outgoing(queue, body, properties, False)


def _parsed(body: bytes) -> Answer:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
