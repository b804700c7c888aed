"""What `rtmpump.core.rate_limit` grants, and what it remembers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmpump.core.rate_limit import RateLimit

# Powers of two make all sums of floats exact, so a naive account can be compared without mercy.
rates = st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0])
bursts = st.integers(1, 5)
takes = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 200).map(lambda step: step / 64)), max_size=80
)


def test_a_burst_and_then_one_by_one() -> None:
    """A full bucket gives `burst` tokens at once, then returns how long the next one takes."""
    bucket = RateLimit(rate=1.0, burst=3)
    assert [bucket.take("C1", 100.0) for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert bucket.take("C1", 100.25) == 0.75
    assert bucket.take("C1", 101.0) == 0.0
    assert bucket.take("C1", 101.0) == 1.0


def test_a_bucket_that_another_may_have_used_is_taken_for_empty() -> None:
    """The next token comes after one interval; what we took ourselves is counted already."""
    bucket = RateLimit(rate=2.0, burst=3)
    bucket.use_up("C1", 100.0)
    assert bucket.take("C1", 100.0) == 0.5
    assert bucket.take("C1", 100.5) == 0.0
    bucket.use_up("C1", 100.5)
    assert bucket.take("C1", 100.5) == 0.5
    assert [bucket.take("C1", 110.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    bucket.use_up("C1", 120.0)
    assert bucket.take("C1", 120.0) == 0.5


def test_keys_do_not_wait_for_each_other() -> None:
    """An empty bucket of one key leaves another's full."""
    bucket = RateLimit(rate=1.0, burst=1)
    assert bucket.take("C1", 5.0) == 0.0
    assert bucket.take("C1", 5.0) == 1.0
    assert bucket.take("C2", 5.0) == 0.0


def test_a_bucket_never_holds_more_than_the_burst() -> None:
    """A long rest gives no more than a full bucket."""
    bucket = RateLimit(rate=1.0, burst=2)
    bucket.take("C1", 0.0)
    assert [bucket.take("C1", 1e6) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_a_short_rest_fills_it_no_further() -> None:
    """A bucket that became full a while ago gives no more than its burst either."""
    bucket = RateLimit(rate=1.0, burst=3)
    bucket.take("C1", 0.0)
    assert [bucket.take("C1", 2.5) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


@settings(deadline=None)
@given(rates, bursts, takes)
def test_it_grants_what_a_naive_bucket_grants(
    rate: float, burst: int, steps: list[tuple[str, float]]
) -> None:
    """Each answer is that of a bucket that is filled and emptied by hand, swept or not."""
    bucket, now = RateLimit(rate, burst), 1000.0
    tokens = dict.fromkeys("abc", float(burst))
    for key, pause in steps:
        now += pause
        tokens = {name: min(burst, held + rate * pause) for name, held in tokens.items()}
        expected = 0.0 if tokens[key] >= 1 else (1 - tokens[key]) / rate
        assert bucket.take(key, now) == expected
        if expected == 0.0:
            tokens[key] -= 1


@settings(deadline=None)
@given(st.floats(0.01, 1000), bursts, st.floats(0, 2e9), st.lists(st.floats(0, 10), max_size=30))
def test_who_waits_as_told_is_granted(
    rate: float, burst: int, start: float, pauses: list[float]
) -> None:
    """The returned wait is enough, with floats of any kind."""
    bucket, now = RateLimit(rate, burst), start
    for pause in pauses:
        now += pause / rate
        wait = bucket.take("C1", now)
        assert 0.0 <= wait <= 1 / rate + 1e-5
        if wait:
            now += wait
            assert bucket.take("C1", now) == 0.0


def test_full_buckets_are_forgotten() -> None:
    """A sweep keeps only the buckets that are not full."""
    bucket = RateLimit(rate=1.0, burst=2)
    bucket.take("C1", 0.0)
    bucket.take("C2", 0.5)
    assert len(bucket) == 2
    bucket.sweep(1.0)
    assert len(bucket) == 1
    bucket.sweep(1.49)
    assert len(bucket) == 1
    assert [bucket.take("C2", 1.5), bucket.take("C2", 1.75)] == [0.0, 0.0]
    bucket.sweep(3.5)
    assert len(bucket) == 0


def test_memory_is_bounded_by_the_keys_of_late() -> None:
    """With new keys for ever, only those of the last moments are kept."""
    bucket = RateLimit(rate=1.0, burst=3)
    most = 0
    for step in range(10_000):
        bucket.take(f"C{step}", step / 10)
        most = max(most, len(bucket))
    assert most <= 2 * 3 * 10


def test_a_refused_take_costs_nothing() -> None:
    """A call of `take` while there is no token makes no wait longer."""
    bucket = RateLimit(rate=2.0, burst=1)
    bucket.take("C1", 0.0)
    assert {bucket.take("C1", 0.25) for _ in range(100)} == {0.25}
    assert bucket.take("C1", 0.5) == 0.0


@pytest.mark.parametrize(
    ("rate", "burst"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 0), (1.0, -3)]
)
def test_impossible_buckets_are_refused(rate: float, burst: int) -> None:
    """A bucket that never fills or holds nothing can't be made."""
    with pytest.raises(ValueError, match="bucket"):
        RateLimit(rate, burst)


def test_when_a_token_is_there_can_be_asked_without_taking_it() -> None:
    """It is what `take` would have one wait for."""
    limit = RateLimit(2.0, 2)
    assert limit.ready_at("a") == -math.inf
    assert [limit.take("a", 10.0), limit.take("a", 10.0)] == [0.0, 0.0]
    assert limit.ready_at("a") == 10.5
    assert limit.take("a", 10.0) == 0.5
    assert limit.take("a", 10.5) == 0.0


def test_a_token_can_be_given_back() -> None:
    """Once for each that was taken; of a key without a bucket there is nothing to give."""
    limit = RateLimit(1.0, 1)
    limit.give_back("a")
    assert limit.take("a", 5.0) == 0.0
    limit.give_back("a")
    assert limit.take("a", 5.0) == 0.0
    assert limit.take("a", 5.0) == 1.0
    of_two = RateLimit(1.0, 2)
    assert [of_two.take("a", 5.0), of_two.take("a", 5.0)] == [0.0, 0.0]
    of_two.give_back("a")
    assert [of_two.take("a", 5.0), of_two.take("a", 5.0)] == [0.0, 1.0]
