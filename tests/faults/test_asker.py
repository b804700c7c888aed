"""Facts about who asks the pump in the fault suite: what is a broken promise, and what is none."""

from __future__ import annotations

from tests.faults.asker import STILL, Moved, StandstillWatch


def looks(*looks: tuple[int, bool, bool | None]) -> list[str]:
    """Look once a second: how many events came, whether any is due, and whether it was green."""
    watch = StandstillWatch("event")
    for now, (events, is_due, green) in enumerate(looks):
        watch.look(Moved(events, is_due), green, float(now))
    return watch.problems


def test_green_while_nothing_moves() -> None:
    """It is one problem for each time that it lasts."""
    assert len(looks(*[(1, True, True)] * (int(STILL) + 2))) == 1
    assert looks(*[(1, True, True)] * int(STILL)) == []


def test_what_moves_or_rests_is_green_by_right() -> None:
    """Progress, and nothing to do, are no standstill."""
    assert looks(*[(number, True, True) for number in range(30)]) == []
    assert looks(*[(1, False, True)] * 30) == []


def test_a_pump_that_says_so_breaks_nothing() -> None:
    """One that is not ready, or gives no answer, promises nothing."""
    assert looks(*[(1, True, False)] * 30) == []
    assert looks(*[(1, True, None)] * 30) == []


def test_a_standstill_that_goes_on_after_a_green_answer() -> None:
    """A pump that turns green has seconds to show that something moves."""
    red = [(1, True, False)] * 30
    assert looks(*red, *[(1, True, True)] * 5, (2, True, True)) == []
    assert len(looks(*red, *[(1, True, True)] * (int(STILL) + 2))) == 1
