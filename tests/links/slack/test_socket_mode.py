"""Facts about the connections of Socket Mode that look like one, against a real workspace.

Laws:

- An event is acknowledged when it was `accepted`, on the connection on which it came, not before.
- What was given and not accepted is forgotten and comes again. A repeat of what was accepted is
  acknowledged and not given again, also after a restart (`remember`).
- To the reader there is one connection: one number, one hello, one end, the last one's.
- A connection that leaves serves until its replacement has said hello, and is closed then. What
  Slack sends away as one too many costs no connection that serves.
- The pong of a reader's ping says that all has come that Slack sent before: it is given when each
  connection that serves has answered, or has ended while others are there. An answer of one is a
  sign of life till then.
- What comes after the end is closed, and a read that waits can be woken.

The test dials itself what is ordered, so it knows what comes when.
"""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rtmpump import config
from rtmpump.core import envelopes, frames
from rtmpump.core.frames import Hello, Pong
from rtmpump.core.session import MessageIds
from rtmpump.errors import LinkError, NotConnected, TokenRefused
from rtmpump.links.answers import Answers
from rtmpump.links.slack import socket_mode
from rtmpump.links.slack.asking import Asking
from rtmpump.links.slack.connection_orders import ConnectionOrders
from rtmpump.links.slack.socket_mode import SocketMode
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.links.slack.websocket import SlackConnection
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.line import Line
from tests.support.rtm import SECONDS
from tests.support.waiting import wait_until

# Less than what a read waits for without any reason to return.
SOON = 4.0


class Source:
    """Several connections, and how many more are on order."""

    def __init__(self, workspace: Workspace, recent_ids: int = 100, **slack: Any) -> None:
        self.workspace = workspace
        self.slack = config.Slack(
            mode="socket",
            token=config.Secret(workspace.token),
            app_token=config.Secret(workspace.app_token),
            api_url=workspace.api_url,
            **slack,
        )
        self.api = SlackApi(self.slack)
        self.desk = ConnectionOrders()
        self.mode = SocketMode(self.slack, self.api, MessageIds(), self.desk, recent_ids=recent_ids)

    @property
    def orders(self) -> int:
        """How many connections are on order."""
        return self.desk.ordered

    def url(self) -> str:
        """A fresh one."""
        return self.api.connection_url().reveal()

    def dial(self) -> SlackConnection:
        """One more connection, that was not delivered yet."""
        return SlackConnection.open(self.url(), self.slack)

    def deliver(self) -> None:
        """Fulfil an order."""
        assert self.orders
        self.desk.deliver(self.dial())

    def read_until(
        self, true: Callable[[list[bytes]], object], *, accept: bool = True
    ) -> list[bytes]:
        """Read (and accept) until `true` holds for all that was read."""
        bodies: list[bytes] = []
        deadline = time.monotonic() + SECONDS
        while True:
            bodies += self.mode.read(0.05)
            if accept:
                self.mode.accepted()
            if true(bodies):
                return bodies
            assert time.monotonic() < deadline, "it did not come true in time"

    def until_end(self) -> tuple[list[bytes], LinkError]:
        """Read to the end: what came, and the error."""
        bodies: list[bytes] = []
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                bodies += self.mode.read(0.05)
            except LinkError as end:
                return bodies, end
            self.mode.accepted()
        raise AssertionError("it did not end")

    def until_all_live(self, count: int = 2) -> list[bytes]:
        """Deliver what is ordered, and read until so many have said hello."""

        def all_live(_: object) -> bool:
            while self.orders:
                self.deliver()
            return self._are_live(count)

        return self.read_until(all_live)

    def until_live(self, count: int) -> list[bytes]:
        """Read until so many have said hello, and Slack sends on each."""
        return self.read_until(lambda _: self._are_live(count))

    def _are_live(self, count: int) -> bool:
        # Slack may find out later than we do that another one is over.
        return self.mode.connections == count == len(self.workspace.sockets)

    def ping(self, id: int, connection: int = 1) -> None:
        """Write a ping as the reader does."""
        self.mode.ping(frames.ping(id), connection=connection)

    def no_news(self) -> list[bytes]:
        """Read without accepting, until Slack has taken all that we wrote before."""
        self.ping(7)
        return self.read_until(lambda bodies: pongs(bodies, 7), accept=False)


