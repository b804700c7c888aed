"""What the service manager is shown of the links: `systemctl status` has one line of it."""

from __future__ import annotations

from rtmpump import log
from rtmpump.daemon.link_states import LinkStates
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.links.systemd import Notifier

_log = log.get("supervisor")


class ServiceStatus:
    """The listener of all links: it keeps their states and publishes a line after each change.

    Any thread may call any method.
    """

    def __init__(self, states: LinkStates, notifier: Notifier, *, has_role: bool) -> None:
        """Begin; with `has_role` the line says whether this pump is active or standby."""
        self.states = states
        self._notifier = notifier
        self._has_role = has_role

    def link_up(self, link: str, where: str) -> None:
        """Learn that a link was made."""
        self.states.up(link, where)
        self.publish()

    def link_down(self, retry: RetryDetails) -> None:
        """Learn that a link ended."""
        self.states.down(retry)
        self.publish()

    def link_rests(self, link: str) -> None:
        """Learn that a link was ended on purpose, and is not made anew for now."""
        self.states.rest(link)
        self.publish()

    def take_role(self, role: str) -> None:
        """Be "active" or "standby" from now on."""
        self.states.role = role
        _log.info("role.changed", role=role)
        self.publish()

    def publish(self) -> None:
        """Send the line to the service manager."""
        published = ""
        # Another thread may have published an older line than ours after we made it.
        while (line := self._line()) != published:
            self._notifier.status(line)
            published = line

    def _line(self) -> str:
        states = self.states
        role = f"{states.role}: " if self._has_role else ""
        away = [link for link in states.wanted if not states.is_up(link)]
        return role + (f"waiting for {', '.join(away)}" if away else "all links are up")
