"""rtmpump.core.session: the states of one RTM connection, and the dead peer found in time.

The clock is a number that the test moves; times that are sums of quarters are exact.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from rtmpump.core import frames
from rtmpump.core.frames import Error, Event, Goodbye, Hello, Pong, Reply
from rtmpump.core.session import TABLE, Ended, MessageIds, Session, Signal, State, after

HELLO_TIMEOUT, INTERVAL, TIMEOUT, LEAVE = 15.0, 15.0, 10.0, 1.0

HELLO = Hello("hello", "")
GOODBYE = Goodbye("goodbye", "")
MIGRATION = Event("team_migration_started", "")
EXPIRED = Error("error", "", 1, "Socket URL has expired")
BROKEN = Error("error", "", 5, "no")
MESSAGE = Event("message", "")


def new(now: float = 0.0) -> Session:
    """A connection that waits for hello."""
    return Session(
        now,
        hello_timeout=HELLO_TIMEOUT,
        ping_interval=INTERVAL,
        ping_timeout=TIMEOUT,
        ids=MessageIds(),
        leave_after=LEAVE,
    )


def live(now: float = 0.0) -> Session:
    """A connection that has had its hello."""
    session = new(now)
    session.received(HELLO, now)
    return session


def ping_id(frame: bytes | None) -> int:
    """The id of the ping that must have been given."""
    assert frame is not None
    told = json.loads(frame)
    assert told["type"] == "ping"
    id = told["id"]
    assert isinstance(id, int)
    return id


def run(session: Session, now: float, until: float) -> float:
    """Call `due` whenever `wait` says so, as the reader does; give the time of the last call."""
    while session.ended is None and now + session.wait(now) <= until:
        now += session.wait(now)
        session.due(now)
    return now


# --- the table


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("signal", list(Signal)[:5])
def test_nothing_that_a_peer_does_is_missing_in_the_table(state: State, signal: Signal) -> None:
    """Hello, error, goodbye, migration and close have an answer in every state."""
    assert after(state, signal) is TABLE[state, signal]


@pytest.mark.parametrize(
    ("state", "signal"),
    [(state, signal) for state in State for signal in Signal if (state, signal) not in TABLE],
)
def test_an_unknown_pair_raises_and_changes_nothing(state: State, signal: Signal) -> None:
    """What can't happen is a fault of ours: the error has both names, and the state stays."""
    with pytest.raises(ValueError, match=f"{signal.name} .* {state.name}"):
        after(state, signal)
    session = new()
    session.state = state
    with pytest.raises(ValueError, match="can't happen"):
        session._end(signal, Ended("reason", "", at_once=False))
    assert session.state is state
    assert session.ended is None


def test_some_pairs_are_unknown() -> None:
    """The test above has cases: our own clock can't end what it already ended."""
    assert (State.ENDED, Signal.SILENT) not in TABLE
    assert (State.LIVE, Signal.NO_HELLO) not in TABLE


def test_an_end_is_for_ever() -> None:
    """No signal leads out of ENDED."""
    assert {to for (state, _), to in TABLE.items() if state is State.ENDED} == {State.ENDED}


# --- hello


def test_a_session_waits_for_hello_and_then_lives() -> None:
    """Only hello makes a connection LIVE."""
    session = new()
    states = [session.state]
    session.received(MESSAGE, 1.0)
    session.received(Reply(4, True, "1.000000", "", "", None), 1.0)
    states.append(session.state)
    session.received(HELLO, 2.0)
    states.append(session.state)
    assert states == [State.AWAITING_HELLO, State.AWAITING_HELLO, State.LIVE]
    assert session.ended is None


def test_no_hello_within_its_timeout_ends_the_session() -> None:
    """The end comes at `hello_timeout`, not before, and other frames don't put it off."""
    session = new()
    session.received(MESSAGE, 14.0)
    assert session.due(14.75) is None
    assert session.ended is None
    assert session.wait(14.75) == 0.25
    assert session.due(15.0) is None
    assert session.state is State.ENDED
    assert session.ended == Ended("no_hello", "no hello within 15 s", at_once=False)


def test_no_ping_is_sent_before_hello() -> None:
    """Ping waits for hello."""
    session = new()
    assert session.due(14.0) is None
    assert session.state is State.AWAITING_HELLO


def test_an_expired_url_wants_a_new_one_at_once() -> None:
    """Error 1 instead of hello: the URL has expired, the next try needs no wait."""
    session = new()
    session.received(EXPIRED, 1.0)
    assert session.state is State.ENDED
    assert session.ended is not None
    assert (session.ended.reason, session.ended.at_once) == ("expired_url", True)
    assert "error 1: Socket URL has expired" in session.ended.detail