Make = Callable[..., Source]


@pytest.fixture
def make(workspace: Workspace) -> Iterator[Make]:
    """Makes a source that is not open; keywords are of [slack]."""
    with ExitStack() as stack:
        # Nothing is sent again before the test says so.
        workspace.faults.ack_seconds = workspace.faults.ping_seconds = 600.0

        def one(**keys: Any) -> Source:
            source = Source(workspace, **keys)
            stack.callback(source.mode.close)
            return source

        yield one


@pytest.fixture
def opened(make: Make) -> Make:
    """Makes a source with one connection, which said hello; its other ones are on order."""

    def one(**keys: Any) -> Source:
        source = make(**keys)
        source.mode.open(source.url())
        source.until_live(1)
        return source

    return one


@pytest.fixture
def two(opened: Make) -> Source:
    """A source with two connections that said hello."""
    source = opened()
    source.until_all_live()
    return source


def message(number: int) -> dict[str, Any]:
    """An event that is known again by its number."""
    return {"type": "message", "channel": "C0GENERAL", "n": number, "ts": f"17.{number:06d}"}


def numbers(bodies: list[bytes]) -> list[int]:
    """Those of the events, as they came."""
    opened = map(envelopes.read, bodies)
    return [json.loads(one.body)["n"] for one in opened if one is not None]


def pongs(bodies: list[bytes], id: int) -> int:
    """How many answers to the ping of this id there are."""
    return sum(envelopes.parse_frame(body) == Pong(id) for body in bodies)


def lives(bodies: list[bytes]) -> bool:
    """Whether there is any sign that Slack answers pings."""
    return any(isinstance(envelopes.parse_frame(body), Pong) for body in bodies)


def hellos(bodies: list[bytes]) -> int:
    """How many there are."""
    return sum(isinstance(envelopes.parse_frame(body), Hello) for body in bodies)


def has(*wanted: int) -> Callable[[list[bytes]], bool]:
    """Whether these events are there."""
    return lambda bodies: set(numbers(bodies)) >= set(wanted)


def acknowledged(workspace: Workspace) -> Callable[[object], bool]:
    """Whether all events are."""
    return lambda _: not workspace.unacknowledged()


# -- acknowledgements


def test_slack_hears_of_what_was_accepted(workspace: Workspace, two: Source) -> None:
    """Each on the connection that it came on."""
    for number in range(4):
        workspace.emit(message(number))
    two.read_until(has(*range(4)))
    assert workspace.wait(lambda: not workspace.unacknowledged())
    connections = set()
    for envelope in workspace.envelopes:
        (delivery,) = envelope.deliveries
        assert envelope.acknowledged_on == delivery.connection
        connections.add(delivery.connection)
    assert len(connections) == 2


def test_what_was_not_accepted_is_forgotten_and_comes_again(
    workspace: Workspace, opened: Make
) -> None:
    """Nothing is said to Slack at the read, nor at an acceptance of what was read after it."""
    source = opened(connections=1)
    workspace.emit(message(0))
    source.read_until(has(0), accept=False)
    source.no_news()
    assert workspace.unacknowledged()
    source.mode.accepted()
    source.no_news()
    assert workspace.unacknowledged()
    workspace.retry_now()
    source.read_until(has(0), accept=False)
    source.mode.accepted()
    assert workspace.wait(lambda: not workspace.unacknowledged())


