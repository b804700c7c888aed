"""Facts about what all pumps share."""

from __future__ import annotations

import time
from threading import Event

from rtmpump.links.lifecycle import Lifecycle, RetryDetails


def test_each_has_a_stop_flag_of_its_own() -> None:
    """Unless one is given, which several may share."""
    first, second = Lifecycle(), Lifecycle()
    first.stop.set()
    assert not second.stop.is_set()
    shared = Event()
    assert Lifecycle(stop=shared).stop is Lifecycle(stop=shared).stop


def test_it_begins_with_progress() -> None:
    """A pump that was just built is not one that hangs."""
    before = time.monotonic()
    assert before <= Lifecycle().last_progress <= time.monotonic()


def test_a_rest_is_ahead_of_now() -> None:
    """And the next progress ends it."""
    lifecycle = Lifecycle()
    lifecycle.rest(600)
    assert lifecycle.last_progress > time.monotonic() + 500
    lifecycle.progress()
    assert lifecycle.last_progress <= time.monotonic()


def test_without_a_listener_nothing_is_reported() -> None:
    """A pump need not ask whether there is one."""
    listener = Lifecycle().listener
    listener.link_up("slack", "team T1")
    listener.link_down(RetryDetails("slack", "cut", "no more", 1, 0.0))
