"""rtmpump.core.outbound.deadlines: each job has one deadline, and each deadline is kept."""

from __future__ import annotations

import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtmpump.core.outbound.deadlines import Deadlines


def test_the_late_ones_come_out_at_their_deadline_the_earliest_first() -> None:
    """A deadline passes when its time has come, not before, and only once."""
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("late", 30.0)
    deadlines.set("early", 10.0)
    deadlines.set("middle", 20.0)
    assert deadlines.passed(9.99) == []
    assert deadlines.passed(20.0) == ["early", "middle"]
    assert deadlines.passed(20.0) == []
    assert deadlines.next_at() == 30.0


def test_equal_deadlines_pass_in_the_order_in_which_they_were_set() -> None:
    """Whatever the jobs are; they need not be comparable."""
    deadlines: Deadlines[object] = Deadlines()
    jobs = [object() for _ in range(50)]
    for job in jobs:
        deadlines.set(job, 10.0)
    assert deadlines.passed(10.0) == jobs


def test_a_job_has_the_deadline_that_was_set_last() -> None:
    """Sooner or later than the one before, also if that one had passed."""
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("one", 10.0)
    deadlines.set("one", 50.0)
    assert len(deadlines) == 1
    assert deadlines.next_at() == 50.0
    assert deadlines.passed(49.9) == []
    deadlines.set("one", 5.0)
    assert deadlines.passed(5.0) == ["one"]
    deadlines.set("one", 4.0)
    assert deadlines.passed(4.0) == ["one"]


def test_a_dropped_deadline_never_passes() -> None:
    """To drop it twice is no fault."""
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("one", 10.0)
    deadlines.drop("one")
    deadlines.drop("one")
    assert deadlines.passed(100.0) == []
    assert deadlines.next_at() == math.inf
    assert len(deadlines) == 0


def test_a_job_that_is_false_has_its_deadline_too() -> None:
    """Any value may be a job."""
    deadlines: Deadlines[int] = Deadlines()
    deadlines.set(0, 10.0)
    assert deadlines.passed(10.0) == [0]
    assert len(deadlines) == 0


def test_dropped_deadlines_do_not_pile_up() -> None:
    """A hundred thousand settled commands behind one that waits leave the heap small."""
    deadlines: Deadlines[int] = Deadlines()
    deadlines.set(0, 1.0)
    for job in range(1, 100_000):
        deadlines.set(job, 1_000.0)
        deadlines.drop(job)
    assert len(deadlines._heap) < 200
    assert deadlines.passed(1.0) == [0]


def test_deadlines_pass_in_order_also_after_the_heap_was_made_anew() -> None:
    """What was set last may be due first."""
    deadlines: Deadlines[int] = Deadlines()
    for job in range(300):
        deadlines.set(job, 1_000.0 - job)
    for job in range(0, 300, 3):
        deadlines.set(job, 5_000.0 - job)
    for _ in range(600):
        deadlines.set(-1, 2_000.0)
    times = [1_000.0 - job for job in range(300) if job % 3]
    assert deadlines.passed(1_000.0) == sorted((j for j in range(300) if j % 3), reverse=True)
    assert times == sorted(times, reverse=True)
    assert deadlines.passed(9_000.0) == [-1, *range(297, -1, -3)]


def test_the_heap_is_not_made_anew_before_half_of_it_is_stale() -> None:
    """Else each change would cost as much as all that waits."""
    deadlines: Deadlines[int] = Deadlines()
    for job in range(1_000):
        deadlines.set(job, 1_000.0)
    heap = deadlines._heap
    for job in range(1_000):
        deadlines.set(job, 2_000.0)
    assert deadlines._heap is heap
    for job in range(100):
        deadlines.set(job, 3_000.0)
    assert deadlines._heap is not heap


class AgainstADict(RuleBasedStateMachine):
    """`Deadlines` says at each step what a plain dict says that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[int] = Deadlines()
        self.model: dict[int, tuple[float, int]] = {}
        self.sets = 0

    jobs = st.integers(1, 12)
    times = st.integers(0, 20).map(float)

    @rule(job=jobs, deadline=times)
    def set(self, job: int, deadline: float) -> None:
        """Give a job a deadline, or another one."""
        self.sets += 1
        self.deadlines.set(job, deadline)
        self.model[job] = (deadline, self.sets)

    @rule(job=jobs)
    def drop(self, job: int) -> None:
        """Take its deadline from a job."""
        self.deadlines.drop(job)
        self.model.pop(job, None)

    @rule(now=times)
    def passed(self, now: float) -> None:
        """Take out all that are late: by deadline, then as they were set."""
        late = sorted((at, number, job) for job, (at, number) in self.model.items() if at <= now)
        assert self.deadlines.passed(now) == [job for _, _, job in late]
        for _, _, job in late:
            del self.model[job]

    @invariant()
    def agrees(self) -> None:
        """Length and next deadline are those of the dict."""
        assert len(self.deadlines) == len(self.model)
        assert self.deadlines.next_at() == min(
            (at for at, _ in self.model.values()), default=math.inf
        )


TestAgainstADict = AgainstADict.TestCase
