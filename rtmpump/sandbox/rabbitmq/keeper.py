"""A small process that starts services for another one, and ends them when that one ends.

Its laws:
- It is run as a file of its own and needs only the standard library, so it starts at once.
- When its standard input ends (the parent exited, or was killed with -9), it kills every process
  that it started, with all their children, and removes the folder.
- It adopts its orphaned grandchildren (`PR_SET_CHILD_SUBREAPER`). So none escapes in a session of
  its own, and none stays a zombie in a container whose first process reaps none.

Each line on standard input is a question, one JSON object; each line on standard output an answer.
`run` starts a process (`name`, `argv`, `env`, `log`). `alive` asks whether any process of a name's
group still exists. `signal` sends the signal `code` to that group. The answer has the `number` of
the question, and an `error` if it failed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_EVERY = 0.5
_CLEANUP_SECONDS = 10.0


class _Keeper:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.groups: dict[str, int] = {}

    def run(self, name: str, argv: list[str], env: dict[str, str], log: str) -> dict[str, Any]:
        with open(log, "ab") as output:
            child = subprocess.Popen(
                argv,
                env=env,
                cwd=self.folder or None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.groups[name] = child.pid
        child.returncode = 0  # _reap() waits for it, as for all children and orphans
        return {"pid": child.pid}

    def alive(self, name: str) -> dict[str, Any]:
        _reap()
        return {"alive": name in self.groups and _group_exists(self.groups[name])}

    def signal(self, name: str, code: int) -> dict[str, Any]:
        if name in self.groups:
            _signal_group(self.groups[name], code)
        return {}

    def kill_all(self) -> None:
        deadline = time.monotonic() + _CLEANUP_SECONDS
        while time.monotonic() < deadline:
            for group in self.groups.values():
                _signal_group(group, signal.SIGKILL)
            for pid in _children():
                _kill(pid)
            _reap()
            if not _children() and not any(map(_group_exists, self.groups.values())):
                return
            time.sleep(0.01)


def _adopt_orphans() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> list[int]:
    me = os.getpid()
    try:
        return [int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()]
    except OSError:
        return []


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _remove(folder: str) -> None:
    """Remove `folder` ("" = nothing), again if a dying process still wrote into it."""
    deadline = time.monotonic() + _CLEANUP_SECONDS
    while folder and os.path.exists(folder) and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.exists(folder):
            time.sleep(0.05)


def _lines(parent: int) -> Any:
    """Yield the lines of standard input until its end, or until the parent is another process."""
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], _LOOK_EVERY)
        # A forked copy of the parent can keep the pipe open, so its end alone is not enough.
        if not ready and os.getppid() != parent:
            return
        if not ready:
            _reap()
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines


def _answer(keeper: _Keeper, line: bytes) -> dict[str, Any]:
    asked = json.loads(line)
    number = {"number": asked.pop("number")}
    try:
        answer: dict[str, Any] = getattr(keeper, asked.pop("do"))(**asked)
    except OSError as error:
        return number | {"error": str(error)}
    return number | answer


def _write_answer(answer: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(answer).encode() + b"\n")


def main(folder: str) -> None:
    """Serve until standard input ends, then remove `folder` ("" = nothing)."""
    parent = os.getppid()
    _adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    keeper = _Keeper(folder)
    try:
        for line in _lines(parent):
            _write_answer(_answer(keeper, line))
    finally:
        keeper.kill_all()
        _remove(folder)


if __name__ == "__main__":
    main(sys.argv[1])
