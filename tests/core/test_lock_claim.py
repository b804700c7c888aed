"""What tokens prove, pushed through without a broker; a model of the queue tries all orders."""

from __future__ import annotations

import json
from collections import deque

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtmpump.core.lock_claim import LockClaim

LASTS = 1.5
JUNK = [b"", b"\xff", b"{}", b"[]", b'{"by": 1}', b"[" * 100_000, b'{"by":"x","number":"1"}']


def claim(me: str = "a") -> LockClaim:
    """A claim of the pump `me`."""
    return LockClaim(me, f"host-{me}", LASTS)


def given_something(of: LockClaim) -> LockClaim:
    """The queue gave it something, so it is the active one and may find out."""
    of.received(b"junk", 0, 0.0)
    return of


def test_a_token_that_was_published_before_we_were_given_any_elects_nobody() -> None:
    """It may have been in the hands of the one before, whose last token would come after it."""
    a, b = claim("a"), claim("b")
    early = a.token(0.0, None)
    a.received(early, 1, 0.1)
    assert not a.is_held(0.1)
    later_one = a.token(0.2, None)
    a.received(b.token(0.0, 5), 2, 0.3)
    a.received(later_one, 3, 0.3)
    assert a.is_held(0.3)
    assert a.watermark_ms == 5


def test_a_claim_counts_from_when_the_token_was_sent() -> None:
    """However late it comes back; and one that comes back too late proves nothing."""
    a = given_something(claim())
    token = a.token(10.0, None)
    assert not a.is_held(10.0)
    a.received(token, 1, 11.0)
    assert a.is_held(11.4)
    assert not a.is_held(11.5)
    late = given_something(claim())
    late.received(late.token(10.0, None), 1, 11.5)
    assert not late.is_held(11.5)
    assert not late.is_over


def test_each_token_that_comes_back_extends_it() -> None:
    """As long as they come the claim lasts."""
    a = given_something(claim())
    for tenth in range(0, 100, 5):
        now = tenth / 10
        a.received(a.token(now, None), tenth, now + 0.1)
        assert a.is_held(now + 0.1)


def test_an_older_token_takes_no_time_away() -> None:
    """Something that came later has shown more."""
    a = given_something(claim())
    a.received(a.token(10.0, None), 1, 10.1)
    older = a.token(10.2, None)
    a.extend(11.0)
    assert a.held_until(11.0) == 12.5
    a.received(older, 2, 11.1)
    assert a.held_until(11.1) == 12.5


@pytest.mark.parametrize("looked", [True, False])
def test_what_ran_out_never_comes_back(looked: bool) -> None:
    """Whether it was asked for in between or not: another may have been the active one since."""
    a = given_something(claim())
    a.received(a.token(0.0, None), 1, 0.1)
    if looked:
        assert not a.is_held(5.0)
    a.received(a.token(5.0, None), 2, 5.1)
    assert not a.is_held(5.1)
    assert a.is_over


def test_the_token_of_another_proves_nothing() -> None:
    """It may have waited in our socket; but it has its writer's watermark and name."""
    a, b = claim("a"), claim("b")
    a.received(b.token(0.0, 77), 1, 0.0)
    assert not a.is_held(0.0)
    assert (a.watermark_ms, a.before) == (77, "host-b")


def test_an_old_token_of_ours_proves_nothing() -> None:
    """Once a newer one came, the older ones are only given back."""
    a = claim()
    first, second = a.token(0.0, None), a.token(1.0, None)
    assert a.received(second, 1, 1.0) == []
    assert a.received(first, 2, 1.0) == [2]


def test_the_newest_token_is_kept() -> None:
    """It is acked when the next one is there: so the pump after us finds one for certain."""
    a = claim()
    assert a.received(a.token(0.0, None), 1, 0.0) == []
    assert a.received(a.token(1.0, None), 2, 1.0) == [1]
    assert a.received(a.token(2.0, None), 3, 2.0) == [2]


def test_the_token_of_another_is_kept_until_one_of_ours_says_the_same() -> None:
    """One that was published before we had it does not; so nothing is forgotten if we die now."""
    a, b = claim("a"), claim("b")
    early = a.token(0.0, 5)
    assert a.received(b.token(0.0, 99), 1, 0.0) == []
    assert a.received(early, 2, 0.1) == []
    knowing = a.token(0.2, 5)
    assert json.loads(knowing)["covered_until_ms"] == 99
    assert sorted(a.received(knowing, 3, 0.3)) == [1, 2]