def test_the_documented_error_frame_is_an_expired_url() -> None:
    """The bytes as Slack sends them, also with `source` inside, end the session as they should."""
    for body in (
        b'{"type":"error","error":{"code":1,"msg":"Socket URL has expired"}}',
        b'{"type":"error","error":{"msg":"Socket URL has expired","code":1,"source":"x"}}',
    ):
        session = new()
        session.received(frames.parse(body), 1.0)
        assert session.ended is not None
        assert session.ended.reason == "expired_url"


def test_another_error_before_hello_ends_with_a_wait() -> None:
    """An error of another code ends the connection too, but not with a new try at once."""
    session = new()
    session.received(BROKEN, 1.0)
    assert session.ended is not None
    assert (session.ended.reason, session.ended.at_once) == ("error", False)
    assert "error 5: no" in session.ended.detail


@pytest.mark.parametrize("error", [EXPIRED, BROKEN])
def test_an_error_on_a_live_connection_is_only_an_event(error: Error) -> None:
    """After hello no error ends the session."""
    session = live()
    session.received(error, 1.0)
    assert session.state is State.LIVE
    assert session.ended is None


def test_an_error_that_answers_a_command_is_none_of_the_connection() -> None:
    """A late reply with type error, the first frame after a reconnect, ends nothing."""
    session = new()
    session.received(Reply(4, False, "", "2", "message text is missing", BROKEN), 1.0)
    assert session.state is State.AWAITING_HELLO


# --- goodbye, migration, close


@pytest.mark.parametrize(("frame", "reason"), [(GOODBYE, "goodbye"), (MIGRATION, "migration")])
@pytest.mark.parametrize("start", [new, live])
def test_a_leaving_peer_has_a_moment_to_close(frame: Event, reason: str, start: type) -> None:
    """After goodbye or a migration the session ends `leave_after` later, and tries anew at once."""
    session: Session = start()
    session.received(frame, 3.0)
    assert session.state is State.LEAVING
    assert session.wait(3.0) == LEAVE
    assert session.due(3.75) is None
    assert session.ended is None
    session.due(4.0)
    assert session.ended is not None
    assert (session.ended.reason, session.ended.at_once) == (reason, True)


@pytest.mark.parametrize(("frame", "reason"), [(GOODBYE, "goodbye"), (MIGRATION, "migration")])
def test_a_close_after_goodbye_has_the_reason_of_the_goodbye(frame: Event, reason: str) -> None:
    """The close that follows a goodbye is not a fault of its own."""
    session = live()
    session.received(frame, 3.0)
    session.closed("reset", "connection reset by peer", 3.25)
    assert session.ended is not None
    assert (session.ended.reason, session.ended.at_once) == (reason, True)


def test_the_first_reason_to_leave_stays() -> None:
    """A goodbye after a migration neither changes the reason nor starts the moment anew."""
    session = live()
    session.received(MIGRATION, 3.0)
    session.received(GOODBYE, 3.5)
    session.received(HELLO, 3.5)
    session.received(BROKEN, 3.5)
    assert session.state is State.LEAVING
    session.due(4.0)
    assert session.ended is not None
    assert session.ended.reason == "migration"


@pytest.mark.parametrize("start", [new, live])
def test_a_close_ends_with_its_own_reason_and_a_new_try_at_once(start: type) -> None:
    """A cut has the reason that the caller saw."""
    session: Session = start()
    session.closed("reset", "connection reset by peer", 5.0)
    assert session.state is State.ENDED
    assert session.ended == Ended("reset", "connection reset by peer", at_once=True)


def test_a_session_ends_once() -> None:
    """What comes after the end (the rest of a batch, the close) changes nothing."""
    session = new()
    session.received(EXPIRED, 1.0)
    why = session.ended
    for frame in (HELLO, GOODBYE, MIGRATION, BROKEN, MESSAGE, Pong(3)):
        session.received(frame, 1.0)
    session.closed("reset", "", 1.0)
    session.paused(1.0)
    session.heard(1.0)
    assert session.due(1_000.0) is None
    assert session.wait(1_000.0) == 0.0
    assert session.state is State.ENDED
    assert session.ended is why


# --- ping


def test_a_ping_is_due_an_interval_after_hello_and_after_each_ping() -> None:
    """Pings go out every `ping_interval`, each with an id of its own, answered or not."""
    session = live(2.0)
    assert session.wait(2.0) == INTERVAL
    assert session.due(16.75) is None
    first = ping_id(session.due(17.0))
    assert session.due(17.0) is None
    session.received(MESSAGE, 18.0)
    assert session.due(31.75) is None
    assert ping_id(session.due(32.0)) > first


