"""Many questions, of which many wait at once: does each acknowledgement have its own answer?

They are answered in an order of chance; late answers, second ones, those of strangers, those to old
questions, no objects and bodies that are too large are mixed in (`shuffler`).
"""

from __future__ import annotations

import re
import tempfile
import time
import urllib.request
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Final

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.envelopes import SentEnvelope
from rtmpump.sandbox.slack.workspace import Workspace
from tests.bench.common import Peak, Queue, log, pump, script, told
from tests.bench.shuffler import Trick, trick
from tests.support.waiting import wait_until

KEY: Final = "interactive.view_submission"
WAITING: Final = 1_000
"""How many questions wait at once."""
_LOG_EVERY: Final = 10_000
_COUNTED: Final = re.compile(r'rtmpump_answers_total\{result="(\w+)"\} ([0-9.]+)')


def run(questions: int) -> dict[str, float]:
    """How many had their own answer, a wrong one, or none; and what the pump counted.

    Raises:
        AssertionError: an acknowledgement has another's answer, or none came.
    """
    with RabbitNode() as node, tempfile.TemporaryDirectory() as folder:
        asked = Queue(node.url, "bench.many_answers", "rtm.events", "interactive.#")
        with (
            Workspace(token="xoxb-bench", app_token="xapp-bench") as workspace,
            script("shuffler", node.url, asked.name) as shuffler,
        ):
            told(shuffler)
            slack = {
                "api_url": workspace.api_url,
                "token": workspace.token,
                "app_token": workspace.app_token,
                "answered": KEY,
            }
            port = free_port()
            http = f'[http]\nlisten = "127.0.0.1:{port}"\n'
            with pump(Path(folder), slack, node.url, http) as one, Peak(one.pid) as peak:
                wait_until(lambda: len(workspace.sockets) == 2)
                wait_until(lambda: _is_answered(workspace))
                began = time.monotonic()
                sent, most = _play(workspace, questions)
                wait_until(lambda: all(one.acknowledged for one in sent))
                seconds = time.monotonic() - began
                counted = _counted(port)
        asked.delete()
    found = {**_compared(sent), "most_at_once": most, "seconds": round(seconds)}
    found |= {f"pump_counted_{result}": times for result, times in counted.items()}
    found["rss_mib"] = round(peak.mib)
    log(f"many answers: {found}")
    if found["wrong"] or not found["own_answer"]:
        raise AssertionError(f"acknowledgements had the answer of another: {found}")
    return found


def _play(workspace: Workspace, questions: int) -> tuple[list[SentEnvelope], int]:
    """Ask all; return the envelopes, and how many waited at once at the most."""
    sent: list[SentEnvelope] = []
    waiting: list[SentEnvelope] = []
    most = 0
    while len(sent) < questions:
        waiting = [one for one in waiting if not one.acknowledged]
        if len(waiting) >= WAITING:
            time.sleep(0.005)
            continue
        for _ in range(min(WAITING - len(waiting), questions - len(sent))):
            sent.append(_submit(workspace, str(len(sent))))
            waiting.append(sent[-1])
            if len(sent) % _LOG_EVERY == 0:
                workspace.forget_acknowledged()
                log(f"many answers: {len(sent):,} asked")
        most = max(most, sum(not one.acknowledged for one in waiting))
    return sent, most


def _is_answered(workspace: Workspace) -> bool:
    """Ask once, without a trick; whether an answer came, so that all is up."""
    one = _submit(workspace, next(n for n in map(str, count()) if trick(n) is Trick.NONE))
    wait_until(lambda: one.acknowledged)
    return one.answer is not None


def _submit(workspace: Workspace, text: str) -> SentEnvelope:
    return workspace.interact({"type": "view_submission", "user": {"id": "U1"}, "view": text})


def _compared(sent: list[SentEnvelope]) -> dict[str, float]:
    """Hold each acknowledgement against its envelope; late ones must have no answer at all."""
    tricks = Counter(trick(str(number)) for number in range(len(sent)))
    found = Counter[str](asked=len(sent))
    found |= Counter({f"of_them_{kind.name.lower()}": tricks[kind] for kind in Trick})
    for number, one in enumerate(sent):
        own = {"view": str(number)}
        is_late = trick(str(number)) is Trick.LATE
        if one.answer is None:
            found["late_without_answer" if is_late else "not_answered_in_time"] += 1
        else:
            found["own_answer" if one.answer == own and not is_late else "wrong"] += 1
        found["acknowledged_twice"] += one.acknowledgements > 1
    for name in ("own_answer", "wrong"):
        found[name] += 0
    return dict(found)


def _counted(port: int) -> dict[str, float]:
    """What the pump counted, by the result."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return {name: float(value) for name, value in _COUNTED.findall(page.read().decode())}
