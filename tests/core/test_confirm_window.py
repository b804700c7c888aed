"""What `rtmpump.core.confirm_window` promises, by example and against a naive model of a broker."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rtmpump.core.confirm_window import Acked, ConfirmWindow


def _filled(count: int, size: int = 8) -> ConfirmWindow:
    """Make a window with seqs 1 to `count` in flight under tags 1 to `count`."""
    window = ConfirmWindow(size)
    for seq in range(1, count + 1):
        assert window.sent(seq, float(seq), seq * 10) == seq
    return window


def _facts(window: ConfirmWindow) -> tuple[int, int, int, float | None]:
    return window.in_flight, window.confirmed_upto, window.room(), window.oldest_sent()


def test_a_new_window_is_empty() -> None:
    """Nothing is in flight or confirmed, and there is room for all."""
    assert _facts(ConfirmWindow(5)) == (0, 0, 5, None)


@pytest.mark.parametrize("size", [0, -1])
def test_a_window_lets_something_through(size: int) -> None:
    """A size below 1 is refused."""
    with pytest.raises(ValueError, match="size"):
        ConfirmWindow(size)


def test_a_multiple_ack_confirms_a_prefix() -> None:
    """One ack with `multiple` settles all up to its tag, in order, with their times."""
    window = _filled(4)
    assert window.ack(3, True) == Acked([(1, 10), (2, 20), (3, 30)], [], [])
    assert _facts(window) == (1, 3, 7, 4.0)


def test_a_single_ack_out_of_order_confirms_no_prefix() -> None:
    """`confirmed_upto` waits for the first one, then passes all that were settled."""
    window = _filled(3)
    assert window.ack(3, False).confirmed == [(3, 30)]
    assert window.ack(2, False).confirmed == [(2, 20)]
    with pytest.raises(ValueError, match="tag 3"):
        window.ack(3, False)
    assert _facts(window) == (1, 0, 7, 1.0)
    assert window.ack(1, False).confirmed == [(1, 10)]
    assert _facts(window) == (0, 3, 8, None)


@pytest.mark.parametrize("multiple", [True, False])
@pytest.mark.parametrize("tag", [0, -1, 1, 2, 5, 2**64])
def test_a_tag_that_is_not_in_flight_changes_nothing(tag: int, multiple: bool) -> None:
    """Acks and nacks of unknown and of answered tags raise, and nothing has changed."""
    window = _filled(4)
    window.ack(2, True)
    before = _facts(window)
    with pytest.raises(ValueError, match="tag"):
        window.ack(tag, multiple)
    with pytest.raises(ValueError, match="tag"):
        window.nack(tag, multiple)
    assert _facts(window) == before
    assert window.ack(4, True).confirmed == [(3, 30), (4, 40)]


def test_no_more_than_the_room() -> None:
    """What is sent without room raises, and nothing has changed."""
    window = _filled(8)
    with pytest.raises(ValueError, match="room"):
        window.sent(9, 9.0)
    assert _facts(window) == (8, 0, 0, 1.0)


@pytest.mark.parametrize("seq", [3, 2, 0])
def test_seqs_rise(seq: int) -> None:
    """A seq that does not come after the last one raises."""
    with pytest.raises(ValueError, match="after 3"):
        _filled(3).sent(seq, 9.0)


def test_a_returned_event_is_sent_again_before_it_is_settled() -> None:
    """The ack of a returned publish asks for another, and only that one's ack settles."""
    window = _filled(3)
    assert window.returned(2)
    assert window.ack(3, True) == Acked([(1, 10), (3, 30)], [2], [])
    assert _facts(window) == (1, 1, 7, None)
    assert window.resent(2, 7.0) == 4
    assert _facts(window) == (1, 1, 7, 7.0)
    assert window.ack(4, False) == Acked([(2, 20)], [], [])
    assert _facts(window) == (0, 3, 8, None)


def test_a_returned_event_can_be_let_go() -> None:
    """Where there is no exchange for the unrouted, a returned event is settled as it is."""
    window = _filled(2)
    window.returned(1)
    window.ack(2, True)
    window.settle(1)
    assert _facts(window) == (0, 2, 8, None)


