"""For how long a peer may have sent nothing."""

from __future__ import annotations


class Silence:
    """The silence of one peer; times in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._heard_at = 0.0
        self._looked_at = 0.0

    def lasts(self, received: int, now: float) -> float:
        """Return for how many seconds at most, given how many bytes came in all; 0.0 at first.

        What came since the last call counts as heard right after that call: if the process stood
        still in between, it may have lain in the buffer for as long.
        """
        looked_at, self._looked_at = self._looked_at, now
        if received == self._received:
            return now - self._heard_at
        is_first = self._received is None
        self._received, self._heard_at = received, now
        return 0.0 if is_first else now - looked_at
