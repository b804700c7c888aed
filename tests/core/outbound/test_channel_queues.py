"""Facts about the queues of channels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtmpump.core.outbound.api_calls import POSTS_AT_ONCE
from rtmpump.core.outbound.commands import POST
from rtmpump.core.outbound.throttles import WEBSOCKET
from rtmpump.core.rate_limit import RateLimit
from tests.support.channel_queues import BURST, RATE, Piece, Queues, due, end, queues

KEYS = st.sampled_from(["A", "B"])
WAYS = st.sampled_from([POST, WEBSOCKET])


def test_only_the_head_is_under_way() -> None:
    """The second job of a queue waits for the end of the first; another queue does not."""
    some, first, second, other = queues(), Piece(), Piece(), Piece()
    some.add("A", first, 0)
    some.add("A", second, 0)
    some.add("B", other, 0)
    assert set(due(some, 0)) == {first, other}
    assert due(some, 100) == []
    end(some, "A", first, 100)
    assert due(some, 100) == [second]


def test_what_goes_again_is_not_overtaken() -> None:
    """A head that has to be sent once more comes before the next one, at its time."""
    some, first, second = queues(), Piece(), Piece()
    some.add("A", first, 0)
    some.add("A", second, 0)
    assert due(some, 0) == [first]
    some.again("A", first, 5)
    assert due(some, 4.9) == []
    assert some.next_at() == 5
    assert due(some, 5) == [first]


def test_some_jobs_move_to_another_queue() -> None:
    """The head and others, in their order; what stays goes on, and what is over is no job."""
    some = queues()
    head, over, stays, second = Piece(), Piece(), Piece(), Piece()
    for job in (head, over, stays, second):
        some.add("A", job, 0)
    assert due(some, 0) == [head]
    end(some, "A", over, 0)
    assert some.take_out("A", lambda job: job is not stays, 1) == [head, second]
    assert due(some, 1) == [stays]
    end(some, "A", stays, 1)
    assert some.next_at() == math.inf
    some.add("A", Piece(), 2)
    assert len(due(some, 2)) == 1


def test_a_job_under_way_that_is_put_back_stands_first() -> None:
    """It was sent before all others of its queue, so they wait for it."""
    some, sent, later = queues(), Piece(), Piece()
    some.add("A", later, 0)
    some.add_sent("A", sent)
    assert due(some, 0) == []
    end(some, "A", sent, 1)
    assert due(some, 1) == [later]


def test_a_second_job_under_way_does_not_free_the_queue_of_the_first() -> None:
    """What is sent again although it isn't the head, waits until it is."""
    some, first, put_back = queues(), Piece(), Piece()
    some.add("A", first, 0)
    assert due(some, 0) == [first]
    some.add_sent("A", put_back)
    some.again("A", put_back, 0)
    assert due(some, 10) == []
    end(some, "A", first, 10)
    assert due(some, 10) == [put_back]


def test_jobs_that_end_behind_a_waiting_head_take_no_memory() -> None:
    """A head that waits for ever doesn't hold the thousands that expired behind it."""
    some, head = queues(), Piece()
    some.add("A", head, 0)
    assert due(some, 0) == [head]
    for _ in range(5_000):
        job = Piece()
        some.add("A", job, 0)
        end(some, "A", job, 0)
    assert len(some._queues["A"].jobs) < 200


def test_jobs_that_end_before_anything_is_sent_take_no_memory() -> None:
    """While Slack is away `due` is never called; the plan does not grow even so."""
    some = queues()
    for number in range(5_000):
        job = Piece()
        some.add(f"C{number}", job, number)
        end(some, f"C{number}", job, number)
    assert not some._queues
    assert len(some._plan) < 200
    assert some.next_at() == math.inf


def test_a_closed_way_holds_its_own_jobs_and_takes_no_token() -> None:
    """They go when it opens, in the order in which they could have gone."""
    some = queues()
    some.throttles.close(WEBSOCKET)
    held = [Piece(throttle=WEBSOCKET) for _ in range(3)]
    for number, job in enumerate(held):
        some.add("CBA"[number], job, number)
    some.add("D", other := Piece(), 3)
    assert due(some, 3) == [other]
    assert some.next_at() == math.inf
    assert due(some, 100) == []
    some.throttles.open(WEBSOCKET)
    assert due(some, 100) == held


