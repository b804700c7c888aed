"""Who got which event, when each name behind the gateway has to get all that it asked for.

Laws:

- A program notes an event before it acknowledges it (`TAKEN`), and afterwards (`ACKNOWLEDGED`), or
  that it could not (`FAILED`). What it held between the two when it ended may be either.
- An event is lost to a name if no program of that name has taken it, or if none has acknowledged it
  and none has ended with it in its hands.
- Event ids are hashes, never 0. A name may get an event again, but never with another id.
- No socket, no clock, no thread; any thread may call, one at a time.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

TAKEN, ACKNOWLEDGED, FAILED, BROKEN = range(4)
_SHOWN: Final = 5
_RECORD: Final = struct.Struct("<BIQ")


class Record(NamedTuple):
    """What a program says of an event: one of the kinds above, its number, and its `event_id`."""

    kind: int
    number: int = 0
    id: int = 0

    def pack(self) -> bytes:
        """Return it as bytes, all of one size."""
        return _RECORD.pack(*self)


def unpacked(data: bytes) -> Iterator[Record]:
    """Return what is whole of it."""
    whole = len(data) - len(data) % _RECORD.size
    return (Record(*fields) for fields in _RECORD.iter_unpack(data[:whole]))


class NameAccounts:
    """The accounts of one name; `wants` says of a number whether the name asked for that event."""

    def __init__(self, name: str, wants: Callable[[int], bool]) -> None:
        self.name = name
        self.repeats = 0
        self.broken = 0
        self.acknowledged = 0
        self._wants = wants
        self._ids = array("Q")
        self._done = bytearray()
        self._upto = 0
        self._problems: list[str] = []

    def enter(self, record: Record) -> None:
        """Take in what a program says."""
        if record.kind == BROKEN:
            self.broken += 1
            return
        self._grow(record.number)
        if record.kind == TAKEN:
            self._take(record.number, record.id)
        elif record.kind == ACKNOWLEDGED:
            self.acknowledged += not self._done[record.number]
            self._done[record.number] = 1

    def ended(self, in_hand: set[int]) -> None:
        """A program has ended between taking these and saying how it went."""
        for number in in_hand:
            self._grow(number)
            self._done[number] = 1

    def waits(self, emitted: int) -> bool:
        """Whether something of the first `emitted` events is still to come."""
        while self._upto < emitted and self._is_well(self._upto):
            self._upto += 1
        return self._upto < emitted

    def problems(self, emitted: int) -> list[str]:
        """Return all that breaks a promise, once `emitted` events were accepted."""
        wanted = [number for number in range(emitted) if self._wants(number)]
        found = list(self._problems)
        for what, lost in (
            ("never came", [n for n in wanted if not self._id(n)]),
            ("came and could not be acknowledged", [n for n in wanted if self._is_open(n)]),
        ):
            if lost:
                some = ", ".join(map(str, lost[:_SHOWN]))
                found.append(f"{self.name}: {len(lost)} events {what}: {some}")
        if self.broken:
            found.append(f"{self.name}: {self.broken} events were not as they were sent")
        ids = sorted(id for id in self._ids if id)
        if shared := sum(one == other for one, other in pairwise(ids)):
            found.append(f"{self.name}: {shared} events share an event_id with another")
        return found

    def lost(self, emitted: int) -> int:
        """Return how many of the first `emitted` events the name did not get."""
        return sum(not self._is_well(number) for number in range(emitted))

    def _take(self, number: int, id: int) -> None:
        known = self._ids[number]
        self._ids[number] = known or id
        self.repeats += bool(known)
        if known not in (0, id):
            self._problem(f"event {number} came with two ids")
        if not self._wants(number):
            self._problem(f"event {number} came, and was not asked for")

    def _problem(self, what: str) -> None:
        if len(self._problems) < _SHOWN:
            self._problems.append(f"{self.name}: {what}")

    def _grow(self, number: int) -> None:
        more = number + 1 - len(self._ids)
        if more > 0:
            self._ids.extend([0] * more)
            self._done.extend(bytes(more))

    def _id(self, number: int) -> int:
        return self._ids[number] if number < len(self._ids) else 0

    def _is_open(self, number: int) -> bool:
        return bool(self._id(number)) and not self._done[number]

    def _is_well(self, number: int) -> bool:
        return not self._wants(number) or (bool(self._id(number)) and not self._is_open(number))


class Hands:
    """What one process has taken and said nothing more of."""

    def __init__(self, accounts: NameAccounts) -> None:
        self._accounts = accounts
        self._rest = b""
        self._held: set[int] = set()

    def read(self, data: bytes) -> None:
        """Take in what it wrote; a record may come in pieces."""
        data = self._rest + data
        size = 0
        for record in unpacked(data):
            size += _RECORD.size
            self._accounts.enter(record)
            if record.kind == TAKEN:
                self._held.add(record.number)
            else:
                self._held.discard(record.number)
        self._rest = data[size:]

    def end(self) -> None:
        """The process has ended."""
        self._accounts.ended(self._held)
        self._held = set()
