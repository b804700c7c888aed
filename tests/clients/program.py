"""The program of a library as a process, and what it says; `programs/bot.py` has the lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.waiting import SECONDS, wait_until


class ClientProgram:
    """Runs as soon as it is made; `restart` is what a service manager would do."""

    def __init__(self, command: list[str], settings: dict[str, str], folder: Path) -> None:
        self._command = command
        # Nothing of ours must come in its way, and no proxy in that of 127.0.0.1.
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        self._env = {key: os.environ[key] for key in kept if key in os.environ} | settings
        self._folder = folder
        self._out, self._err = folder / "program.out", folder / "program.err"
        self._process: subprocess.Popen[bytes] | None = None
        self.restart()

    def restart(self) -> None:
        """Start it, once more if it has ended."""
        assert not self.is_running
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._folder,
                env=self._env,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def said(self, key: str) -> list[Any]:
        """Return the values of all lines that have `key`, in order."""
        return [line[key] for line in self.lines() if key in line]

    def lines(self) -> list[dict[str, Any]]:
        """Return all that it said; the log of a library may stand between."""
        text = self._out.read_text(errors="replace")
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("}\n")]
        return [json.loads(line) for line in whole if line.startswith("{")]

    def errors(self) -> str:
        """Return the end of what it logged."""
        return self._err.read_text(errors="replace")[-3000:]

    def wait(self, true: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Wait for something while it runs."""
        wait_until(
            lambda: true() or not self.is_running, seconds, lambda: f"{what}\n{self.errors()}"
        )
        assert true(), f"the program ended, and did not get as far: {what}\n{self.errors()}"

    def end(self) -> None:
        """End it, and what it started."""
        if self._process is not None and self.is_running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(SECONDS)
