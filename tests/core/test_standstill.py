"""Facts about a trip that stands still: since when, and when that is a failure."""

from __future__ import annotations

import pytest

from rtmpump.core.standstill import Halt, Motion, oldest

pytestmark = pytest.mark.quick


def test_what_waits_and_does_not_move() -> None:
    """It has stood still since it was first seen to wait."""
    motion = Motion()
    motion.look(False, 0, 1.0)
    assert motion.still_since is None
    for now in (2.0, 3.0):
        motion.look(True, 0, now)
        assert motion.still_since == 2.0


def test_progress_counts_anew() -> None:
    """What is done, and an end of the wait, begin it again."""
    motion = Motion()
    motion.look(True, 0, 1.0)
    motion.look(True, 1, 2.0)
    assert motion.still_since == 2.0
    motion.look(False, 1, 3.0)
    assert motion.still_since is None
    motion.look(True, 1, 4.0)
    assert motion.still_since == 4.0


def test_an_unknown_wait_changes_nothing() -> None:
    """While the connection is away nobody knows what waits: a standstill goes on."""
    motion = Motion()
    motion.look(True, 0, 1.0)
    motion.look(None, 0, 2.0)
    motion.look(True, 0, 3.0)
    assert motion.still_since == 1.0


def test_a_failure_takes_five_seconds_and_a_limit_a_minute() -> None:
    """Exactly so long is no failure."""
    for reason, patience in (("disk", 5), ("rate_limit", 60), ("slack_pause", 60)):
        halt = Halt(reason, 100.0)
        assert not halt.has_failed(100.0 + patience)
        assert halt.has_failed(100.1 + patience)


def test_the_oldest_of_each_reason() -> None:
    """Those of one reason and detail are one: since the first, and all that wait."""
    halts = [Halt("a", 3.0, "x", 1), Halt("b", 2.0, "", 5), Halt("a", 1.0, "x", 2)]
    assert oldest(halts) == (Halt("a", 1.0, "x", 3), Halt("b", 2.0, "", 5))