def test_returns_of_what_is_not_in_flight_are_ignored() -> None:
    """A return of an unknown, a settled or a repeated event says False and does nothing."""
    window = _filled(3)
    window.ack(1, False)
    window.ack(3, False)
    window.returned(2)
    window.ack(2, False)
    assert not any(window.returned(seq) for seq in (0, 1, 2, 3, 4))
    window.resent(2, 7.0)
    assert window.ack(4, False).confirmed == [(2, 20)]


def test_an_event_that_is_returned_twice_is_let_go_or_failed() -> None:
    """Its ack settles nothing; the caller says what becomes of it."""
    window = _filled(3)
    for seq in (1, 2):
        assert window.returned(seq)
    window.ack(3, True)
    for seq in (1, 2):
        window.resent(seq, 7.0)
        assert not window.returned(seq)
    assert window.ack(5, True) == Acked([], [], [1, 2])
    assert _facts(window) == (2, 0, 6, None)
    window.settle(1)
    assert window.confirmed_upto == 1
    window.fail(2)
    assert (window.in_flight, window.room(), window.rewind()) == (0, 0, 2)
    assert window.sent(2, 9.0) == 6


def test_only_what_was_returned_and_acked_is_sent_again() -> None:
    """Sending again or letting go before the ack, or without a return, raises."""
    window = _filled(2)
    window.returned(1)
    for seq in (1, 2, 3):
        with pytest.raises(ValueError, match="not returned and acked"):
            window.resent(seq, 9.0)
        with pytest.raises(ValueError, match="not returned and acked"):
            window.settle(seq)
        with pytest.raises(ValueError, match="not returned and acked"):
            window.fail(seq)
    assert _facts(window) == (2, 0, 6, 1.0)


def test_after_a_nack_nothing_is_sent_until_all_is_answered() -> None:
    """A nack closes the window; the rewind waits for the last answer."""
    window = _filled(4)
    assert window.nack(2, False) == 1
    assert (window.room(), window.rewind()) == (0, None)
    with pytest.raises(ValueError, match="room"):
        window.sent(5, 5.0)
    window.ack(1, False)
    window.ack(3, False)
    assert (window.room(), window.rewind(), window.confirmed_upto) == (0, None, 1)
    window.ack(4, False)
    assert window.rewind() == 2
    assert (window.rewind(), window.in_flight, window.confirmed_upto) == (None, 0, 1)


def test_the_rewind_goes_to_the_first_that_was_refused() -> None:
    """Of several nacks the smallest seq counts, in whatever order they come."""
    window = _filled(3)
    window.nack(3, False)
    window.nack(2, False)
    window.ack(1, False)
    assert window.rewind() == 2


def test_a_window_starts_small_after_a_nack_and_doubles() -> None:
    """After each nack one event is in flight, then twice as many with each limit confirmed."""
    window, tag = _filled(6, size=6), 6
    for count in (6, 8):
        window.nack(tag, True)
        first = window.rewind() or 0
        rooms = [window.room()]
        for seq in range(first, first + count):
            window.ack(window.sent(seq, 0.0), True)
            rooms.append(window.room())
        assert rooms == [1, 2, 2, 4, 4, 4, 4, 6, 6][: count + 1]
        tag = window.sent(first + count, 0.0)


def test_a_reset_forgets_what_was_in_flight_and_nothing_else() -> None:
    """On a new channel tags start at 1, the confirmed stay, and the nack is forgotten."""
    window = _filled(4)
    window.ack(1, False)
    window.nack(3, False)
    window.reset(1)
    assert _facts(window) == (0, 1, 8, None)
    assert window.rewind() is None
    assert window.sent(2, 9.0) == 1
    assert window.ack(1, False).confirmed == [(2, 0)]
    assert window.confirmed_upto == 2


def test_a_reset_never_goes_behind_the_confirmed() -> None:
    """What was confirmed left the spool: to send it again would be a mistake of ours."""
    window = _filled(2)
    window.ack(2, True)
    with pytest.raises(ValueError, match="before the confirmed 2"):
        window.reset(1)
    with pytest.raises(ValueError, match="after 2"):
        window.sent(2, 9.0)


@dataclass
class _Publish:
    """One publish as a broker sees it."""

    tag: int
    seq: int
    at: float
    again: bool
    returned: bool = False


