"""The state of one RTM connection, from the opened WebSocket to its end.

Laws:

- One `Session` for one connection, owned by the thread that reads it. What belongs to an older
  connection can't reach it, because a new connection has a new `Session`.
- The states change by `TABLE` alone. It has all that a peer can do in each state. A pair that it
  does not have is a fault of ours: it raises and changes nothing.
- A session ends once: the first reason stays.
- The caller reads what has come and calls `heard` before it calls `due`; else our own slowness
  would look like a dead peer.
- No socket, no clock, no retry here: `now` (seconds, monotonic) comes in, the bytes of a ping and
  the reason of the end go out.
"""

from __future__ import annotations

import secrets
from enum import Enum
from itertools import count
from threading import Lock
from typing import NamedTuple

from rtmpump.core.frames import Error, Event, Frame, Goodbye, Hello, Pong, ping

MIGRATION = "team_migration_started"
"""The type of the one plain event that moves a session."""

_FIRST_ID_MAX = 2**30
_URL_EXPIRED = 1


class State(Enum):
    """Where a connection stands."""

    AWAITING_HELLO = "awaiting_hello"
    LIVE = "live"
    LEAVING = "leaving"
    ENDED = "ended"


class Signal(Enum):
    """What moves a connection: the first five come from the peer, the others from our clock."""

    HELLO = "hello"
    ERROR = "error"
    GOODBYE = "goodbye"
    MIGRATION = "migration"
    CLOSED = "closed"
    NO_HELLO = "no_hello"
    SILENT = "silent"
    LEFT = "left"


TABLE: dict[tuple[State, Signal], State] = {
    (State.AWAITING_HELLO, Signal.HELLO): State.LIVE,
    (State.AWAITING_HELLO, Signal.ERROR): State.ENDED,
    (State.AWAITING_HELLO, Signal.GOODBYE): State.LEAVING,
    (State.AWAITING_HELLO, Signal.MIGRATION): State.LEAVING,
    (State.AWAITING_HELLO, Signal.CLOSED): State.ENDED,
    (State.AWAITING_HELLO, Signal.NO_HELLO): State.ENDED,
    (State.LIVE, Signal.HELLO): State.LIVE,
    (State.LIVE, Signal.ERROR): State.LIVE,
    (State.LIVE, Signal.GOODBYE): State.LEAVING,
    (State.LIVE, Signal.MIGRATION): State.LEAVING,
    (State.LIVE, Signal.CLOSED): State.ENDED,
    (State.LIVE, Signal.SILENT): State.ENDED,
    (State.LEAVING, Signal.HELLO): State.LEAVING,
    (State.LEAVING, Signal.ERROR): State.LEAVING,
    (State.LEAVING, Signal.GOODBYE): State.LEAVING,
    (State.LEAVING, Signal.MIGRATION): State.LEAVING,
    (State.LEAVING, Signal.CLOSED): State.ENDED,
    (State.LEAVING, Signal.LEFT): State.ENDED,
    # The rest of a batch, and the close that follows, still come after the end.
    (State.ENDED, Signal.HELLO): State.ENDED,
    (State.ENDED, Signal.ERROR): State.ENDED,
    (State.ENDED, Signal.GOODBYE): State.ENDED,
    (State.ENDED, Signal.MIGRATION): State.ENDED,
    (State.ENDED, Signal.CLOSED): State.ENDED,
}


def after(state: State, signal: Signal) -> State:
    """Look up the state that `signal` leads to.

    Raises:
        ValueError: the pair is not in `TABLE`.
    """
    try:
        return TABLE[state, signal]
    except KeyError:
        raise ValueError(f"{signal.name} can't happen to a session that is {state.name}") from None


class Ended(NamedTuple):
    """Why a connection ended: `reason` is a word for metrics, `detail` a sentence for the log.

    `at_once`: the first new try needs no wait.
    """

    reason: str
    detail: str
    at_once: bool


class MessageIds:
    """The message ids of RTM, for all threads and all connections of this process.

    They start at random (1 to 2**30). After a reconnect Slack may send a reply to a frame of the
    process before; it hardly ever has an id of ours then.
    """

    def __init__(self) -> None:
        self._ids = count(secrets.randbelow(_FIRST_ID_MAX) + 1)
        self._lock = Lock()

    def next(self) -> int:
        """Return an id that was never given before. From any thread."""
        with self._lock:
            return next(self._ids)


