"""A pump that works in terms."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from threading import Event

import pytest

from rtmpump.links.lifecycle import Lifecycle
from rtmpump.pumps.terms import Terms
from tests.support.waiting import wait_until

pytestmark = pytest.mark.quick


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
def terms(work: Work) -> Iterator[Terms[Event]]:
    """On a thread of its own."""
    terms = Terms[Event](work.begin, work.rested)
    thread = threading.Thread(target=terms.run)
    thread.start()
    yield terms
    terms.close()
    work.stop.set()
    thread.join(100)
    assert not thread.is_alive()


def test_nothing_is_done_without_a_term(terms: Terms[Event], work: Work) -> None:
    """It waits, and can be ended."""
    terms.close()
    assert work.seen == []


def test_one_term_after_the_other(terms: Terms[Event], work: Work) -> None:
    """A new one begins when the work of the one before has ended."""
    first, second = Event(), Event()
    terms.offer(first)
    wait_until(lambda: work.is_working)
    terms.offer(second)
    assert work.seen == [first]
    first.set()
    wait_until(lambda: work.seen == [first, second])
    assert work.rests == 1


def test_a_term_that_is_over_already(terms: Terms[Event], work: Work) -> None:
    """It begins and ends at once, and the next is waited for."""
    over, next_one = Event(), Event()
    over.set()
    terms.offer(over)
    wait_until(lambda: work.rests == 1)
    terms.offer(next_one)
    wait_until(lambda: work.is_working)


def test_no_term_begins_after_the_close(terms: Terms[Event], work: Work) -> None:
    """Not even one that was offered before."""
    first = Event()
    terms.offer(first)
    wait_until(lambda: work.is_working)
    terms.offer(Event())
    terms.close()
    first.set()
    wait_until(lambda: work.rests == 1)
    assert work.seen == [first]


def test_its_progress_is_that_of_the_pump_that_works(terms: Terms[Event], work: Work) -> None:
    """A loop that hangs must be seen, and one that rests must not be taken for one."""
    assert terms.lifecycle is not work.lifecycle
    assert terms.lifecycle.last_progress > 0
    terms.offer(Event())
    wait_until(lambda: work.is_working)
    work.lifecycle.last_progress = 7.0
    assert terms.lifecycle.last_progress == 7.0
