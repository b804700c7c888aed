"""When refusals that do not end are worth a new connection to the broker.

A channel that was opened while a quorum queue had no leader can refuse publishes to that queue
until the old leader's node is back, although there has long been a new leader (seen with RabbitMQ
3.10). A new channel takes them at once. A full queue refuses as well, and a new channel does not
help there. So each new connection comes after a longer time than the one before.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

_MOST: Final = 60.0


class Refusals:
    """What is refused, and since when; times in seconds of any clock that does not go back.

    After `first` seconds of refusals a new connection is due, after `factor` times as long the next
    one, and so on up to a minute.
    """

    def __init__(self, first: float = 2.0, factor: float = 4.0) -> None:
        self._first = first
        self._factor = factor
        self._since: dict[Hashable, float] = {}
        self._patience = first

    def refused(self, now: float, what: Hashable = None) -> float:
        """Note a refusal.

        Returns:
            For how many seconds it was refused, if a new connection is due by now; else 0.0.
        """
        lasted = now - self._since.setdefault(what, now)
        if lasted < self._patience:
            return 0.0
        self._since[what] = now
        self._patience = min(self._patience * self._factor, _MOST)
        return lasted

    def taken(self, what: Hashable = None) -> None:
        """Note a confirm: the next refusal of `what` is a first one."""
        if self._since.pop(what, None) is not None:
            self._patience = self._first

    def forget(self, what: Hashable) -> None:
        """Forget `what`: it is not tried any more, and was not taken."""
        self._since.pop(what, None)

    def forget_all(self) -> None:
        """Begin with a new connection, which has refused nothing; keep the time until the next."""
        self._since.clear()
