"""Questions of Slack's beside the flood: who answers them is killed too; each gets its own answer.

Slack sends a question once, so one whose connection or pump dies is gone. But what was acknowledged
is stored, so its event has to come; and no answer may stand in another's acknowledgement.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Final

from rtmpump.sandbox.slack.envelopes import SentEnvelope
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.paths import ROOT
from tests.support.pump import Broker

KEY: Final = "interactive.view_submission"
_ASKED: Final = "faults.questions"
_AUDIT: Final = "faults.asked"
_EVERY: Final = 0.02
_JOIN: Final = 30.0


class Questions:
    """Fifty a second while a connection is live, and the process that answers them."""

    def __init__(self, workspace: Workspace, url: str) -> None:
        self._workspace = workspace
        self._url = url
        self._sent: list[SentEnvelope] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="questions", daemon=True)
        with Broker(url) as broker:
            broker.channel.exchange_declare("rtm.events", "topic", durable=True)
            for name in (_ASKED, _AUDIT):
                broker.queue(("rtm.events", "interactive.#"), name=name, x_queue_type="quorum")
        self._answerer = self._start()
        self._thread.start()

    @property
    def figures(self) -> str:
        """How many were asked, and what became of them."""
        acknowledged = [one for one in self._sent if one.acknowledged]
        answered = sum(one.answer is not None for one in acknowledged)
        return (
            f"{len(self._sent):,} asked, {len(acknowledged):,} acknowledged, {answered:,} answered"
        )

    def kill_answerer(self) -> None:
        """Kill who answers, in the middle of whatever it does, and start another."""
        self._answerer.kill()
        self._answerer.wait(_JOIN)
        self._answerer = self._start()

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
            came = {message.json["view"] for message in broker.drain(_AUDIT)}
        found = []
        for number, one in enumerate(self._sent):
            if one.answer is not None and one.answer != {"view": str(number)}:
                found.append(f"question {number} got the answer {one.answer}")
            if one.acknowledged and str(number) not in came:
                found.append(f"question {number} was acknowledged, and its event is lost")
        if not any(one.answer for one in self._sent):
            found.append("no question was answered")
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.answerer", self._url, _ASKED], cwd=ROOT
        )

    def _ask(self) -> None:
        while not self._stop.wait(_EVERY):
            if self._workspace.live:
                view = {
                    "type": "view_submission",
                    "user": {"id": "U1"},
                    "view": str(len(self._sent)),
                }
                with suppress(OSError):
                    self._sent.append(self._workspace.interact(view))


def body(asked: bytes) -> bytes:
    """Return the answer to a question."""
    return json.dumps({"view": json.loads(asked)["view"]}).encode()
