"""Facts about the accounts of names: each broken promise is found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.fan_out import ACKNOWLEDGED, BROKEN, FAILED, TAKEN, Hands, NameAccounts, Record


def good() -> tuple[NameAccounts, Hands]:
    """A name that wants even numbers and got those of eight events."""
    accounts = NameAccounts("bot", lambda number: number % 2 == 0)
    hands = Hands(accounts)
    for number in (0, 2, 4, 6):
        say(hands, TAKEN, number)
        say(hands, ACKNOWLEDGED, number)
    return accounts, hands


def say(hands: Hands, kind: int, number: int, id: int = 0) -> None:
    """A program says so of an event."""
    hands.read(Record(kind, number, id or 100 + number).pack())


def test_a_good_run_has_no_problem() -> None:
    """A repeat with the same id is none, nor one that failed and came again, nor one in hand."""
    accounts, hands = good()
    say(hands, TAKEN, 2)
    say(hands, FAILED, 2)
    say(hands, TAKEN, 8)
    say(hands, FAILED, 8)
    assert accounts.waits(9)
    say(hands, TAKEN, 8)
    hands.end()
    assert not accounts.waits(9)
    assert accounts.problems(9) == []
    assert (accounts.repeats, accounts.acknowledged, accounts.lost(9)) == (2, 4, 0)


@pytest.mark.parametrize(
    ("breaks", "problem"),
    [
        (lambda hands: None, "1 events never came: 8"),
        (lambda hands: say(hands, TAKEN, 8), "1 events came and could not be acknowledged: 8"),
        (lambda hands: say(hands, TAKEN, 4, 7), "event 4 came with two ids"),
        (lambda hands: say(hands, TAKEN, 3), "event 3 came, and was not asked for"),
        (lambda hands: say(hands, BROKEN, 0), "1 events were not as they were sent"),
        (lambda hands: say(hands, TAKEN, 8, 100), "1 events share an event_id with another"),
    ],
)
def test_what_is_wrong_is_found(breaks: Callable[[Hands], object], problem: str) -> None:
    """Each by itself."""
    accounts, hands = good()
    breaks(hands)
    assert f"bot: {problem}" in accounts.problems(9)
    assert accounts.waits(9)


def test_what_was_in_hand_and_was_told_as_failed_is_not_done() -> None:
    """Only what a program says nothing more of is in doubt."""
    accounts, hands = good()
    say(hands, TAKEN, 8)
    say(hands, FAILED, 8)
    hands.end()
    assert accounts.lost(9) == 1


def test_records_come_in_pieces() -> None:
    """As a file is read while it is written."""
    accounts, hands = good()
    data = Record(TAKEN, 8, 5).pack() + Record(ACKNOWLEDGED, 8, 5).pack()
    for at in range(len(data)):
        hands.read(data[at : at + 1])
    assert accounts.lost(9) == 0