@dataclass
class _Broker:
    """A broker without memory for speed: lists, searched from one end to the other."""

    last_tag: int = 0
    unanswered: list[_Publish] = field(default_factory=list)

    def take(self, seq: int, at: float, *, again: bool) -> int:
        self.last_tag += 1
        self.unanswered.append(_Publish(self.last_tag, seq, at, again))
        return self.last_tag

    def answer(self, tag: int, multiple: bool) -> list[_Publish]:
        answered = [
            publish
            for publish in self.unanswered
            if publish.tag == tag or (multiple and publish.tag < tag)
        ]
        self.unanswered = [publish for publish in self.unanswered if publish not in answered]
        return answered


class WindowAgainstBroker(RuleBasedStateMachine):
    """The window and a naive account of the same calls stay equal, whatever the order."""

    @initialize(size=st.integers(1, 12), gaps=st.lists(st.integers(1, 3), min_size=1, max_size=80))
    def begin(self, size: int, gaps: list[int]) -> None:
        """Make a spool of rising seqs, with holes, and a window."""
        self.size = size
        self.window = ConfirmWindow(size)
        self.spool = [sum(gaps[: at + 1]) for at in range(len(gaps))]
        self.broker = _Broker()
        self.now = 0.0
        self.cursor = self.upto = 0
        self.sent: list[int] = []
        self.held: list[int] = []
        self.homeless: list[int] = []
        self.failed: set[int] = set()
        self.settled: set[int] = set()
        self.settled_ever: set[int] = set()

    def _unread(self) -> list[int]:
        return [seq for seq in self.spool if seq > self.cursor]

    def _in_flight(self) -> int:
        return len(
            {publish.seq for publish in self.broker.unanswered} | {*self.held, *self.homeless}
        )

    def _count_settled(self, seqs: list[int]) -> None:
        self.settled.update(seqs)
        self.settled_ever.update(seqs)

    def _tick(self) -> float:
        self.now += 1.0
        return self.now

    @precondition(lambda self: self.window.room() and self._unread())
    @rule(count=st.integers(1, 12))
    def send(self, count: int) -> None:
        """Send the next events, as many as there is room for."""
        for seq in self._unread()[: min(count, self.window.room())]:
            at = self._tick()
            tag = self.window.sent(seq, at, seq + 1000)
            assert tag == self.broker.take(seq, at, again=False)
            self.sent.append(seq)
            self.cursor = seq

    @precondition(lambda self: any(not publish.returned for publish in self.broker.unanswered))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Return a publish that has no answer yet."""
        waiting = [publish for publish in self.broker.unanswered if not publish.returned]
        publish = data.draw(st.sampled_from(waiting))
        assert self.window.returned(publish.seq) is not publish.again
        publish.returned = True

    @precondition(lambda self: self.broker.unanswered)
    @rule(data=st.data(), multiple=st.booleans())
    def ack(self, data: st.DataObject, multiple: bool) -> None:
        """Ack any publish without an answer."""
        tag = data.draw(st.sampled_from(self.broker.unanswered)).tag
        self._take_ack(tag, multiple)

    def _take_ack(self, tag: int, multiple: bool) -> None:
        answered = self.broker.answer(tag, multiple)
        settled = [publish.seq for publish in answered if not publish.returned]
        held = [publish.seq for publish in answered if publish.returned and not publish.again]
        homeless = [publish.seq for publish in answered if publish.returned and publish.again]
        acked = self.window.ack(tag, multiple)
        assert acked == Acked([(seq, seq + 1000) for seq in settled], held, homeless)
        self._count_settled(settled)
        self.held += held
        self.homeless += homeless

    @precondition(lambda self: self.broker.unanswered)
    @rule(data=st.data(), multiple=st.booleans())
    def nack(self, data: st.DataObject, multiple: bool) -> None:
        """Nack any publish without an answer."""
        tag = data.draw(st.sampled_from(self.broker.unanswered)).tag
        answered = self.broker.answer(tag, multiple)
        assert self.window.nack(tag, multiple) == len(answered)
        self.failed.update(publish.seq for publish in answered)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), wanted=st.booleans())
    def deal_with_returned(self, data: st.DataObject, wanted: bool) -> None:
        """Send a returned event again, or let it go."""
        seq = data.draw(st.sampled_from(self.held))
        self.held.remove(seq)
        if wanted:
            at = self._tick()
            assert self.window.resent(seq, at) == self.broker.take(seq, at, again=True)
        else:
            self.window.settle(seq)
            self._count_settled([seq])

    @precondition(lambda self: self.homeless)
    @rule(data=st.data(), wanted=st.booleans())
    def deal_with_homeless(self, data: st.DataObject, wanted: bool) -> None:
        """Fail an event that was returned twice, or let it go."""
        seq = data.draw(st.sampled_from(self.homeless))
        self.homeless.remove(seq)
        if wanted:
            self.window.fail(seq)
            self.failed.add(seq)
        else:
            self.window.settle(seq)
            self._count_settled([seq])

    @rule(data=st.data(), multiple=st.booleans())
    def answer_nonsense(self, data: st.DataObject, multiple: bool) -> None:
        """Answer a tag that nothing hangs on."""
        tag = data.draw(st.integers(-1, self.broker.last_tag + 2))
        lowest = min((publish.tag for publish in self.broker.unanswered), default=tag + 1)
        known = {publish.tag for publish in self.broker.unanswered}
        if tag in known or (multiple and lowest <= tag <= self.broker.last_tag):
            return
        with pytest.raises(ValueError, match="tag"):
            self.window.ack(tag, multiple)
        with pytest.raises(ValueError, match="tag"):
            self.window.nack(tag, multiple)

    @rule()
    def rewind(self) -> None:
        """Ask whether to go back, and go back."""
        first = self.window.rewind()
        if not self.failed or self._in_flight():
            assert first is None
            return
        assert first == min(self.failed)
        self.failed.clear()
        self.sent = [seq for seq in self.sent if seq < first]
        self.settled = {seq for seq in self.settled if seq < first}
        self.cursor = first - 1
        assert self.window.room() == 1

    @rule()
    def lose_the_channel(self) -> None:
        """Begin anew after the confirmed prefix on a new channel."""
        self.window.reset(self.upto)
        self.broker = _Broker()
        self.held.clear()
        self.homeless.clear()
        self.failed.clear()
        self.sent = [seq for seq in self.sent if seq <= self.upto]
        self.settled = {seq for seq in self.settled if seq <= self.upto}
        self.cursor = self.upto

    @invariant()
    def equal(self) -> None:
        """The window always agrees with the naive account."""
        for seq in self.sent:
            if seq not in self.settled:
                break
            self.upto = max(self.upto, seq)
        assert self.window.confirmed_upto == self.upto
        assert self.window.in_flight == self._in_flight() <= self.size
        oldest = self.broker.unanswered[0].at if self.broker.unanswered else None
        assert self.window.oldest_sent() == oldest
        room = self.window.room()
        assert (room == 0) if self.failed else (0 <= room <= self.size - self._in_flight())

    def teardown(self) -> None:
        """Let the broker behave: then everything is confirmed, in order, and nothing is left."""
        if not hasattr(self, "window"):
            return  # the draw ended before `begin`
        for _ in range(20 * len(self.spool)):
            if not (self._unread() or self._in_flight() or self.failed):
                break
            while self.homeless:
                seq = self.homeless.pop(0)
                self.window.settle(seq)
                self._count_settled([seq])
            while self.held:
                seq = self.held.pop(0)
                self.broker.take(seq, 0.0, again=True)
                self.window.resent(seq, 0.0)
            if self.broker.unanswered:
                self._take_ack(self.broker.unanswered[-1].tag, True)
            self.rewind()
            if self._unread() and not self.failed:
                self.send(self.size)
            self.equal()
        assert self.window.confirmed_upto == self.spool[-1]
        assert self.settled_ever == set(self.spool)
        assert (self.window.in_flight, self.window.oldest_sent()) == (0, None)
        assert self.window.room() > 0


WindowAgainstBroker.TestCase.settings = settings(
    deadline=None, max_examples=150, stateful_step_count=60
)
TestWindowAgainstBroker = pytest.mark.slow(WindowAgainstBroker.TestCase)
