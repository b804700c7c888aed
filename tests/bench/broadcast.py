"""A message to each of many channels at once, in Socket Mode, where Slack answers after 50 ms.

The ideal is what as many threads reach that do nothing but call Slack with the same client.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from rtmpump import config
from rtmpump.config import Secret
from rtmpump.core.outbound.api_calls import POSTS_AT_ONCE
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.commands import Sender
from tests.bench.common import Slack, log, pump, script, told

_ANSWER: Final = 0.05
_CALLS_MOST: Final = 100_000
_FREE: Final = "[outbound]\nrate = 100000.0\nburst = 1000\n"


def run(channels: int, rounds: int) -> dict[str, float]:
    """Send to so many channels; the best of so many rounds, and the ideal."""
    with (
        RabbitNode() as node,
        tempfile.TemporaryDirectory() as folder,
        script("slow_slack", str(_ANSWER), str(_CALLS_MOST)) as slack,
    ):
        at = told(slack)
        ideal = min(_ideal(at, channels) for _ in range(rounds))
        with pump(Path(folder), at, node.url, _FREE):
            one = Sender(node.url)
            one.send(1)
            one.wait(1)
            seconds = min(channels / one.rush(channels) for _ in range(rounds))
    found = {
        "channels": channels,
        "ideal_s": round(ideal, 2),
        "seconds": round(seconds, 2),
        "of_ideal": round(seconds / ideal, 2),
    }
    log(f"broadcast: {found}")
    return found


def _ideal(at: Slack, channels: int) -> float:
    """Return how long it takes to call Slack for each channel, with nothing else to do."""
    api = SlackApi(config.Slack(token=Secret(at["token"]), api_url=at["api_url"]))

    def post(number: int) -> None:
        api.call("chat.postMessage", {"channel": f"C{number:04d}", "text": f"number {number}"})

    post(0)
    with ThreadPoolExecutor(POSTS_AT_ONCE) as pool:
        began = time.monotonic()
        list(pool.map(post, range(channels)))
        return time.monotonic() - began