class Session:
    """One RTM connection; all times are seconds, `now` from a clock that never goes back.

    A ping is due `ping_interval` after hello and after each ping. A peer is dead if nothing came
    from it for `ping_timeout` after a ping. So silence is found within `ping_interval` +
    `ping_timeout` of the last sign of life, if `due` is called when `wait` says so.
    """

    def __init__(
        self,
        now: float,
        *,
        hello_timeout: float,
        ping_interval: float,
        ping_timeout: float,
        ids: MessageIds,
        leave_after: float = 1.0,
    ) -> None:
        self.state = State.AWAITING_HELLO
        self.ended: Ended | None = None
        self.rtt: float | None = None
        # When the last answered ping had been sent: nothing older is still on its way.
        self.caught_up_at: float | None = None
        self._hello_timeout = hello_timeout
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._leave_after = leave_after
        self._ids = ids
        self._hello_by = now + hello_timeout
        self._ping_at = 0.0
        self._leave_by = 0.0
        self._leaving: Ended | None = None
        # Set by the first ping after a sign of life; later pings give no respite.
        self._dead_at: float | None = None
        self._last_ping: tuple[int, float] | None = None

    def heard(self, now: float) -> None:
        """Note a sign of life: any bytes of the peer. Once for a batch is enough."""
        self._dead_at = None

    def received(self, frame: Frame, now: float) -> None:
        """Take in one frame, which is a sign of life too. Most events change nothing.

        An `error` ends only a connection that had no hello yet (code 1: the URL has expired).
        """
        self.heard(now)
        match frame:
            case Hello():
                self._hello(now)
            case Goodbye():
                self._leave(Signal.GOODBYE, "Slack said goodbye", now)
            case Error():
                self._error(frame)
            case Event(type=kind) if kind == MIGRATION:
                self._leave(Signal.MIGRATION, "Slack moves the workspace to another server", now)
            case Pong():
                self._pong(frame, now)

    @property
    def unanswered_since(self) -> float | None:
        """When the ping was sent since which nothing was heard; None if there is none."""
        return None if self._dead_at is None else self._dead_at - self._ping_timeout

    def closed(self, reason: str, detail: str, now: float) -> None:
        """Note the end of the socket; a goodbye or a migration before it is the better reason."""
        self._end(Signal.CLOSED, self._leaving or Ended(reason, detail, at_once=True))

    def paused(self, now: float) -> None:
        """Note that we can't read now (the spool is full); call it often while that lasts.

        What the peer sends in that time waits unread, so all its deadlines count from `now`.
        """
        self._hello_by = now + self._hello_timeout
        self._leave_by = now + self._leave_after
        if self._dead_at is not None:
            self._dead_at = now + self._ping_timeout

    def due(self, now: float) -> bytes | None:
        """Return the ping frame to write now, if any; end the session if a deadline has passed."""
        if self.ended is None and now >= self._deadline():
            self._overdue()
        if self.state is State.LIVE and now >= self._ping_at:
            return self._ping(now)
        return None

    def wait(self, now: float) -> float:
        """Return the seconds (>= 0) until `due` has something to do; 0 after the end."""
        if self.state is State.ENDED:
            return 0.0
        until = self._deadline()
        if self.state is State.LIVE:
            until = min(until, self._ping_at)
        return max(0.0, until - now)

    def _deadline(self) -> float:
        if self.state is State.AWAITING_HELLO:
            return self._hello_by
        if self.state is State.LEAVING:
            return self._leave_by
        return float("inf") if self._dead_at is None else self._dead_at

    def _overdue(self) -> None:
        if self.state is State.AWAITING_HELLO:
            detail = f"no hello within {self._hello_timeout:g} s"
            self._end(Signal.NO_HELLO, Ended("no_hello", detail, at_once=False))
        elif self.state is State.LIVE:
            detail = f"nothing was heard within {self._ping_timeout:g} s after a ping"
            self._end(Signal.SILENT, Ended("silent", detail, at_once=True))
        elif self._leaving is not None:
            self._end(Signal.LEFT, self._leaving)

    def _ping(self, now: float) -> bytes:
        id = self._ids.next()
        self._last_ping = (id, now)
        self._ping_at = now + self._ping_interval
        if self._dead_at is None:
            self._dead_at = now + self._ping_timeout
        return ping(id)

    def _pong(self, pong: Pong, now: float) -> None:
        if self._last_ping is not None and self._last_ping[0] == pong.reply_to:
            self.caught_up_at = self._last_ping[1]
            self.rtt = now - self.caught_up_at
            self._last_ping = None

    def _hello(self, now: float) -> None:
        if self._step(Signal.HELLO):
            self._ping_at = now + self._ping_interval

    def _error(self, error: Error) -> None:
        expired = error.code == _URL_EXPIRED
        detail = f"Slack refused the connection: error {error.code}: {error.msg}"
        if self._step(Signal.ERROR):
            self.ended = Ended("expired_url" if expired else "error", detail, at_once=expired)

    def _leave(self, signal: Signal, detail: str, now: float) -> None:
        if self._step(signal):
            self._leaving = Ended(signal.value, detail, at_once=True)
            self._leave_by = now + self._leave_after

    def _end(self, signal: Signal, why: Ended) -> None:
        if self._step(signal):
            self.ended = why

    def _step(self, signal: Signal) -> bool:
        """Change the state by the table; return whether it is another one now."""
        before, self.state = self.state, after(self.state, signal)
        return self.state is not before