def test_behind_a_closed_way_order_is_kept() -> None:
    """What goes another way waits behind what is held; once that is over, it goes."""
    some = queues()
    some.throttles.close(WEBSOCKET)
    some.add("A", first := Piece(throttle=WEBSOCKET), 0)
    some.add("A", second := Piece(), 0)
    assert due(some, 0) == []
    end(some, "A", first, 1)
    assert due(some, 1) == [second]
    some.throttles.open(WEBSOCKET)
    assert due(some, 2) == []


def test_jobs_that_end_behind_a_closed_way_take_no_memory() -> None:
    """Also those that were due already."""
    some = queues()
    some.throttles.close(WEBSOCKET)
    for number in range(1_000):
        job = Piece(throttle=WEBSOCKET)
        some.add(f"C{number}", job, number)
        assert due(some, number) == []
        end(some, f"C{number}", job, number)
    assert not some._queues
    assert not some._lines[WEBSOCKET]
    some.throttles.open(WEBSOCKET)
    assert some.next_at() == math.inf


def test_a_job_under_way_that_is_put_back_goes_before_those_that_wait() -> None:
    """Also where another one is under way by now: it was sent before all that follow."""
    some, first, waits, put_back = queues(), Piece(), Piece(), Piece(holds_queue=True)
    some.add("A", first, 0)
    some.add("A", waits, 0)
    assert due(some, 0) == [first]
    some.add_sent("A", put_back)
    end(some, "A", first, 1)
    assert due(some, 10) == []
    end(some, "A", put_back, 10)
    assert due(some, 10) == [waits]


def test_what_is_not_under_way_can_not_go_again() -> None:
    """Its time stands."""
    some, job = queues(), Piece()
    some.add("A", job, 0)
    assert due(some, 0) == [job]
    some.throttles.leave(job)
    some.again("A", job, 5)
    some.again("A", job, 50)
    assert some.next_at() == 5
    assert due(some, 5) == [job]


def test_a_head_without_a_token_waits_until_there_is_one() -> None:
    """Not longer and not shorter; what costs none goes at once."""
    some = queues()
    for number in range(3):
        some.add("A", job := Piece(), 0)
        some.add("B", free := Piece(costs=False), 0)
        assert due(some, 0) == ([job, free] if number < BURST else [free])
        end(some, "B", free, 0)
        if number < BURST:
            end(some, "A", job, 0)
    assert some.next_at() == 1 / RATE
    assert due(some, 1 / RATE) == [job]