def test_an_event_whose_connection_ended_before_the_acceptance(
    workspace: Workspace, two: Source
) -> None:
    """Slack sends it on another one, which is a repeat: acknowledged there, and not given."""
    workspace.emit(message(0))
    two.read_until(has(0), accept=False)
    (envelope,) = workspace.envelopes
    workspace.cut([envelope.deliveries[0].connection])
    assert workspace.wait(lambda: len(workspace.sockets) == 1)
    two.mode.accepted()
    workspace.retry_now()
    got = two.read_until(acknowledged(workspace))
    assert numbers(got) == []
    assert [envelope.acknowledged_on] == workspace.sockets


def test_an_acceptance_when_all_is_over_hurts_nobody(workspace: Workspace, opened: Make) -> None:
    """There is no connection to write to, and the next read raises the end."""
    source = opened(connections=1)
    workspace.emit(message(0))
    source.read_until(has(0), accept=False)
    interest = source.mode._members[0].connection.interest
    reset = select.poll()
    reset.register(interest[0], 0)
    workspace.reset()
    assert reset.poll(1000 * SECONDS)
    source.mode.accepted()
    assert source.until_end()[1].reason == "reset"
    assert workspace.unacknowledged()


@pytest.mark.parametrize("same_id", [False, True])
def test_a_repeat_of_what_was_accepted_is_given_to_nobody(
    workspace: Workspace, opened: Make, same_id: bool
) -> None:
    """Slack got no acknowledgement: it sends again, and gets one again, with what was new."""
    workspace.faults.deaf_to_acks, workspace.faults.same_envelope_id = True, same_id
    source = opened(connections=1)
    workspace.emit(message(0))
    source.read_until(has(0))
    source.no_news()
    assert workspace.unacknowledged()
    workspace.faults.deaf_to_acks = False
    workspace.retry_now()
    got = source.read_until(acknowledged(workspace), accept=False)
    assert numbers(got) == []
    workspace.emit(message(1))
    assert numbers(source.read_until(has(1))) == [1]


def test_copies_are_given_once_and_each_waits_for_the_acceptance(
    workspace: Workspace, two: Source
) -> None:
    """One on each connection: the second is no repeat of what is safe, as long as none is."""
    workspace.faults.copies = 2
    workspace.emit(message(0))
    (envelope,) = workspace.envelopes
    assert len(envelope.deliveries) == 2
    got = two.read_until(has(0), accept=False)
    assert numbers(got) == [0]
    assert envelope.acknowledgements == 0
    two.mode.accepted()
    two.read_until(lambda _: envelope.acknowledgements == 2)


def test_what_the_spool_held_at_the_start_is_known(workspace: Workspace, make: Make) -> None:
    """Accepted and not acknowledged before the process ended: it is acknowledged now."""
    sources = [make(connections=1), make(connections=1)]
    sources[0].mode.open(sources[0].url())
    sources[0].until_live(1)
    workspace.emit(message(0))
    bodies = sources[0].read_until(has(0), accept=False)
    sources[0].mode.close()
    assert workspace.wait(lambda: not workspace.sockets)
    sources[1].mode.remember([*bodies, b"no envelope", b""])
    sources[1].mode.open(sources[1].url())
    sources[1].until_live(1)
    workspace.retry_now()
    assert numbers(sources[1].read_until(acknowledged(workspace), accept=False)) == []


def test_no_more_is_remembered_than_was_asked_for(workspace: Workspace, opened: Make) -> None:
    """The oldest are forgotten, and would be given again; the memory stays bounded."""
    workspace.faults.deaf_to_acks = True
    source = opened(connections=1, recent_ids=2)
    for number in range(3):
        workspace.emit(message(number))
        source.read_until(has(number))
    workspace.retry_now()
    assert numbers(source.read_until(has(0))) == [0]


def test_an_answer_goes_with_the_acknowledgement_of_a_slash_command_alone(
    workspace: Workspace, opened: Make
) -> None:
    """A button takes none, nor does an event."""
    source = opened(connections=1, slash_answer="Moment …")
    slash, button = workspace.slash("/deploy"), workspace.interact({"type": "block_actions"})
    workspace.emit(message(0))
    source.read_until(acknowledged(workspace))
    (event,) = (one for one in workspace.envelopes if one.kind == "events_api")
    assert (slash.answer, button.answer, event.answer) == ({"text": "Moment …"}, None, None)