@pytest.mark.parametrize("body", JUNK)
def test_what_is_no_token_is_given_back_at_once(body: bytes) -> None:
    """It proves nothing and raises nothing."""
    a = claim()
    assert a.received(body, 7, 0.0) == [7]
    assert not a.is_held(0.0)


def test_something_else_counts_where_no_token_can_come_back() -> None:
    """While the broker has an alarm; but only for whom it gave a token: that is the active one."""
    a, b = claim("a"), claim("b")
    a.extend(0.0)
    assert not a.is_held(0.0)
    a.received(b.token(0.0, 1), 1, 0.0)
    assert not a.is_held(0.0)
    a.extend(0.5)
    assert a.is_held(1.0)
    a.extend(1.0)
    assert a.is_held(2.0)
    a.extend(9.0)
    assert not a.is_held(9.0)


def test_unanswered_tokens_take_no_more_and_more_memory() -> None:
    """A standby asks for years and never gets an answer."""
    a = claim()
    for number in range(5000):
        a.token(float(number), None)
    assert len(a._sent) == 1000


class Pump:
    """One connection in the model: its claim, what lies in its socket, and what is not acked."""

    def __init__(self, name: str) -> None:
        self.claim = claim(name)
        self.socket: deque[tuple[int, bytes]] = deque()
        self.unacked: dict[int, bytes] = {}
        self.heard = 0.0


class Queue:
    """The lock queue in the model: one gets the tokens, and is dead `LASTS` after its last one.

    Whom it takes for dead may still be there: a ghost, that reads what lies in its socket.
    """

    def __init__(self) -> None:
        self.tokens: deque[bytes] = deque()
        self.pumps = [Pump("0"), Pump("1")]
        self.ghosts: list[Pump] = []
        self.now = 0.0
        self._active = 0
        self._count = 2

    def ask(self, index: int) -> None:
        """A pump publishes a token."""
        pump = self.pumps[index]
        self.tokens.append(pump.claim.token(self.now, None))
        pump.heard = self.now

    def deliver(self, _index: int) -> None:
        """The queue gives a token to the active one."""
        if self.tokens:
            self._count += 1
            active, token = self.pumps[self._active], self.tokens.popleft()
            active.unacked[self._count] = token
            active.socket.append((self._count, token))

    def read(self, index: int) -> None:
        """Pumps, and ghosts too, read what came."""
        for pump in (self.pumps[index], *self.ghosts):
            if pump.socket:
                tag, token = pump.socket.popleft()
                for acked in pump.claim.received(token, tag, self.now):
                    pump.unacked.pop(acked, None)

    def round(self, index: int) -> None:
        """As it is on all good days."""
        self.ask(index)
        self.deliver(index)
        self.read(index)

    def die(self, index: int) -> None:
        """A pump is killed, and the queue finds out."""
        self._replace(index)

    def pause(self, _index: int) -> None:
        """A second passes; of whom nothing was heard for too long is taken for dead."""
        self.now += 1.0
        for index, pump in enumerate(self.pumps):
            if self.now - pump.heard > LASTS:
                self.ghosts.append(pump)
                self._replace(index)

    def _replace(self, index: int) -> None:
        self.tokens.extendleft(reversed(self.pumps[index].unacked.values()))
        self._count += 1
        self.pumps[index] = Pump(str(self._count))
        self.pumps[index].heard = self.now
        if self._active == index:
            self._active = 1 - index


STEPS = st.sampled_from(["ask", "deliver", "read", "round", "die", "pause"])


@pytest.mark.slow
@settings(max_examples=1000)
@example([("round", 0), ("ask", 0), ("deliver", 0), *[("pause", 0)] * 2, *[("round", 0)] * 5])
@given(st.lists(st.tuples(STEPS, st.integers(0, 1)), max_size=40))
def test_never_two_and_never_without_a_token(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order: one holds the lock at most, and no token gets lost."""
    queue, asked = Queue(), False
    for step, index in steps:
        queue.now += 0.1
        getattr(queue, step)(index)
        asked = asked or step in ("ask", "round")
        everybody = [*queue.pumps, *queue.ghosts]
        assert sum(one.claim.is_held(queue.now) for one in everybody) <= 1
        assert not asked or queue.tokens or any(one.unacked for one in queue.pumps)
