"""A program of another service that runs beside a pump, in whatever language it is written."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.paths import PYTHONPATH
from tests.support.waiting import SECONDS, wait_until

Start = Callable[[list[str], str], "Running"]


class Running:
    """A program that runs; its output goes to files."""

    def __init__(self, command: list[str], broker_url: str, folder: Path) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=os.environ | {"AMQP_URL": broker_url, "PYTHONPATH": PYTHONPATH},
                start_new_session=True,
            )

    def out(self) -> str:
        """What it printed."""
        return self._out.read_text()

    def err(self) -> str:
        """What it complained about."""
        return self._err.read_text()

    def wait_for(self, true: Callable[[], object]) -> None:
        """Waits for something while it runs."""
        wait_until(lambda: true() or self.process.poll() is not None, what=self.err())
        assert true(), f"it ended: {self.out()}{self.err()}"

    def end(self) -> None:
        """Ends it and what it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(SECONDS)
