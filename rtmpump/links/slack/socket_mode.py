"""Socket Mode as a source of events: several connections that look like one.

Laws:

- One thread reads all connections and writes to them. `wake` alone is for others; and the thread
  that brings an answer writes it.
- To the reader there is one connection, which lasts as long as any of ours does; so a gap is
  announced only if none was up. If Slack announces the end of a connection, or it ends, another one
  is opened beside it; the old one is closed only when the new one has said hello.
- An envelope is acknowledged after `accepted` (it is on the disk), never before, and on the
  connection on which it came. If that has ended by then, Slack sends the event again.
- An envelope that asks consumers (`slack.answered`) is acknowledged with their answer, or without
  one when its time is over; no other envelope waits for it.
- A repeat of what was accepted is acknowledged at once, and `read` does not give it.
- The pong to a reader's ping says that all has come that Slack sent before it. So `read` gives it
  when each connection that serves has answered, or has ended while others were up (Slack then sends
  again on those).

Slack's documentation: https://docs.slack.dev/apis/events-api/using-socket-mode. Slack allows ten
connections of one app, and sends each event to any one of them.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from rtmpump import log
from rtmpump.config import Slack
from rtmpump.core import envelopes
from rtmpump.core.envelopes import Disconnect, Envelope
from rtmpump.core.frames import Event, Frame, Goodbye, Hello, Pong
from rtmpump.core.recent_ids import RecentIds
from rtmpump.core.session import MessageIds, Session, Signal, State
from rtmpump.errors import LinkError, NotConnected, TokenRefused, WriteFailed
from rtmpump.links.slack.asking import Asking
from rtmpump.links.slack.connection_orders import ConnectionOrders
from rtmpump.links.slack.event_source import new_session
from rtmpump.links.slack.web_api import SignIn, SlackApi
from rtmpump.links.slack.websocket import SlackConnection

RECENT_IDS: Final = 32_768
"""Slack's last retry comes six minutes after the first try: enough for 90 events a second."""

_LINK: Final = "slack"
# Slack says "warning" some ten seconds before the end, and ends the connection itself.
_LEAVE_AFTER: Final = 60.0
# A connection that was sent away is not asked for again before one of these, while others are up.
_ALIEN_STAYS: Final = 60.0
_ROOM_COMES: Final = 0.5
_LONGEST_POLL: Final = 5.0
_CLOSING: Final = 1.0
_CROWDED: Final = "too_many_websockets"
# One connection that answers shows that Slack lives; on others events may still be on their way.
_SIGN_OF_LIFE: Final = b'{"type":"pong"}'
_DISABLED_FIX: Final = "switch Socket Mode on again on the app's page, under Settings"

_log = log.get("socket_mode")


