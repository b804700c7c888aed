"""Facts about the order of commands whose channels are still being looked up."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rtmpump.core.outbound.name_resolution import NameResolution

PATIENCE = 5.0
IDS = {"general": "C1", "random": "C2"}


@dataclass(eq=False)
class Piece:
    """A job."""

    number: int = 0
    done: bool = False


def arrivals() -> NameResolution[Piece]:
    """Return a line in which few can wait."""
    return NameResolution(PATIENCE, 10)


def test_known_channels_go_on_at_once() -> None:
    """Without a name before them nothing holds them up, and the line asks for no time."""
    line, first, second = arrivals(), Piece(), Piece()
    line.add(first, "C1", 0)
    line.add(second, "C2", 0)
    assert list(line.release(0)) == [(first, "C1"), (second, "C2")]
    assert line.next_at() == math.inf


def test_a_name_is_asked_for_once() -> None:
    """A later command of the same name waits for the same answer."""
    line, first, second = arrivals(), Piece(), Piece()
    assert line.add_unknown(first, "general", 0)
    assert not line.add_unknown(second, "general", 0)
    assert not list(line.release(0))
    assert not list(line.found("general", "C1"))
    assert list(line.release(0)) == [(first, "C1"), (second, "C1")]
    assert line.add_unknown(Piece(), "general", 1)


def test_what_comes_behind_a_name_waits_for_it() -> None:
    """Until the name is found, or patience is over."""
    line, named, by_id = arrivals(), Piece(), Piece()
    line.add_unknown(named, "general", 0)
    line.add(by_id, "C1", 1)
    assert not list(line.release(4.9))
    assert line.next_at() == PATIENCE
    assert list(line.release(PATIENCE)) == [(by_id, "C1")]
    assert list(line.found("general", "C1")) == [(named, "C1")]
    assert len(line) == 0


def test_a_name_that_was_passed_by_holds_up_nobody_again() -> None:
    """Those of its name that come later wait behind it, and it alone has cost the others time."""
    line, named, late, by_id = arrivals(), Piece(1), Piece(2), Piece(3)
    line.add_unknown(named, "general", 0)
    list(line.release(PATIENCE))
    line.add_unknown(late, "general", 6)
    line.add(by_id, "C2", 6)
    assert list(line.release(6)) == [(by_id, "C2")]
    assert list(line.found("general", "C1")) == [(named, "C1"), (late, "C1")]


def test_a_name_in_the_line_follows_one_that_was_passed_by() -> None:
    """It came before the other lost its place, and must not hold up those behind it again."""
    line, first, second, by_id = arrivals(), Piece(1), Piece(2), Piece(3)
    line.add_unknown(first, "general", 0)
    line.add_unknown(second, "general", 3)
    line.add(by_id, "C2", 3)
    assert list(line.release(PATIENCE)) == [(by_id, "C2")]
    assert [job for job, _ in line.found("general", "C1")] == [first, second]


def test_one_behind_a_name_in_the_line_waits_there_too() -> None:
    """Else it would come before that one, as if it were one of those that were passed by."""
    line, first, other, second, third = arrivals(), Piece(1), Piece(2), Piece(3), Piece(4)
    line.add_unknown(first, "general", 0)
    line.add_unknown(other, "random", 3)
    line.add_unknown(second, "general", 3.5)
    assert list(line.release(PATIENCE)) == []
    line.add_unknown(third, "general", 6)
    assert list(line.found("general", "C1")) == [(first, "C1")]
    assert list(line.found("random", "C2")) == []
    assert list(line.release(6)) == [(other, "C2"), (second, "C1"), (third, "C1")]


def test_a_name_that_is_not_found_ends_its_first_job_alone() -> None:
    """The next one is owed a question of its own, and keeps its place in the line."""
    line, first, second, by_id = arrivals(), Piece(1), Piece(2), Piece(3)
    line.add_unknown(first, "general", 0)
    line.add_unknown(second, "general", 0)
    line.add(by_id, "C1", 0)
    assert line.not_found("general") == (first, True)
    first.done = True
    assert not list(line.release(0))
    list(line.found("general", "C1"))
    assert list(line.release(0)) == [(second, "C1"), (by_id, "C1")]
    assert line.not_found("general") == (None, False)


def test_what_is_over_is_passed_over() -> None:
    """It holds up no other command, is not given out and isn't kept."""
    line, by_id = arrivals(), Piece()
    for number in range(1_000):
        line.add_unknown(Piece(number, done=True), "general", 0)
    line.add(by_id, "C1", 0)
    assert list(line.release(0)) == [(by_id, "C1")]
    assert len(line) == 0
    assert line.not_found("general") == (None, False)
    for _ in range(1_000):
        line.add_unknown(Piece(done=True), "general", 0)
        list(line.release(0))
    assert sum(len(same) for same in line._unknown.values()) <= 20


def test_clear_forgets_all() -> None:
    """Also what was passed by: the answer to its name finds no job."""
    line = arrivals()
    line.add_unknown(Piece(), "general", 0)
    list(line.release(PATIENCE))
    line.add(Piece(), "C1", 6)
    line.clear()
    assert len(line) == 0
    assert not list(line.found("general", "C1"))
    assert not list(line.release(9))


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["general", "random", "C1", "C2"]),
            st.tuples(st.just("found"), st.sampled_from(list(IDS))),
        ),
        max_size=40,
    )
)
def test_order_inside_a_channel_is_that_of_arrival(steps: list[str | tuple[str, str]]) -> None:
    """However ids and names are mixed, as long as names are found within the patience."""
    line = arrivals()
    given: list[tuple[Piece, str]] = []
    wanted: dict[str, list[int]] = {"C1": [], "C2": []}
    for number, step in enumerate([*steps, ("found", "general"), ("found", "random")]):
        if isinstance(step, tuple):
            given += line.found(step[1], IDS[step[1]])
        elif step in IDS:
            line.add_unknown(Piece(number), step, 0)
        else:
            line.add(Piece(number), step, 0)
        if isinstance(step, str):
            wanted[IDS.get(step, step)].append(number)
        given += line.release(0)
    for channel, numbers in wanted.items():
        assert [job.number for job, at in given if at == channel] == numbers
