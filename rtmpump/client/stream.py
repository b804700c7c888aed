"""The events of one queue in their order, each once, acknowledged when the next one is asked for.

Laws:

- One thread takes. The thread of the connection only puts in, and sets the subscription.
- An event counts as done when the next one is asked for, or when the client is stopped while it
  waits for more; then it is acknowledged, and a repeat of it is acknowledged and passed over.
- What was received on an earlier connection and not handed out is dropped: RabbitMQ has it still.
  A temporary queue ended with its connection, so what came from it is handed out.
- The listener is called by the thread that takes, behind the events that came before.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event as Flag
from types import TracebackType
from typing import Final, Protocol

from rtmpump.client.errors import BrokerUnavailable, unavailable
from rtmpump.client.event import Answerer, Event, id_of
from rtmpump.client.interrupts import ending_on_signals
from rtmpump.client.replay import Replay
from rtmpump.core.recent_ids import RecentIds
from rtmpump.errors import LinkError
from rtmpump.links.lifecycle import LinkListener, NoListener, RetryDetails
from rtmpump.links.rabbitmq.subscription import (
    Arrival,
    SubscribingConnection,
    Subscription,
    Wanted,
)

REMEMBERED: Final = 20_000
"""How many events a stream remembers, to pass over their repeats."""
_WAIT_HERE: Final = 10_000
_REPORTS: Final = 100
# A connection that ends so while a subscription begins is made again; else RabbitMQ minds this one.
_PASSING: Final = ("closed", "closed_by_broker", "heartbeat", "lost", "timeout")


class StreamOwner(Answerer, Protocol):
    """What a stream needs of its client."""

    @property
    def name(self) -> str:
        """The name of the connection."""

    @property
    def where(self) -> str:
        """The node and the virtual host, in words."""

    @property
    def is_stopped(self) -> bool:
        """Whether loops over events are to end."""

    def stop(self) -> None:
        """End all loops over events."""

    def check(self) -> None:
        """Raise what ended the connection for good."""

    def leave(self, stream: EventStream) -> None:
        """Let go of a stream that ended."""


class EventStream:
    """Iterate over it for the events; it is made by `Client.events`.

    With `signals` SIGINT and SIGTERM end the iteration in order; with `repeats` repeats come too.
    The `listener` learns when the delivery begins, when RabbitMQ goes away, and at each failed try.
    """

    def __init__(
        self,
        owner: StreamOwner,
        wanted: Wanted,
        *,
        signals: bool,
        repeats: bool,
        listener: LinkListener | None = None,
        replay: Replay | None = None,
    ) -> None:
        self._owner = owner
        self._wanted = wanted
        self._signals = signals
        self._repeats = repeats
        self._listener = NoListener() if listener is None else listener
        self._replay = replay
        self._reports: deque[tuple[float, Callable[[], None]]] = deque()
        self._is_report_due = False
        self._reported_at = 0.0
        self._received: SimpleQueue[Arrival | None] = SimpleQueue()
        self._subscription: Subscription | None = None
        self._seen = RecentIds(REMEMBERED)
        self._handed: list[Arrival] = []
        self._is_closed = False
        self._refusal: LinkError | None = None
        self._problem: LinkError | None = None
        self._settled = Flag()

    def __iter__(self) -> Iterator[Event]:
        on_signals = ending_on_signals(self._owner.stop) if self._signals else nullcontext()
        with on_signals, self:
            while (event := self.take()) is not None:
                yield event

    def take(self, timeout: float | None = None) -> Event | None:
        """Return the next event, and acknowledge the one before.

        Returns:
            None after `timeout` seconds without one, or when the client was stopped or closed.
        """
        events = self.take_all(1, timeout)
        return events[0] if events else None

    def take_all(self, most: int = 100, timeout: float | None = 0.0) -> list[Event]:
        """Return those that are here, up to `most`, and acknowledge those of the call before.

        It waits for the first one up to `timeout` seconds; None for any time.
        """
        self._finish()
        if not (self._is_closed or self._owner.is_stopped):
            self._owner.check()
        events: list[Event] = []
        fresh: set[str] = set()
        until = None if timeout is None else time.monotonic() + timeout
        while len(events) < most and not (self._is_closed or self._owner.is_stopped):
            arrival = self._next(0.0 if events else _left(until), may_report=not events)
            if arrival is None:
                break
            if self._wanted.queue and arrival.subscription is not self._subscription:
                continue
            is_wanted = self._is_wanted(arrival, fresh)
            if not is_wanted and not self._handed:
                arrival.subscription.done(arrival.tag, is_last=self._received.empty())
                continue
            self._handed.append(arrival)
            if is_wanted:
                fresh.add(id_of(arrival))
                events.append(Event(arrival, self._owner))
        return events

    @property
    def wanted(self) -> Wanted:
        """What to subscribe to now."""
        return self._wanted._replace(start=self._replay.start) if self._replay else self._wanted

    @property
    def reported_at(self) -> float:
        """When that happened of which the listener was last called (seconds, monotonic)."""
        return self._reported_at

    def close(self) -> None:
        """Stop consuming. What was handed out last and not finished goes back to its queue."""
        self._is_closed = True
        self._owner.leave(self)

    def __enter__(self) -> EventStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait_until_begun(self, timeout: float) -> None:
        """Return when the queue is there, is bound, and has us as a consumer.

        Raises:
            BrokerUnavailable: RabbitMQ refuses it, or was not there in time.
        """
        self._owner.check()
        is_settled = self._settled.wait(timeout)
        self._owner.check()
        refusal = self._refusal or (None if is_settled else self._problem)
        if refusal is not None:
            raise unavailable(refusal)
        if not is_settled:
            raise BrokerUnavailable("timeout", f"RabbitMQ began no delivery within {timeout:g} s")

    def give_up(self) -> None:
        """Have `wait_until_begun` look whether the client was closed or failed."""
        self._settled.set()

    def wake(self) -> None:
        """Have a waiting `take` look whether it is over; safe in a signal handler."""
        self._received.put(None)

    # What the connection calls, on its own thread.

    def began(self, subscription: Subscription) -> None:
        """Take from this subscription from now on."""
        self._report(partial(self._listener.link_up, self._owner.name, self._owner.where))
        self._settled.set()

    def refused(self, subscription: Subscription, error: LinkError) -> None:
        """Note why there is no queue; if it had begun once, the whole connection begins anew."""
        if self._settled.is_set() and self._refusal is None:
            raise error
        self._refusal = error
        self._settled.set()

    def arrived(self, arrival: Arrival) -> None:
        """Take a message in."""
        self._received.put(arrival)

    def is_subscribed_on(self, connection: SubscribingConnection) -> bool:
        """Return whether it has its subscription on this connection."""
        return self._subscription is not None and self._subscription.connection is connection

    def use(self, subscription: Subscription) -> None:
        """Forget what came on the connection before, if RabbitMQ has it or it becomes too much."""
        self._subscription = subscription
        with suppress(Empty):
            while self._wanted.queue or self._received.qsize() > _WAIT_HERE:
                self._received.get_nowait()
        self.wake()

    def connection_ended(self, error: LinkError | None) -> None:
        """Hand out nothing more of what it brought; if it never began, note why."""
        subscription, self._subscription = self._subscription, None
        if error is not None and not self._settled.is_set():
            self._problem = error
            if subscription is not None and error.reason not in _PASSING:
                self.refused(subscription, error)

    def link_down(self, retry: RetryDetails) -> None:
        """Have the listener learn why it does not deliver; before it began, its maker learns it."""
        if self._settled.is_set():
            self._report(partial(self._listener.link_down, retry))

    def end(self, ended: Callable[[], None]) -> None:
        """Give back what is not acknowledged, then call `ended`."""
        if self._subscription is None:
            ended()
        else:
            self._subscription.end(ended)

    def _next(self, timeout: float | None, *, may_report: bool) -> Arrival | None:
        """Return the next message; None after `timeout` seconds, or when it is over.

        None too where there is a report, and it `may_report` not before what it gave is handed out.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if may_report and self._is_report_due:
            self._run_reports()
        while True:
            try:
                arrival = self._received.get(timeout=_left(until))
            except Empty:
                return None
            if arrival is not None:
                return arrival
            if not may_report:
                self._is_report_due = True
                return None
            self._run_reports()
            if self._is_closed or self._owner.is_stopped:
                return None
            self._owner.check()

    def _run_reports(self) -> None:
        self._is_report_due = False
        while self._reports:
            self._reported_at, report = self._reports.popleft()
            report()

    def _report(self, report: Callable[[], None]) -> None:
        with suppress(IndexError):
            while len(self._reports) >= _REPORTS:
                # The first one stays: it says since when RabbitMQ is away.
                del self._reports[1]
        self._reports.append((time.monotonic(), report))
        self.wake()

    def _is_wanted(self, arrival: Arrival, fresh: set[str]) -> bool:
        if self._replay is not None and not self._replay.take(arrival):
            return False
        id = id_of(arrival)
        return self._repeats or not (id in self._seen or (id != "" and id in fresh))

    def _finish(self) -> None:
        """Take what was handed out as done."""
        handed, self._handed = self._handed, []
        if not handed:
            return
        self._seen.add(filter(None, map(id_of, handed)))
        last = handed[-1]
        is_last = self._received.empty() or self._owner.is_stopped
        last.subscription.done(last.tag, is_last=is_last)


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())
