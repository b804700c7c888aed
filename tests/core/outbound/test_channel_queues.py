"""Facts about lanes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtmpump.core.outbound.channel_queues import ChannelQueues
from rtmpump.core.rate_limit import RateLimit

RATE, BURST = 2.0, 2
LANES = st.sampled_from(["A", "B"])


@dataclass(eq=False)
class Piece:
    """A job that knows no more than a lane has to know."""

    costs: bool = True
    done: bool = False


def lanes() -> ChannelQueues[Piece]:
    """New lanes."""
    return ChannelQueues(RateLimit(RATE, BURST))


def due(some: ChannelQueues[Piece], now: float) -> list[Piece]:
    """What may be sent now."""
    return [job for _, job in some.due(now)]


def end(some: ChannelQueues[Piece], lane: str, job: Piece, now: float) -> None:
    """The job is over."""
    job.done = True
    some.settle(lane, job, now)


def test_only_the_head_is_under_way() -> None:
    """The second job of a lane waits for the end of the first; another lane does not."""
    some, first, second, other = lanes(), Piece(), Piece(), Piece()
    some.add("A", first, 0)
    some.add("A", second, 0)
    some.add("B", other, 0)
    assert set(due(some, 0)) == {first, other}
    assert due(some, 100) == []
    end(some, "A", first, 100)
    assert due(some, 100) == [second]


def test_what_goes_again_is_not_overtaken() -> None:
    """A head that has to be sent once more comes before the next one, at its time."""
    some, first, second = lanes(), Piece(), Piece()
    some.add("A", first, 0)
    some.add("A", second, 0)
    assert due(some, 0) == [first]
    some.again("A", first, 5)
    assert due(some, 4.9) == []
    assert some.next_at() == 5
    assert due(some, 5) == [first]


def test_a_job_under_way_that_is_put_back_stands_first() -> None:
    """It was sent before all others of its lane, so they wait for it."""
    some, sent, later = lanes(), Piece(), Piece()
    some.add("A", later, 0)
    some.add_sent("A", sent)
    assert due(some, 0) == []
    end(some, "A", sent, 1)
    assert due(some, 1) == [later]


def test_a_second_job_under_way_does_not_free_the_lane_of_the_first() -> None:
    """What is sent again although it isn't the head, waits until it is."""
    some, first, put_back = lanes(), Piece(), Piece()
    some.add("A", first, 0)
    assert due(some, 0) == [first]
    some.add_sent("A", put_back)
    some.again("A", put_back, 0)
    assert due(some, 10) == []
    end(some, "A", first, 10)
    assert due(some, 10) == [put_back]


def test_jobs_that_end_behind_a_waiting_head_take_no_memory() -> None:
    """A head that waits for ever doesn't hold the thousands that expired behind it."""
    some, head = lanes(), Piece()
    some.add("A", head, 0)
    assert due(some, 0) == [head]
    for _ in range(5_000):
        job = Piece()
        some.add("A", job, 0)
        end(some, "A", job, 0)
    assert len(some._lanes["A"].jobs) < 200


def test_jobs_that_end_before_anything_is_sent_take_no_memory() -> None:
    """While Slack is away nobody asks what is due; the plan does not grow even so."""
    some = lanes()
    for number in range(5_000):
        job = Piece()
        some.add(f"C{number}", job, number)
        end(some, f"C{number}", job, number)
    assert not some._lanes
    assert len(some._plan) < 200
    assert some.next_at() is None


@dataclass
class Model:
    """The naive one: a list for each lane, and whether its first is under way."""

    jobs: list[Piece] = field(default_factory=list)
    under_way: bool = False
    not_before: float = 0.0


class LanesMachine(RuleBasedStateMachine):
    """ChannelQueues against lists."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lanes = lanes()
        self.model = {"A": Model(), "B": Model()}
        self.granted: dict[str, list[float]] = {"A": [], "B": []}

    @rule(lane=LANES, costs=st.booleans())
    def add(self, lane: str, costs: bool) -> None:
        """A job comes."""
        job = Piece(costs)
        self.model[lane].jobs.append(job)
        self.lanes.add(lane, job, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 3.0]))
    def send(self, seconds: float) -> None:
        """Time passes, and all that is due is sent."""
        self.now += seconds
        for lane, job in self.lanes.due(self.now):
            model = self.model[lane]
            assert not model.under_way
            assert job is model.jobs[0]
            assert self.now >= model.not_before
            model.under_way = True
            if job.costs:
                self.granted[lane].append(self.now)

    @rule(lane=LANES, index=st.integers(0, 5))
    def end(self, lane: str, index: int) -> None:
        """A job ends, wherever it stands."""
        model = self.model[lane]
        if index >= len(model.jobs):
            return
        job = model.jobs.pop(index)
        if index == 0:
            model.under_way, model.not_before = False, 0.0
        end(self.lanes, lane, job, self.now)

    @rule(lane=LANES, wait=st.sampled_from([0.1, 1.0, 7.0]))
    def again(self, lane: str, wait: float) -> None:
        """The head has to be sent once more."""
        model = self.model[lane]
        if model.under_way:
            model.under_way, model.not_before = False, self.now + wait
            self.lanes.again(lane, model.jobs[0], self.now + wait)

    @rule(lane=LANES)
    def put_back(self, lane: str) -> None:
        """A job that was sent before comes back."""
        model = self.model[lane]
        if not model.under_way:
            job = Piece()
            model.jobs.insert(0, job)
            model.under_way, model.not_before = True, 0.0
            self.lanes.add_sent(lane, job)

    @invariant()
    def no_token_is_overdrawn(self) -> None:
        """In no span of time more was granted than rate and burst allow."""
        for times in self.granted.values():
            for first, start in enumerate(times):
                for last in range(first, len(times)):
                    allowed = BURST + RATE * (times[last] - start)
                    assert last - first + 1 <= allowed + 1e-3

    @invariant()
    def what_can_go_is_planned(self) -> None:
        """No lane is stuck: one that could go has its time."""
        waits = any(model.jobs and not model.under_way for model in self.model.values())
        assert (self.lanes.next_at() is not None) == waits

    def teardown(self) -> None:
        """Every job that was added is due in the end."""
        for model in self.model.values():
            model.not_before = 0.0
        for lane, model in self.model.items():
            if model.under_way:
                self.end(lane, 0)
        for _ in range(1_000):
            if not any(model.jobs for model in self.model.values()):
                break
            self.send(1.0)
            for lane, model in self.model.items():
                if model.under_way:
                    self.end(lane, 0)
        assert not any(model.jobs for model in self.model.values())


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
