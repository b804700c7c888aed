"""Facts about the line that the service manager shows."""

from __future__ import annotations

import pytest

from rtmpump.daemon import link_states
from rtmpump.daemon.service_status import ServiceStatus
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.links.systemd import Notifier
from rtmpump.metrics import LINKS, STANDBY_LINKS, Metrics


class Lines(Notifier):
    """A service manager that keeps the lines."""

    def __init__(self) -> None:
        super().__init__({})
        self.lines: list[str] = []

    def status(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


@pytest.fixture
def lines() -> Lines:
    """The service manager."""
    return Lines()


def made(lines: Lines, *, has_role: bool = False) -> ServiceStatus:
    """The status of a daemon whose links were never up."""
    return ServiceStatus(link_states.LinkStates(Metrics()), lines, has_role=has_role)


def test_it_names_the_links_that_are_missing(lines: Lines) -> None:
    """Until all are up."""
    status = made(lines)
    status.publish()
    for link in LINKS:
        status.link_up(link, "somewhere")
    assert lines.lines[0] == f"waiting for {', '.join(LINKS)}"
    assert lines.lines[-1] == "all links are up"


def test_each_change_is_published(lines: Lines) -> None:
    """A link that ended, and one that rests."""
    status = made(lines)
    for link in LINKS:
        status.link_up(link, "somewhere")
    status.link_down(RetryDetails(LINKS[0], "cut", "no more", 1, 0.0))
    assert lines.lines[-1] == f"waiting for {LINKS[0]}"
    status.link_rests(LINKS[1])
    assert lines.lines[-1] == f"waiting for {', '.join(LINKS[:2])}"


def test_with_a_lease_the_role_stands_first(lines: Lines) -> None:
    """A standby waits for other links than the active one."""
    status = made(lines, has_role=True)
    status.take_role("standby")
    assert lines.lines[-1] == f"standby: waiting for {', '.join(STANDBY_LINKS)}"
    status.take_role("active")
    assert lines.lines[-1] == f"active: waiting for {', '.join(LINKS)}"
