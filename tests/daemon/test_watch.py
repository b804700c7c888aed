"""Facts about who looks whether the three trips move: it is right whatever the pumps say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rtmpump.core.standstill import COMMANDS, PUBLISHING, READING, Halt
from rtmpump.daemon.link_states import LinkStates
from rtmpump.daemon.watch import Watch, Watched
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.metrics import LINKS, Metrics

pytestmark = pytest.mark.quick


class Seen:
    """A daemon whose parts say what a test wants, and its watch."""

    def __init__(self) -> None:
        self.now = 0.0
        self.states = LinkStates(Metrics())
        for link in LINKS:
            self.states.up(link, "there")
        self.spool = SimpleNamespace(has_unconfirmed=False, confirmed_upto=0)
        self.reader = SimpleNamespace(lifecycle=SimpleNamespace(halts=(), last_progress=0.0))
        lifecycle = SimpleNamespace(halts=(), last_progress=0.0)
        self.publisher = SimpleNamespace(lifecycle=lifecycle, obstacle="no_confirm")
        lifecycle = SimpleNamespace(halts=(), last_progress=0.0)
        self.sender = SimpleNamespace(lifecycle=lifecycle, waiting=0, let_go=0)
        current = SimpleNamespace(term=SimpleNamespace(sender=self.sender))
        self.lease = SimpleNamespace(halts=())
        watched = Watched(
            self.states,
            cast(Any, self.spool),
            cast(Any, self.reader),
            cast(Any, self.publisher),
            cast(Any, current),
            cast(Any, SimpleNamespace(lifecycle=self.lease)),
        )
        self.watch = Watch(watched, lambda: self.now)

    def passes(self, seconds: float) -> dict[str, list[str]]:
        """Let time pass in which all threads go round; return what has stopped."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            for part in (self.reader, self.publisher, self.sender):
                part.lifecycle.last_progress = self.now
            self.watch.look()
        return self.watch.stopped()

    def down(self, link: str) -> None:
        """Let a link end."""
        self.states.down(RetryDetails(link, "lost", "x", 1, 0.0))


def test_nothing_to_do_is_no_standstill() -> None:
    """A pump that idles for an hour is well."""
    assert Seen().passes(60) == {}


def test_events_that_nobody_confirms() -> None:
    """After five seconds it is said, with the reason that the publisher knows."""
    seen = Seen()
    seen.spool.has_unconfirmed = True
    assert seen.passes(5.5) == {}
    assert seen.passes(0.5) == {PUBLISHING: ["no_confirm"]}
    seen.publisher.obstacle = "nacked"
    assert seen.passes(0.5) == {PUBLISHING: ["nacked"]}
    seen.spool.confirmed_upto = 1
    assert seen.passes(0.5) == {}


def test_a_link_that_comes_and_goes_is_no_progress() -> None:
    """Each connection ends before anything is done; what was said before still holds."""
    seen = Seen()
    for _ in range(4):
        seen.states.up("broker_commands", "there")
        seen.sender.waiting = 2
        seen.sender.lifecycle.halts = (Halt("dead_queue", seen.now, "", 2),)
        seen.passes(1)
        seen.sender.lifecycle.halts = ()
        seen.down("broker_commands")
        seen.sender.waiting = 0
        seen.passes(1)
    seen.states.up("broker_commands", "there")
    seen.sender.waiting = 2
    assert seen.passes(0.5) == {COMMANDS: ["dead_queue"]}
    seen.sender.let_go = 1
    assert seen.passes(0.5) == {}


def test_commands_for_which_nobody_has_a_reason() -> None:
    """They fail all the same."""
    seen = Seen()
    seen.sender.waiting = 1
    assert seen.passes(6) == {COMMANDS: ["unknown"]}


def test_a_rate_limit_is_the_reason() -> None:
    """Then it is no failure after five seconds."""
    seen = Seen()
    seen.sender.waiting = 1
    seen.sender.lifecycle.halts = (Halt("rate_limit", 0.0, "", 1),)
    assert seen.passes(59) == {}
    assert seen.passes(2) == {COMMANDS: ["rate_limit"]}


@pytest.mark.parametrize("part", ["reader", "publisher", "sender"])
def test_a_thread_that_makes_no_round(part: str) -> None:
    """It hangs after five seconds, whatever it said last, if anything waits for it."""
    seen = Seen()
    seen.spool.has_unconfirmed, seen.sender.waiting = True, 1
    getattr(seen, part).lifecycle = SimpleNamespace(halts=(), last_progress=0.0)
    for _ in range(12):
        seen.now += 0.5
        for one in ("reader", "publisher", "sender"):
            if one != part:
                getattr(seen, one).lifecycle.last_progress = seen.now
        seen.watch.look()
    trip = {"reader": READING, "publisher": PUBLISHING, "sender": COMMANDS}[part]
    assert seen.watch.stopped()[trip] == ["hangs"]


def test_a_standby_stands_by() -> None:
    """It reads nothing and sends nothing, and that is its work; its own spool goes out."""
    seen = Seen()
    seen.states.role = "standby"
    for link in ("slack", "broker_commands"):
        seen.down(link)
    assert seen.passes(20) == {}
    seen.spool.has_unconfirmed = True
    assert seen.passes(6) == {PUBLISHING: ["no_confirm"]}


def test_a_slack_that_is_away() -> None:
    """Nothing is read then, since the link ended."""
    seen = Seen()
    seen.down("slack")
    assert seen.passes(5) == {}
    assert seen.passes(1) == {READING: ["not_connected"]}


def test_a_standby_that_can_not_take_over_stands_still() -> None:
    """It reads nothing, which is no failure as long as another pump is known to read."""
    seen = Seen()
    seen.states.role = "standby"
    seen.down("slack")
    assert seen.passes(60) == {}
    seen.lease.halts = (Halt("no_lock", seen.now, "no pump is known to hold the lock"),)
    assert seen.passes(6) == {READING: ["no_lock"]}
