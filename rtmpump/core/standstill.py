"""Whether a trip stands still, since when, and what holds it up.

There are three: events are read, events are published, commands are carried out. A pump says what
it knows (a `Halt`); `Motion` finds out what no pump says, by looking whether anything gets done.

Laws:

- A trip that stands still for longer than `PATIENCE` has failed, whatever the reason. A limit, or a
  pause that Slack asked for, is part of the work until it lasts for `LENIENCE`.
- A reason is one word out of few: it is a label of a metric.

Times are seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

READING: Final = "reading"
PUBLISHING: Final = "publishing"
COMMANDS: Final = "commands"

PATIENCE: Final = 5.0
LENIENCE: Final = 60.0

NOT_CONNECTED: Final = "not_connected"
HANGS: Final = "hangs"
RATE_LIMIT: Final = "rate_limit"
SLACK_PAUSE: Final = "slack_pause"
_LENIENT: Final = (RATE_LIMIT, SLACK_PAUSE)


class Halt(NamedTuple):
    """One thing that stands still: why, since when, more words, and how many commands wait."""

    reason: str
    since: float
    detail: str = ""
    waiting: int = 0

    @property
    def is_lenient(self) -> bool:
        """Whether it is a part of the work for a while."""
        return self.reason in _LENIENT

    def has_failed(self, now: float) -> bool:
        """Return whether it lasts for too long."""
        return now - self.since > (LENIENCE if self.is_lenient else PATIENCE)


class Motion:
    """Looks at a trip from outside: does something wait, and does anything get done?"""

    def __init__(self) -> None:
        self._done: int | None = None
        self.still_since: float | None = None
        """Since when something has waited and nothing was done; None while it moves or rests."""

    def look(self, waits: bool | None, done: int, now: float) -> None:
        """Look once; `done` changes with each thing that gets done, `waits` is None if unknown."""
        if done != self._done or waits is False:
            self._done, self.still_since = done, None
        if waits and self.still_since is None:
            self.still_since = now


def oldest(halts: Iterable[Halt]) -> tuple[Halt, ...]:
    """Put those of one reason and detail together: since the first, and all that wait."""
    found: dict[tuple[str, str], Halt] = {}
    for halt in halts:
        key = halt.reason, halt.detail
        known = found.get(key, halt._replace(waiting=0))
        since, waiting = min(known.since, halt.since), known.waiting + halt.waiting
        found[key] = known._replace(since=since, waiting=waiting)
    return tuple(sorted(found.values(), key=lambda halt: halt.since))
