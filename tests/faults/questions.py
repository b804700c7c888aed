"""Questions of Slack's beside the flood: who answers them is killed too; each gets its own answer.

Slack sends a question once, so one whose connection or pump dies is gone. But what was acknowledged
is stored, so its event has to come; what is stored is acknowledged where its connection lives on;
and no answer may stand in another's acknowledgement.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from rtmpump.sandbox.slack.envelopes import SentEnvelope
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker
from tests.support.paths import ROOT

KEY: Final = "interactive.view_submission"
_ASKED: Final = "faults.questions"
_AUDIT: Final = "faults.asked"
_EVERY: Final = 0.02
_JOIN: Final = 30.0
# A pump answers within 2.5 s, may be frozen for seven, and pings every two.
_LIVES_ON: Final = 20.0
# What was asked so shortly before a damage may lie in the spool.
_SHORTLY: Final = 200


class Questions:
    """Fifty a second while a connection is live, and the process that answers them."""

    def __init__(self, workspace: Workspace, url: str) -> None:
        self._workspace = workspace
        self._url = url
        self._sent: list[SentEnvelope] = []
        self._kept_silent = Counter[str]()
        self._excused: list[range] = []
        self._deaf: list[float] = []
        self._ends: dict[int, float] = {}
        self._remove = workspace._hub.remove
        cast(Any, workspace._hub).remove = self._removed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="questions", daemon=True)
        self.bind()
        self._answerer = self._start()
        self._thread.start()

    def bind(self) -> None:
        """Declare and bind what questions go to, again after an exchange was deleted.

        What nobody took is stored all the same: so the audit sees that too.
        """
        with Broker(self._url) as broker:
            broker.channel.exchange_declare("rtm.events", "topic", durable=True)
            broker.channel.exchange_declare("rtm.unrouted", "fanout", durable=True)
            for name in (_ASKED, _AUDIT):
                broker.queue(("rtm.events", "interactive.#"), name=name, x_queue_type="quorum")
            broker.bind(_AUDIT, "rtm.unrouted")

    @property
    def figures(self) -> str:
        """How many were asked, and what became of them."""
        acknowledged = [one for one in self._sent if one.acknowledged]
        answered = sum(one.answer is not None for one in acknowledged)
        return (
            f"{len(self._sent):,} asked, {len(acknowledged):,} acknowledged, "
            f"{answered:,} answered; of the others {self._kept_silent['stored']:,} are stored, "
            f"{self._kept_silent['lived']:,} of them on a connection that lived on"
        )

    def kill_answerer(self) -> None:
        """Kill who answers, in the middle of whatever it does, and start another."""
        self._answerer.kill()
        self._answerer.wait(_JOIN)
        self._answerer = self._start()

    @contextmanager
    def excused(self) -> Iterator[None]:
        """What is asked in this time may be lost: the spool is damaged on purpose."""
        first = max(0, len(self._sent) - _SHORTLY)
        try:
            yield
        finally:
            self._excused.append(range(first, len(self._sent)))

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join(_JOIN)

    def close(self) -> None:
        """End all."""
        self.stop()
        self._answerer.kill()
        self._answerer.wait(_JOIN)

    def problems(self) -> list[str]:
        """Return what went wrong, once all has come."""
        with Broker(self._url) as broker:
            came = {_view(message.body) for message in broker.drain(_AUDIT)}
        found = []
        for number, one in enumerate(self._sent):
            if one.answer is not None and one.answer != {"view": str(number)}:
                found.append(f"question {number} got the answer {one.answer}")
            is_stored = str(number) in came
            if one.acknowledged and not is_stored and not self._is_excused(number):
                found.append(f"question {number} was acknowledged, and its event is lost")
            if is_stored and not one.acknowledged:
                self._kept_silent["stored"] += 1
                if self._has_lived_on(one):
                    self._kept_silent["lived"] += 1
                    at = one.deliveries[0].at
                    found.append(f"question {number} of {at:.3f} is stored, not acknowledged")
        if not any(one.answer for one in self._sent):
            found.append("no question was answered")
        return found

    def _is_excused(self, number: int) -> bool:
        return any(number in numbers for numbers in self._excused)

    def _has_lived_on(self, one: SentEnvelope) -> bool:
        """Whether Slack could have heard of it: it listened, and the connection did not end."""
        at = one.deliveries[0].at
        if any(at <= moment <= at + _LIVES_ON for moment in self._deaf):
            return False
        numbers = [delivery.connection for delivery in one.deliveries if delivery.connection]
        ends = [self._ends.get(number, time.time()) for number in numbers]
        return any(end - at > _LIVES_ON for end in ends)

    def _removed(self, ended: Any) -> None:
        self._ends[ended.number] = time.time()
        self._remove(ended)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.answerer", self._url, _ASKED], cwd=ROOT
        )

    def _ask(self) -> None:
        while not self._stop.wait(_EVERY):
            if self._workspace.faults.deaf_to_acks:
                self._deaf.append(time.time())
            if self._workspace.live:
                view = {
                    "type": "view_submission",
                    "user": {"id": "U1"},
                    "view": str(len(self._sent)),
                }
                with suppress(OSError):
                    self._sent.append(self._workspace.interact(view))


def _view(body: bytes) -> str | None:
    """Return what numbers a question; None for other events that nobody took."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return event.get("view") if isinstance(event, dict) else None


def body(asked: bytes) -> bytes:
    """Return the answer to a question."""
    return json.dumps({"view": json.loads(asked)["view"]}).encode()
