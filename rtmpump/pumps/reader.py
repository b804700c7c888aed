"""From the WebSocket to the spool: all that is ready goes in one commit, then the next.

Laws:

- What was read is in the spool before anything else happens to it, but that old names of channels
  are forgotten: who gets such an event may use the new name at once. While the spool is full or the
  disk fails, nothing more is read: the pressure goes back to Slack, and the log says so. In that
  time no command may go out: its reply would not be read, and it would be sent again.
- `rtmpump.gap` covers all that Slack may have sent and we did not read, also what was still on its
  way: from the watermark to the hello. The watermark is the moment when the last answered ping was
  sent, or when the connection was begun; the spool keeps it for a restart.
- After a goodbye, a cut or an expired URL the first new try comes at once; then there is backoff,
  and never more rtm.connect calls than the budget allows.

One thread, one connection. Other threads may call `stop` and read `watermark_ms`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final, Protocol

from rtmpump import log
from rtmpump.config import Config, Secret
from rtmpump.core import envelopes, pump_events
from rtmpump.core.frames import Event, Frame, Reply, parse
from rtmpump.core.read_batch import ReadBatch
from rtmpump.core.routes import UNKNOWN, clean, is_listed
from rtmpump.core.session import MIGRATION, Ended, Session, Signal, State
from rtmpump.core.standstill import Halt
from rtmpump.core.watermark import TimeRange, Watermark
from rtmpump.errors import (
    LinkError,
    NotConnected,
    SpoolFailed,
    SpoolFull,
    TokenRefused,
    WriteFailed,
)
from rtmpump.links import clock, retry
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.retry import CallBudget, keep_trying
from rtmpump.links.slack.event_source import EventSource
from rtmpump.links.slack.web_api import SignIn
from rtmpump.metrics import FULL, Metrics
from rtmpump.spool import Dropped, Spool

LINK: Final = "slack"
_CONNECT_CALLS: Final = 4
_DISK_PAUSE: Final = 1.0
_FULL_PAUSE: Final = 0.5
# At the cap of the spool, with a flood and a drain at once, it refuses and takes in turns.
_CALM: Final = 5.0
_CLOSING: Final = 1.0
# The plain events that mean more than themselves.
_SPECIAL: Final = frozenset({MIGRATION, envelopes.LIMITED})
# Slack announced these ends; if it has not closed by then, we do.
_LEFT: Final = (Signal.GOODBYE.value, Signal.MIGRATION.value)
# At most three calls, each a minute at most, whatever the peer does.
_SIGNING_IN: Final = 180.0
# A loop that makes no round for five seconds stands still.
_LONGEST_READ: Final = 2.0
_SILENT: Final = "silent"

_log = log.get("reader")


class ReaderListener(Protocol):
    """Who is called when the reader meets something; on its thread, and for a short time."""

    def stored(self) -> None:
        """Learn that new events can be read from the spool."""

    def replied(self, reply: Reply) -> None:
        """Learn Slack's answer to a command."""

    def connected(self, connection: int) -> None:
        """Learn that Slack said hello: commands may be written."""

    def disconnected(self) -> None:
        """Learn that no command can be written."""

    def channels_changed(self, frame: bytes) -> None:
        """Learn that a channel was made, renamed or the like: the frame has the event."""

    def missed(self, from_ms: int, to_ms: int, team: str, bot: str) -> None:
        """Learn of a gap (milliseconds since 1970), before its event is stored.

        What must outlive this process is to be kept on disk before this returns.
        """


