"""The owner's side of `keeper.py`: one question a line, one answer a line."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from rtmpump.errors import ServiceUnreachable

_PROGRAM = Path(__file__).with_name("keeper.py")


class Keeper:
    """A keeper process of our own; at its end it removes `folder` ("" = nothing).

    It ends what it started when this process ends, in whatever way.
    """

    def __init__(self, folder: str) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, name: str, argv: list[str], env: dict[str, str], log: str) -> int:
        """Start a process in a group of its own and add its output to `log`; return its id.

        Raises:
            ServiceUnreachable: it could not be started.
        """
        answer = self._ask({"do": "run", "name": name, "argv": argv, "env": env, "log": log})
        if "pid" not in answer:
            raise ServiceUnreachable(name, str(answer.get("error", "its keeper has ended")))
        return int(answer["pid"])

    def alive(self, name: str) -> bool:
        """Return whether any process of that group exists."""
        return bool(self._ask({"do": "alive", "name": name}).get("alive"))

    def signal(self, name: str, number: int) -> None:
        """Send a signal to all processes of that group."""
        self._ask({"do": "signal", "name": name, "code": int(number)})

    def end(self) -> None:
        """Kill what runs, remove the folder, and return when both are done."""
        with self._lock:
            self._process.communicate()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            asking, answering = self._process.stdin, self._process.stdout
            if asking is None or answering is None or asking.closed:
                return {}
            try:
                self._asked += 1
                asking.write(json.dumps(question | {"number": self._asked}).encode() + b"\n")
                asking.flush()
            except BrokenPipeError:
                return {}
            return self._answer(answering)

    def _answer(self, answering: IO[bytes]) -> dict[str, Any]:
        # After an interrupt (Ctrl-C) answers to earlier questions may still be in the pipe.
        for line in answering:
            answer: dict[str, Any] = json.loads(line)
            if answer.pop("number") == self._asked:
                return answer
        return {}
