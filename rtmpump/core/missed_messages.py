"""Makes events of Slack's history: those that were missed in a gap.

Laws:

- An event made here looks like the missed one as far as possible: `type`, `channel` and `event_ts`
  are added, and its message id (`routes`) is that of the live event.
- The `ts` identifies a message: it is unique in its channel, and is its time. Two copies of one
  message (a broadcast reply is in the channel and in its thread) are one.
- What Slack calls hidden (the tombstone of a deleted message) is left out.

The rest of a message is as it is now, not as it was: edited text, reactions, the count of replies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Any, NamedTuple

import msgspec

from rtmpump.core import tolerant_json
from rtmpump.core.routes import is_listed

# Slack's clock and ours differ by less than this; what is fetched twice has the same id.
MARGIN_MS = 5_000

_TS = re.compile(r"([0-9]{1,12})\.([0-9]{6})")


class Moment(NamedTuple):
    """A `ts` that can be compared."""

    seconds: int
    micros: int

    def __str__(self) -> str:
        return f"{self.seconds}.{self.micros:06d}"


class Said(NamedTuple):
    """One message as the event that it was; sorts by its time."""

    at: Moment
    body: bytes


class Span(NamedTuple):
    """A range of time, both ends included."""

    first: Moment
    last: Moment

    def __contains__(self, at: object) -> bool:
        return isinstance(at, Moment) and self.first <= at <= self.last


def span(from_ms: int, to_ms: int) -> Span:
    """Return the range of `ts` of a gap's messages; the arguments are milliseconds since 1970."""
    return Span(_moment_of(from_ms - MARGIN_MS), _moment_of(to_ms + MARGIN_MS))


def before(at: Moment, seconds: float) -> Moment:
    """Return the moment so many seconds earlier, but not before 1970."""
    return Moment(max(0, at.seconds - int(seconds)), at.micros)


def after(at: Moment) -> Moment:
    """Return the next moment that there is."""
    following = at.seconds * 1_000_000 + at.micros + 1
    return Moment(following // 1_000_000, following % 1_000_000)


def just_before(at: Moment) -> Moment:
    """Return the moment before, but not before 1970."""
    preceding = max(0, at.seconds * 1_000_000 + at.micros - 1)
    return Moment(preceding // 1_000_000, preceding % 1_000_000)


def moment(ts: object) -> Moment | None:
    """Read a `ts`; None for all else."""
    parts = _TS.fullmatch(ts) if isinstance(ts, str) else None
    return Moment(int(parts[1]), int(parts[2])) if parts else None


def said(messages: Iterable[Any], channel: str, within: Span, ignore: frozenset[str]) -> list[Said]:
    """Make events of the messages of one channel that lie in the span, in their order."""
    found = []
    for message in messages:
        at = moment(message.get("ts")) if isinstance(message, dict) else None
        if at is not None and at in within and _was_an_event(message, ignore):
            event = {"type": "message", **message, "channel": channel, "event_ts": message["ts"]}
            found.append(Said(at, _encoded(event)))
    return sorted(found)


def threads(messages: Iterable[Any], within: Span) -> set[str]:
    """Return the threads that went on in the span or after it, as far as these messages show."""
    found: set[str] = set()
    for message in messages:
        if not isinstance(message, dict):
            continue
        own, thread = moment(message.get("ts")), moment(message.get("thread_ts"))
        latest = moment(message.get("latest_reply"))
        is_broadcast = thread is not None and thread != own
        if is_broadcast or (latest is not None and latest >= within.first):
            found.add(str(thread or own))
    return found


def in_order(streams: Iterable[Iterator[Said]]) -> Iterator[Said]:
    """Merge streams that are each in order; of two with the same time the first is taken."""
    last: Moment | None = None
    for one in merge(*streams, key=lambda one: one.at):
        if one.at != last:
            last = one.at
            yield one


def _encoded(event: dict[str, Any]) -> bytes:
    """Return the event's JSON, without what is nested so deep that no event could have it."""
    return tolerant_json.join_members(tolerant_json.encode_members(event))


def _moment_of(ms: int) -> Moment:
    return Moment(max(0, ms) // 1000, max(0, ms) % 1000 * 1000)


def _was_an_event(message: dict[str, Any], ignore: frozenset[str]) -> bool:
    subtype = message.get("subtype")
    hidden = message.get("hidden") or subtype == "tombstone"
    return not hidden and not is_listed(
        "message", subtype if isinstance(subtype, str) else "", ignore
    )


class OpenGap(msgspec.Struct):
    """A gap that is to be filled, and its progress; times in milliseconds since 1970.

    `done` are the conversations that were read to their end. `channel` is the one that is being
    read; all of it up to `upto` (a `ts`) is in the spool.
    """

    from_ms: int
    to_ms: int
    team: str
    bot: str
    done: list[str] = []
    failed: list[tuple[str, str]] = []
    channels: int = 0
    messages: int = 0
    channel: str = ""
    upto: str = ""

    @property
    def is_begun(self) -> bool:
        """Whether anything of it was done."""
        return bool(self.done or self.failed or self.channel)

    def covers(self, other: OpenGap) -> bool:
        """Whether all of the other lies in it."""
        return self.from_ms <= other.from_ms and other.to_ms <= self.to_ms
