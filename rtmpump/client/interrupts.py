"""Ends a loop over events in order when the program gets SIGINT or SIGTERM.

Laws:

- Handlers that the program has set itself stay. Only what Python or the system does by default is
  replaced, for the time of the loop, and only in the main thread: no other may set a handler.
- The second signal does what it does by default: the loop may be stuck.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_BY_DEFAULT: Final = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@contextmanager
def ending_on_signals(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` at the first signal while this is entered."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours: dict[int, Any] = {}

    def restore() -> None:
        while ours:
            number, before = ours.popitem()
            if signal.getsignal(number) is handle:
                signal.signal(number, before)

    def handle(_number: int, _frame: FrameType | None) -> None:
        restore()
        end()

    for number, default in _BY_DEFAULT.items():
        if signal.getsignal(number) is default:
            ours[number] = default
            signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
