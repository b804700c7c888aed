"""The clocks of the pump's machine, which a strike moves: a file of two numbers in shared memory.

The pump's process maps the file and adds them to what its clocks say. Times are seconds.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import Any, Final

_FORM: Final = struct.Struct("dd")
# What Python is given to run as `rtmpump`; calls are counted as `programs.OFTEN` has it.
PROGRAM: Final = (
    "-c",
    "import os; from pathlib import Path; from tests.faults import clocks;"
    "from rtmpump import cli; from rtmpump.links import retry; retry.CALLS_SPAN = 2.0;"
    "clocks.follow(Path(os.environ['CLOCKS'])); cli.main()",
)


class Clocks:
    """Who moves them. `slept` is for how long the machine has slept, in all."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_bytes(bytes(_FORM.size))
        self.slept = 0.0
        self._ahead = 0.0

    def sleep(self, seconds: float) -> None:
        """The machine sleeps: both the time of day and that since the boot go on."""
        self.slept += seconds
        self._write()

    def set(self, ahead: float) -> None:
        """The time of day is ahead by so much from now on."""
        self._ahead = ahead
        self._write()

    def _write(self) -> None:
        with self.file.open("r+b") as file:
            file.write(_FORM.pack(self.slept, self._ahead))


def follow(path: Path) -> None:
    """Let the clocks of this process be those of the file. The monotonic one sleeps too."""
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), _FORM.size)
    clocks: Any = time
    time_ns, clock_gettime = time.time_ns, time.clock_gettime

    def now_ns() -> int:
        return time_ns() + int(sum(_FORM.unpack_from(shared)) * 1e9)

    def gettime(clock: int) -> float:
        slept: float = _FORM.unpack_from(shared)[0]
        return clock_gettime(clock) + (slept if clock == time.CLOCK_BOOTTIME else 0.0)

    clocks.time_ns = now_ns
    clocks.time = lambda: now_ns() / 1e9
    clocks.clock_gettime = gettime
