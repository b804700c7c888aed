"""Facts about the ledger: it can fail. Each of these has to be found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.ledger import Accepted, Ledger

SENT = [Accepted("C1", "0", 4_000), Accepted("C1", "1", 4_001), Accepted("C2", "2", 4_002)]


def good(*, sends_again: bool = False) -> Ledger:
    """Ten events and three commands, all as it should be; event 5 is in a gap."""
    ledger = Ledger(sends_again=sends_again)
    for number in range(10):
        assert ledger.emits(1_000.0 * number) == number
        ledger.emitted(number, 1_000.0 * number + 1)
        if number != 5:
            ledger.came(number, 100 + number, in_order=True)
    ledger.gap(4_500, 5_500)
    for id, channel in (("0", "C1"), ("1", "C1"), ("2", "C2")):
        ledger.asked(id, channel)
        ledger.answered(id, "", 5_000)
    ledger.asked("3", "C1", wrong="invalid_command")
    ledger.answered("3", "invalid_command", 5_000)
    ledger.buried("3", "invalid_command", 5_000)
    return ledger


def test_a_good_run_has_no_problem() -> None:
    """Repeats with the same id are none either, nor is an answer twice across a fault."""
    ledger = good()
    ledger.came(3, 103, in_order=True)
    ledger.answered("1", "", 9_000)
    ledger.struck(6_000, 7_000)
    assert ledger.problems(SENT) == []
    assert (ledger.received, ledger.repeats, ledger.told()) == (9, 1, 1)


def lost(ledger: Ledger) -> None:
    """An event that nobody received, and no gap."""
    ledger.emitted(ledger.emits(20_000), 20_001)


def lost_beside_the_gap(ledger: Ledger) -> None:
    """A gap that ends too early."""
    ledger.emitted(ledger.emits(5_800), 5_801)


def swapped(ledger: Ledger) -> None:
    """Two events in the wrong order."""
    for _ in range(2):
        ledger.emitted(ledger.emits(20_000), 20_001)
    ledger.came(11, 211, in_order=True)
    ledger.came(10, 210, in_order=True)


def two_ids(ledger: Ledger) -> None:
    """A repeat that can't be dropped."""
    ledger.came(3, 999, in_order=True)


def one_id(ledger: Ledger) -> None:
    """Two events that seem one."""
    ledger.emitted(ledger.emits(20_000), 20_001)
    ledger.came(10, 103, in_order=True)


def invented(ledger: Ledger) -> None:
    """An event that Slack never sent."""
    ledger.came(77, 177, in_order=True)


def unanswered(ledger: Ledger) -> None:
    """A command without a result."""
    ledger.asked("4", "C1")


def answered_twice(ledger: Ledger) -> None:
    """Two results, though nothing had broken."""
    ledger.answered("1", "", 6_000)


def dropped(ledger: Ledger) -> None:
    """An error, and no dead letter."""
    ledger.asked("4", "C1")
    ledger.answered("4", "timeout", 5_000, uncertain=True)


def died(ledger: Ledger) -> None:
    """A good command that failed, though Slack surely did not take it."""
    ledger.asked("4", "C1")
    ledger.answered("4", "max_attempts", 5_000)
    ledger.buried("4", "max_attempts", 5_000)


def let_pass(ledger: Ledger) -> None:
    """A bad command that was sent."""
    ledger.asked("4", "C1", wrong="invalid_command")
    ledger.answered("4", "", 5_000)


def made_up(ledger: Ledger) -> None:
    """A result of success for what Slack never got."""
    ledger.asked("4", "C1")
    ledger.answered("4", "", 5_000)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lost, "1 events were lost: 10-10 at 20000"),
        (lost_beside_the_gap, "1 events were lost: 10-10 at 5800"),
        (swapped, "event 10 came after 11"),
        (two_ids, "event 3 came with two message ids"),
        (one_id, "1 events share a message id with another"),
        (invented, "1 events came that were never sent"),
        (unanswered, "command 4 was never answered"),
        (answered_twice, "command 1 was answered 2 times with no fault in between"),
        (dropped, "command 4 failed with {'timeout'} and has no dead letter"),
        (died, "command 4 died of trouble: max_attempts"),
        (let_pass, "command 4 is wrong and was answered with {''}"),
        (made_up, "command 4 was answered as sent, and Slack never got it"),
    ],
)
def test_each_broken_promise_is_found(spoil: Callable[[Ledger], None], told: str) -> None:
    """In one line that names it."""
    ledger = good()
    spoil(ledger)
    assert ledger.problems(SENT) == [told]


