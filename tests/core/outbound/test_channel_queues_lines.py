"""Facts about heads that stand in the line of their throttle, and when the next thing is due."""

from __future__ import annotations

import math

from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.core.outbound.throttles import WEBSOCKET
from tests.support.channel_queues import Piece, due, end, queues


def test_the_end_of_a_rest_is_the_time_of_the_next_thing() -> None:
    """Whether or not something else has a time."""
    some = queues()
    some.add("A", first := Piece(), 0)
    some.add("B", Piece(), 0)
    assert len(due(some, 0)) == 2
    some.throttles.failed(first, Trouble.AWAY, 0, 7.0)
    some.again("A", first, 0)
    assert due(some, 0) == []
    assert some.next_at() == 7.0
    some.add("C", Piece(throttle=WEBSOCKET), 9)
    assert some.next_at() == 7.0
    assert due(some, 7.0) == [first]


def test_a_job_put_back_before_one_in_line() -> None:
    """The one in line goes when that is over, and is in line once."""
    some, waits, put_back = queues(), Piece(throttle=WEBSOCKET), Piece(holds_queue=True)
    some.throttles.close(WEBSOCKET)
    some.add("A", waits, 0)
    assert due(some, 0) == []
    some.add_sent("A", put_back)
    some.throttles.open(WEBSOCKET)
    assert due(some, 1) == []
    end(some, "A", put_back, 2)
    assert due(some, 2) == [waits]
    end(some, "A", waits, 3)
    assert some.next_at() == math.inf


def test_a_time_that_no_longer_counts_hides_no_other() -> None:
    """The first queue has gone; those that come later in the plan go now."""
    some, gone, stays = queues(), Piece(), Piece()
    some.add("A", gone, 0)
    some.add("B", stays, 1)
    end(some, "A", gone, 1)
    assert due(some, 1) == [stays]


def test_a_queue_of_what_is_over_is_forgotten_when_its_time_comes() -> None:
    """Its jobs ended without a word to the queue."""
    some = queues()
    some.add("A", Piece(done=True), 0)
    some.add("B", other := Piece(), 0)
    assert due(some, 0) == [other]
    assert [*some._queues] == ["B"]
