"""Ctrl-C while nothing has begun that must be ended: exit code 130 at once, and no traceback.

A KeyboardInterrupt is too weak for that. During an import it may come up in a callback of Python's
own, which prints a traceback and goes on. So nothing may be imported here that Python has not
loaded anyway.
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

INTERRUPTED = 130


def end_at_once() -> None:
    """Let Ctrl-C end the process from now on, unless it is ignored or handled otherwise."""
    _replace(signal.default_int_handler, _end)


def ending_at_once() -> _Replaced:
    """Return a context in which Ctrl-C ends the process, as `end_at_once` does."""
    return _Replaced(signal.default_int_handler, _end)


def raising() -> _Replaced:
    """Return a context in which `end_at_once` does not hold: Ctrl-C raises KeyboardInterrupt."""
    return _Replaced(_end, signal.default_int_handler)


class _Replaced:
    """One handler of SIGINT in place of another, if it is that one."""

    def __init__(self, old: signal._HANDLER, new: signal._HANDLER) -> None:
        self._old = old
        self._new = new
        self._is_replaced = False

    def __enter__(self) -> None:
        self._is_replaced = _replace(self._old, self._new)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_replaced:
            _replace(self._new, self._old)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _replace(old: signal._HANDLER, new: signal._HANDLER) -> bool:
    """Set the handler if it is `old`; only the main thread can, others change nothing."""
    if signal.getsignal(signal.SIGINT) is not old:
        return False
    try:
        signal.signal(signal.SIGINT, new)
    except ValueError:
        return False
    return True
