"""From an envelope to its acknowledgement with the answer, at 50 a second beside 500 events."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.envelopes import SentEnvelope
from rtmpump.sandbox.slack.workspace import Workspace
from tests.bench.common import Queue, log, pump, script, told
from tests.bench.latency import quantile
from tests.support.pump import wait_until

RATE = 50
EVENTS = 500
KEY = "interactive.view_submission"
_WARM_UP = 0.1

Found = dict[str, list[float]]


def run(seconds: float, rounds: int) -> Found:
    """All times in milliseconds, of all rounds, without the first tenth of each."""
    found: Found = {"answered": []}
    with RabbitNode() as node:
        for number in range(rounds):
            one = _round(node.url, seconds)
            found["answered"] += one
            told_ = f"p50 {quantile(one, 0.5):.2f} ms, p99 {quantile(one, 0.99):.2f} ms"
            log(f"answers, round {number + 1}: {told_}")
    return found


def _round(url: str, seconds: float) -> list[float]:
    everything = Queue(url, "bench.answers.all", "rtm.events", "message.#")
    asked = Queue(url, "bench.answers", "rtm.events", "interactive.#")
    with (
        tempfile.TemporaryDirectory() as folder,
        Workspace(token="xoxb-bench", app_token="xapp-bench") as workspace,
        script("answerer", url, asked.name) as answerer,
    ):
        told(answerer)
        slack = {
            "api_url": workspace.api_url,
            "token": workspace.token,
            "app_token": workspace.app_token,
            "answered": KEY,
        }
        with pump(Path(folder), slack, url):
            wait_until(lambda: len(workspace.sockets) == 2)
            wait_until(lambda: _answered(workspace))
            sent = _play(workspace, seconds)
            wait_until(lambda: all(one.acknowledged for _, one in sent))
    for queue in (everything, asked):
        queue.delete()
    wrong = [one for number, (_, one) in enumerate(sent) if one.answer != {"view": str(number)}]
    if wrong:
        raise AssertionError(f"{len(wrong)} were not answered with their own answer")
    times = [1000 * (one.acknowledged_at - at) for at, one in sent]
    return times[int(_WARM_UP * len(times)) :]


def _answered(workspace: Workspace) -> bool:
    """Ask once; whether an answer came, so that all is up."""
    one = _submit(workspace, "first")
    wait_until(lambda: one.acknowledged)
    return one.answer is not None


def _play(workspace: Workspace, seconds: float) -> list[tuple[float, SentEnvelope]]:
    """Send both kinds at their paces; return the questions with the times at which they went."""
    sent: list[tuple[float, SentEnvelope]] = []
    began, number = time.time(), 0
    while (passed := time.time() - began) < seconds:
        if number > passed * EVENTS:
            time.sleep(0.0005)
            continue
        ts = f"17{number:08d}.000001"
        workspace.emit({"type": "message", "channel": "C0GENERAL", "text": "x" * 100, "ts": ts})
        if number % (EVENTS // RATE) == 0:
            sent.append((time.time(), _submit(workspace, str(len(sent)))))
        number += 1
    return sent


def _submit(workspace: Workspace, text: str) -> SentEnvelope:
    return workspace.interact({"type": "view_submission", "user": {"id": "U1"}, "view": text})
