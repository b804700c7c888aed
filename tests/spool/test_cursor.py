"""Facts about where the publisher stands in the spool."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from rtmpump.errors import SpoolFailed
from rtmpump.spool import Cursor, Row, Spool

pytestmark = pytest.mark.quick


def filled(folder: Path, when_full: Literal["block", "drop_oldest"] = "drop_oldest") -> Spool:
    """A spool with the events 1 to 8."""
    spool = Spool.open(folder / "spool.db", max_bytes=16 << 20, when_full=when_full, sync="normal")
    spool.append([(n, b"%d" % n) for n in range(1, 9)], team="T", bot="U")
    return spool


def take(cursor: Cursor, limit: int) -> list[int]:
    """The next events, as the publisher takes them."""
    rows = cursor.read(limit)
    if rows:
        cursor.at = rows[-1].seq
    return [row.seq for row in rows]


@pytest.mark.parametrize("keeps", [True, False])
def test_it_goes_on_and_back(tmp_path: Path, keeps: bool) -> None:
    """Each event comes once, and once more after a step back."""
    cursor = Cursor(filled(tmp_path), keeps=keeps)
    assert [take(cursor, 3), take(cursor, 2)] == [[1, 2, 3], [4, 5]]
    cursor.go_back(1)
    assert [take(cursor, 3), take(cursor, 3), take(cursor, 3)] == (
        [[2, 3, 4], [5], [6, 7, 8]] if keeps else [[2, 3, 4], [5, 6, 7], [8]]
    )
    assert take(cursor, 3) == []


def test_what_is_given_up_meanwhile_comes_again(tmp_path: Path) -> None:
    """All that was given before the step back comes, once the first of it has come."""
    spool = filled(tmp_path)
    cursor = Cursor(spool, keeps=True)
    take(cursor, 6)
    cursor.go_back(1)
    assert take(cursor, 1) == [2]
    spool.confirm(4)
    assert [row and row.seq for row in map(cursor.find, (2, 3, 6))] == [2, 3, 6]
    assert [take(cursor, 9), take(cursor, 9)] == [[3, 4, 5, 6], [7, 8]]


def test_what_is_given_up_before_is_not_waited_for(tmp_path: Path) -> None:
    """It never comes; what was given after it does, or all of that is gone too."""
    spool = filled(tmp_path)
    cursor = Cursor(spool, keeps=True)
    take(cursor, 6)
    cursor.go_back(1)
    spool.confirm(4)
    assert [take(cursor, 9), take(cursor, 9)] == [[5, 6], [7, 8]]
    cursor.go_back(5)
    spool.confirm(8)
    assert take(cursor, 9) == []
    assert cursor.find(6) is None


def test_a_second_step_back_begins_anew(tmp_path: Path) -> None:
    """What the spool gave up since the first one is not sent again before what it still has."""
    spool = filled(tmp_path)
    cursor = Cursor(spool, keeps=True)
    take(cursor, 6)
    cursor.go_back(1)
    take(cursor, 9)
    take(cursor, 1)
    spool.confirm(4)
    cursor.go_back(2)
    assert [take(cursor, 9), take(cursor, 9)] == [[5, 6, 7], [8]]


def test_a_second_step_back_reaches_as_far_as_the_first(tmp_path: Path) -> None:
    """What was given before the first one comes again, although only a part of it had."""
    spool = filled(tmp_path)
    cursor = Cursor(spool, keeps=True)
    take(cursor, 6)
    for _ in range(2):
        cursor.go_back(1)
        assert take(cursor, 1) == [2]
    spool.confirm(4)
    assert take(cursor, 9) == [3, 4, 5, 6]


def test_memory_is_freed_when_all_of_it_is_confirmed(tmp_path: Path) -> None:
    """What the spool no longer has is then found no more."""
    spool = filled(tmp_path)
    cursor = Cursor(spool, keeps=True)
    take(cursor, 6)
    cursor.go_back(1)
    take(cursor, 5)
    spool.confirm(8)
    cursor.forget(5)
    assert cursor.find(6) is not None
    cursor.forget(6)
    assert cursor.find(6) is None


def test_a_read_that_fails_is_made_again(tmp_path: Path) -> None:
    """Nothing is skipped by it."""
    spool = filled(tmp_path)
    cursor = Cursor(spool, keeps=True)
    take(cursor, 6)
    cursor.go_back(1)
    real = spool.read

    def fail(after: int, limit: int, max_bytes: int = 0) -> list[Row]:
        spool.read = real  # type: ignore[method-assign]
        raise SpoolFailed("spool.db", "disk I/O error")

    spool.read = fail  # type: ignore[method-assign]
    with pytest.raises(SpoolFailed):
        cursor.read(9)
    assert take(cursor, 9) == [2, 3, 4, 5, 6]
