"""What holds commands back from one method of the Web API, or from the WebSocket: pauses and pace.

Laws:

- Trouble is waited for. Where Slack asks all commands to slow down, or is not at work, the method
  rests. Then one command goes as a probe, and only its success lets others follow.
- Each rest after a failed probe is longer than the one before, up to `Pauses.longest`. A time that
  Slack named is never cut short.
- After a limit the pace is slow at first and grows with each success, so what waited does not go in
  one burst and fail again; a limit that is met on the way slows it down again.
- One command in trouble is no reason to rest while others succeed: it may be at fault itself, or
  its channel alone is limited.
- What was sent before a rest began says nothing new about it.

Who may go first is the business of `channel_queues`. Times are seconds of the caller's clock.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from rtmpump.core.outbound.api_calls import Trouble

# So many commands that fail in a row, without a success, are no coincidence.
_SEVERAL: Final = 3
# A limit is met about once in eight successes, at about three quarters of what Slack allows.
_SLOWER: Final = 1.5
_FASTER: Final = 0.95
# Seconds between two commands that are as good as none.
_FREE: Final = 0.02
# Thirty doublings are more than any wait; a float ends at a thousand.
_DOUBLINGS_MAX: Final = 30


class Pauses(NamedTuple):
    """How long to wait after the first failure, in seconds, and at most; each wait is doubled."""

    first: float
    longest: float

    def after(self, failures: int) -> float:
        """Return the pause after so many failures in a row, which are one or more."""
        return min(self.first * 2.0 ** min(failures - 1, _DOUBLINGS_MAX), self.longest)


class Rest(NamedTuple):
    """A rest: it ends at `until`, and is the `number`th in a row; `is_new` if it began just now."""

    until: float
    number: int
    is_new: bool


class Throttle:
    """The state of one method, or of the WebSocket.

    `at_once` is how many commands may be under way. `several` is how many have to be limited before
    the whole of it rests: more than one where Slack limits each channel by itself. `trouble` is
    what the last rest began with.
    """

    def __init__(
        self, pauses: Pauses, *, at_once: float = math.inf, several: int = _SEVERAL
    ) -> None:
        self.is_closed = False
        self.under_way = 0
        self.trouble: Trouble | None = None
        self._pauses = pauses
        self._at_once = at_once
        self._several = several
        self._rests = 0
        self._in_a_row = 0
        self._until = -math.inf
        self._probing = False
        self._probe_is_under_way = False
        self._interval = 0.0
        self._next_at = -math.inf
        self._failed: set[int] = set()

    @property
    def is_full(self) -> bool:
        """Whether as many are under way as may be."""
        return self.under_way >= self._at_once

    def rests(self, now: float) -> bool:
        """Return whether all wait because some met `trouble`."""
        return self._probing or self._until > now

    def opens_at(self) -> float:
        """Return from when on a command may go; infinity if something has to happen first."""
        if self.is_closed or self.is_full or (self._probing and self._probe_is_under_way):
            return math.inf
        return max(self._until, self._next_at)

    def enter(self, now: float) -> int:
        """Let a command go; return its ticket, which it gives back when it is answered."""
        self.under_way += 1
        self._probe_is_under_way = self._probing
        self._next_at = now + self._interval
        return self._rests

    def leave(self, ticket: int) -> None:
        """Take a ticket back; how it went is not known, or is said next."""
        self.under_way -= 1
        if ticket == self._rests:
            self._probe_is_under_way = False

    def worked(self, ticket: int) -> int:
        """Note that Slack took a command; return how many rests this ends."""
        if ticket != self._rests:
            return 0
        ended = self._in_a_row
        self._failed.clear()
        self._in_a_row, self._probing = 0, False
        self._interval *= _FASTER
        if self._interval < _FREE:
            self._interval = 0.0
        return ended

    def failed(
        self, ticket: int, command: int, trouble: Trouble | None, now: float, retry_after: float
    ) -> Rest | None:
        """Note that a command met trouble; return the rest if all have to wait, else None.

        `command` tells commands apart. Without `trouble` it may be at fault itself.
        """
        if ticket != self._rests:
            if trouble is Trouble.LIMITED:
                self._until = max(self._until, now + retry_after)
            return Rest(self._until, self._in_a_row, False) if self._probing else None
        self._failed.add(command)
        enough = _SEVERAL if trouble is None else 1 if trouble is Trouble.AWAY else self._several
        is_general = self._probing or len(self._failed) >= enough
        is_too_fast = trouble is Trouble.LIMITED and self._interval > 0
        if not (is_general or is_too_fast):
            return None
        self._in_a_row += 1
        self.trouble = trouble
        pause = self._pauses.after(self._in_a_row)
        if trouble is Trouble.LIMITED:
            if self._in_a_row == 1:
                slower = self._interval * _SLOWER or self._pauses.first
                self._interval = min(slower, self._pauses.longest)
            pause = max(self._interval, pause if is_general else 0.0)
        self._until = now + max(pause, retry_after if is_general else 0.0)
        self.probe(now)
        return Rest(self._until, self._in_a_row, True)

    def probe(self, now: float) -> None:
        """Send one command first, and the others when it succeeded."""
        self._rests += 1
        self._until = max(self._until, now)
        self._probing, self._probe_is_under_way = True, False
