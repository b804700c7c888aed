"""What lock tokens prove, pushed through without a broker; the model of the queue is next door."""

from __future__ import annotations

import json

import pytest

from rtmpump.core.lock_claim import LockClaim, TokenDelivery, TokenKind

LASTS = 1.5
WAIT = 1.1 * LASTS
JUNK = [b"", b"\xff", b"{}", b"[]", b'{"by": 1}', b"[" * 100_000, b'{"by":"x","number":"1"}']


def claim(me: str = "a") -> LockClaim:
    """A claim of the pump `me`."""
    return LockClaim(me, f"host-{me}", LASTS)


def note(of: LockClaim, watermark_ms: int | None = None) -> bytes:
    """A note of a pump."""
    return of.token(TokenKind.NOTE, 0, watermark_ms)


def turn(of: LockClaim, body: bytes, deliveries: int, now: float, back: float) -> None:
    """The token in hand is given back at `now`, and comes again at `back`."""
    assert of.give_back(now) is not None
    of.received(TokenDelivery(body, round(1000 * back), deliveries), back)


def holding(me: str = "a", begun: float = 0.0) -> tuple[LockClaim, bytes]:
    """A claim since `begun`, proved at that time by a note that was delivered twice."""
    made = claim(me)
    body = note(made, 1)
    made.received(TokenDelivery(body, 1), begun)
    turn(made, body, 1, begun, begun + 0.1)
    return made, body


def acting(until: float = 2.0) -> tuple[LockClaim, bytes, int]:
    """A claim that was proved each half second up to `until`, and is acted on."""
    made, body = holding()
    at, deliveries = 0.5, 2
    while at <= until:
        turn(made, body, deliveries, at, at + 0.1)
        at, deliveries = at + 0.5, deliveries + 1
    assert made.may_act(until + 0.1)
    made.act()
    return made, body, deliveries


def test_a_token_proves_nothing_before_it_was_given_back_and_came_again() -> None:
    """It may have waited in our socket for long."""
    a = claim()
    body = note(a)
    assert a.received(TokenDelivery(body, 1), 0.0) == []
    assert a.is_given
    assert not a.held_until(0.0)
    assert a.give_back(0.2) == 1
    assert not a.held_until(0.2)
    a.received(TokenDelivery(body, 2, 1), 0.3)
    assert a.held_until(0.3) == 0.2 + LASTS


def test_the_token_of_another_proves_as_much_as_ours() -> None:
    """So nothing needs to be published during an alarm; and its watermark and host are known."""
    a, b = claim("a"), claim("b")
    body = note(b, 77)
    a.received(TokenDelivery(body, 1), 0.0)
    turn(a, body, 1, 0.0, 0.1)
    assert a.held_until(0.1) == LASTS
    assert (a.watermark_ms, a.before, a.keeps_own_note) == (77, "host-b", False)


def test_what_says_most_is_given_back_first() -> None:
    """And nothing is while nothing is in our hands."""
    a, b = claim("a"), claim("b")
    assert a.give_back(0.0) is None
    a.received(TokenDelivery(b.token(TokenKind.QUESTION, 0), 1), 0.0)
    a.received(TokenDelivery(note(b, 5), 2), 0.0)
    a.received(TokenDelivery(note(b, 7), 3), 0.0)
    assert [a.give_back(0.5) for _ in range(4)] == [3, 2, 1, None]


def test_what_comes_too_late_proves_nothing() -> None:
    """The claim would have run out already."""
    a = claim()
    body = note(a)
    a.received(TokenDelivery(body, 1), 0.0)
    turn(a, body, 1, 0.0, LASTS)
    assert not a.held_until(LASTS)
    assert not a.is_over


def test_nobody_acts_before_every_older_claim_has_run_out() -> None:
    """A tenth longer, for clocks that run at another speed."""
    a, body = holding()
    for count, now in enumerate((0.5, 1.0, 1.5), start=2):
        turn(a, body, count, now, now + 0.01)
        assert not a.may_act(now + 0.01)
    assert not a.may_act(WAIT - 0.01)
    assert a.may_act(WAIT)
    assert not a.may_act(1.5 + LASTS)


@pytest.mark.parametrize("looked", [True, False])
def test_what_ran_out_while_we_acted_never_comes_back(looked: bool) -> None:
    """Whether it was asked for in between or not: another may have been the active one since."""
    a, body, count = acting(2.0)
    assert a.give_back(2.5) is not None
    if looked:
        assert not a.held_until(3.5)
        assert a.is_over
    a.received(TokenDelivery(body, 99, count), 3.6)
    assert not a.held_until(3.6)
    assert a.is_over
    assert not a.may_act(3.6)


