"""Facts about the file of gaps that are still to be filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmpump.core.missed_messages import OpenGap
from rtmpump.pumps.backfill.gap_file import GAPS_MAX, GapFile
from tests.support.spool import Reports

pytestmark = pytest.mark.quick


def gap(from_ms: int, to_ms: int, team: str = "T1") -> OpenGap:
    """A gap of which nothing was done."""
    return OpenGap(from_ms, to_ms, team, "U1")


def again(path: Path) -> GapFile:
    """The gaps as the next start reads them."""
    return GapFile(path, Reports())


def test_gaps_outlive_the_process_with_how_far_they_came(path: Path) -> None:
    """Each change is on disk when the call returns."""
    gaps = again(path)
    gaps.add(gap(10, 20))
    gaps.add(gap(30, 40))
    first = gaps.first()
    assert first is not None
    first.done.append("C1")
    first.failed.append(("im", "missing_scope"))
    first.channel, first.upto = "C2", "1.000001"
    gaps.save()
    assert again(path).first() == first
    gaps.close(first)
    assert again(path).first() == gap(30, 40)


def test_a_gap_that_covers_another_replaces_it(path: Path) -> None:
    """As after a crash between its keeping and its telling; but not one that is begun."""
    gaps = again(path)
    gaps.add(gap(10, 20))
    gaps.add(gap(10, 30))
    assert (len(gaps), gaps.first()) == (1, gap(10, 30))
    first = gaps.first()
    assert first is not None
    first.done.append("C1")
    gaps.add(gap(5, 50))
    assert len(gaps) == 2


def test_a_gap_that_is_being_filled_is_replaced_by_none(path: Path) -> None:
    """Also if Slack has answered nothing yet: how far it comes has a place in the file."""
    gaps = again(path)
    gaps.add(gap(10, 20))
    first = gaps.first()
    assert first is not None
    gaps.begin(first)
    gaps.add(gap(5, 50))
    assert (len(gaps), gaps.first()) == (2, gap(10, 20))
    first.done.append("im")
    gaps.save()
    assert again(path).first() == first


def test_what_waits_is_bounded_and_covers_all(path: Path) -> None:
    """Past the limit two become one; the first, which may be under way, stays."""
    gaps = again(path)
    for n in range(GAPS_MAX + 10):
        gaps.add(gap(100 * n, 100 * n + 50))
    assert len(gaps) == GAPS_MAX
    assert gaps.first() == gap(0, 50)
    gaps.close(gap(0, 50))
    assert len(gaps) == GAPS_MAX
    first = gaps.first()
    assert first is not None
    gaps.close(first)
    assert gaps.first() == gap(100, 1150)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'[{"from_ms": "x"}]', b"\xff\xfe"])
def test_a_file_that_is_damaged_is_set_aside_and_told(path: Path, content: bytes) -> None:
    """It is kept under another name, and a new one is begun."""
    file = path.with_name("spool.db-gaps")
    file.write_bytes(content)
    told = Reports()
    gaps = GapFile(path, told)
    assert gaps.first() is None
    assert [event for event, _ in told] == ["gaps.set_aside"]
    assert path.with_name("spool.db-gaps.corrupt").read_bytes() == content
    gaps.add(gap(1, 2))
    assert again(path).first() == gap(1, 2)


def test_a_disk_that_refuses_is_told_and_ends_nothing(tmp_path: Path) -> None:
    """The gap is known until the process ends."""
    folder = tmp_path / "gone"
    folder.mkdir()
    told = Reports()
    gaps = GapFile(folder / "spool.db", told)
    folder.rmdir()
    gaps.add(gap(1, 2))
    assert gaps.first() == gap(1, 2)
    assert [event for event, _ in told] == ["gaps.not_saved"]
