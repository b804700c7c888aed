"""Facts about what ends the poll of another thread."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from rtmpump.links.slack.waker import Waker


@pytest.fixture
def waker() -> Iterator[Waker]:
    """One, open."""
    waker = Waker()
    yield waker
    waker.close()


def is_awake(waker: Waker) -> bool:
    """Whether a poll returns at once."""
    poll = select.poll()
    poll.register(waker, select.POLLIN)
    return bool(poll.poll(0))


def test_a_wake_lasts_until_it_is_cleared(waker: Waker) -> None:
    """Also one that came before the poll."""
    assert not is_awake(waker)
    waker.wake()
    assert is_awake(waker)
    assert is_awake(waker)
    waker.clear()
    assert not is_awake(waker)


def test_many_wakes_are_one(waker: Waker) -> None:
    """However many came: no buffer is ever too full."""
    for _ in range(100_000):
        waker.wake()
    waker.clear()
    assert not is_awake(waker)


def test_a_clear_without_a_wake_is_nothing(waker: Waker) -> None:
    """It never waits."""
    waker.clear()


def test_a_wake_after_the_close_is_nothing() -> None:
    """Another thread need not know of the end."""
    waker = Waker()
    waker.close()
    waker.wake()
