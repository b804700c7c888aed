"""A pump that works in terms."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from threading import Event

import pytest

from rtmpump.links.lifecycle import Lifecycle
from rtmpump.pumps.terms import Turns
from tests.support.pump import wait_until


class Work:
    """Works until its term is ended, and remembers which terms it saw."""

    def __init__(self) -> None:
        self.lifecycle = Lifecycle()
        self.stop = Event()
        self.seen: list[Event] = []
        self.rests = 0
        self.is_working = False

    def begin(self, term: Event) -> Work:
        """Be ready for a term."""
        self.stop = term
        return self

    def run(self) -> None:
        """One term."""
        assert not self.is_working
        self.seen.append(self.stop)
        self.is_working = True
        self.stop.wait()
        self.is_working = False

    def rested(self) -> None:
        """A term is over."""
        self.rests += 1


@pytest.fixture
def work() -> Work:
    """What is to be done in each term."""
    return Work()


@pytest.fixture
def turns(work: Work) -> Iterator[Turns[Event]]:
    """On a thread of its own."""
    turns = Turns[Event](work.begin, work.rested)
    thread = threading.Thread(target=turns.run)
    thread.start()
    yield turns
    turns.close()
    work.stop.set()
    thread.join(30)
    assert not thread.is_alive()


def test_nothing_is_done_without_a_term(turns: Turns[Event], work: Work) -> None:
    """It waits, and can be ended."""
    turns.close()
    assert work.seen == []


def test_one_term_after_the_other(turns: Turns[Event], work: Work) -> None:
    """A new one begins when the work of the one before has ended."""
    first, second = Event(), Event()
    turns.offer(first)
    wait_until(lambda: work.is_working)
    turns.offer(second)
    assert work.seen == [first]
    first.set()
    wait_until(lambda: work.seen == [first, second])
    assert work.rests == 1


def test_a_term_that_is_over_already(turns: Turns[Event], work: Work) -> None:
    """It begins and ends at once, and the next is waited for."""
    over, next_one = Event(), Event()
    over.set()
    turns.offer(over)
    wait_until(lambda: work.rests == 1)
    turns.offer(next_one)
    wait_until(lambda: work.is_working)


def test_no_term_begins_after_the_close(turns: Turns[Event], work: Work) -> None:
    """Not even one that was offered before."""
    first = Event()
    turns.offer(first)
    wait_until(lambda: work.is_working)
    turns.offer(Event())
    turns.close()
    first.set()
    wait_until(lambda: work.rests == 1)
    assert work.seen == [first]


def test_its_progress_is_that_of_the_pump_that_works(turns: Turns[Event], work: Work) -> None:
    """A loop that hangs must be seen, and one that rests must not be taken for one."""
    assert turns.lifecycle is not work.lifecycle
    assert turns.lifecycle.last_progress > 0
    turns.offer(Event())
    wait_until(lambda: work.is_working)
    work.lifecycle.last_progress = 7.0
    assert turns.lifecycle.last_progress == 7.0
