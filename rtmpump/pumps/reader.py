"""From the WebSocket to the spool: all that is ready goes in one commit, then the next.

Laws:

- What was read is in the spool before anything else happens to it. Is the spool full or the disk
  refusing, then nothing more is read: the pressure goes back to Slack, and it is told.
- `rtmpump.gap` covers all that Slack may have sent while nobody read: from the last time that the
  connection was known to be good (or, after a restart, the newest event in the spool) to the hello.
- One new try at once after a goodbye, a cut or an expired URL; then backoff, and never more
  rtm.connect calls than the budget allows.

One thread, one connection. `stop` is the one method for other threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event as Flag
from typing import Final, Protocol

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core import own
from rtmpump.core.frames import Event, Hello, Reply, parse
from rtmpump.core.routes import UNKNOWN, clean, ignored
from rtmpump.core.session import Ended, MessageIds, Session, State
from rtmpump.errors import LinkError, NotConnected, SpoolFailed, SpoolFull, WriteFailed
from rtmpump.links.retry import CallBudget, Retry, hold
from rtmpump.links.rtm import RtmSocket
from rtmpump.links.slack_api import Connected, SlackApi
from rtmpump.metrics import Metrics
from rtmpump.spool import Appended, Dropped, Spool

LINK: Final = "slack"
_CONNECT_CALLS: Final = 4
_DISK_PAUSE: Final = 1.0
_FULL_PAUSE: Final = 0.5
_CLOSING: Final = 1.0
_LIST_CHANGES: Final = ("channel_", "group_")

_log = log.get("reader")


class Hearers(Protocol):
    """Who has to hear what the reader meets; all are called on its thread and return at once."""

    def stored(self) -> None:
        """New events are in the spool."""

    def replied(self, reply: Reply) -> None:
        """Slack answered a command."""

    def connected(self, connection: int) -> None:
        """Slack said hello: commands may be written."""

    def disconnected(self) -> None:
        """No command can be written."""

    def channels_changed(self) -> None:
        """A channel was made, renamed or the like."""


class Reader:
    """The pump of the WebSocket; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        api: SlackApi,
        socket: RtmSocket,
        spool: Spool,
        metrics: Metrics,
        *,
        ids: MessageIds,
        stop: Flag,
        hearers: Hearers,
        up: Callable[[str, str], None],
        down: Callable[[Retry], None],
    ) -> None:
        self._config = config
        self._api = api
        self._socket = socket
        self._spool = spool
        self._metrics = metrics
        self._ids = ids
        self._stop = stop
        self._hearers = hearers
        self._up = up
        self._down = down
        self._budget = CallBudget(_CONNECT_CALLS, config.retry.max)
        self._answer = Connected("", "", "", "", "")
        self._good_until_ms = spool.last_received_ms
        self._ended = Ended("restart", "the pump was not running", at_once=True)
        self._live_since: float | None = None
        self._connection = 0

    def run(self) -> None:
        """Read until `stop` is called; TokenRefused if Slack says that there is no point."""
        hold(self._session, policy=self._config.retry, stop=self._stop, told=self._down)

    def stop(self) -> None:
        """Close the WebSocket in order and end. From any thread."""
        self._stop.set()
        self._socket.wake()

    def _session(self) -> None:
        self._budget.wait(self._stop)
        if self._stop.is_set():
            return
        self._live_since = None
        self._answer = self._api.connect()
        self._connection = self._socket.open(self._answer.url)
        try:
            ended = self._converse(self._begin())
        finally:
            self._socket.close()
            self._metrics.link(LINK, False)
        if ended is not None:
            held = 0.0 if self._live_since is None else time.monotonic() - self._live_since
            raise LinkError(LINK, ended.reason, ended.detail, at_once=ended.at_once, held=held)

    def _begin(self) -> Session:
        slack = self._config.slack
        return Session(
            time.monotonic(),
            hello_timeout=slack.hello_timeout,
            ping_interval=slack.ping_interval,
            ping_timeout=slack.ping_timeout,
            ids=self._ids,
        )

    def _converse(self, session: Session) -> Ended | None:
        """Read until the connection ends (why) or a stop was asked for (None)."""
        try:
            while session.ended is None and not self._stop.is_set():
                self._turn(session, session.wait(time.monotonic()))
            if session.ended is None:
                self._close_in_order(session)
        finally:
            if self._live_since is not None:
                self._tell_disconnected(session.ended)
        return None if self._stop.is_set() else session.ended

    def _turn(self, session: Session, wait: float) -> None:
        """Take in all that is ready, then do what is due."""
        try:
            bodies = self._socket.read(wait)
        except LinkError as end:
            session.closed(end.reason, end.detail, time.monotonic())
            return
        if bodies:
            self._take_in(session, bodies)
        self._ping_if_due(session)

    def _ping_if_due(self, session: Session) -> None:
        frame = session.due(time.monotonic())
        if frame is None:
            return
        try:
            self._socket.send(frame, connection=self._connection)
        except (NotConnected, WriteFailed) as broken:
            session.closed(broken.reason, broken.detail, time.monotonic())

    def _take_in(self, session: Session, bodies: list[bytes]) -> None:
        now, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        ignore = self._config.events.ignore
        events: list[tuple[int, bytes]] = []
        types: dict[str, int] = {}
        replies: list[Reply] = []
        greeted = False
        for body in bodies:
            frame = parse(body)
            session.received(frame, now)
            event = frame if isinstance(frame, Event) else None
            if isinstance(frame, Reply):
                replies.append(frame)
                event = frame.event
            if event is None:
                continue
            types[event.type] = types.get(event.type, 0) + 1
            if not (ignore and ignored(event.type, event.subtype, ignore)):
                events.append((now_ms, body))
            if isinstance(event, Hello):
                greeted = True
                events.extend((now_ms, one) for one in self._greeting(now_ms))
        self._store(session, events)
        if session.state in (State.LIVE, State.LEAVING):
            self._good_until_ms = now_ms
        self._pass_on(session, types, replies, greeted)

    def _greeting(self, now_ms: int) -> list[bytes]:
        """The pump's own events at a hello."""
        answer = self._answer
        events = [own.connected(team=answer.team, bot=answer.bot, connection=self._connection)]
        if self._good_until_ms is not None:
            since, why = self._good_until_ms, self._ended.reason
            events.append(own.gap(from_ms=since, to_ms=now_ms, reason=why))
        return events

    def _pass_on(
        self, session: Session, types: dict[str, int], replies: list[Reply], greeted: bool
    ) -> None:
        """Tell those who have to know, now that all of it is in the spool."""
        if types:
            self._hearers.stored()
        if greeted:
            self._live_since = time.monotonic()
            self._metrics.link(LINK, True)
            self._up(LINK, f"team {self._answer.team}, bot {self._answer.bot}")
            self._hearers.connected(self._connection)
        for reply in replies:
            self._hearers.replied(reply)
        for type, count in types.items():
            self._metrics.received(clean(type) or UNKNOWN, count)
            if type.startswith(_LIST_CHANGES):
                self._hearers.channels_changed()
        if session.rtt is not None:
            self._metrics.slack_rtt(session.rtt)

    def _tell_disconnected(self, ended: Ended | None) -> None:
        self._hearers.disconnected()
        self._ended = ended or Ended("stopped", "the pump was stopped", at_once=True)
        event = own.disconnected(self._ended.reason, self._ended.detail)
        self._store(None, [(time.time_ns() // 1_000_000, event)])
        self._hearers.stored()

    def _close_in_order(self, session: Session) -> None:
        """Say goodbye, and take in what Slack had sent before it hears of it."""
        self._socket.say_goodbye()
        until = time.monotonic() + _CLOSING
        while session.ended is None and (left := until - time.monotonic()) > 0:
            self._turn(session, left)

    def _store(self, session: Session | None, items: list[tuple[int, bytes]]) -> None:
        """Put events into the spool, however long that takes; only a stop ends the waiting."""
        told = ""
        while items:
            try:
                appended = self._append(items)
            except (SpoolFull, SpoolFailed) as refused:
                told = self._refused(refused, told)
                if self._gives_up(refused, len(items)):
                    return
            else:
                if told:
                    _log.info("spool.accepts_again")
                if appended.dropped is not None:
                    self._tell_dropped(appended.dropped)
                return
            if session is not None:
                session.paused(time.monotonic())
                self._ping_if_due(session)

    def _append(self, items: list[tuple[int, bytes]]) -> Appended:
        return self._spool.append(items, team=self._answer.team, bot=self._answer.bot)

    def _refused(self, refused: SpoolFull | SpoolFailed, told: str) -> str:
        """Tell it once, and wait until it is worth another try."""
        if refused.problem != told:
            _log.error("spool.refuses", problem=str(refused))
        if isinstance(refused, SpoolFull):
            self._spool.wait_room(_FULL_PAUSE)
        else:
            self._stop.wait(_DISK_PAUSE)
        return refused.problem

    def _gives_up(self, refused: SpoolFull | SpoolFailed, count: int) -> bool:
        """Whether these events can never be stored: at a stop, or if an empty spool has no room."""
        if not self._stop.is_set():
            self._spool.flush()
            if isinstance(refused, SpoolFailed) or self._spool.measure().events:
                return False
        self._metrics.dropped("not_stored", count)
        _log.error("events.not_stored", count=count, problem=str(refused))
        return True

    def _tell_dropped(self, dropped: Dropped) -> None:
        """`when_full = "drop_oldest"` gave up accepted events: that is a gap like any other."""
        self._metrics.dropped("spool_full", dropped.count)
        _log.warning("spool.dropped_oldest", count=dropped.count)
        event = own.gap(from_ms=dropped.from_ms, to_ms=dropped.to_ms, reason="spool_full")
        with suppress(SpoolFull, SpoolFailed):
            self._append([(time.time_ns() // 1_000_000, event)])