@pytest.mark.parametrize("looked", [True, False])
def test_what_ran_out_before_we_acted_begins_anew(looked: bool) -> None:
    """The wait too."""
    a, body = holding()
    assert a.give_back(0.5) is not None
    if looked:
        assert not a.held_until(1.5)
    a.received(TokenDelivery(body, 9, 2), 1.9)
    turn(a, body, 3, 1.9, 1.95)
    assert a.held_until(1.95) == 1.9 + LASTS
    assert not a.is_over
    turn(a, body, 4, 2.9, 3.0)
    assert not a.may_act(1.9 + WAIT - 0.01)
    assert a.may_act(1.9 + WAIT + 0.01)


@pytest.mark.parametrize("more", [1, 2, 7])
def test_a_count_that_another_raised_ends_the_claim_of_who_acts(more: int) -> None:
    """RabbitMQ took another pump for the active one in between."""
    a, body, count = acting(2.0)
    assert a.give_back(2.5) is not None
    a.received(TokenDelivery(body, 99, count + more), 2.6)
    assert not a.held_until(2.6)
    assert a.is_over


def test_a_count_that_another_raised_begins_the_wait_anew() -> None:
    """For who does not act yet."""
    a, body = holding()
    a.give_back(1.0)
    a.received(TokenDelivery(body, 9, 4), 1.1)
    turn(a, body, 5, 1.2, 1.3)
    assert not a.is_over
    assert not a.may_act(WAIT)
    turn(a, body, 6, 2.4, 2.5)
    assert a.may_act(1.1 + WAIT)


def test_a_token_of_another_that_was_delivered_before_ends_the_claim_too() -> None:
    """Another consumer must have had it."""
    a, _, _ = acting(2.0)
    a.received(TokenDelivery(note(claim("b"), 1), 99, 1), 2.2)
    assert a.is_over


def test_a_fresh_token_ends_nothing() -> None:
    """Whoever wrote it."""
    a, _, _ = acting(2.0)
    a.received(TokenDelivery(note(claim("b"), 1), 98), 2.2)
    a.received(TokenDelivery(claim("c").token(TokenKind.QUESTION, 0), 99), 2.2)
    assert a.held_until(2.2) == 2.0 + LASTS


def test_only_what_has_just_come_again_replaces_another() -> None:
    """What is in our hands may be in those of others too."""
    a = claim()
    first, second = note(a, 1), note(a, 2)
    assert a.received(TokenDelivery(first, 1), 0.0) == []
    assert a.received(TokenDelivery(second, 2), 0.0) == []
    assert a.give_back(0.1) == 2
    assert a.received(TokenDelivery(second, 3, 1), 0.2) == [1]
    assert a.keeps_own_note


def test_what_another_knew_is_kept_until_a_note_of_ours_says_the_same() -> None:
    """One that was made before does not; so nothing is forgotten if we die now."""
    a, b = claim("a"), claim("b")
    early = note(a, 10_000)
    of_b = note(b, 99)
    a.received(TokenDelivery(of_b, 1), 0.0)
    a.received(TokenDelivery(early, 2), 0.1)
    assert a.give_back(0.2) == 1
    assert a.received(TokenDelivery(of_b, 3, 1), 0.3) == [2]
    knowing = note(a, 99)
    a.received(TokenDelivery(knowing, 4), 0.4)
    assert a.give_back(0.5) == 4
    assert a.received(TokenDelivery(knowing, 5, 1), 0.6) == [3]


def test_the_latest_watermark_is_known_whatever_is_kept() -> None:
    """Also that of a last token."""
    a, b = claim("a"), claim("b")
    a.received(TokenDelivery(note(b, 7), 1), 0.0)
    a.received(TokenDelivery(b.token(TokenKind.LAST, 0, 9), 2), 0.0)
    a.received(TokenDelivery(note(b, 8), 3), 0.0)
    assert a.watermark_ms == 9


def test_our_own_tokens_teach_us_nothing() -> None:
    """The reader knows better."""
    a, _ = holding()
    assert (a.watermark_ms, a.before, a.others) == (None, "", [])


@pytest.mark.parametrize("body", JUNK)
def test_what_is_no_token_is_acknowledged_at_once(body: bytes) -> None:
    """It proves nothing and raises nothing."""
    a = claim()
    assert a.received(TokenDelivery(body, 7, 3), 0.0) == [7]
    assert not a.is_given
    assert a.give_back(0.0) is None


def test_questions_are_passed_on_while_they_are_fresh() -> None:
    """An old one says nothing of the clock of its writer."""
    a, b = claim("a"), claim("b")
    a.received(TokenDelivery(b.token(TokenKind.QUESTION, 123), 1), 0.0)
    a.received(TokenDelivery(b.token(TokenKind.QUESTION, 456), 2, 1), 0.0)
    assert [(one.by, one.written_ms) for one in a.others] == [("b", 123)]
    assert (a.before, a.watermark_ms) == ("", None)