# -- one connection for the reader


def test_to_the_reader_there_is_one_connection(workspace: Workspace, make: Make) -> None:
    """One number and one hello, however many connections come and go."""
    source = make()
    assert source.mode.open(source.url()) == 1
    got = source.until_all_live()
    workspace.cut(workspace.sockets[:1])
    got += source.read_until(lambda _: source.orders)
    got += source.until_all_live()
    assert workspace.connections == 3
    assert hellos(got) == 1
    source.ping(5)
    assert pongs(source.read_until(lambda bodies: pongs(bodies, 5)), 5)


def test_nobody_writes_to_what_is_over(workspace: Workspace, make: Make) -> None:
    """Neither before the first, nor after a close, nor with the number of the one before."""
    source = make()
    with pytest.raises(NotConnected):
        source.ping(5, connection=0)
    assert source.mode.open(source.url()) == 1
    with pytest.raises(NotConnected):
        source.ping(5, connection=2)
    assert hellos(source.until_all_live()) == 1
    source.mode.close()
    assert workspace.wait(lambda: not workspace.sockets)
    with pytest.raises(NotConnected):
        source.ping(5, connection=1)
    assert source.mode.open(source.url()) == 2
    assert hellos(source.until_all_live()) == 1
    with pytest.raises(NotConnected):
        source.ping(5, connection=1)
    source.ping(5, connection=2)
    source.read_until(lambda bodies: pongs(bodies, 5))


def test_the_end_is_that_of_the_last_connection(workspace: Workspace, two: Source) -> None:
    """With all that came before it, and then the reason."""
    first, second = workspace.sockets
    workspace.cut([first])
    two.until_live(1)
    workspace.emit(message(0))
    workspace.close(1001, "bye")
    got, end = two.until_end()
    assert numbers(got) == [0]
    assert (end.reason, end.detail, end.at_once) == ("closed", "1001 bye", True)
    with pytest.raises(LinkError):
        two.mode.read(0)
    assert second not in workspace.sockets


def test_one_that_falls_silent_is_replaced_and_ends_no_other(
    workspace: Workspace, opened: Make
) -> None:
    """Each is watched by itself; the other goes on."""
    source = opened(ping_interval=0.2, ping_timeout=8.0)
    source.until_all_live()
    silent, other = workspace.sockets
    workspace.silence([silent])
    source.read_until(lambda _: source.orders)
    assert (source.mode.connections, source.orders) == (1, 1)
    assert workspace.sockets == [other]
    source.until_all_live()


def test_a_part_of_a_frame_is_heard(workspace: Workspace, opened: Make) -> None:
    """It is a sign of life for the reader too."""
    source = opened()
    workspace.raw(b"\x81\x7e\x40\x00" + b"x" * 100)
    wait_until(lambda: source.mode.read(0) or source.mode.heard)
    assert source.mode.read(0) == []


def test_ones_on_which_nothing_happens_stay(workspace: Workspace, opened: Make) -> None:
    """Each is pinged, and its answers are signs of life."""
    source = opened(ping_interval=0.1, ping_timeout=6.0)
    source.until_all_live()
    both = workspace.sockets
    until = time.monotonic() + 6.5
    source.read_until(lambda _: time.monotonic() > until)
    assert source.orders == 0
    assert workspace.sockets == both


def test_one_that_never_says_hello_is_replaced(workspace: Workspace, opened: Make) -> None:
    """It does not serve, and is not waited for any longer than the config says."""
    source = opened(hello_timeout=8.0)
    workspace.faults.hello = "never"
    source.deliver()
    source.read_until(lambda _: source.orders)
    workspace.faults.hello = "send"
    source.until_all_live()