def test_a_second_hello_does_not_put_off_the_ping() -> None:
    """A peer that says hello again and again is pinged all the same."""
    session = live()
    session.received(HELLO, 14.0)
    ping_id(session.due(15.0))


def test_a_late_caller_sends_one_ping_not_many() -> None:
    """After a long stop of ours the pings missed are not made up for."""
    session = live()
    ping_id(session.due(100.0))
    assert session.due(100.0) is None
    assert session.ended is None


def test_the_pong_tells_the_round_trip_time() -> None:
    """`rtt` is None until the first pong, then the seconds from the last ping to its pong."""
    session = live()
    assert session.rtt is None
    id = ping_id(session.due(15.0))
    session.received(Pong(id + 1), 15.25)
    assert session.rtt is None
    session.received(Pong(id), 15.5)
    assert session.rtt == 0.5
    session.received(Pong(id), 20.0)
    assert session.rtt == 0.5


def test_the_pong_tells_what_has_come() -> None:
    """All that the peer had sent when it was pinged; nothing else says that."""
    session = live()
    session.received(MESSAGE, 1.0)
    assert session.caught_up_at is None
    id = ping_id(session.due(15.0))
    session.received(MESSAGE, 15.1)
    assert session.caught_up_at is None
    session.received(Pong(id), 15.5)
    assert session.caught_up_at == 15.0


def test_silence_after_a_ping_is_a_dead_peer() -> None:
    """Nothing heard for `ping_timeout` after a ping: ended, with a new try at once."""
    session = live()
    ping_id(session.due(15.0))
    assert session.wait(15.0) == TIMEOUT
    assert session.due(24.75) is None
    assert session.ended is None
    assert session.due(25.0) is None
    assert session.state is State.ENDED
    assert session.ended is not None
    assert (session.ended.reason, session.ended.at_once) == ("silent", True)


@pytest.mark.parametrize("sign", ["frame", "bytes"])
def test_any_sign_of_life_answers_a_ping(sign: str) -> None:
    """A frame of any kind will do, or bytes that are no frame yet; it need not be the pong."""
    session = live()
    session.due(15.0)
    if sign == "frame":
        session.received(MESSAGE, 24.75)
    else:
        session.heard(24.75)
    assert session.due(25.0) is None
    assert session.ended is None


def test_more_pings_give_a_dead_peer_no_respite() -> None:
    """With a timeout above the interval the time counts from the first ping left unanswered."""
    session = Session(0.0, hello_timeout=5.0, ping_interval=2.0, ping_timeout=7.0, ids=MessageIds())
    session.received(HELLO, 0.0)
    assert run(session, 0.0, 100.0) == 9.0
    assert session.ended is not None
    assert session.ended.reason == "silent"


def test_wait_is_never_negative() -> None:
    """For a caller that comes late the wait is 0."""
    assert live().wait(1_000.0) == 0.0
    assert new().wait(1_000.0) == 0.0


# --- pause


def test_a_pause_of_ours_is_not_silence_of_the_peer() -> None:
    """While we can't read, the answer to a ping waits unread: its time counts from the pause."""
    session = live()
    session.due(15.0)
    for now in (20.0, 24.0, 33.0, 60.0):
        session.paused(now)
        session.due(now)
    assert session.due(69.75) is None
    assert session.ended is None
    session.due(70.0)
    assert session.ended is not None
    assert session.ended.reason == "silent"


def test_a_peer_that_stays_silent_after_a_pause_is_dead() -> None:
    """As long after it as after a ping."""
    session = live()
    session.due(15.0)
    session.paused(20.0)
    assert session.due(29.75) is None
    assert session.ended is None
    assert session.wait(29.75) == 0.25
    session.due(30.0)
    assert session.ended is not None


def test_a_pause_puts_off_hello_and_leaving_too() -> None:
    """Hello, or the last events before the close, may wait unread as well."""
    waiting, leaving = new(), live()
    leaving.received(GOODBYE, 0.0)
    for session, limit in ((waiting, HELLO_TIMEOUT), (leaving, LEAVE)):
        session.paused(100.0)
        session.due(100.0)
        assert session.ended is None
        assert session.wait(100.0) == limit
        session.due(100.0 + limit)
        assert session.state is State.ENDED


def test_a_pause_does_not_hold_back_the_ping() -> None:
    """Writing goes on in a pause, so that the peer sees that we live."""
    session = live()
    session.paused(15.0)
    ping_id(session.due(15.0))


# --- ids


def test_ids_are_unique_and_rise_over_many_threads() -> None:
    """Four threads that take 2,000 ids each get 8,000 different ones, each in rising order."""
    ids = MessageIds()
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: [ids.next() for _ in range(2_000)], range(4)))
    assert all(part == sorted(part) for part in taken)
    assert len({id for part in taken for id in part}) == 8_000


