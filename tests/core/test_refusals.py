"""Facts about when refusals are worth a new connection."""

from __future__ import annotations

from rtmpump.core.refusals import Refusals


def test_a_new_connection_is_worth_it_later_each_time() -> None:
    """After 2 seconds of refusals, then 8, then 32, and never more often than once a minute."""
    refusals = Refusals()
    at = [now for now in range(0, 300) if refusals.refused(float(now))]
    assert at == [2, 10, 42, 102, 162, 222, 282]


def test_a_confirm_begins_it_anew() -> None:
    """What was taken shows that the channel is well."""
    refusals = Refusals()
    assert not refusals.refused(0.0)
    assert refusals.refused(2.0)
    refusals.taken()
    assert not refusals.refused(9.0)
    assert refusals.refused(11.0)
