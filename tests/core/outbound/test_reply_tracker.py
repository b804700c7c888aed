"""Facts about messages that wait for Slack's reply."""

from __future__ import annotations

from rtmpump.core.outbound.job import Job, Stage, fingerprint
from rtmpump.core.outbound.reply_tracker import ReplyTracker


def written(awaited: ReplyTracker, id: int, deadline: float = 10.0) -> Job:
    """A new job, written with this id."""
    job = Job(1, fingerprint(b"", None, None, None), None, b"", 0.0)
    write(awaited, job, id, deadline)
    return job


def write(awaited: ReplyTracker, job: Job, id: int, deadline: float = 10.0) -> None:
    """The job is written with this id."""
    awaited.expect(id, job)
    awaited.wrote(id, deadline)


def test_a_reply_may_come_before_the_write_returned() -> None:
    """The id is known from before the write; it is unknown again if nothing was written."""
    awaited, job = ReplyTracker(1.0), Job(1, fingerprint(b"", None, None, None), None, b"", 0.0)
    awaited.expect(7, job)
    assert 7 in awaited
    awaited.unwritten(7)
    assert 7 not in awaited
    assert job.ids == []


def test_what_is_not_answered_in_time_is_given_out_once() -> None:
    """And a late reply still finds its job."""
    awaited = ReplyTracker(1.0)
    job = written(awaited, 7)
    assert awaited.unanswered(9.9) == []
    assert awaited.next_at() == 10.0
    assert awaited.unanswered(10.0) == [job]
    assert awaited.unanswered(99.0) == []
    assert awaited.job(7) is job


def test_a_decision_waits_for_the_next_hello_and_a_moment() -> None:
    """Without a link there is no deadline: nobody could answer."""
    awaited = ReplyTracker(1.0)
    job = written(awaited, 7)
    awaited.link_down()
    assert awaited.unanswered(99.0) == awaited.undecided(99.0) == []
    awaited.decide_soon(100.0)
    assert awaited.undecided(100.9) == []
    assert awaited.undecided(101.0) == [job]
    assert awaited.undecided(999.0) == []


def test_a_job_that_was_written_again_meanwhile_is_not_uncertain() -> None:
    """A "slow down" that came late made it go again: only the new attempt counts."""
    awaited = ReplyTracker(1.0)
    job = written(awaited, 7)
    awaited.link_down()
    awaited.decide_soon(100.0)
    job.stage = Stage.WAITING
    awaited.wait_no_more(job)
    write(awaited, job, 8, 110.0)
    assert awaited.undecided(101.0) == []
    assert awaited.unanswered(110.0) == [job]


def test_a_forgotten_job_takes_no_memory() -> None:
    """All its ids go, also those of earlier attempts."""
    awaited = ReplyTracker(1.0)
    job = written(awaited, 7)
    write(awaited, job, 8)
    awaited.forget(job)
    assert len(awaited) == 0
    assert awaited.next_at() is None
