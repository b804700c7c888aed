"""What a signal does: end the set-up, end the play early, or end the wait after it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Raise KeyboardInterrupt while `raises` is set, else set a flag: `stop`, then `hurry`.

    `number` is that of the last signal, 0 before.
    """

    def __init__(self) -> None:
        self.raises = True
        self.number = 0
        self.stop = threading.Event()
        self.hurry = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals here; only on the main thread."""
        before = {number: signal.signal(number, self._came) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        if self.raises:
            self.raises = False
            raise KeyboardInterrupt
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()