class SocketMode:
    """The EventSource of Socket Mode; `orders` brings the connections after the first.

    `asking` is where consumers answer; `recent_ids`: how many accepted events are remembered, to
    recognize repeats.
    """

    name = envelopes.SOURCE

    def __init__(
        self,
        slack: Slack,
        api: SlackApi,
        ids: MessageIds,
        orders: ConnectionOrders,
        *,
        asking: Asking[Any] | None = None,
        recent_ids: int = RECENT_IDS,
    ) -> None:
        self._slack = slack
        self._api = api
        self._ids = ids
        self._orders = orders
        self._recent = RecentIds(recent_ids)
        self._asking: Asking[_Member] = Asking() if asking is None else asking
        self._asking.write = self._acknowledge
        self._members: list[_Member] = []
        self._unacknowledged: list[tuple[_Member, Envelope]] = []
        self._fresh: dict[str, None] = {}
        self._opened: dict[bytes, Event] = {}
        self._ping: _Ping | None = None
        self._number = 0
        self._made = 0
        self._greeted = False
        self._ended: LinkError | None = None
        self._not_before = 0.0
        self.received_ms = 0
        self.heard = False

    @property
    def connections(self) -> int:
        """How many connections have said hello and are not about to end."""
        return sum(member.session.state is State.LIVE for member in self._members)

    def remember(self, frames: Iterable[bytes]) -> None:
        """Take these frames for accepted: the spool still holds them after a restart."""
        opened = map(envelopes.read, frames)
        self._recent.add(one.identity for one in opened if one is not None)

    def sign_in(self) -> SignIn:
        """Call auth.test and apps.connections.open; see `EventSource.sign_in`."""
        return self._api.sign_in()

    def new_session(self, now: float) -> Session:
        """See `EventSource.new_session`."""
        return new_session(now, self._slack, self._ids)

    def open(self, url: str) -> int:
        """Connect to a URL of apps.connections.open, and order the other connections.

        Raises:
            LinkError: see `SlackConnection.open`.
        """
        self.close()
        first = SlackConnection.open(url, self._slack)
        self._number += 1
        self._greeted, self._ended, self._not_before = False, None, 0.0
        self._ping = None
        self._asking.is_closing = False
        self._orders.open()
        self._admit(first)
        return self._number

    def read(self, wait: float) -> list[bytes]:
        """Give the frames that are ready, without the repeats; see `EventSource.read`.

        What was given before and not `accepted` is forgotten, so that Slack sends it again.

        Raises:
            LinkError: the last connection has ended.
            TokenRefused: Socket Mode was switched off for the app.
        """
        for _, envelope in self._unacknowledged:
            self._asking.forget(envelope)
        self._unacknowledged, self._fresh, self._opened = [], {}, {}
        self.heard = False
        self.give_answers()
        self._take_arrivals()
        bodies = self._gather()
        if not (bodies or any(member.connection.left for member in self._members)):
            self._poll(min(wait, self._next_duty()))
            self._take_arrivals()
            self.give_answers()
            bodies = self._gather()
        self._look_after_all()
        bodies += self._answer_of_all()
        if not self._members and not bodies:
            raise self._ended or LinkError(_LINK, "closed", "no connection is open", at_once=True)
        return bodies

    def parse(self, body: bytes) -> Frame:
        """See `EventSource.parse`; an envelope that `read` gave last was opened there."""
        return self._opened.get(body) or envelopes.parse_frame(body)

    def accepted(self) -> None:
        """Remember what the last `read` gave, and acknowledge it: it is on the disk."""
        self._recent.add(self._fresh)
        for member, envelope in self._unacknowledged:
            if not self._asking.keeps(member, envelope):
                self._acknowledge(member, envelope)
        self._unacknowledged, self._fresh = [], {}

    def ping(self, frame: bytes, *, connection: int) -> None:
        """Write a ping on every connection; `read` gives the answer of all as RTM's pong.

        Raises:
            NotConnected: all connections of that number are over.
        """
        if connection != self._number or not self._members:
            raise NotConnected(_LINK, "not_connected", f"connection {connection} is over")
        self._ping = ping = _Ping(envelopes.ping_id(frame) or 0)
        for member in self._members:
            if member.session.state is State.LIVE or member.is_leaving:
                with suppress(NotConnected, WriteFailed):
                    member.connection.ping(frame)
                    ping.unanswered.add(member)

    def say_goodbye(self) -> None:
        """Begin the end of each connection; `read` goes on until Slack's answers."""
        self._orders.close()
        self._asking.is_closing = True
        self.give_answers()
        self._free()
        for member in list(self._members):
            member.connection.say_goodbye()

    def wake(self) -> None:
        """Make a `read` that waits return soon. From any thread."""
        self._orders.waker.wake()

    def close(self) -> None:
        """End and free all connections; those on order are closed when they are delivered."""
        self._orders.close()
        members, self._members = self._members, []
        for one in (*self._orders.take(), *(member.connection for member in members)):
            one.close()

    # The connections that come.

    def _take_arrivals(self) -> None:
        for arrival in self._orders.take():
            if len(self._staying()) < self._slack.connections:
                self._admit(arrival)
            else:
                arrival.close()

    def _admit(self, connection: SlackConnection) -> None:
        now = time.monotonic()
        self._made += 1
        session = new_session(now, self._slack, self._ids, leave_after=_LEAVE_AFTER)
        self._members.append(_Member(self._made, connection, session))

    def _staying(self) -> list[_Member]:
        """Return the connections that serve, or will after their hello."""
        staying = (State.AWAITING_HELLO, State.LIVE)
        return [member for member in self._members if member.session.state in staying]

    def _order_missing(self, now: float) -> None:
        wanted = self._slack.connections - len(self._staying())
        if wanted > 0 and now >= self._not_before:
            self._orders.order(wanted - self._orders.pending)

    # What they bring.

    def _gather(self) -> list[bytes]:
        bodies: list[bytes] = []
        received = time.time_ns() // 1_000_000
        for member in self._members:
            now = time.monotonic()
            if member.session.ended is not None:
                continue
            try:
                frames = member.connection.read(0)
            except LinkError as end:
                member.session.closed(end.reason, end.detail, now)
                continue
            received = min(received, member.connection.received_ms)
            if member.connection.heard:
                self.heard = True
                member.session.heard(now)
            for frame in frames:
                self._take(member, frame, bodies)
            bodies += self._take_pongs(member, now)
        self.received_ms = received
        return bodies

    def _take(self, member: _Member, frame: bytes, bodies: list[bytes]) -> None:
        envelope = envelopes.read(frame)
        if envelope is None:
            self._take_control(member, frame, bodies)
        elif envelope.identity in self._recent:
            if not self._asking.keeps(member, envelope):
                self._acknowledge(member, envelope)
            _log.debug("event.repeated", envelope=envelope.id[:80])
        else:
            self._unacknowledged.append((member, envelope))
            if envelope.identity not in self._fresh:
                self._fresh[envelope.identity] = None
                self._opened[frame] = envelopes.as_event(envelope)
                self._asking.take(member, envelope, member.connection.received_ms)
                bodies.append(frame)

    def _take_control(self, member: _Member, frame: bytes, bodies: list[bytes]) -> None:
        now, seen = time.monotonic(), envelopes.control(frame)
        if isinstance(seen, Hello):
            member.session.received(seen, now)
            _log.info("connection.opened", connection=member.number)
            if not self._greeted:
                self._greeted = True
                bodies.append(frame)
        elif isinstance(seen, Disconnect):
            self._leave(member, seen.reason, now)
        else:
            bodies.append(frame)

    def _take_pongs(self, member: _Member, now: float) -> list[bytes]:
        """Take the answers to the reader's pings and to our own; each is a sign of life."""
        bodies: list[bytes] = []
        ping = self._ping
        for payload in member.connection.pongs:
            id = envelopes.ping_id(payload)
            if id is not None:
                member.session.received(Pong(id), now)
                bodies.append(_SIGN_OF_LIFE)
                if ping is not None and id == ping.id:
                    ping.is_answered = True
                    ping.unanswered.discard(member)
        return bodies

    def _answer_of_all(self) -> list[bytes]:
        """Return the pong to the reader's last ping, once, when no connection lags any more."""
        ping = self._ping
        if ping is None or ping.unanswered or not ping.is_answered:
            return []
        self._ping = None
        return [b'{"type":"pong","reply_to":%d}' % ping.id]

    def _leave(self, member: _Member, reason: str, now: float) -> None:
        """Take in that Slack announced the end of this connection."""
        _log.info("connection.leaves", connection=member.number, reason=reason)
        member.why = reason
        member.session.received(Goodbye("disconnect", ""), now)
        if reason == "link_disabled":
            raise TokenRefused("link_disabled", _DISABLED_FIX)
        if reason == _CROWDED:
            self._make_room(now)

    def _make_room(self, now: float) -> None:
        """Give up a connection that leaves anyway, but never the last: Slack takes no more."""
        leaving = [member for member in self._members if member.is_leaving]
        # If none leaves, another program holds connections of this app: a new try would not help.
        self._not_before = now + (_ROOM_COMES if leaving else _ALIEN_STAYS)
        if leaving and self.connections + len(leaving) > 1:
            self._free(leaving[0])
            leaving[0].retire(now)

    def give_answers(self) -> None:
        """Acknowledge what was answered, or whose time is over; see `EventSource.give_answers`."""
        for due in self._asking.due():
            is_written = self._acknowledge(due.member, due.envelope, due.payload)
            self._asking.ended(due, is_written=is_written)

    def _free(self, member: _Member | None = None) -> None:
        """Acknowledge without an answer what waits on a connection (or any) that ends."""
        for due in self._asking.free(member):
            is_written = self._acknowledge(due.member, due.envelope)
            self._asking.ended(due, is_written=is_written)

    def _acknowledge(
        self, member: _Member, envelope: Envelope, payload: bytes | None = None
    ) -> bool:
        """Acknowledge, with `slash_answer` for None; return whether it was written. Any thread."""
        if payload is None:
            text = self._slack.slash_answer if envelope.kind == "slash_commands" else ""
            payload = envelopes.text_answer(text) if envelope.takes_answer else b""
        frame = envelopes.acknowledgement(envelope.id, payload)
        if not member.connection.is_writable:
            return False
        try:
            member.connection.send(frame)
        except (NotConnected, WriteFailed):
            # The next read finds out too, and Slack sends the event again.
            return False
        return True

    # What is due.

    def _next_duty(self) -> float:
        now = time.monotonic()
        duty = min((member.wait(now) for member in self._members), default=0.0)
        return min(duty, self._asking.wait(now))

    def _look_after_all(self) -> None:
        now = time.monotonic()
        for member in list(self._members):
            self._look_after(member, now)
        if self.connections >= self._slack.connections:
            for member in self._members:
                if member.is_leaving and not self._asking.waits_on(member):
                    member.retire(now)
        self._order_missing(now)

    def _look_after(self, member: _Member, now: float) -> None:
        ping = member.due(now)
        if ping is not None:
            with suppress(NotConnected, WriteFailed):
                member.connection.ping(ping)
        ended = member.session.ended
        if ended is None:
            return
        reason, held = member.why or ended.reason, now - member.since
        self._ended = LinkError(_LINK, reason, ended.detail, at_once=ended.at_once, held=held)
        self._members.remove(member)
        if ended.reason == Signal.GOODBYE.value:
            member.connection.say_goodbye()
        member.connection.close()
        if self._members:
            if self._ping is not None:
                self._ping.unanswered.discard(member)
            _log.info("connection.ended", connection=member.number, reason=reason)

    def _poll(self, wait: float) -> None:
        """Wait until a connection has something, or for a wake."""
        poll, waker = select.poll(), self._orders.waker
        poll.register(waker, select.POLLIN)
        for member in self._members:
            poll.register(*member.connection.interest)
        ready = poll.poll(math.ceil(min(max(wait, 0.0), _LONGEST_POLL) * 1000))
        if any(fd == waker.fileno() for fd, _ in ready):
            waker.clear()


class _Ping:
    """A ping of the reader, and the connections that have not answered it."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.unanswered: set[_Member] = set()
        self.is_answered = False


class _Member:
    """One connection, from the upgrade to its end."""

    def __init__(self, number: int, connection: SlackConnection, session: Session) -> None:
        self.number = number
        self.connection = connection
        self.session = session
        self.since = time.monotonic()
        self.why = ""
        self._over_at: float | None = None

    def wait(self, now: float) -> float:
        """Return the seconds until `due` has something to do."""
        wait = self.session.wait(now)
        return wait if self._over_at is None else min(wait, max(0.0, self._over_at - now))

    def due(self, now: float) -> bytes | None:
        """Return the ping that must be written now, if any; end the connection if it is time."""
        if self._over_at is not None and now >= self._over_at:
            self.session.closed("closed", "it was replaced", now)
        return self.session.due(now)

    @property
    def is_leaving(self) -> bool:
        """Whether it still serves, and Slack said that it will end."""
        is_whole = self._over_at is None and self.why != _CROWDED
        return is_whole and self.session.state is State.LEAVING

    def retire(self, now: float) -> None:
        """Begin to close it in order."""
        self._over_at = now + _CLOSING
        self.connection.say_goodbye()
