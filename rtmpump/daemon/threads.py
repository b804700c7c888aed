"""The threads of the daemon, and what wakes the main one: their ends, and signals.

Laws:

- A signal handler does nothing; the signal's number comes through a wake-up pipe.
- Only the main thread waits for the alarm; a thread that ends rings it.
- SIGHUP asks for a reload. Where standard input is a terminal it says that the terminal is gone,
  and is an end like SIGTERM; one that is ignored there (nohup) stays ignored.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from rtmpump.links.hangup import has_terminal

_ENDS: Final = (signal.SIGTERM, signal.SIGINT)
_HANGUP: Final = signal.SIGHUP


class Alarm:
    """What the main thread waits for: a signal, or the end of a thread."""

    def __init__(self) -> None:
        self._hears, self._rings = socket.socketpair()
        self._hears.setblocking(False)
        self._rings.setblocking(False)
        self._before: dict[signal.Signals, Any] = {}
        self._ends: tuple[signal.Signals, ...] = _ENDS
        self._reloads = False

    def __enter__(self) -> Alarm:
        signal.set_wakeup_fd(self._rings.fileno(), warn_on_full_buffer=False)
        heeded = [*_ENDS, _HANGUP]
        if has_terminal():
            self._ends = (*_ENDS, _HANGUP)
            if signal.getsignal(_HANGUP) is signal.SIG_IGN:
                heeded.remove(_HANGUP)
        self._before = {one: signal.signal(one, _nothing) for one in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._hears.close()
        self._rings.close()

    def ring(self) -> None:
        """Wake the main thread: a thread ended. From any thread."""
        try:
            self._rings.send(b"\0")
        except OSError:
            return

    def wait(self, seconds: float | None) -> bool:
        """Wait for a ring; return True if it was a signal that asks us to stop."""
        select.select([self._hears], [], [], seconds)
        try:
            heard = self._hears.recv(64)
        except BlockingIOError:
            return False
        if _HANGUP in heard and _HANGUP not in self._ends:
            self._reloads = True
        return any(number in heard for number in self._ends)

    def takes_reload(self) -> bool:
        """Return whether a reload was asked for since the last call."""
        asked, self._reloads = self._reloads, False
        return asked


class PumpThread(threading.Thread):
    """A pump's thread; `error` is the exception that ended it.

    `is_over` is set before the ring, so the main thread sees it then (`is_alive` may come later).
    """

    def __init__(self, name: str, body: Callable[[], None], alarm: Alarm) -> None:
        super().__init__(name=name, daemon=True)
        self._body = body
        self._alarm = alarm
        self.error: BaseException | None = None
        self.is_over = False

    def run(self) -> None:
        """Run the pump, keep what it raises, and ring."""
        try:
            self._body()
        except BaseException as error:
            self.error = error
        finally:
            self.is_over = True
            self._alarm.ring()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wake-up pipe has the number already."""