def test_when_it_came_is_told(workspace: Workspace, opened: Make) -> None:
    """By our clock, in milliseconds."""
    source = opened(connections=1)
    before = time.time_ns() // 1_000_000
    workspace.emit(message(0))
    source.read_until(has(0))
    assert before <= source.mode.received_ms <= time.time_ns() // 1_000_000


# -- the pong: all has come until the ping was written


@pytest.fixture
def line(workspace: Workspace) -> Iterator[Line]:
    """What connects from now on goes through it."""
    with Line(workspace.port) as line:
        yield line


def through(line: Line, opened: Make) -> Source:
    """A source with two connections, the second of which goes through the line."""
    source = opened()
    source.workspace.faults.place = f"127.0.0.1:{line.port}"
    source.until_all_live()
    return source


def pinged_while_it_lags(
    workspace: Workspace, source: Source, line: Line
) -> tuple[list[bytes], list[bytes]]:
    """What came while the line stood still, and all that came: the pong after both events."""
    line.freeze()
    for number in range(2):
        workspace.emit(message(number))
    source.ping(5)
    frozen = source.read_until(lives)
    assert pongs(frozen, 5) == 0
    line.thaw()
    got = frozen + source.read_until(lambda bodies: pongs(bodies, 5))
    assert set(numbers(got)) == {0, 1}
    return frozen, got


def test_no_pong_before_the_connection_that_lags_has_answered(
    workspace: Workspace, opened: Make, line: Line
) -> None:
    """Else an event that is on its way would be older than the watermark."""
    frozen, got = pinged_while_it_lags(workspace, through(line, opened), line)
    assert len(numbers(frozen)) < 2
    assert pongs(got, 5) == 1


def test_one_that_leaves_has_to_answer_too(workspace: Workspace, opened: Make, line: Line) -> None:
    """It serves until it is replaced."""
    source = through(line, opened)
    workspace.disconnect("warning", close_after=None, numbers=workspace.sockets[1:])
    source.read_until(lambda _: source.orders)
    pinged_while_it_lags(workspace, source, line)


def test_one_that_leaves_and_is_the_only_one_shows_that_slack_lives(
    workspace: Workspace, opened: Make
) -> None:
    """Else the reader would end what still serves."""
    source = opened(connections=1)
    workspace.disconnect("warning", close_after=None)
    source.read_until(lambda _: source.orders)
    source.ping(5)
    source.read_until(lambda bodies: pongs(bodies, 5))


def test_one_that_ended_has_not_to_answer(workspace: Workspace, two: Source) -> None:
    """What was not acknowledged on it comes again on another."""
    silent = workspace.sockets[0]
    workspace.silence([silent])
    two.ping(5)
    assert pongs(two.read_until(lives), 5) == 0
    workspace.cut([silent])
    got = two.read_until(lambda bodies: pongs(bodies, 5))
    assert pongs(got, 5) == 1
    assert two.orders == 1
    assert not lives(two.mode.read(0))


def test_one_that_fell_silent_has_not_to_answer(workspace: Workspace, opened: Make) -> None:
    """It is found out by its own session, while the other's signs of life go on."""
    source = opened(ping_interval=0.2, ping_timeout=8.0)
    source.until_all_live()
    workspace.silence(workspace.sockets[:1])
    source.ping(5)
    got = source.read_until(lambda bodies: pongs(bodies, 5))
    assert source.orders == 1
    assert len(got) > 1


def test_the_last_one_has_to_answer(workspace: Workspace, two: Source) -> None:
    """When it ends as well, Slack has no connection on which to send again."""
    first, second = workspace.sockets
    workspace.silence([second])
    two.ping(5)
    got = two.read_until(lives)
    workspace.cut([first])
    got += two.read_until(lambda _: two.orders)
    workspace.cut([second])
    got += two.until_end()[0]
    assert pongs(got, 5) == 0