def test_a_full_throttle_costs_no_token() -> None:
    """A queue that waits for a worker goes as soon as there is one, at its own rate."""
    some = queues()
    jobs = {f"C{number}": Piece() for number in range(40)}
    for key, job in jobs.items():
        some.add(key, job, 0)
    order = []
    for _ in range(40 // POSTS_AT_ONCE):
        group = due(some, 0)
        assert len(group) == POSTS_AT_ONCE
        assert some.next_at() == math.inf
        order += group
        for job in group:
            end(some, next(key for key, one in jobs.items() if one is job), job, 0)
    assert order == list(jobs.values())


def test_a_token_that_was_not_used_is_there_again() -> None:
    """The job could not be sent after all."""
    some = queues()
    some.add("A", job := Piece(), 0)
    for _ in range(5):
        assert due(some, 0) == [job]
        some.throttles.leave(job)
        some.unused("A", job)
        some.again("A", job, 0)


def test_queues_that_share_a_throttle_take_turns() -> None:
    """However many wait in each, and whatever their names."""
    some = Queues(calls=RateLimit(1.0, 1))
    keys = {"AAA": 5, "ZZZ": 3, "MMM": 1}
    jobs = {
        key: [Piece(costs=False, throttle="m", key=key) for _ in range(n)]
        for key, n in keys.items()
    }
    for key, each in jobs.items():
        for job in each:
            some.add(key, job, 0)
    turns = []
    for second in range(9):
        (job,) = due(some, second)
        turns.append(job.key)
        end(some, job.key, job, second + 0.5)
    assert turns == ["AAA", "ZZZ", "MMM", "AAA", "ZZZ", "AAA", "ZZZ", "AAA", "AAA"]


def test_the_plan_stays_in_order_when_it_is_made_anew() -> None:
    """After most of its entries became stale."""
    some, times = queues(), [(37 * number) % 1_000 for number in range(400)]
    jobs = [Piece(key=f"C{number}") for number in range(400)]
    for at, job in zip(times, jobs, strict=True):
        some.add(job.key, job, at)
    left = sorted(zip(times[::5], range(80), jobs[::5], strict=True))
    for number, job in enumerate(jobs):
        if number % 5:
            end(some, job.key, job, 0)
    some.add("X", Piece(throttle="m"), 2_000)
    assert len(some._plan) == 81
    for at, _, job in left:
        assert some.next_at() == at
        assert due(some, at) == [job]
        some.throttles.leave(job)


def test_a_head_stays_until_it_is_settled_itself() -> None:
    """Though it is over, and those behind it are dropped."""
    some, head, last = queues(), Piece(), Piece()
    some.add("A", head, 0)
    assert due(some, 0) == [head]
    head.done = True
    for _ in range(200):
        some.add("A", job := Piece(), 0)
        end(some, "A", job, 0)
    some.add("A", last, 0)
    assert due(some, 0) == []
    end(some, "A", head, 0)
    assert due(some, 0) == [last]


def test_those_that_are_over_are_dropped_again_and_again_at_the_same_length() -> None:
    """Each is looked at few times: not before they are the greater part."""
    some, head = queues(), Piece()
    some.add("A", head, 0)
    lengths = []
    for _ in range(200):
        some.add("A", job := Piece(), 0)
        end(some, "A", job, 0)
        lengths.append(len(some._queues["A"].jobs))
    period = [*range(2, 67), 1]
    assert lengths == (period * 4)[:200]


@dataclass
class Model:
    """The naive one: a list for each queue, and whether its first is under way."""

    jobs: list[Piece] = field(default_factory=list)
    under_way: bool = False
    not_before: float = 0.0


class QueuesMachine(RuleBasedStateMachine):
    """ChannelQueues against lists."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.now = 0.0
        self.queues = queues()
        self.model = {"A": Model(), "B": Model()}
        self.granted: dict[str, list[float]] = {"A": [], "B": []}

    @rule(key=KEYS, costs=st.booleans(), way=WAYS)
    def add(self, key: str, costs: bool, way: str) -> None:
        """Add a job."""
        job = Piece(costs, throttle=way, key=key)
        self.model[key].jobs.append(job)
        self.queues.add(key, job, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 3.0]))
    def send(self, seconds: float) -> None:
        """Time passes, and all that is due is sent."""
        self.now += seconds
        for job in self.queues.due(self.now):
            model = self.model[job.key]
            assert not (job.throttle == WEBSOCKET and self.closed)
            assert not model.under_way
            assert job is model.jobs[0]
            assert self.now >= model.not_before
            model.under_way = True
            if job.costs:
                self.granted[job.key].append(self.now)

    @rule(key=KEYS, index=st.integers(0, 5))
    def end(self, key: str, index: int) -> None:
        """Settle a job, wherever it stands."""
        model = self.model[key]
        if index >= len(model.jobs):
            return
        job = model.jobs.pop(index)
        if index == 0:
            model.under_way, model.not_before = False, 0.0
        end(self.queues, key, job, self.now)

    @rule(key=KEYS, wait=st.sampled_from([0.1, 1.0, 7.0]))
    def again(self, key: str, wait: float) -> None:
        """Send the head once more."""
        model = self.model[key]
        if model.under_way:
            model.under_way, model.not_before = False, self.now + wait
            self.queues.throttles.leave(model.jobs[0])
            self.queues.again(key, model.jobs[0], self.now + wait)

    @rule(key=KEYS)
    def put_back(self, key: str) -> None:
        """Put back a job that was sent before."""
        model = self.model[key]
        if not model.under_way:
            job = Piece(key=key)
            model.jobs.insert(0, job)
            model.under_way, model.not_before = True, 0.0
            self.queues.add_sent(key, job)

    @rule()
    def close(self) -> None:
        """Close a way to Slack."""
        self.closed = True
        self.queues.throttles.close(WEBSOCKET)

    @rule()
    def open(self) -> None:
        """Open it again."""
        self.closed = False
        self.queues.throttles.open(WEBSOCKET)

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
        """No queue is stuck: one that could go has its time."""
        heads = [one.jobs[0] for one in self.model.values() if one.jobs and not one.under_way]
        can_go = [job for job in heads if not (job.throttle == WEBSOCKET and self.closed)]
        planned = self.queues.next_at() < math.inf
        assert planned or not can_go
        assert heads or not planned

    def teardown(self) -> None:
        """Every job that was added is due in the end."""
        self.open()
        for model in self.model.values():
            model.not_before = 0.0
        for key, model in self.model.items():
            if model.under_way:
                self.end(key, 0)
        for _ in range(1_000):
            if not any(model.jobs for model in self.model.values()):
                break
            self.send(1.0)
            for key, model in self.model.items():
                if model.under_way:
                    self.end(key, 0)
        assert not any(model.jobs for model in self.model.values())


TestQueues = QueuesMachine.TestCase
TestQueues.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
