"""A pump that works in terms: only while this process is the active one.

Laws:

- One term after the other: a new one begins when the work of the one before has ended.
- A term that was ended before its work began is over at once. So it can be ended at any moment.

One thread. Other threads may call `offer` and `close`.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Final, Generic, TypeVar

from rtmpump.links.lifecycle import Lifecycle, Pump

_Term = TypeVar("_Term")
_PROGRESS_EVERY: Final = 5.0


class Terms(Generic[_Term]):
    """The body of a pump's thread.

    `begin` makes the pump ready for a term; `rested` is called when a term is over.
    """

    def __init__(self, begin: Callable[[_Term], Pump], rested: Callable[[], None]) -> None:
        self._begin = begin
        self._rested = rested
        self._changed = Condition()
        self._offered: _Term | None = None
        self._closed = False
        self._pump: Pump | None = None
        self._own_lifecycle = Lifecycle()

    @property
    def lifecycle(self) -> Lifecycle:
        """The pump's while it works in a term, else that of the wait for the next term."""
        pump = self._pump
        return self._own_lifecycle if pump is None else pump.lifecycle

    def offer(self, term: _Term) -> None:
        """Begin this term as soon as the one before is over. From any thread."""
        with self._changed:
            self._offered = term
            self._changed.notify()

    def close(self) -> None:
        """Begin no further term. From any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        """Work in each term that is offered, until `close`."""
        while (term := self._next()) is not None:
            self._pump = self._begin(term)
            self._pump.run()
            self._own_lifecycle.progress()
            self._pump = None
            self._rested()

    def _next(self) -> _Term | None:
        with self._changed:
            while self._offered is None and not self._closed:
                self._own_lifecycle.progress()
                self._changed.wait(_PROGRESS_EVERY)
            term, self._offered = self._offered, None
            return None if self._closed else term
