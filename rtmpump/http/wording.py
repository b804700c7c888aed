"""Numbers and times in the words of the page; page.js has the same under the same names.

Rounding is done by hand, half up: Python and JavaScript round a half each in their own way.
"""

from __future__ import annotations

from datetime import datetime
from math import floor
from typing import Final

UNKNOWN: Final = "\N{EN DASH}"


def fixed(value: float, digits: int) -> str:
    """`1234.56, 1` → `1,234.6`."""
    scale = 10**digits
    return f"{floor(value * scale + 0.5) / scale:,.{digits}f}"


def trimmed(value: float) -> str:
    """At most two digits after the point, and no zeros at the end."""
    return fixed(value, 2).rstrip("0").rstrip(".")


def rate(value: float) -> str:
    """So many a second."""
    if value == 0:
        return "0"
    if value < 0.01:
        return "under 0.01"
    return fixed(value, 2 if value < 1 else 1 if value < 100 else 0)


def size(count: float) -> str:
    """Bytes as B, KiB, MiB, GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{fixed(count, 0 if unit == 'B' else 1)} {unit}"
        count /= 1024
    return f"{fixed(count, 1)} GiB"


def duration(seconds: float) -> str:
    """In one unit or two; below zero counts as zero."""
    whole = max(0, floor(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400:,} d {whole % 86_400 // 3600} h"


def latency(seconds: float | None) -> str:
    """Of something that takes milliseconds as a rule; None is not known."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.9995:
        return f"{fixed(seconds * 1000, 1 if seconds < 0.01 else 0)} ms"
    return f"{fixed(seconds, 1)} s" if seconds < 60 else duration(seconds)


def quantile(told: dict[str, float | None], name: str) -> str:
    """The quantile of a latency; one past the last bucket is over an hour."""
    return "over 1 h" if told[name] is None and told["count"] else latency(told[name])


def moment(at: str) -> str:
    """An RFC 3339 time in UTC, to the second."""
    return f"{at[:10]} {at[11:19]} UTC"


def since(at: str, now: str) -> str:
    """How long ago that was."""
    return duration((datetime.fromisoformat(now) - datetime.fromisoformat(at)).total_seconds())


def counted(count: float, one: str, many: str) -> str:
    """`1 event`, `2 events`."""
    return f"{fixed(count, 0)} {one if count == 1 else many}"
