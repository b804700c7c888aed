"""A token bucket for each key: how long a message to a channel has to wait.

Each bucket is a single number, the time at which it will be full again (the "theoretical arrival
time" of the generic cell rate algorithm, ITU-T I.371). A bucket that is full needs no memory.
"""

from __future__ import annotations

import math

# After a wait of exactly the returned time a rounding error must not cause another wait.
_ROUNDING = 1e-6


class RateLimit:
    """Grant `burst` tokens at once and `rate` a second after that, to each key by itself."""

    def __init__(self, rate: float, burst: int) -> None:
        """Take `rate` in tokens a second (> 0), and `burst` >= 1.

        Raises:
            ValueError: one of them is out of range.
        """
        if not (rate > 0 and math.isfinite(rate)) or burst < 1:
            raise ValueError(f"no bucket has rate {rate} and burst {burst}")
        self._interval = 1.0 / rate
        self._spare = (burst - 1) * self._interval
        self._refill = burst * self._interval
        self._full_at: dict[str, float] = {}
        self._swept = -math.inf

    def take(self, key: str, now: float) -> float:
        """Take one token and return 0.0, or take none and return the seconds until there is one."""
        if now - self._swept >= self._refill:
            self.sweep(now)
        full_at = max(self._full_at.get(key, now), now)
        wait = full_at - now - self._spare
        if wait > _ROUNDING:
            return wait
        self._full_at[key] = full_at + self._interval
        return 0.0

    def use_up(self, key: str, now: float) -> None:
        """Empty a bucket that is full because we did not use it: somebody else may have."""
        if self._full_at.get(key, now) <= now:
            self._full_at[key] = now + self._refill

    def ready_at(self, key: str) -> float:
        """Return from when on `take` grants a token; minus infinity if the bucket is full."""
        full_at = self._full_at.get(key)
        return -math.inf if full_at is None else full_at - self._spare

    def give_back(self, key: str) -> None:
        """Put the last token back: it was not used."""
        if key in self._full_at:
            self._full_at[key] -= self._interval

    def sweep(self, now: float) -> None:
        """Forget the full buckets.

        `take` calls it once in the time in which an empty bucket fills. So no more buckets are kept
        than keys were granted a token within twice that time.
        """
        self._swept = now
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}

    def __len__(self) -> int:
        """Count the buckets that are kept."""
        return len(self._full_at)
