"""Facts about deliveries that come again, and what is known of them."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtmpump.core.outbound.job import Fingerprint, Job, Stage, fingerprint
from rtmpump.core.outbound.redelivery import Orphans, Redelivery

MOST = 4


def returning(owed: int) -> Redelivery[str]:
    """Return one for a connection that begins at 0, after the end of one with `owed` deliveries."""
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
    one.ended(1)
    assert one.begun(10.0) == 12.0
    assert one.take("new 3", 10.1, again=False) == []
    assert one.take("new 2", 10.2, again=True) == ["new 2", "new 3"]


def test_what_was_held_back_is_owed_by_the_next_connection() -> None:
    """It was with us too."""
    one = returning(1)
    assert one.take("new 1", 0.1, again=False) == []
    one.ended(0)
    one.begun(10.0)
    assert one.take("new 2", 10.1, again=False) == []
    assert one.take("old 1", 10.2, again=True) == ["old 1"]
    assert one.take("new 1", 10.3, again=True) == ["new 1", "new 2"]


def named(name: str | None) -> Fingerprint:
    """Return the fingerprint of a message of this id."""
    return fingerprint(b"body", name, None, None)


def sent(name: str | None) -> Job:
    """Return a job of this name that was sent to Slack."""
    return Job(1, named(name), None, b"body", 0.0, attempts=1)


def test_an_orphan_holds_no_body() -> None:
    """The body comes again with its message; a thousand large ones need not be kept."""
    one, orphans = sent("a"), Orphans(MOST, MOST)
    orphans.connection_ended([one], 0.0)
    assert (one.tag, one.body) == (None, b"")


def test_the_oldest_makes_room_and_is_given_back() -> None:
    """The caller forgets what it knows of it, too."""
    orphans, jobs = Orphans(2, 2), [sent(str(number)) for number in range(3)]
    assert [orphans.connection_ended([one], 0.0) for one in jobs] == [[], [], [jobs[0]]]
    assert orphans.adopt(named("0")) is None
    assert orphans.take_all() == jobs[1:]
    assert orphans.adopt(named("1")) is None


def test_what_was_not_sent_is_no_orphan() -> None:
    """It comes again, and is a new command then."""
    orphans, one = Orphans(MOST, MOST), sent("a")
    one.attempts = 0
    assert orphans.connection_ended([one], 0.0) == []
    assert orphans.adopt(named("a")) is None


def test_a_rejected_command_is_known_again() -> None:
    """It was never sent, but has its outcome."""
    orphans, one = Orphans(MOST, MOST), sent("a")
    one.attempts, one.stage = 0, Stage.SETTLED
    orphans.connection_ended([one], 0.0)
    assert orphans.adopt(named("a")) is one


def test_an_ack_may_be_lost_with_its_connection() -> None:
    """For a minute; and only if no other command has its name."""
    for name, age, known in (("a", 59.0, True), ("a", 61.0, False), (None, 1.0, False)):
        orphans, one = Orphans(MOST, MOST), sent(name)
        orphans.acked(one, 0.0)
        orphans.connection_ended([], age)
        assert (orphans.adopt(one.fingerprint) is one) is known


def test_so_many_acks_are_remembered() -> None:
    """The newest."""
    orphans, jobs = Orphans(MOST, 2), [sent(str(number)) for number in range(3)]
    for one in jobs:
        orphans.acked(one, 0.0)
    assert orphans.connection_ended([], 1.0) == []
    assert orphans.take_all() == jobs[1:]


def test_of_equal_commands_the_one_that_was_not_sent_comes_for_certain() -> None:
    """So the one whose ack may be lost must not be taken for it."""
    orphans, one, twin = Orphans(MOST, MOST), sent("a"), sent("a")
    twin.attempts = 0
    orphans.acked(one, 0.0)
    orphans.connection_ended([twin], 1.0)
    assert orphans.adopt(named("a")) is None


def test_what_comes_for_certain_stands_before_what_may_come() -> None:
    """Of two equal ones."""
    orphans, acked, under_way = Orphans(MOST, MOST), sent("a"), sent("a")
    orphans.acked(acked, 0.0)
    orphans.connection_ended([under_way], 1.0)
    assert orphans.adopt(named("a")) is under_way
    assert orphans.adopt(named("a")) is acked


class OrphansMachine(RuleBasedStateMachine):
    """Orphans against a list."""

    def __init__(self) -> None:
        super().__init__()
        self.orphans = Orphans(MOST, MOST)
        self.model: list[Job] = []

    @rule(name=st.sampled_from("abc"))
    def add(self, name: str) -> None:
        """End the connection of a job."""
        one = sent(name)
        self.model.append(one)
        expected = [self.model.pop(0)] if len(self.model) > MOST else []
        assert self.orphans.connection_ended([one], 0.0) == expected

    @rule(name=st.sampled_from("abc"))
    def adopt(self, name: str) -> None:
        """Deliver a message again."""
        same = [one for one in self.model if one.fingerprint == named(name)]
        assert self.orphans.adopt(named(name)) is (same[0] if same else None)
        if same:
            self.model.remove(same[0])

    @rule()
    def take_all(self) -> None:
        """All had their time."""
        assert self.orphans.take_all() == self.model
        self.model.clear()

    @invariant()
    def has_as_many(self) -> None:
        """None is lost, none too many is kept."""
        assert len(self.orphans) == len(self.model) <= MOST
        assert sum(map(len, self.orphans._by_fingerprint.values())) == len(self.model)


TestOrphans = OrphansMachine.TestCase
TestOrphans.settings = settings(max_examples=60, deadline=None)
