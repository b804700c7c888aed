"""When refusals without an end are worth a new connection to the broker.

A channel that was opened while a quorum queue had no leader can go on refusing for that queue until
the old leader's node is back, though there is a new one long since (seen with RabbitMQ 3.10); a new
channel takes it at once. A full queue refuses as well, and there a new one is of no use: so each
takes longer to come than the one before.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

_MOST: Final = 60.0


class Refusals:
    """What is refused since when; times in seconds, of any clock that does not go back.

    After `first` seconds of refusals it is time for a new connection, after `factor` times as long
    for the next, and so on up to a minute.
    """

    def __init__(self, first: float = 2.0, factor: float = 4.0) -> None:
        self._first = first
        self._factor = factor
        self._since: dict[Hashable, float] = {}
        self._patience = first

    def refused(self, now: float, what: Hashable = None) -> float:
        """Note a refusal; gives for how long if a new connection is due by now, else 0.0."""
        lasted = now - self._since.setdefault(what, now)
        if lasted < self._patience:
            return 0.0
        self._since[what] = now
        self._patience = min(self._patience * self._factor, _MOST)
        return lasted

    def taken(self, what: Hashable = None) -> None:
        """Note a confirm: the next refusal of it is a first one."""
        if self._since.pop(what, None) is not None:
            self._patience = self._first

    def forget(self, what: Hashable) -> None:
        """Nobody tries it any more, and it was not taken."""
        self._since.pop(what, None)

    def forget_all(self) -> None:
        """A new connection has refused nothing yet; how long to wait for the next one stays."""
        self._since.clear()
