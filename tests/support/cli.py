"""Runs the program as a person does: as a process of its own, with a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from tests.support.paths import PYTHONPATH
from tests.support.waiting import SECONDS, wait_until

_OURS = ("RTMPUMP_", "SLACK_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET")


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what would configure the program, and `env` on top."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
    return kept | {"PYTHONPATH": PYTHONPATH} | dict(env or {})


def rtmpump(
    folder: Path, *args: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m rtmpump` to its end in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "rtmpump", *args],
        cwd=folder,
        env=environment(env),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


class Running:
    """A command that runs until somebody ends it; `lines` and `errors` grow as it prints.

    With `stdout`, a file descriptor, what it prints goes there.
    """

    def __init__(
        self,
        folder: Path,
        *args: str,
        env: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtmpump", *args],
            cwd=folder,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        pairs = ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        self._readers = [
            threading.Thread(target=_read, args=(stream, into), daemon=True)
            for stream, into in pairs
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def wait_line(self, part: str) -> str:
        """Waits for a line with this in it, on either stream, and returns it."""
        wait_until(lambda: self._found(part) or self.process.poll() is not None, what=part)
        for reader in self._readers:
            if self.process.poll() is not None:
                reader.join(SECONDS)
        found = self._found(part)
        assert found is not None, f"ended without {part!r}: {self.lines} {self.errors}"
        return found

    def wait(self) -> int:
        """The exit code, once it has ended and all it printed is read."""
        code = self.process.wait(SECONDS)
        for reader in self._readers:
            reader.join(SECONDS)
        return code

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def _found(self, part: str) -> str | None:
        return next((line for line in [*self.lines, *self.errors] if part in line), None)


def _read(stream: IO[str], into: list[str]) -> None:
    for line in stream:
        into.append(line.rstrip("\n"))


def config_file(folder: Path, broker_url: str, *, token: str = "", api_url: str = "") -> Path:
    """Writes a configuration; without a token it is for commands that need none."""
    lines = ["[broker]", f'url = "{broker_url}"']
    if token:
        lines += ["[slack]", f'token = "{token}"', f'api_url = "{api_url}"']
    file = folder / "rtmpump.toml"
    file.touch(mode=0o600)
    file.write_text("\n".join(lines) + "\n")
    return file
