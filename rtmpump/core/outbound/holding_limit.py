"""How much the pump holds of what others send: a limit in bytes beside the prefetch count.

RabbitMQ delivers up to `outbound.prefetch` commands whatever their size. What comes while the limit
is reached is postponed: nothing is kept of it, and when there is room again it goes back to the
queue, from where it comes once more.

Laws:

- RabbitMQ puts back what it gets back in the order in which that was delivered last. So behind a
  postponed delivery each later one is postponed too, and all of them go back together, in order.
- Few are on their way back at once: of more than 32 RabbitMQ 3.10 loses the order. While some have
  come again and others not, a pump that is killed loses the order too; that takes milliseconds.
- A delivery that was on its way meanwhile belongs behind those that go back, so it goes back too.
- What does not come again (it expired in the queue) is not waited for: as soon as a later one came,
  or nothing for a second, it is known to be gone.
- One command is always taken, however large it is.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, deque
from typing import Any, Final, NamedTuple

import msgspec

from rtmpump.core.outbound.commands import Command
from rtmpump.core.outbound.job import Fingerprint

HELD_MAX: Final = 32 << 20
"""The most bytes of commands that the pump holds: bodies, headers, and what was read of them."""
_AT_ONCE: Final = 30
_KNOWN_MOST: Final = 65_536


class _Postponed(NamedTuple):
    tag: int
    known_by: Fingerprint
    size: int


class HoldingLimit:
    """The deliveries of one consumer, by their tags and sizes in bytes."""

    def __init__(self, most: int = HELD_MAX) -> None:
        self._most = most
        self.held = 0
        self._postponed: deque[_Postponed] = deque()
        self._going_back: deque[_Postponed] = deque()
        self._owed: deque[Fingerprint] = deque()
        self._is_owed: Counter[Fingerprint] = Counter()
        self._went_back: OrderedDict[Fingerprint, None] = OrderedDict()
        self._came = False

    @property
    def postponed(self) -> int:
        """How many deliveries are postponed, or went back and have not come again."""
        return len(self._postponed) + len(self._going_back) + len(self._owed)

    def take(self, tag: int, known_by: Fingerprint, size: int) -> bool:
        """Return whether a delivery is taken on now; then it counts as held."""
        self._came = True
        one = _Postponed(tag, known_by, size)
        if not self._comes_again(known_by) and (self._owed or self._going_back):
            self._going_back.append(one)
            return False
        if self._postponed or not self._has_room(size):
            self._postponed.append(one)
            return False
        self.held += size
        return True

    def more(self, size: int) -> None:
        """Count more bytes of what is held already."""
        self.held += size

    def less(self, size: int) -> None:
        """Count so many bytes less: they are not held any more."""
        self.held -= size

    def due(self) -> list[int]:
        """Return the tags of what goes back to the queue now, in this order."""
        if not self._going_back and not self._owed and self._is_time():
            self._going_back, self._postponed = self._postponed, self._going_back
        tags = []
        while self._going_back and len(self._owed) < _AT_ONCE:
            tag, known_by, _ = self._going_back.popleft()
            self._owed.append(known_by)
            self._is_owed[known_by] += 1
            self._went_back[known_by] = None
            tags.append(tag)
        while len(self._went_back) > _KNOWN_MOST:
            self._went_back.popitem(last=False)
        return tags

    def went_back(self, known_by: Fingerprint) -> bool:
        """Return whether one like this was given back on this connection, and so comes again."""
        return known_by in self._went_back

    def second_passed(self) -> None:
        """Wait no longer for what went back, if nothing came since the last call."""
        if not self._came:
            self._owed.clear()
            self._is_owed.clear()
        self._came = False

    def connection_ended(self) -> None:
        """Forget all: RabbitMQ delivers everything again."""
        self.held = 0
        for one in (self._postponed, self._going_back, self._owed, self._is_owed, self._went_back):
            one.clear()

    def _has_room(self, size: int) -> bool:
        return self.held == 0 or self.held + size <= self._most

    def _is_time(self) -> bool:
        """Return whether enough room is there, so that most will not be postponed again."""
        if not self._postponed or not self._has_room(self._postponed[0].size):
            return False
        return self.held <= self._most // 2

    def _comes_again(self, known_by: Fingerprint) -> bool:
        """Return whether this one went back; those before it that did not come are gone."""
        if known_by not in self._is_owed:
            return False
        while True:
            first = self._owed.popleft()
            self._is_owed[first] -= 1
            if not self._is_owed[first]:
                del self._is_owed[first]
            if first == known_by:
                return True


def weight(command: Command) -> int:
    """Return about how many bytes a command takes, as it was read from its body."""
    return _weight(msgspec.structs.astuple(command))


def _weight(value: Any) -> int:
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(map(_weight, value.keys())) + sum(map(_weight, value.values()))
    if isinstance(value, tuple):
        return size + sum(map(_weight, value))
    return size
