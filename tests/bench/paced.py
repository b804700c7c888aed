"""A workspace that sends events one by one, each with the time at which it is written.

python -m tests.bench.paced RATE SECONDS. Says `api_url` and `token`; begins one second after the
first connection; says `done` at the end. Its pauses are random (Poisson), as life's are.
"""

from __future__ import annotations

import json
import random
import sys
import time

from rtmpump.sandbox.slack.workspace import Workspace
from tests.bench.common import CHANNELS


def main() -> None:
    """Run until stdin ends."""
    rate, seconds = map(float, sys.argv[1:])
    pause = random.Random(1)
    channels = {f"channel-{number}": f"C{number:04d}" for number in range(CHANNELS)}
    with Workspace(channels=channels) as slack:
        print(json.dumps({"api_url": slack.api_url, "token": slack.token}), flush=True)
        slack.wait_live(60)
        due = time.monotonic() + 1
        for number in range(int(rate * seconds)):
            due += pause.expovariate(rate)
            time.sleep(max(0.0, due - time.monotonic()))
            event = {"type": "message", "channel": "C0001", "user": "U0ALICE"}
            event["ts"] = f"1700000000.{number:06d}"
            slack.emit(event | {"text": str(time.monotonic_ns())})
        print(json.dumps({"done": True}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
