"""Facts about messages that wait for Slack's reply."""

from __future__ import annotations

import pytest

from rtmpump.core.outbound.job import Job, Stage, fingerprint
from rtmpump.core.outbound.reply_tracker import ReplyTracker


def job() -> Job:
    """Return a new job."""
    return Job(1, fingerprint(b"", None, None, None), None, b"", 0.0)


def write(tracker: ReplyTracker, job: Job, id: int) -> None:
    """Write the job with this id."""
    tracker.expect(id, job)
    job.stage = Stage.WRITTEN


def written(tracker: ReplyTracker, id: int) -> Job:
    """Return a new job, written with this id."""
    made = job()
    write(tracker, made, id)
    return made


def test_a_reply_may_come_before_the_write_returned() -> None:
    """The id is known from before the write; it is unknown again if nothing was written."""
    tracker, one = ReplyTracker(), job()
    tracker.expect(7, one)
    assert 7 in tracker
    tracker.unwritten(7)
    assert 7 not in tracker
    assert one.ids == []


def test_a_reply_finds_the_job_of_its_id_in_any_order() -> None:
    """Replies in another order than the writes each find their own job."""
    tracker = ReplyTracker()
    one, two = written(tracker, 1), written(tracker, 2)
    assert tracker.job(2) is two
    assert tracker.job(1) is one


def test_a_reply_to_an_unknown_id_finds_nothing() -> None:
    """And leaves the others alone."""
    tracker = ReplyTracker()
    one = written(tracker, 1)
    assert tracker.job(7) is None
    assert tracker.job(1) is one


def test_an_id_is_used_once() -> None:
    """A second job of the same id is refused and the first one stays."""
    tracker = ReplyTracker()
    one = written(tracker, 1)
    with pytest.raises(ValueError, match="id 1 "):
        tracker.expect(1, job())
    assert tracker.job(1) is one


def test_an_earlier_attempt_still_finds_its_job() -> None:
    """A late reply settles it; a second reply finds nothing, for it is forgotten then."""
    tracker = ReplyTracker()
    one = written(tracker, 7)
    write(tracker, one, 8)
    assert tracker.job(7) is tracker.job(8) is one
    tracker.forget(one)
    assert tracker.job(7) is tracker.job(8) is None


def test_when_the_link_ends_all_that_wait_are_unsure_in_their_order() -> None:
    """What is settled, or waits to be written again, is not."""
    tracker = ReplyTracker()
    first, second, again = (written(tracker, id) for id in (9, 4, 5))
    again.stage = Stage.WAITING
    assert tracker.link_down() == tracker.unsure == [first, second]
    assert tracker.is_unsure(first)
    assert not tracker.is_unsure(again)
    # It ends once more before the next hello: they are unsure still, and once.
    assert tracker.link_down() == [first, second]


def test_a_job_that_has_to_go_again_is_not_unsure() -> None:
    """A "slow down" that came late, or a decision, made it go again; its id stays known."""
    tracker = ReplyTracker()
    one = written(tracker, 7)
    tracker.link_down()
    tracker.goes_again(one)
    assert tracker.job(7) is one
    assert not tracker.is_unsure(one)
    assert tracker.unsure == []


def test_a_forgotten_job_takes_no_memory() -> None:
    """All its ids go, also those of earlier attempts."""
    tracker = ReplyTracker()
    one = written(tracker, 7)
    write(tracker, one, 8)
    tracker.link_down()
    tracker.forget(one)
    assert len(tracker) == 0
    assert tracker.unsure == []
