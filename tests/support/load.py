"""How much a busy machine held programs up, so that a promise about time can be tested on it."""

from __future__ import annotations

from pathlib import Path
from typing import Self


class HeldUp:
    """The time in which programs were ready to run and had to wait for a processor.

    A promise about time is about a machine that has time for the program. While all goes well that
    is next to nothing, so a limit with it added is as strict as one without.
    """

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._before: dict[int, float] = {}
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._before = {pid: _waited(pid) for pid in self._pids}
        return self

    def __exit__(self, *_: object) -> None:
        # One that has ended counts as never held up.
        self.seconds = sum(max(0.0, _waited(pid) - was) for pid, was in self._before.items())


def _waited(pid: int) -> float:
    """Return for how many seconds all threads of a process were kept waiting so far."""
    # https://docs.kernel.org/scheduler/sched-stats.html: the second number, in nanoseconds.
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(file.read_text().split()[1])
        except (OSError, IndexError):
            continue
    return total / 1e9
