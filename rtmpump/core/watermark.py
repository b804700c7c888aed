"""The watermark: all that Slack sent up to here is stored, or announced by a gap.

It is a time in milliseconds since 1970, or None while nothing is known. The reader moves it, the
spool keeps it on disk, and a lock token brings it to the next pump.
"""

from __future__ import annotations


def later(one: int | None, other: int | None) -> int | None:
    """Return the later of two times, of which each may be unknown."""
    known = [at for at in (one, other) if at is not None]
    return max(known, default=None)
