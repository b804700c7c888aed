"""The sources of the show: the people of the workspace, and a service that enqueues commands."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from rtmpump.demo.chatter import Chatter, Request
from rtmpump.demo.line import Line
from rtmpump.demo.screen import Screen
from rtmpump.demo.tally import Tally, history_key
from rtmpump.links.rabbitmq.connection import Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.sandbox.slack.workspace import Workspace

_JOIN_SECONDS: Final = 5.0


class Speaker:
    """A thread that calls `say` every so many seconds, until `stop`."""

    def __init__(self, name: str, every: float, say: Callable[[], None]) -> None:
        self._every = every
        self._say = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"demo-{name}", daemon=True)
        self.error: Exception | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> bool:
        """Stop; return False if the last call did not end in time."""
        self._stop.set()
        self._thread.join(_JOIN_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                self._say()
                # After a long call it does not catch up with a flood of calls.
                due = max(due + self._every, time.monotonic() - 1.0)
                self._stop.wait(max(0.0, due - time.monotonic()))
        except Exception as error:
            self.error = error


class People:
    """The people of the simulated workspace."""

    def __init__(self, workspace: Workspace, chatter: Chatter, tally: Tally) -> None:
        self._workspace = workspace
        self._chatter = chatter
        self._tally = tally

    def speak(self) -> None:
        """Emit one event and count it."""
        event = self._chatter.event()
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        key = history_key(event)
        if key:
            self._workspace.keep(event)
        self._tally.emits(body, time.time() * 1000, key)
        self._workspace.emit(body)
        self._tally.emitted(body, time.time() * 1000)


class Service:
    """A service that enqueues commands and waits for their results."""

    def __init__(self, chatter: Chatter, tally: Tally, screen: Screen, *, results: str) -> None:
        self._chatter = chatter
        self._tally = tally
        self._screen = screen
        self._results = results
        self._asked: dict[str, Request] = {}

    def speak(self, line: Line, queue: str) -> None:
        """Enqueue one command."""
        request = self._chatter.command()
        id = f"demo-{len(self._asked) + 1}"
        self._asked[id] = request
        self._tally.asked(id, bad=request.bad)
        properties = Properties(
            content_type="application/json",
            delivery_mode=2,
            message_id=id,
            correlation_id=id,
            reply_to=self._results,
        )
        line.publish(queue, json.dumps(request.body).encode(), properties)

    def answered(self, delivery: Delivery) -> None:
        """Take the result of a command."""
        id = str(delivery.properties.correlation_id)
        result = json.loads(delivery.body)
        request = self._asked.get(id)
        if request is None or not self._tally.answered(id, ok=result["ok"]):
            return
        what, detail = _in_words(request, result)
        place = str(request.body["channel"]) if result["ok"] else ""
        self._screen.command(what, detail, place=place, ok=result["ok"])


def _in_words(request: Request, result: dict[str, Any]) -> tuple[str, str]:
    """Return a result in a few words."""
    body = request.body
    if not result["ok"]:
        error = result["error"]
        what = "rejected (bad)" if request.bad else "failed"
        return what, f"{error['code']}: {error['message']}"
    what = "message"
    if body.get("thread_ts"):
        what = "broadcast reply" if body.get("reply_broadcast") else "reply"
    again = f", attempt {result['attempts']}" if result["attempts"] > 1 else ""
    return what, f"{body['text']}  → ts {result['ts']}{again}"
