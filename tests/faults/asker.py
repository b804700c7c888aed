"""Asks the pump every second how it is, and compares that with what really moves.

Green while nothing moves for five seconds is a broken promise: nothing is green that does not work.
What moves is what the consumer gets and what producers get answered, seen from outside.

It asks `/readyz`, `/status` and `rtmpump status`. A process for each of the latter would take a
good part of a processor, so one process runs the command again and again.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from rtmpump.core.standstill import RATE_LIMIT, SLACK_PAUSE
from rtmpump.http.verdict import NO_TURN
from tests.support.cli import environment

_EVERY: Final = 1.0
# The pump's five seconds, and two for what is on its way in proxies, broker and consumer.
STILL: Final = 7.0
_PATIENCE: Final = 2.0
_TRIES: Final = 3


# A pause that Slack asked for is no failure for a while; it is said at once. So is a turn that
# another pump has.
_RESTS: Final = {RATE_LIMIT, SLACK_PAUSE, NO_TURN}
_COMMAND: Final = """
import sys
from rtmpump import cli
for _ in sys.stdin:
    try:
        cli.main(["status", "-c", sys.argv[1]])
    except SystemExit as end:
        print()
        print("ended with", end.code, flush=True)
"""


class Moved(NamedTuple):
    """How much has come out by now, and whether anything is still to come."""

    done: int
    is_due: bool


class Said(NamedTuple):
    """What the pump says: whether it is ready, and whether commands are carried out."""

    ready: bool
    sends: bool


class StandstillWatch:
    """Finds the times at which nothing moved of `what`, and the pump said that all is well.

    Times are seconds of one clock.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._done = -1
        self._moved_at = 0.0
        self._green_since: float | None = None
        self.problems: list[str] = []

    def look(self, moved: Moved, green: bool | None, now: float) -> None:
        """Take in one look; `green` is None if the pump gave no answer."""
        if moved.done != self._done or not moved.is_due:
            self._done, self._moved_at = moved.done, now
        if not green:
            self._green_since = None
        elif self._green_since is None:
            self._green_since = now
        if self._green_since is not None and now - max(self._moved_at, self._green_since) > STILL:
            still = f"{now - self._moved_at:.1f} s, until {time.time() * 1000:.0f}"
            self.problems.append(f"green while no {self._what} moved for {still}")
            self._moved_at = now


class _Command:
    """`rtmpump status` of one pump, again and again."""

    def __init__(self, config: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(),
        )

    def ask(self) -> tuple[str, int]:
        """Return its first line and its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("once more\n")
        self._process.stdin.flush()
        lines = []
        while not (line := self._process.stdout.readline()).startswith("ended with"):
            assert line, "`rtmpump status` can't be asked any more"
            lines.append(line)
        return lines[0].rstrip(), int(line.split()[-1].replace("None", "0"))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class Asker:
    """Asks from a thread of its own, until `stop`."""

    def __init__(
        self, port: int, config: Path, events: Callable[[], Moved], commands: Callable[[], Moved]
    ) -> None:
        self._port = port
        self._command = _Command(config)
        self._events = events
        self._commands = commands
        self._event_watch = StandstillWatch("event")
        self._command_watch = StandstillWatch("command")
        self.asked = self.green = 0
        self._disagreed: list[str] = []
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="asker", daemon=True)
        self._thread.start()

    @property
    def problems(self) -> list[str]:
        """What was broken."""
        return self._event_watch.problems + self._command_watch.problems + self._disagreed

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Ask nothing for a while: an answer has a socket and a thread of its own."""
        with self._turn:
            time.sleep(_EVERY)
            yield

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join()
        self._command.close()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            with self._turn:
                self._ask()

    def _ask(self) -> None:
        self.asked += 1
        said = self._said()
        self.green += bool(said and said.ready)
        now = time.monotonic()
        self._event_watch.look(self._events(), said and said.ready, now)
        self._command_watch.look(self._commands(), said and said.sends, now)
        self._ask_command()

    def _said(self) -> Said | None:
        """Ask /readyz and /status, which have one verdict; None if there is no answer in time."""
        try:
            ready = self._get("/readyz")[0] == 200
            verdict: dict[str, Any] = json.loads(self._get("/status")[1])["verdict"]
        except (OSError, http.client.HTTPException):
            return None
        rests = _RESTS & {problem["reason"] for problem in verdict["more"]}
        return Said(ready, ready and not rests)

    def _ask_command(self) -> None:
        """`rtmpump status` says first what /readyz says; a link may end and be back in between."""
        told = ""
        for _ in range(_TRIES):
            told = self._disagreement()
            if not told:
                return
        self._disagreed.append(told)

    def _disagreement(self) -> str:
        """What the two say, if it is not the same; "" too where /readyz changes its mind."""
        before = self._said()
        first, code = self._command.ask()
        after = self._said()
        if before is None or after is None or before.ready != after.ready or code:
            return ""
        if (": not ready: " in first) is not before.ready:
            return ""
        return f"/readyz says {before.ready}, `rtmpump status`: {first}"

    def _get(self, path: str) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()