def test_ids_start_at_random_and_are_positive() -> None:
    """Two processes hardly start with the same id; none is zero or below."""
    starts = {MessageIds().next() for _ in range(50)}
    assert len(starts) > 40
    assert all(1 <= start <= 2**30 for start in starts)


# --- all of it, against a simple model


quarters = st.integers(0, 400).map(lambda count: count / 4)


class APeer(RuleBasedStateMachine):
    """A peer that lives and then may fall silent; its reader calls when `wait` says so.

    The model knows two things only: when a sign of life (or a pause of ours) was last seen, and
    the pings that a living peer has yet to answer. Silence must be found within `bound`, and never
    while the peer answers each ping within `timeout`.
    """

    spans = st.integers(1, 80).map(lambda count: count / 4)

    @initialize(interval=spans, timeout=spans, start=quarters)
    def connect(self, interval: float, timeout: float, start: float) -> None:
        """A connection that has had its hello."""
        self.now = self.last_sign = start
        self.timeout = timeout
        self.bound = interval + timeout
        self.alive = True
        self.answer_by: float | None = None
        self.ids: list[int] = []
        self.session = Session(
            start,
            hello_timeout=HELLO_TIMEOUT,
            ping_interval=interval,
            ping_timeout=timeout,
            ids=MessageIds(),
        )
        self.session.received(HELLO, start)

    @precondition(lambda self: not self.on())
    @rule(interval=spans, timeout=spans)
    def connects_anew(self, interval: float, timeout: float) -> None:
        """The next connection begins when the one before it has ended."""
        self.connect(interval, timeout, self.now)

    def on(self) -> bool:
        """Whether the session goes on."""
        return self.session.ended is None

    def sign(self) -> None:
        """A sign of life answers every ping."""
        self.last_sign = self.now
        self.answer_by = None

    def call_due(self) -> None:
        """Do what the reader does when the time has come."""
        frame = self.session.due(self.now)
        if frame is not None:
            self.ids.append(ping_id(frame))
            self.answer_by = self.answer_by or self.now + self.timeout

    @precondition(lambda self: self.on() and self.alive)
    @rule(frame=st.sampled_from([MESSAGE, HELLO, BROKEN, Reply(1, True, "", "", "", None), None]))
    def speaks(self, frame: Event | None) -> None:
        """A living peer sends a frame, or bytes."""
        if frame is None:
            self.session.heard(self.now)
        else:
            self.session.received(frame, self.now)
        self.sign()

    @precondition(lambda self: self.on() and self.alive and self.ids)
    @rule()
    def answers(self) -> None:
        """A living peer answers the last ping."""
        self.session.received(Pong(self.ids[-1]), self.now)
        assert self.session.rtt is not None
        assert self.session.rtt >= 0
        self.sign()

    @precondition(lambda self: self.on())
    @rule()
    def pauses(self) -> None:
        """We can't read: the time of an unanswered ping starts anew."""
        self.session.paused(self.now)
        self.last_sign = self.now
        if self.answer_by is not None:
            self.answer_by = self.now + self.timeout

    @precondition(lambda self: self.on())
    @rule()
    def dies(self) -> None:
        """The peer says nothing from now on."""
        self.alive = False

    @precondition(lambda self: self.on())
    @rule(step=quarters)
    def time_passes(self, step: float) -> None:
        """The clock moves to the next thing to do at most; a living peer answers at the last."""
        wait = self.session.wait(self.now)
        assert wait >= 0
        self.now += min(step, wait)
        if self.alive and self.answer_by is not None and self.now >= self.answer_by:
            self.answers()
        self.call_due()

    @precondition(lambda self: self.on() and not self.alive)
    @rule()
    def waits_for_the_end(self) -> None:
        """A reader that calls only when `wait` says so finds the dead peer, in few calls."""
        for _ in range(200):
            if not self.on():
                return
            self.now += self.session.wait(self.now)
            self.call_due()
        raise AssertionError("the dead peer was never found")

    @invariant()
    def a_live_peer_is_never_called_dead(self) -> None:
        """While the peer lives the session does."""
        assert self.on() or not self.alive

    @invariant()
    def a_dead_peer_is_found_in_time(self) -> None:
        """The session is over, at the latest, when `bound` has passed since the last sign."""
        if self.on():
            assert self.now < self.last_sign + self.bound
        else:
            assert self.session.ended is not None
            assert self.session.ended.reason == "silent"
            assert self.now <= self.last_sign + self.bound


APeer.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAPeer = pytest.mark.slow(APeer.TestCase)
