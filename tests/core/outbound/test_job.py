"""Facts about jobs and orphans."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtmpump.core.outbound.commands import Message, Typing
from rtmpump.core.outbound.job import Fingerprint, Job, Orphans, fingerprint

MOST = 4


def job(known_by: Fingerprint, **given: object) -> Job:
    """A job with this fingerprint."""
    made = Job(1, known_by, None, b"body", 0.0)
    for name, value in given.items():
        setattr(made, name, value)
    return made


def named(name: str) -> Fingerprint:
    """The fingerprint of a message of this id."""
    return fingerprint(b"body", name, None, None)


def test_only_messages_cost_a_token() -> None:
    """Slack's limit is on messages."""
    assert job(named("a"), command=Message("C1", "x")).costs
    assert not job(named("a"), command=Typing("C1")).costs
    assert job(named("a")).kind == "invalid"


def test_a_correlation_id_alone_is_no_name() -> None:
    """It may be a constant; who waits for an answer has one of its own."""
    assert fingerprint(b"", "m", None, None).is_named
    assert fingerprint(b"", None, "c", "q").is_named
    assert not fingerprint(b"", None, "c", None).is_named
    assert not fingerprint(b"", None, None, "q").is_named


def test_an_orphan_holds_no_body() -> None:
    """The body comes again with its message; a thousand large ones need not be kept."""
    one, orphans = job(named("a")), Orphans(MOST)
    orphans.add(one)
    assert (one.tag, one.body) == (None, b"")


def test_the_oldest_makes_room_and_is_given_back() -> None:
    """Whoever knows it elsewhere has to forget it as well."""
    orphans, jobs = Orphans(2), [job(named(str(number))) for number in range(3)]
    assert [orphans.add(one) for one in jobs] == [None, None, jobs[0]]
    assert orphans.adopt(named("0")) is None
    assert orphans.take_all() == jobs[1:]
    assert orphans.adopt(named("1")) is None


class OrphansMachine(RuleBasedStateMachine):
    """Orphans against a list."""

    def __init__(self) -> None:
        super().__init__()
        self.orphans = Orphans(MOST)
        self.model: list[Job] = []

    @rule(name=st.sampled_from("abc"))
    def add(self, name: str) -> None:
        """A job loses its connection."""
        one = job(named(name))
        self.model.append(one)
        expected = self.model.pop(0) if len(self.model) > MOST else None
        assert self.orphans.add(one) is expected

    @rule(name=st.sampled_from("abc"))
    def adopt(self, name: str) -> None:
        """A message is delivered again."""
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
