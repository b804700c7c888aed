"""Facts about who wrote and who read: each moment with two writers is found, and nothing else."""

from __future__ import annotations

from tests.faults.two_pumps import Readers, Span, Write, Writers, outside


def wrote(*writes: tuple[int, str, float]) -> Writers:
    """What was found of these."""
    writers = Writers()
    for one in writes:
        writers.wrote(Write(*one))
    return writers


def test_one_after_the_other_is_no_overlap() -> None:
    """Also where the first one comes again on a later connection."""
    assert wrote((1, "a", 1.0), (2, "b", 2.0), (2, "b", 3.0), (3, "a", 4.0)).overlaps == []


def test_an_old_connection_of_the_same_pump_is_no_second_writer() -> None:
    """Frames of a connection that has ended may be read behind those of the next one."""
    assert wrote((1, "a", 1.0), (2, "a", 2.0), (1, "a", 2.1)).overlaps == []


def test_a_newer_connection_that_has_not_written_is_no_second_writer() -> None:
    """It may be open already."""
    assert wrote((1, "a", 1.0), (1, "a", 2.0), (4, "b", 3.0)).overlaps == []


def test_an_old_pump_that_writes_on_is_found() -> None:
    """With the time from the first of the new one to the last of the old one, for each pair."""
    writers = wrote(
        (1, "a", 1.0), (2, "b", 2.0), (1, "a", 2.25), (1, "a", 2.5), (3, "a", 5.0), (2, "b", 5.5)
    )
    assert [overlap.old.at for overlap in writers.overlaps] == [2.25, 2.5, 5.5]
    assert writers.seconds() == 1.0
    assert "a wrote on connection 1 at 2.250, after b had begun" in str(writers.overlaps[0])


def test_the_time_without_a_reader() -> None:
    """From the last look at which one read to the first one at which one reads again."""
    readers = Readers(0.0)
    for now, reads in ((1.0, True), (2.0, False), (3.0, False), (4.0, True), (5.0, False)):
        readers.look(now, reads, 0.25)
    assert readers.spans(0.0) == [Span(1.0, 4.0, 0.75), Span(4.0, 5.0, 0.25)]
    assert readers.spans(4.0) == [Span(4.0, 5.0, 0.25)]


def test_what_is_left_of_a_span() -> None:
    """Without the times of trouble: before, between and after them."""
    troubles = [Span(0.0, 1.0), Span(2.0, 3.0), Span(8.0, 20.0)]
    assert outside(Span(0.5, 9.0), troubles) == [Span(1.0, 2.0), Span(3.0, 8.0)]
    assert outside(Span(2.5, 2.75), troubles) == []
    assert outside(Span(5.0, 6.0), []) == [Span(5.0, 6.0)]
