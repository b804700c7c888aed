"""Facts about deliveries that come again."""

from __future__ import annotations

from rtmpump.core.outbound.redelivery import Redelivery


def returning(owed: int) -> Redelivery[str]:
    """A connection that begins at 0, after one that ended with so many deliveries."""
    one: Redelivery[str] = Redelivery(2.0)
    one.ended(owed)
    assert one.begun(0.0) == (2.0 if owed else None)
    return one


def test_what_is_new_waits_for_what_was_with_us() -> None:
    """And then comes in its order."""
    one = returning(2)
    assert one.take("new 1", 0.1, again=False) == []
    assert one.take("old 1", 0.2, again=True) == ["old 1"]
    assert one.take("new 2", 0.3, again=False) == []
    assert one.take("old 2", 0.4, again=True) == ["old 2", "new 1", "new 2"]
    assert one.take("new 3", 0.5, again=False) == ["new 3"]


def test_nothing_waits_where_nothing_is_owed() -> None:
    """The ordinary case, and that of a message which only others had before."""
    one = returning(0)
    assert one.take("old", 0.1, again=True) == ["old"]
    assert one.take("new", 0.1, again=False) == ["new"]
    assert one.late(0.1) == []


def test_it_waits_for_so_long_and_no_longer() -> None:
    """What was with us may be gone for ever: its queue was deleted, or it has expired."""
    one = returning(1)
    assert one.take("new 1", 1.9, again=False) == []
    assert one.late(1.95) == []
    assert one.late(2.0) == ["new 1"]
    assert one.take("new 2", 2.1, again=False) == ["new 2"]


def test_what_was_held_back_is_owed_by_the_next_connection() -> None:
    """It was with us too."""
    one = returning(1)
    assert one.take("new 1", 0.1, again=False) == []
    one.ended(0)
    one.begun(10.0)
    assert one.take("new 2", 10.1, again=False) == []
    assert one.take("old 1", 10.2, again=True) == ["old 1"]
    assert one.take("new 1", 10.3, again=True) == ["new 1", "new 2"]
