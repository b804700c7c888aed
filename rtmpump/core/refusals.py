"""When refusals without an end are worth a new connection to the broker.

A channel that was opened while a quorum queue had no leader can go on refusing for that queue until
the old leader's node is back, though there is a new one long since (seen with RabbitMQ 3.10); a new
channel takes it at once. A full queue refuses as well, and there a new one is of no use: so each
takes longer to come than the one before.
"""

from __future__ import annotations

from typing import Final

_FIRST: Final = 2.0
_MOST: Final = 60.0
_FACTOR: Final = 4.0


class Refusals:
    """Those since the last confirm; times in seconds, of any clock that does not go back."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._patience = _FIRST

    def refused(self, now: float) -> bool:
        """Note a refusal; True if it is time for a new connection."""
        if self._since is None:
            self._since = now
        if now - self._since < self._patience:
            return False
        self._since = now
        self._patience = min(self._patience * _FACTOR, _MOST)
        return True

    def taken(self) -> None:
        """Note a confirm: the next refusal is a first one."""
        self._since, self._patience = None, _FIRST
