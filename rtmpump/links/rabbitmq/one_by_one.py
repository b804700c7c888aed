"""A second connection, for results and dead letters that may end a connection: one at a time.

RabbitMQ closes the whole connection for some messages, such as a result to a direct reply address
of another cluster. Among a thousand in flight nobody can say which one it was, all of them come
again, and so for ever. Here one alone is under way, so whatever ends the connection is known.

Laws:

- One message is under way at a time, with confirm; after it comes the next one of the line.
- What ended this connection twice is left out: a result; of a dead letter the producer's headers,
  and as a last resort its body. A dead letter itself is never given up.
- Only an end that a message can cause is held against it: not one of a broker that is stopped, that
  can't be reached, or that refuses us as a user.
- What ended the connection goes to the end of the line, so it holds up the others only as long as
  a new connection takes.

The thread is begun by the first message. Others may call `submit`, `check` and `close`; `settled`
is called on this thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from rtmpump import log
from rtmpump.config import Broker, Retry
from rtmpump.core.outbound.job import Job, Part
from rtmpump.core.outbound.mailbox import BrokerAnswer
from rtmpump.errors import LinkError
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.rabbitmq.connection import BrokerConnection, Properties
from rtmpump.links.rabbitmq.dead_letters import Version, first_that_fits
from rtmpump.links.rabbitmq.errors import TOO_LARGE
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.retry import keep_trying
from rtmpump.links.scarcity import scarce

LINK: Final = "broker_results"
_ENDS_ALLOWED: Final = 2
# What the broker says of a message that it can't take. Others are its own trouble, or ours with it.
_OF_THE_MESSAGE: Final = ("internal_error", "precondition_failed", TOO_LARGE)
_CODE: Final = "code_"
# An end without a word comes at once, if the message was the cause.
_LOST: Final = "lost"
_LOST_WITHIN: Final = 5.0
_CONFIRM_WITHIN: Final = 10.0
_JOIN_WITHIN: Final = 3.0

_log = log.get("sender")


class Parcel:
    """A result or dead letter, with the forms in which it may go: from the whole to the least."""

    def __init__(self, job: Job, part: Part, queue: str, versions: Sequence[Version]) -> None:
        self.job = job
        self.part = part
        self.queue = queue
        self._versions = versions
        self._index = 0
        self._ends = 0

    @property
    def version(self) -> Version:
        """The form in which it goes now."""
        return self._versions[self._index]

    def fit(self, frame_max: int) -> None:
        """Leave out what does not fit into the frames of this broker."""
        self._index = max(self._index, first_that_fits(self._versions, frame_max))

    def ended_connection(self) -> bool:
        """Note that it ended its connection; return False when nothing is left to leave out."""
        self._ends += 1
        if self._ends < _ENDS_ALLOWED:
            return True
        self._ends = 0
        self._index += 1
        if self._index < len(self._versions):
            return True
        self._index = 0
        return False


class OneByOne:
    """The line of those messages, and the connection on which they go."""

    def __init__(
        self, broker: Broker, policy: Retry, settled: Callable[[Parcel, BrokerAnswer], None]
    ) -> None:
        self._broker = broker
        self._policy = policy
        self._settled_listener = settled
        self._lifecycle = Lifecycle()
        self._changed = threading.Condition()
        self._line: deque[Parcel] = deque()
        self._under_way: Parcel | None = None
        self._written_at = 0.0
        self._returned = False
        self._is_ready = False
        self._blocked = False
        self._connection = BrokerConnection(LINK, broker, self)
        self._thread: threading.Thread | None = None
        self._crash: BaseException | None = None

    def submit(self, parcel: Parcel) -> None:
        """Put a message at the end of the line. From the thread of the sender.

        Raises:
            LinkError: no thread can be started; the message is not in the line.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="results", daemon=True)
            with scarce(LINK):
                thread.start()
            self._thread = thread
        with self._changed:
            self._line.append(parcel)
            self._changed.notify()
            connection = self._connection
        connection.call(self._next)

    def check(self) -> None:
        """Raise what ended the thread, if that was a bug of ours."""
        if self._crash is not None:
            raise self._crash

    def close(self) -> None:
        """End the thread; what is still in the line is delivered to the sender again."""
        with self._changed:
            self._lifecycle.stop.set()
            self._changed.notify()
            connection = self._connection
        connection.call(connection.close)
        if self._thread is not None:
            self._thread.join(_JOIN_WITHIN)

    # The thread.

    def _run(self) -> None:
        try:
            while self._wait_for_one():
                keep_trying(
                    self._session,
                    policy=self._policy,
                    lifecycle=self._lifecycle,
                    report=_report_end,
                )
        except BaseException as error:
            self._crash = error

    def _wait_for_one(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._lifecycle.stop.is_set())
            return not self._lifecycle.stop.is_set()

    def _session(self) -> None:
        """Serve the line on a new connection; return when one message ended that."""
        with self._changed:
            connection = self._connection = BrokerConnection(LINK, self._broker, self)
            self._is_ready = self._blocked = self._returned = False
            if self._lifecycle.stop.is_set():
                return
        try:
            connection.run()
        except LinkError as error:
            if not self._known_cause(error) and self._line:
                raise

    def _known_cause(self, error: LinkError) -> bool:
        """Hold the end against the message that was under way, and return whether that helps."""
        parcel, self._under_way = self._under_way, None
        if parcel is None:
            return False
        if not self._is_guilty(error):
            self._line.appendleft(parcel)
            return False
        helps = parcel.ended_connection()
        if not helps and parcel.part is Part.RESULT:
            self._settled_listener(parcel, BrokerAnswer.LEFT_OUT)
            return True
        self._line.append(parcel)
        return helps

    def _is_guilty(self, error: LinkError) -> bool:
        if error.reason == _LOST:
            return time.monotonic() - self._written_at < _LOST_WITHIN
        return error.reason in _OF_THE_MESSAGE or error.reason.startswith(_CODE)

    # What the connection calls.

    def ready(self) -> None:
        """Publish the first one."""
        self._is_ready = True
        self._next()

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """Report what became of the one under way, and publish the next one."""
        parcel, self._under_way = self._under_way, None
        if parcel is not None:
            taken = BrokerAnswer.TAKEN if ok else BrokerAnswer.REFUSED
            if ok and parcel.version.left_out:
                note_left_out(parcel.job, parcel.version.left_out)
            self._settled_listener(parcel, BrokerAnswer.RETURNED if self._returned else taken)
        self._next()

    def returned(self, properties: Properties) -> None:
        """Note that no queue takes the one under way; its ack comes next."""
        self._returned = True

    def delivered(self, delivery: Delivery) -> None:
        """Do nothing: nothing is consumed here."""

    def blocked(self, is_blocked: bool) -> None:
        """Be patient while the broker takes nothing."""
        self._blocked = is_blocked

    def _next(self) -> None:
        if self._under_way is not None or not self._is_ready or not self._line:
            return
        parcel = self._under_way = self._line.popleft()
        self._returned = False
        self._written_at = time.monotonic()
        parcel.fit(self._connection.frame_max)
        properties, body, _ = parcel.version
        # RabbitMQ returns all that is mandatory and goes to a direct reply address.
        mandatory = not is_direct(parcel.queue)
        self._connection.publish("", parcel.queue, body, properties, mandatory)
        self._connection.later(_CONFIRM_WITHIN, lambda: self._expect_confirm(parcel))

    def _expect_confirm(self, parcel: Parcel) -> None:
        """Go on with the others on a new connection, if the broker says nothing of this one."""
        if self._under_way is not parcel or self._blocked:
            return
        if time.monotonic() - self._written_at < _CONFIRM_WITHIN:
            return
        self._under_way = None
        self._settled_listener(parcel, BrokerAnswer.REFUSED)
        detail = f"the broker says nothing of a message for {parcel.queue}"
        self._connection.fail("confirm_timeout", detail, at_once=True)


def is_direct(queue: str) -> bool:
    """Return whether this is a direct reply address, which is no queue."""
    # What is no UTF-8 comes as bytes.
    return isinstance(queue, str) and queue.startswith("amq.rabbitmq.reply-to.")


def note_left_out(job: Job, left_out: str) -> None:
    """Log once for each command what its dead letter lacks."""
    if job.report.left_out == left_out:
        return
    job.report.left_out = left_out
    _log.warning(
        "dead_letter.shortened",
        left_out=left_out,
        message_id=str(job.fingerprint.message_id or ""),
        reply_to=str(job.fingerprint.reply_to or ""),
    )


def _report_end(retry: RetryDetails) -> None:
    _log.warning(
        "results.waits", reason=retry.reason, detail=retry.detail, retry_in=round(retry.wait, 1)
    )
