"""What becomes of events that no queue takes: they go to an exchange of their own, in their order.

Laws:

- They go there one after the other, in the order of the spool, and `mandatory`. If one comes back
  from there too, its queue is gone: it is failed like a nack, so the publisher goes back to it, and
  the queue is declared again before that.
- An event is let go only if there is to be no such exchange (`events.unrouted` is ""), or if its
  queue is gone and can't be declared. That is counted, and logged once a minute. Meanwhile it is
  tried again to declare it, but not for each event.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.confirm_window import Acked, ConfirmWindow
from rtmpump.core.routes import Route
from rtmpump.errors import SpoolFailed
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.connection import BrokerConnection
from rtmpump.links.rabbitmq.declaring import Groups, Refusal
from rtmpump.metrics import Metrics

Find = Callable[[int], "tuple[Route, bytes] | None"]

_TRY_EVERY: Final = 5.0
_LOG_EVERY: Final = 60.0
_READ_AGAIN: Final = 1.0

_log = log.get("publisher")


class Unrouted:
    """Forwards what no queue took, on the thread of the publisher.

    `is_gone`: the queue is gone, and `declare` is due before anything is published. `is_given_up`:
    it can't be declared.
    """

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        window: ConfirmWindow,
        find: Find,
        proceed: Callable[[], None],
    ) -> None:
        """Begin without a connection.

        `find` returns an event by its seq, None if the spool has dropped it; it may raise
        SpoolFailed. `proceed` is called when something was settled later than in `take`.
        """
        self._exchange = config.events.unrouted
        self._declares = config.broker.declare == "active"
        self._items = topology.unrouted(config.events)
        self._metrics = metrics
        self._window = window
        self._find = find
        self._proceed = proceed
        self._connection: BrokerConnection | None = None
        self._waiting: deque[int] = deque()
        self._tried_at = 0.0
        self._logged_at: float | None = None
        self._told: set[str] = set()
        self.is_gone = False
        self.is_given_up = False

    def begin(self, connection: BrokerConnection) -> None:
        """Begin anew on a connection that is about to be made."""
        self._connection = connection
        self._waiting.clear()
        self.is_gone = self.is_given_up = False

    def groups(self) -> Groups:
        """Return what to declare: each by itself, for one may be there in another form."""
        return {f"unrouted {at}": [item] for at, item in enumerate(self._items)}

    def connected(self, refusals: list[Refusal]) -> None:
        """Take in what the broker refused on a new connection: it is there in another form."""
        self._report_refusals(refusals)

    def declared_again(self, refusals: list[Refusal]) -> None:
        """Take in what became of declaring again what was gone."""
        self.is_gone, self._tried_at = False, time.monotonic()
        self.is_given_up = bool(refusals)
        self._report_refusals(refusals)

    def _report_refusals(self, refusals: list[Refusal]) -> None:
        """Log each refusal once, as long as it lasts."""
        problems = {one.detail for one in refusals}
        for problem in sorted(problems - self._told):
            _log.error("unrouted.refused", exchange=self._exchange, problem=problem)
        self._told = problems

    def declare_again(self, done: Callable[[list[Refusal]], None]) -> None:
        """Declare what is gone, if this pump is to declare anything; `done` gets the refusals."""
        _log.warning("unrouted.gone", exchange=self._exchange)
        if self._declares and self._connection is not None:
            self._connection.declare_groups(self.groups(), done)
        else:
            done([Refusal("", "", 'the queue is gone, and broker.declare is not "active"')])

    def take(self, acked: Acked) -> None:
        """Take what the broker returned, now that it has acked it."""
        self._waiting += acked.resend
        self._forward()
        for seq in acked.homeless:
            if self.is_given_up:
                self._let_go(seq)
            else:
                self.is_gone = True
                self._window.fail(seq)

    def _forward(self) -> None:
        while self._waiting:
            seq = self._waiting[0]
            if not self._exchange:
                self._let_go(self._waiting.popleft())
                continue
            try:
                event = self._find(seq)
            except SpoolFailed as failure:
                _log.error("spool.read_failed", problem=failure.problem)
                self._later(_READ_AGAIN, self._forward_late)
                return
            self._waiting.popleft()
            if event is None:
                # `drop_oldest` took it, and counted it.
                self._window.settle(seq)
            elif self._connection is not None:
                self._connection.publish_events(self._exchange, [event], mandatory=True)
                self._window.resent(seq, time.monotonic())

    def _forward_late(self) -> None:
        self._forward()
        self._proceed()

    def _let_go(self, seq: int) -> None:
        self._metrics.dropped("unrouted", 1)
        now = time.monotonic()
        if self._logged_at is None or now - self._logged_at >= _LOG_EVERY:
            self._logged_at = now
            self._report(seq)
        self._window.settle(seq)
        if self.is_given_up and self._declares and now - self._tried_at >= _TRY_EVERY:
            self._tried_at = now
            self._try_again()

    def _report(self, seq: int) -> None:
        try:
            event = self._find(seq)
        except SpoolFailed:
            event = None
        message_id = event[0].message_id if event else ""
        fix = "bind a queue, or set events.unrouted"
        if self._exchange:
            fix = f"declare the queue {self._exchange}, bound to the exchange of that name"
        _log.warning("events.unrouted", seq=seq, message_id=message_id, fix=fix)

    def _try_again(self) -> None:
        if self._connection is not None:
            self._connection.declare_groups(self.groups(), self.declared_again)

    def _later(self, delay: float, function: Callable[[], None]) -> None:
        if self._connection is not None:
            self._connection.later(delay, function)