def test_what_reached_slack_is_looked_at() -> None:
    """In a channel out of order, and what nobody asked for."""
    assert good().problems([SENT[1], SENT[0], SENT[2]]) == ["command 0 reached C1 after 1"]
    ledger = good()
    ledger.published_again("0")
    assert ledger.problems([SENT[1], SENT[0], SENT[2]]) == []
    told = good().problems([*SENT, Accepted("C2", "9", 4_003)])
    assert told == ["Slack got 1 messages that nobody asked for"]


def test_a_command_whose_result_nobody_can_get() -> None:
    """It has to be carried out, or be buried if it is wrong."""
    ledger = good()
    ledger.asked("4", "C2", answerable=False)
    ledger.asked("5", "C2", wrong="too_long", answerable=False)
    told = ["command 5 failed and has no dead letter", "command 4 was never carried out"]
    assert (ledger.problems(SENT), ledger.unanswered) == (told, 0)
    ledger.buried("5", "too_long", 5_000)
    at_slack = [*SENT, Accepted("C2", "4", 4_500)]
    assert ledger.problems(at_slack) == []
    ledger.buried("4", "max_attempts", 5_000)
    assert ledger.problems(at_slack) == ["command 4 succeeded and has a dead letter"]
    assert ledger.problems(SENT) == ["command 4 died of trouble"]


def test_a_message_must_be_in_its_channel() -> None:
    """Or in the one that has the channel's name by now."""
    ledger = good()
    ledger.moved("C3", "C2")
    assert ledger.problems([*SENT[:2], SENT[2]._replace(channel="C3")]) == []
    told = ledger.problems([*SENT[:2], SENT[2]._replace(channel="C4")])
    assert told == ["command 2 was for C2 and reached C4"]


def test_a_command_may_fail_where_slack_refused_its_channel() -> None:
    """In that channel and at that time."""
    ledger = good()
    died(ledger)
    ledger.refused("C2", 0, 90_000)
    ledger.refused("C1", 90_000, 91_000)
    assert ledger.problems(SENT) == ["command 4 died of trouble: max_attempts"]
    ledger.refused("C1", 0, 4_000)
    assert ledger.problems(SENT) == []


def test_only_what_was_damaged_is_excused() -> None:
    """Of two that are lost, the one in the range."""
    ledger = good()
    lost(ledger)
    lost(ledger)
    ledger.excuse(range(10, 11))
    assert ledger.missing() == [10, 11]
    assert ledger.problems(SENT) == ["1 events were lost: 11-11 at 20000"]


def test_only_what_was_sent_while_no_queue_was_bound_may_be_late() -> None:
    """Of two that are late, the one of that time."""
    ledger = good()
    with ledger.unbound():
        swapped(ledger)
    assert ledger.problems(SENT) == []
    for _ in range(2):
        ledger.emitted(ledger.emits(20_000), 20_001)
    for number in (13, 12):
        ledger.came(number, 200 + number, in_order=True)
    assert ledger.problems(SENT) == ["event 12 came after 13"]


def test_a_slack_that_sends_again_owes_all_of_it_and_no_order() -> None:
    """A gap excuses nothing there."""
    ledger = good(sends_again=True)
    assert ledger.problems(SENT) == ["1 events were lost: 5-5 at 5000"]
    ledger.came(5, 105, in_order=True)
    assert ledger.problems(SENT) == []


def test_what_slack_got_twice_must_be_in_doubt() -> None:
    """By the result, or by a fault between the two."""
    twice = [*SENT, SENT[2]._replace(at_ms=9_000)]
    ledger = good()
    assert ledger.problems(twice) == ["command 2 reached Slack 2 times, and was never in doubt"]
    ledger.struck(6_000, 7_000)
    assert ledger.problems(twice) == []
    ledger = good()
    ledger.asked("4", "C2")
    ledger.answered("4", "", 9_500, uncertain=True)
    again = [Accepted("C2", "4", at_ms) for at_ms in (9_000, 9_400)]
    assert ledger.problems([*SENT, *again]) == []