def test_a_ping_that_nobody_answered_stays_unanswered(workspace: Workspace, two: Source) -> None:
    """The connection that came later was not asked; the next ping asks it."""
    old = workspace.sockets
    workspace.silence(old)
    two.ping(5)
    workspace.cut(old[:1])
    got = two.read_until(lambda _: two.orders)
    two.deliver()
    got += two.read_until(lambda _: two.mode.connections == 2)
    workspace.cut(old[1:])
    got += two.read_until(lambda _: two.orders)
    assert pongs(got, 5) == 0
    two.ping(6)
    assert pongs(two.read_until(lambda bodies: pongs(bodies, 6)), 5) == 0


# -- connections that leave, and those that come


def test_a_connection_that_leaves_is_replaced_before_it_is_closed(
    workspace: Workspace, two: Source
) -> None:
    """It serves on while the new one is on its way and has not said hello."""
    leaving, staying = workspace.sockets
    workspace.disconnect("refresh_requested", close_after=None, numbers=[leaving])
    two.read_until(lambda _: two.orders == 1)
    workspace.faults.hello = "never"
    two.deliver()
    assert workspace.wait(lambda: workspace.connections == 3)
    for number in range(4):
        workspace.emit(message(number))
    two.read_until(has(*range(4)))
    assert workspace.wait(lambda: not workspace.unacknowledged())
    assert {one.acknowledged_on for one in workspace.envelopes} == {leaving, staying}
    workspace.faults.hello = "send"
    workspace.cut([3])
    two.read_until(lambda _: two.orders == 1)
    assert set(workspace.sockets) == {leaving, staying}
    two.deliver()
    two.read_until(lambda _: set(workspace.sockets) == {staying, 4})
    assert two.orders == 0


def test_one_too_many_costs_a_leaving_one(workspace: Workspace, two: Source) -> None:
    """Slack takes no third: one that leaves anyway makes room, and then there is a new try."""
    workspace.faults.most_sockets = 2
    before = set(workspace.sockets)
    workspace.disconnect("warning", close_after=None)
    two.read_until(lambda _: two.orders == 2)
    # What is sent away, and how often, is up to Slack; one of the old ones serves all the time.
    served: list[bool] = []

    def all_new(_: object) -> bool:
        while two.orders:
            two.deliver()
        served.append(bool(workspace.sockets))
        return two.mode.connections == 2 and not before & set(workspace.sockets)

    two.read_until(all_new)
    assert all(served)


def test_one_too_many_never_costs_the_last_one(workspace: Workspace, opened: Make) -> None:
    """It serves to its end, though it leaves and none can be opened beside it."""
    workspace.faults.most_sockets = 1
    source = opened(connections=1)
    (only,) = workspace.sockets
    workspace.disconnect("warning", close_after=None)
    for _ in range(2):
        source.read_until(lambda _: source.orders)
        source.deliver()
    source.read_until(lambda _: source.orders)
    assert workspace.connections == 3
    workspace.emit(message(0))
    source.read_until(acknowledged(workspace))
    assert workspace.sockets == [only]


