"""The watermark: all that Slack sent up to here is stored, or announced by a gap.

It is a time in milliseconds since 1970, or None while nothing is known. The reader moves it, the
spool keeps it on disk, and a lock token brings it to the next pump.

Laws:

- The time of day can be wrong and can jump, also while the machine sleeps. The time since the boot
  (with sleep) never jumps, but stands still while a virtual machine is frozen. So a moment is noted
  by both clocks, and where they differ, the earlier one is told.
- A watermark of another process has the time of day alone. If it is in the future, a clock was
  wrong, and nobody can know by how much: the gap then begins a day ago, or as far back as the
  watermark lies ahead.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_SECOND_MS: Final = 1000
_DAY_MS: Final = 24 * 3600 * _SECOND_MS
# The clocks of two machines differ by less, and a clock is seldom corrected by more at once.
_SKEW_MS: Final = 5 * _SECOND_MS
_AFTER_SKEW_MS: Final = 60 * _SECOND_MS
_JUMP_MS: Final = 2 * _SECOND_MS
# A frozen machine gets the right time from others, minutes after it goes on.
_JUMPS_COUNT: Final = 3600.0


class Instant(NamedTuple):
    """A moment by two clocks: seconds since the boot (with sleep), and the time of day in ms."""

    elapsed: float
    wall_ms: int


class TimeRange(NamedTuple):
    """A time range, in milliseconds since 1970."""

    from_ms: int
    to_ms: int


def later(one: int | None, other: int | None) -> int | None:
    """Return the later of two times, of which each may be unknown."""
    known = [at for at in (one, other) if at is not None]
    return max(known, default=None)


def by_another_clock(watermark_ms: int, now_ms: int) -> int:
    """Return the earliest that a watermark can be that another process wrote."""
    ahead = watermark_ms - now_ms
    if ahead <= 0:
        return watermark_ms
    return now_ms - (_AFTER_SKEW_MS if ahead <= _SKEW_MS else max(_DAY_MS, ahead))


def long_ago(now_ms: int) -> int:
    """Return the watermark that stands for one that existed and that nobody knows."""
    return now_ms - _DAY_MS


class Watermark:
    """The watermark of a reader, and the gap that it means at a hello.

    `ms` is the watermark. One thread moves it, any may read it.
    """

    def __init__(self, ms: int | None) -> None:
        self.ms = ms
        self._at: Instant | None = None
        self._reached: Instant | None = None
        self._pinged: Instant | None = None
        self._offered: int | None = None
        self._hello: Instant | None = None
        self._announced: TimeRange | None = None

    def take_over(self, ms: int | None) -> None:
        """Go on from the watermark that another pump left, if it is later."""
        joint = later(self.ms, ms)
        if joint != self.ms:
            self.ms, self._at = joint, None

    def begun(self, now: Instant) -> None:
        """Note that a connection is begun: what Slack sends after that comes on it."""
        self._reached, self._offered, self._hello = now, None, None

    def pinged(self, now: Instant) -> None:
        """Note that a ping is written; what Slack had sent before comes before its pong."""
        self._pinged = now

    def reach(self, answered: float | None, now: Instant) -> int | None:
        """Return the watermark that holds, once what was read by `now` is stored.

        `answered` is the `elapsed` of the last ping that Slack has answered on this connection.
        """
        if self._pinged is not None and answered == self._pinged.elapsed:
            self._reached = self._pinged
        if self._reached is not None:
            self._offered = _earliest(self._reached, now)
        return self._offered

    def move(self, ms: int | None) -> None:
        """Take what `reach` returned for the watermark; any other value changes nothing."""
        if ms is not None and ms == self._offered:
            self.ms, self._at = ms, self._reached

    def gap(self, now: Instant, to_ms: int) -> TimeRange | None:
        """Return the gap at a hello that came at `to_ms`; None if nothing was read before."""
        self._hello, self._announced = now, None
        if self.ms is not None:
            since = by_another_clock(self.ms, now.wall_ms)
            if self._at is not None:
                since = min(self.ms, _earliest(self._at, now))
            self._announced = TimeRange(min(since, to_ms), to_ms)
        return self._announced

    def gap_of_jump(self, now: Instant) -> TimeRange | None:
        """Return the last gap as it is by a time of day that has jumped since; None if it has not.

        Nobody can know which of the two was right, so it covers both.
        """
        hello, told = self._hello, self._announced
        if hello is None or told is None or now.elapsed - hello.elapsed > _JUMPS_COUNT:
            return None
        jump = now.wall_ms - hello.wall_ms - round(1000 * (now.elapsed - hello.elapsed))
        if abs(jump) < _JUMP_MS:
            return None
        self._hello = hello._replace(wall_ms=hello.wall_ms + jump)
        ahead, back = max(jump, 0), min(jump, 0)
        self._announced = TimeRange(told.from_ms + back, told.to_ms + ahead)
        return self._announced


def _earliest(then: Instant, now: Instant) -> int:
    return min(then.wall_ms, now.wall_ms - round(1000 * (now.elapsed - then.elapsed)))