def test_a_last_token_tells_how_often_the_notes_of_its_writer_were_delivered() -> None:
    """One that is on its way has been delivered once more."""
    a, _ = holding()
    assert json.loads(a.token(TokenKind.LAST, 0, 1))["kept"] == {"1": 1}
    a.give_back(0.2)
    assert json.loads(a.token(TokenKind.LAST, 0, 1))["kept"] == {"1": 2}
    assert json.loads(a.token(TokenKind.NOTE, 0, 1))["kept"] == {}


def handed(returns: int, last: int = 0) -> LockClaim:
    """What B has, after A gave up a token that came back once, and it was returned so often."""
    a, body = holding("a")
    done = a.token(TokenKind.LAST, 0, 5)
    b = claim("b")
    b.received(TokenDelivery(body, 1, 1 + returns), 0.2)
    b.received(TokenDelivery(done, 2, last), 0.2)
    assert b.give_back(0.25) == 1
    assert b.received(TokenDelivery(body, 3, 2 + returns), 0.3) == [2]
    assert not b.may_act(0.3)
    turn(b, body, 3 + returns, 0.3, 0.4)
    return b


@pytest.mark.parametrize("last", [0, 1])
def test_who_is_told_that_the_one_before_is_done_acts_at_once(last: int) -> None:
    """Once a token has come back that was given back after that."""
    assert handed(1, last).may_act(0.4)


def test_a_last_token_does_not_count_where_somebody_had_the_lock_in_between() -> None:
    """Who acted in between has raised the count by two at least."""
    b = handed(3)
    assert b.held_until(0.4)
    assert not b.may_act(0.4)


def test_a_proof_from_before_the_last_token_is_not_enough() -> None:
    """The last token may still be given to the next one."""
    a, body = holding("a")
    b = claim("b")
    b.received(TokenDelivery(body, 1, 2), 0.2)
    assert b.give_back(0.2) == 1
    b.received(TokenDelivery(a.token(TokenKind.LAST, 0, 5), 2), 0.3)
    assert b.received(TokenDelivery(body, 3, 3), 0.3) == [2]
    assert b.held_until(0.3)
    assert not b.may_act(0.3)
    turn(b, body, 4, 0.4, 0.5)
    assert b.may_act(0.5)


def test_a_note_of_a_third_pump_makes_us_wait() -> None:
    """Nobody knows whether that one is done."""
    b = handed(1)
    b.received(TokenDelivery(note(claim("c"), 1), 9), 0.4)
    assert b.held_until(0.4)
    assert not b.may_act(0.4)


def test_a_last_token_alone_lets_nobody_act_at_once() -> None:
    """What its writer kept may be in other hands."""
    a, b = claim("a"), claim("b")
    last = a.token(TokenKind.LAST, 0, 5)
    b.received(TokenDelivery(last, 1), 0.0)
    turn(b, last, 1, 0.0, 0.1)
    mine = note(b, 5)
    b.received(TokenDelivery(mine, 3), 0.1)
    assert b.give_back(0.2) == 3
    assert b.received(TokenDelivery(mine, 4, 1), 0.3) == [100]
    turn(b, mine, 2, 0.4, 0.5)
    assert b.held_until(0.5)
    assert not b.may_act(0.5)


def test_a_last_token_does_not_count_where_another_had_a_newer_note() -> None:
    """What A kept had come often; C acted with a note that A had written and not had yet."""
    a, old = holding("a")
    new = note(a, 6)
    last = a.token(TokenKind.LAST, 0, 6)
    for deliveries, acts in ((1, True), (2, False)):
        b = claim("b")
        b.received(TokenDelivery(old, 1, 2), 1.0)
        b.received(TokenDelivery(new, 2, deliveries), 1.0)
        b.received(TokenDelivery(last, 3), 1.0)
        assert b.give_back(1.1) == 2
        b.received(TokenDelivery(new, 4, deliveries + 1), 1.2)
        turn(b, new, deliveries + 2, 1.2, 1.3)
        assert b.may_act(1.3) == acts


def test_what_went_to_others_is_not_awaited() -> None:
    """A gave its note back when B had the lock already; B acknowledged it, and A is the next."""
    a, b = claim("a"), claim("b")
    a.received(TokenDelivery(note(a, 5), 1), 0.0)
    assert a.give_back(0.5) == 1
    a.received(TokenDelivery(note(b, 5), 2, 1), 1.0)
    assert a.give_back(1.5) == 2


def test_what_lay_in_the_socket_is_no_answer() -> None:
    """It comes before anything is given back: the token was returned, and delivered to us again."""
    a, body, count = acting(2.0)
    a.received(TokenDelivery(body, 98, count), 2.1)
    assert a.is_over
