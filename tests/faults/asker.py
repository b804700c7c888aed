"""Asks the pump every second how it is, and compares that with what really moves.

Green while nothing moves for five seconds is a broken promise: nothing is green that does not work.
What moves is what the consumer gets and what producers get answered, seen from outside.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.cli import rtmpump

_EVERY: Final = 1.0
# The pump's five seconds, and two for what is on its way in proxies, broker and consumer.
STILL: Final = 7.0
# `rtmpump status` is a process, which takes a good part of a second of CPU.
_COMMAND_EVERY: Final = 10
_PATIENCE: Final = 2.0
_TRIES: Final = 3


class Moved(NamedTuple):
    """How much has come out by now, and whether anything is still to come."""

    events: int
    is_due: bool


class StandstillWatch:
    """Finds the times at which nothing moved and the pump said that all is well.

    Times are seconds of one clock.
    """

    def __init__(self) -> None:
        self._events = -1
        self._moved_at = 0.0
        self._green_since: float | None = None
        self.problems: list[str] = []

    def look(self, moved: Moved, ready: bool | None, now: float) -> None:
        """Take in one look; `ready` is None if the pump gave no answer."""
        if moved.events != self._events or not moved.is_due:
            self._events, self._moved_at = moved.events, now
        if not ready:
            self._green_since = None
        elif self._green_since is None:
            self._green_since = now
        if self._green_since is not None and now - max(self._moved_at, self._green_since) > STILL:
            self.problems.append(f"green while nothing moved for {now - self._moved_at:.1f} s")
            self._moved_at = now


class Asker:
    """Asks from a thread of its own, until `stop`."""

    def __init__(self, port: int, config: Path, moved: Callable[[], Moved]) -> None:
        self._port = port
        self._config = config
        self._moved = moved
        self._watch = StandstillWatch()
        self.asked = self.green = 0
        self._disagreed: list[str] = []
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="asker", daemon=True)
        self._thread.start()

    @property
    def problems(self) -> list[str]:
        """What was broken."""
        return self._watch.problems + self._disagreed

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

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            with self._turn:
                self._ask()

    def _ask(self) -> None:
        self.asked += 1
        ready = self._ready()
        self.green += bool(ready)
        self._watch.look(self._moved(), ready, time.monotonic())
        if self.asked % _COMMAND_EVERY == 0:
            self._ask_command()

    def _ready(self) -> bool | None:
        """Ask /readyz and /status, which have one verdict; None if there is no answer in time."""
        try:
            status, _ = self._get("/readyz")
            self._get("/status")
        except (OSError, http.client.HTTPException):
            return None
        return status == 200

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
        before = self._ready()
        done = rtmpump(self._config.parent, "status", "-c", str(self._config))
        after = self._ready()
        if before is None or before != after or done.returncode:
            return ""
        first = done.stdout.splitlines()[0]
        if (": not ready: " in first) is not before:
            return ""
        return f"/readyz says {before}, `rtmpump status`: {first}"

    def _get(self, path: str) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            client.request("GET", path)
            answer = client.getresponse()
            body = answer.read()
            if path == "/status":
                json.loads(body)
            return answer.status, body
        finally:
            client.close()
