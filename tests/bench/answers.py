"""From an envelope to its acknowledgement with the answer, at 50 a second beside 500 events.

Beside it, in the same rounds, the same questions by bare pika: what RabbitMQ and the answerer take.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.envelopes import SentEnvelope
from rtmpump.sandbox.slack.workspace import Workspace
from tests.bench.common import Queue, log, pump, script, told
from tests.bench.flow import EXCHANGE
from tests.bench.latency import quantile
from tests.support.waiting import wait_until

RATE = 50
EVENTS = 500
KEY = "interactive.view_submission"
_WARM_UP = 0.1

Found = dict[str, list[float]]


def run(seconds: float, rounds: int) -> Found:
    """All times in milliseconds, of all rounds, without the first tenth of each."""
    found: Found = {"through the pump": [], "RabbitMQ alone": []}
    with RabbitNode() as node:
        for number in range(rounds):
            for (name, all_), play in zip(found.items(), (_pump, _bare), strict=True):
                with _answering(node.url):
                    one = play(node.url, seconds)
                # At the beginning modules are loaded and queues are new.
                one = one[int(_WARM_UP * len(one)) :]
                all_ += one
                told_ = f"p50 {quantile(one, 0.5):.2f} ms, p99 {quantile(one, 0.99):.2f} ms"
                log(f"answers, round {number + 1}, {name}: {told_}")
    return found


@contextmanager
def _answering(url: str) -> Iterator[None]:
    """A queue for all events, and one with a program that answers."""
    everything = Queue(url, "bench.answers.all", EXCHANGE, "message.#")
    asked = Queue(url, "bench.answers", EXCHANGE, "interactive.#")
    with script("answerer", url, asked.name) as answerer:
        told(answerer)
        yield
    for queue in (everything, asked):
        queue.delete()


def _bare(url: str, seconds: float) -> list[float]:
    with script("bare_asker", url, str(EVENTS), str(RATE), str(seconds)) as asker:
        times: list[float] = told(asker)["times"]
    return times


def _pump(url: str, seconds: float) -> list[float]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Workspace(token="xoxb-bench", app_token="xapp-bench") as workspace,
    ):
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
    wrong = [one for number, (_, one) in enumerate(sent) if one.answer != {"view": str(number)}]
    if wrong:
        raise AssertionError(f"{len(wrong)} were not answered with their own answer")
    return [1000 * (one.acknowledged_at - at) for at, one in sent]


def _answered(workspace: Workspace) -> bool:
    """Ask once; whether an answer came, so that all is up."""
    one = _submit(workspace, "first")
    wait_until(lambda: one.acknowledged)
    return one.answer is not None


def _play(workspace: Workspace, seconds: float) -> list[tuple[float, SentEnvelope]]:
    """Send both kinds at their paces; return the questions with the times at which they went."""
    sent: list[tuple[float, SentEnvelope]] = []
    began = time.time()
    for number in range(int(seconds * EVENTS)):
        time.sleep(max(0.0, began + number / EVENTS - time.time()))
        ts = f"17{number:08d}.000001"
        workspace.emit({"type": "message", "channel": "C0GENERAL", "text": "x" * 100, "ts": ts})
        if number % (EVENTS // RATE) == 0:
            sent.append((time.time(), _submit(workspace, str(len(sent)))))
    return sent


def _submit(workspace: Workspace, text: str) -> SentEnvelope:
    return workspace.interact({"type": "view_submission", "user": {"id": "U1"}, "view": text})
