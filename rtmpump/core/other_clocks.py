"""Whose clock differs from ours, by the time of day that other pumps write into lock tokens.

Laws:

- A token takes time to come, and never comes before it was written. So a clock that is ahead is
  known at once, and one that is behind by the smallest difference of several tokens.
- A pump is told of once.
"""

from __future__ import annotations

from typing import Final

_DIFFERS_MS: Final = 5_000
_TOKENS: Final = 3
_PUMPS_MOST: Final = 32


class OtherClocks:
    """The clocks of the pumps that wrote to us, in milliseconds."""

    def __init__(self) -> None:
        self._ages: dict[str, list[int]] = {}
        self._told: set[str] = set()
        self.behind_ms = 0
        """By how much the slowest of them is behind ours, if that is more than they may differ."""

    def learn(self, host: str, written_ms: int, now_ms: int) -> int | None:
        """Take in one token; return by how much its clock is ahead (negative: behind), once."""
        ages = self._ages.setdefault(host, [])
        ages.append(now_ms - written_ms)
        if len(self._ages) > _PUMPS_MOST:
            del self._ages[next(iter(self._ages))]
        del ages[:-_TOKENS]
        least = min(ages)
        if least > _DIFFERS_MS and len(ages) < _TOKENS:
            return None
        sure = [min(one) for one in self._ages.values() if len(one) == _TOKENS]
        self.behind_ms = max((one for one in sure if one > _DIFFERS_MS), default=0)
        if abs(least) <= _DIFFERS_MS or host in self._told:
            return None
        self._told.add(host)
        return -least
