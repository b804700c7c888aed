"""Where a reader of the spool stands: it reads on, and can go back.

With `drop_oldest` the spool may give up what was read and is to be read again. Then a later event
would have been given before an earlier one, and never after it. So after a step back what was read
before is read at once, and kept in memory until it was given again.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from rtmpump.spool.file import Row
from rtmpump.spool.spool import Spool

# More than any reader leaves unconfirmed.
_ALL: Final = 1 << 30


class Cursor:
    """Reads the events of a spool in order; one thread owns it.

    `at` is the seq of the last event that was given, or behind which to go on. `keeps`: the spool
    may drop events.
    """

    def __init__(self, spool: Spool, *, keeps: bool) -> None:
        self.at = 0
        self._spool = spool
        self._keeps = keeps
        self._kept: list[Row] = []
        self._kept_upto = 0

    def read(self, limit: int) -> list[Row]:
        """Return the next events, at most `limit`; what is given is to be noted in `at`.

        Raises:
            SpoolFailed: the disk failed; a later call may succeed.
            SpoolCorrupt: the file is damaged.
        """
        if self.at >= self._kept_upto:
            return self._spool.read(self.at, limit)
        if not self._kept:
            rows = self._spool.read(self.at, self._kept_upto - self.at, _ALL)
            self._kept = [row for row in rows if row.seq <= self._kept_upto]
        place = bisect_right(self._kept, self.at, key=_seq)
        rows = self._kept[place : place + limit]
        if not rows:
            self.at = self._kept_upto
            return self._spool.read(self.at, limit)
        return rows

    def find(self, seq: int) -> Row | None:
        """Return an event that was given; None if the spool has dropped it. Raises as `read`."""
        place = bisect_right(self._kept, seq - 1, key=_seq)
        rows = self._kept[place : place + 1] or self._spool.read(seq - 1, 1)
        return rows[0] if rows and rows[0].seq == seq else None

    def go_back(self, to: int) -> None:
        """Go on behind `to` with the next `read`."""
        self._kept, self._kept_upto = [], max(self.at, self._kept_upto) if self._keeps else 0
        self.at = to

    def forget(self, upto: int) -> None:
        """Free the memory, as soon as all that is kept is confirmed: up to `upto`."""
        if upto >= self._kept_upto:
            self._kept, self._kept_upto = [], 0


def _seq(row: Row) -> int:
    return row.seq