def test_another_program_that_holds_connections_is_not_fought_with(
    workspace: Workspace, opened: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of ours leaves: there is no new try before a long while has passed."""
    monkeypatch.setattr(socket_mode, "_ALIEN_STAYS", 1.0)
    workspace.faults.most_sockets = 1
    source = opened()
    source.deliver()
    began = time.monotonic()
    source.read_until(lambda _: source.orders)
    assert time.monotonic() - began >= 1.0


def test_socket_mode_that_was_switched_off_ends_all(workspace: Workspace, two: Source) -> None:
    """No try can help before a person does."""
    workspace.disconnect("link_disabled", numbers=workspace.sockets[:1])
    with pytest.raises(TokenRefused) as refused:
        two.read_until(lambda _: False)
    assert refused.value.code == "link_disabled"


@pytest.mark.parametrize("end", [SocketMode.close, SocketMode.say_goodbye])
def test_what_comes_after_the_end_is_closed(
    workspace: Workspace, opened: Make, end: Callable[[SocketMode], None]
) -> None:
    """It was ordered before; and none is ordered any more."""
    source = opened()
    assert source.orders == 1
    late = source.dial()
    end(source.mode)
    source.desk.deliver(late)
    assert not late.is_writable
    source.until_end()
    assert workspace.wait(lambda: not workspace.sockets)
    assert source.orders == 0


def test_what_came_and_was_not_taken_yet_is_closed_with_all(
    workspace: Workspace, opened: Make
) -> None:
    """Between two reads."""
    source = opened()
    source.desk.deliver(late := source.dial())
    source.mode.close()
    assert not late.is_writable
    assert workspace.wait(lambda: not workspace.sockets)


def test_an_order_of_the_connection_before_serves_the_next(
    workspace: Workspace, opened: Make
) -> None:
    """One that is still on its way is not ordered twice."""
    source = opened()
    assert source.orders == 1
    source.mode.close()
    source.mode.open(source.url())
    source.until_live(1)
    assert source.orders == 1
    source.until_all_live()


def test_each_missing_one_is_ordered_once(opened: Make) -> None:
    """Though they come one after the other, and some are on their way for long."""
    source = opened(connections=4)
    for missing in (3, 2, 1):
        assert source.orders == missing
        source.deliver()
        source.until_live(5 - missing)
    assert source.orders == 0


def test_more_than_were_wanted_are_closed(workspace: Workspace, two: Source) -> None:
    """At once, and `read` gives nothing of them."""
    two.desk.deliver(late := two.dial())
    two.read_until(lambda _: not late.is_writable)
    assert two.mode.connections == 2


def test_a_goodbye_goes_on_until_slack_answers(workspace: Workspace, two: Source) -> None:
    """What Slack sent before it heard of it is given."""
    workspace.emit(message(0))
    two.mode.say_goodbye()
    got, end = two.until_end()
    assert numbers(got) == [0]
    assert end.reason == "closed"


# -- who waits


@pytest.mark.parametrize("what", ["wake", "arrival", "event"])
def test_a_read_that_waits_returns(workspace: Workspace, opened: Make, what: str) -> None:
    """For a wake, for a connection and for what Slack sends; not at the end of its time."""
    source = opened()
    connection = source.dial()
    got: list[bytes] = []
    reads = threading.Thread(target=lambda: got.extend(source.mode.read(SECONDS)))
    reads.start()
    if what == "wake":
        source.mode.wake()
    elif what == "arrival":
        source.desk.deliver(connection)
    else:
        workspace.emit(message(0))
    reads.join(SOON)
    assert not reads.is_alive()
    assert numbers(got) == ([0] if what == "event" else [])
    connection.close()


def test_a_wake_before_the_read_is_not_lost(opened: Make) -> None:
    """Many are one, and the next read waits again."""
    source = opened()
    for _ in range(100_000):
        source.mode.wake()
    began = time.monotonic()
    assert source.mode.read(SECONDS) == []
    assert time.monotonic() - began < SOON
    began = time.monotonic()
    assert source.mode.read(0.2) == []
    assert time.monotonic() - began >= 0.2


def test_an_answer_that_came_before_the_disk_is_given_before_the_goodbye(
    workspace: Workspace, two: Source
) -> None:
    """Nothing was read in between that would have given it."""
    counts: list[str] = []
    answers = Answers(60.0, counts.append)
    answers.serve("rtm.answers.1")
    asking: Asking[Any] = Asking(answers, frozenset({"slash_command"}))
    asking.write = two.mode._acknowledge
    two.mode._asking = asking
    sent = workspace.slash("/x")
    (body,) = two.read_until(bool, accept=False)
    envelope = envelopes.read(body)
    assert envelope is not None
    question = answers.question(envelope.id)
    assert question is not None
    answers.answered(question.correlation_id, b'{"text": "a"}')
    two.mode.accepted()
    two.mode.say_goodbye()
    assert workspace.wait(lambda: sent.acknowledged)
    assert (sent.answer, counts) == ({"text": "a"}, ["answered"])
