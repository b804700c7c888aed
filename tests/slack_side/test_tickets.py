"""Tickets of WebSockets."""

from __future__ import annotations

from rtmpump.slack_side.tickets import Tickets


def test_a_ticket_is_good_once_and_for_a_time() -> None:
    """It gives its right back, then it is unknown; one that is too old is used up too."""
    tickets = Tickets[str]()
    word, old = tickets.issue("one"), tickets.issue("two")
    assert word != old
    assert tickets.redeem(word) == "one"
    assert tickets.redeem(word) is None
    assert tickets.redeem(old, 0.0) is None
    assert tickets.redeem(old) is None
    assert tickets.redeem("nobody's") is None


def test_unused_tickets_take_no_room_without_end() -> None:
    """The oldest go first."""
    tickets = Tickets[int]()
    words = [tickets.issue(number) for number in range(10_001)]
    assert tickets.redeem(words[0]) is None
    assert tickets.redeem(words[1]) == 1
    assert tickets.redeem(words[-1]) == 10_000
