"""rtmpump.core.outbound.deadlines: each reply finds its command, each deadline is kept."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtmpump.core.outbound.deadlines import Deadlines


def test_a_reply_takes_out_the_job_of_its_id_in_any_order() -> None:
    """Replies in another order than the sends each find their own job."""
    pending: Deadlines[str] = Deadlines()
    pending.add(1, "one", 10.0)
    pending.add(2, "two", 10.0)
    assert pending.match(2) == "two"
    assert pending.match(1) == "one"
    assert len(pending) == 0


def test_a_second_reply_finds_nothing() -> None:
    """A reply that comes twice settles once."""
    pending: Deadlines[str] = Deadlines()
    pending.add(1, "one", 10.0)
    assert pending.match(1) == "one"
    assert pending.match(1) is None


def test_a_reply_to_an_unknown_id_finds_nothing() -> None:
    """A reply that nobody waits for is None and leaves the others alone."""
    pending: Deadlines[str] = Deadlines()
    pending.add(1, "one", 10.0)
    assert pending.match(7) is None
    assert len(pending) == 1


def test_an_id_is_waited_for_once() -> None:
    """A second job of the same id is refused and the first one stays."""
    pending: Deadlines[str] = Deadlines()
    pending.add(1, "one", 10.0)
    with pytest.raises(ValueError, match="id 1 "):
        pending.add(1, "other", 20.0)
    assert pending.next_deadline() == 10.0
    assert pending.match(1) == "one"


def test_a_forgotten_id_neither_matches_nor_expires() -> None:
    """After `forget` a late reply and the deadline find nothing; to forget twice is no fault."""
    pending: Deadlines[str] = Deadlines()
    pending.add(1, "one", 10.0)
    pending.forget(1)
    pending.forget(1)
    assert pending.match(1) is None
    assert pending.expired(100.0) == []
    assert pending.next_deadline() is None


def test_the_late_ones_come_out_at_their_deadline_the_earliest_first() -> None:
    """A job expires at its deadline, not before, and only once."""
    pending: Deadlines[str] = Deadlines()
    pending.add(1, "late", 30.0)
    pending.add(2, "early", 10.0)
    pending.add(3, "middle", 20.0)
    assert pending.expired(9.99) == []
    assert pending.expired(20.0) == [(2, "early"), (3, "middle")]
    assert pending.expired(20.0) == []
    assert pending.next_deadline() == 30.0


def test_an_id_that_comes_back_has_its_new_deadline() -> None:
    """The deadline of a job that was taken out says nothing about a later one of the same id."""
    pending: Deadlines[str] = Deadlines()
    pending.add(1, "first try", 10.0)
    pending.match(1)
    pending.add(1, "waits for a late reply", 50.0)
    assert pending.next_deadline() == 50.0
    assert pending.expired(10.0) == []
    assert pending.match(1) == "waits for a late reply"


def test_a_job_of_none_is_still_taken_out() -> None:
    """Any value may be a job, also one that is false."""
    pending: Deadlines[int] = Deadlines()
    pending.add(1, 0, 10.0)
    assert pending.match(1) == 0
    assert len(pending) == 0


def test_all_come_out_in_the_order_in_which_they_were_sent() -> None:
    """When the link ends, `take_all` gives the order of the sends and leaves nothing behind."""
    pending: Deadlines[str] = Deadlines()
    pending.add(9, "first", 30.0)
    pending.add(4, "second", 10.0)
    assert pending.take_all() == [(9, "first"), (4, "second")]
    assert len(pending) == 0
    assert pending.next_deadline() is None


def test_settled_ids_do_not_pile_up() -> None:
    """A hundred thousand matched commands behind one that waits leave the heap small."""
    pending: Deadlines[str] = Deadlines()
    pending.add(0, "waits", 1.0)
    for id in range(1, 100_000):
        pending.add(id, "job", 1_000.0)
        pending.match(id)
    assert len(pending._heap) < 200
    assert pending.expired(1.0) == [(0, "waits")]


class AgainstADict(RuleBasedStateMachine):
    """`Deadlines` says at each step what a plain dict says that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: Deadlines[int] = Deadlines()
        self.model: dict[int, tuple[float, int]] = {}
        self.jobs = 0

    ids = st.integers(1, 12)
    times = st.integers(0, 20).map(float)

    @rule(id=ids, deadline=times)
    def add(self, id: int, deadline: float) -> None:
        """A new id is taken, a known one is refused."""
        self.jobs += 1
        if id in self.model:
            with pytest.raises(ValueError, match="waited for"):
                self.pending.add(id, self.jobs, deadline)
            return
        self.pending.add(id, self.jobs, deadline)
        self.model[id] = (deadline, self.jobs)

    @rule(id=ids)
    def match(self, id: int) -> None:
        """The job comes out, or None."""
        assert self.pending.match(id) == self.model.pop(id, (0.0, None))[1]

    @rule(id=ids)
    def forget(self, id: int) -> None:
        """The id is gone."""
        self.pending.forget(id)
        self.model.pop(id, None)

    @rule(now=times)
    def expire(self, now: float) -> None:
        """All that are late come out by deadline, then by id."""
        late = sorted((at, id, job) for id, (at, job) in self.model.items() if at <= now)
        assert self.pending.expired(now) == [(id, job) for _, id, job in late]
        for _, id, _ in late:
            del self.model[id]

    @rule()
    def take_all(self) -> None:
        """All come out as they were added."""
        assert self.pending.take_all() == [(id, job) for id, (_, job) in self.model.items()]
        self.model.clear()

    @invariant()
    def agrees(self) -> None:
        """Length and next deadline are those of the dict."""
        assert len(self.pending) == len(self.model)
        deadlines = [at for at, _ in self.model.values()]
        assert self.pending.next_deadline() == min(deadlines, default=None)


TestAgainstADict = AgainstADict.TestCase