class Reader:
    """The pump of the WebSocket; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        source: EventSource,
        spool: Spool,
        metrics: Metrics,
        lifecycle: Lifecycle,
        listener: ReaderListener,
    ) -> None:
        self._config = config
        self._source = source
        self._spool = spool
        self._metrics = metrics
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._listener = listener
        self._budget = CallBudget(_CONNECT_CALLS, retry.CALLS_SPAN)
        self._signed_in = SignIn(Secret(""), "", "", "", "")
        self._watermark = Watermark(spool.watermark_ms)
        self._ended = Ended("restart", "the pump was not running", at_once=True)
        self._live_since: float | None = None
        self._connection = 0
        self._refusing = ""
        self._refused_at = 0.0
        self._gave_up = False

    def run(self) -> None:
        """Read until a stop.

        Raises:
            TokenRefused: Slack says that no try can help.
        """
        keep_trying(self._session, policy=self._config.retry, lifecycle=self.lifecycle)

    def stop(self) -> None:
        """Close the WebSocket in order and end. From any thread."""
        self._stop.set()
        self._source.wake()

    def begin(self, lifecycle: Lifecycle, watermark_ms: int | None) -> None:
        """Be ready for another `run`, with a lifecycle of its own, after other pumps may have read.

        `watermark_ms` is the watermark that they left.
        """
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._gave_up = False
        self._watermark.take_over(watermark_ms)
        self._ended = Ended("takeover", "another pump may have been the active one", at_once=True)

    @property
    def signed_in(self) -> SignIn:
        """Who we are, as Slack said last. From any thread."""
        return self._signed_in

    @property
    def watermark_ms(self) -> int | None:
        """The watermark (milliseconds since 1970). From any thread."""
        return self._watermark.ms

    def _session(self) -> None:
        self.lifecycle.rest(retry.CALLS_SPAN / _CONNECT_CALLS)
        self._budget.wait(self._stop)
        self._live_since = None
        if not self._stop.is_set():
            self.lifecycle.rest(_SIGNING_IN)
            self._signed_in = self._source.sign_in()
        # After a stop during that call the URL is not needed any more.
        if not self._stop.is_set():
            self._run_connection()

    def _run_connection(self) -> None:
        """Connect and read to the end; raise LinkError unless a stop was the end."""
        self.lifecycle.progress()
        self._watermark.begun(clock.instant())
        self._connection = self._source.open(self._signed_in.url.reveal())
        try:
            ended = self._converse(self._source.new_session(clock.elapsed()))
        finally:
            self._source.close()
            self._metrics.link(LINK, False)
        if ended is not None:
            held = 0.0 if self._live_since is None else time.monotonic() - self._live_since
            raise LinkError(LINK, ended.reason, ended.detail, at_once=ended.at_once, held=held)

    def _converse(self, session: Session) -> Ended | None:
        """Read until the connection ends, and return why; None after a stop."""
        try:
            while session.ended is None and not self._stop.is_set():
                self._turn(session, session.wait(clock.elapsed()))
            if session.ended is None or session.ended.reason in _LEFT:
                self._close_in_order(session)
        finally:
            if self._live_since is not None:
                self._announce_disconnected(session.ended)
        return None if self._stop.is_set() else session.ended

    def _turn(self, session: Session, wait: float) -> bool:
        """Take in all that is ready, then do what is due; return whether it is still open."""
        self.lifecycle.progress()
        try:
            bodies = self._source.read(min(wait, _LONGEST_READ))
        except LinkError as end:
            session.closed(end.reason, end.detail, clock.elapsed())
            return False
        except TokenRefused as end:
            session.closed(end.code, end.fix, clock.elapsed())
            raise
        if bodies:
            self._take_in(session, bodies)
        elif self._source.heard:
            # A large frame on a slow line.
            session.heard(clock.elapsed())
        self._announce_jump(session)
        self._ping_if_due(session)
        self._note_silence(session)
        self._note_acceptance()
        return True

    def _note_acceptance(self) -> None:
        """Log the end of the refusals, when none came for some time."""
        if self._refusing and time.monotonic() - self._refused_at > _CALM:
            _log.info("spool.accepts_again")
            self._refusing = ""

    def _note_silence(self, session: Session) -> None:
        """Note since when Slack has not answered; long before it is taken for dead."""
        if (since := session.unanswered_since) is not None:
            lasts = clock.instant().elapsed - since
            self.lifecycle.halts = (Halt(_SILENT, time.monotonic() - lasts),)
        elif self.lifecycle.halts:
            self.lifecycle.go_on()

    def _ping_if_due(self, session: Session) -> None:
        now = clock.instant()
        frame = session.due(now.elapsed)
        if frame is not None:
            self._watermark.pinged(now)
            # What came before the break is still to be read, and then the read raises the end.
            with suppress(NotConnected, WriteFailed):
                self._source.ping(frame, connection=self._connection)

    def _take_in(self, session: Session, bodies: list[bytes]) -> None:
        batch = ReadBatch(self._source.received_ms, self._config.events.ignore)
        session.heard(clock.elapsed())
        read = self._source.parse
        for body in bodies:
            frame = read(body)
            # Nearly all are plain events, which mean nothing to the session.
            if type(frame) is Event and frame.type not in _SPECIAL:
                batch.take(frame, body)
            else:
                self._take_special(session, batch, frame, body)
        watermark_ms = self._watermark_after(session, batch)
        for body in batch.channel_events:
            self._listener.channels_changed(body)
        if self._store(session, batch.events, watermark_ms):
            self._watermark.move(watermark_ms)
            self._source.accepted()
        else:
            batch.greeted = False
        self._pass_on(session, batch)

    def _watermark_after(self, session: Session, batch: ReadBatch) -> int | None:
        """Return the watermark that holds once this batch is in the spool."""
        if self._gave_up or (self._live_since is None and not batch.greeted):
            return self._watermark.ms
        return self._watermark.reach(session.caught_up_at, clock.instant())

    def _take_special(self, session: Session, batch: ReadBatch, frame: Frame, body: bytes) -> None:
        """Take in what may be more than an event, or none."""
        before = session.state
        session.received(frame, clock.elapsed())
        event: Frame | None = frame
        if isinstance(frame, Reply):
            batch.replies.append(frame)
            event = frame.event
        if isinstance(event, Event):
            batch.take(event, body)
        if isinstance(event, Event) and event.type == envelopes.LIMITED:
            batch.events.extend((batch.now_ms, one) for one in self._limited(body, batch.now_ms))
        if before is State.AWAITING_HELLO and session.state is State.LIVE:
            batch.greeted = True
            batch.events.extend((batch.now_ms, one) for one in self._greeting(batch.now_ms))

    def _greeting(self, now_ms: int) -> list[bytes]:
        """Make the pump's own events of a hello."""
        answer = self._signed_in
        hello = pump_events.connected(team=answer.team, bot=answer.bot, connection=self._connection)
        gap = self._watermark.gap(clock.instant(), now_ms)
        events = [hello, *(self._announced(gap, self._ended.reason) if gap else ())]
        return [event for event in events if self._is_wanted(event)]

    def _limited(self, frame: bytes, now_ms: int) -> list[bytes]:
        """Make the event of a gap, where Slack says that it drops events."""
        gap = envelopes.dropped(frame, now_ms)
        events = self._announced(gap, "rate_limited") if gap else []
        return [event for event in events if self._is_wanted(event)]

    def _announced(self, gap: TimeRange, reason: str) -> list[bytes]:
        """Tell the listener of a gap, and return the event for consumers."""
        self._metrics.gap(reason, *gap)
        self._listener.missed(*gap, self._signed_in.team, self._signed_in.bot)
        return [pump_events.gap(from_ms=gap.from_ms, to_ms=gap.to_ms, reason=reason)]

    def _announce_jump(self, session: Session) -> None:
        """Announce the last gap again, if the time of day has jumped since."""
        gap = self._watermark.gap_of_jump(clock.instant())
        if gap is None or self._live_since is None or self._gave_up:
            return
        _log.warning("clock.jumped", fix="let the clock be right before rtmpump starts")
        events = [one for one in self._announced(gap, "clock") if self._is_wanted(one)]
        self._store(session, [(_now_ms(), one) for one in events], self._watermark.ms)

    def _is_wanted(self, event: bytes) -> bool:
        """Return whether one of the pump's own events is not to be ignored."""
        frame, ignore = parse(event), self._config.events.ignore
        return isinstance(frame, Event) and not is_listed(frame.type, frame.subtype, ignore)

    def _pass_on(self, session: Session, batch: ReadBatch) -> None:
        """Call the listener, now that all of it is in the spool."""
        if batch.greeted:
            self._live_since = time.monotonic()
            self._metrics.link(LINK, True)
            where = f"team {self._signed_in.team}, bot {self._signed_in.bot}"
            self.lifecycle.listener.link_up(LINK, where)
            self._listener.connected(self._connection)
        for reply in batch.replies:
            self._listener.replied(reply)
        self._count(session, batch)

    def _count(self, session: Session, batch: ReadBatch) -> None:
        for type, count in batch.types.items():
            self._metrics.received(clean(type) or UNKNOWN, count)
        if batch.ignored:
            self._metrics.dropped("ignored", batch.ignored)
        if session.rtt is not None:
            self._metrics.slack_rtt(session.rtt)

    def _announce_disconnected(self, ended: Ended | None) -> None:
        self._listener.disconnected()
        self._ended = ended or Ended("stopped", "the pump was stopped", at_once=True)
        event = pump_events.disconnected(self._ended.reason, self._ended.detail)
        if self._is_wanted(event):
            self._store(None, [(_now_ms(), event)], self._watermark.ms)

    def _close_in_order(self, session: Session) -> None:
        """Say goodbye, and take in what Slack sends until it answers."""
        self._source.say_goodbye()
        until, is_open = time.monotonic() + _CLOSING, True
        # Nothing may be stored after events that were given up: it would hide the gap.
        while is_open and (left := until - time.monotonic()) > 0 and not self._gave_up:
            is_open = self._turn(session, left)

    def _store(
        self, session: Session | None, items: list[tuple[int, bytes]], watermark_ms: int | None
    ) -> bool:
        """Put events into the spool and all of it on the disk, however long that takes.

        Return False if a stop came first.
        """
        refusals, unstored = 0, len(items)
        while True:
            try:
                if unstored:
                    self._append(session, items, watermark_ms)
                    unstored = 0
                self._spool.sync()
                break
            except (SpoolFull, SpoolFailed) as refused:
                if self._stop.is_set():
                    self._give_up(refused, unstored)
                    return False
                if not refusals:
                    # No reply is read while nothing is: each command would seem unanswered.
                    self._listener.disconnected()
                refusals += 1
                self._pause(session, refused)
        if refusals and session is not None:
            # The last try may have been slow too, and what Slack sent in that time is unread.
            session.paused(clock.elapsed())
        if refusals or items:
            self._accepted(session, refusals)
        return True

    def _append(
        self, session: Session | None, items: list[tuple[int, bytes]], watermark_ms: int | None
    ) -> None:
        appended = self._spool.append(
            items,
            team=self._signed_in.team,
            bot=self._signed_in.bot,
            watermark_ms=watermark_ms,
            source=self._source.name,
        )
        # Before the disk and the acknowledgements: Slack waits seconds for those, people for it.
        self._listener.stored()
        if appended.dropped is not None:
            self._announce_dropped(session, appended.dropped)

    def _give_up(self, refused: SpoolFull | SpoolFailed, unstored: int) -> None:
        """End without the acknowledgement: what is in the spool comes again, the rest is a gap."""
        problem = str(refused)
        if unstored:
            self._gave_up = True
            self._metrics.dropped("not_stored", unstored)
            _log.error("events.not_stored", count=unstored, problem=problem)
        else:
            _log.error("events.not_synced", problem=problem)

    def _pause(self, session: Session | None, refused: SpoolFull | SpoolFailed) -> None:
        """Log the refusal once, and wait until it is worth another try."""
        is_full = isinstance(refused, SpoolFull)
        unwritten = f"the spool {refused.path} can't be written: {refused.problem}"
        self.lifecycle.halt(FULL if is_full else "disk", unwritten)
        self._metrics.spool_refuses(FULL if is_full else "disk")
        self._refused_at = time.monotonic()
        if refused.problem != self._refusing:
            self._refusing = refused.problem
            _log.error("spool.refuses", problem=str(refused))
        if is_full:
            self._spool.wait_room(_FULL_PAUSE)
        else:
            self._stop.wait(_DISK_PAUSE)
        self.lifecycle.progress()
        self._source.give_answers()
        if session is not None:
            session.paused(clock.elapsed())
            self._ping_if_due(session)

    def _accepted(self, session: Session | None, refusals: int) -> None:
        """Go on."""
        self.lifecycle.go_on()
        self._metrics.spool_refuses("")
        if (
            refusals
            and session is not None
            and session.ended is None
            and self._live_since is not None
        ):
            self._listener.connected(self._connection)

    def _announce_dropped(self, session: Session | None, dropped: Dropped) -> None:
        """Announce the gap where `when_full = "drop_oldest"` gave up accepted events."""
        self._metrics.dropped("spool_full", dropped.count)
        _log.warning("spool.dropped_oldest", count=dropped.count)
        self._metrics.gap(FULL, dropped.from_ms, dropped.to_ms)
        event = pump_events.gap(from_ms=dropped.from_ms, to_ms=dropped.to_ms, reason="spool_full")
        if self._is_wanted(event):
            self._store(session, [(_now_ms(), event)], self._watermark.ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
