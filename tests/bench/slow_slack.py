"""A workspace that takes its time to answer chat.postMessage.

python -m tests.bench.slow_slack SECONDS CALLS. Says `api_url`, `token` and `app_token`; ends with
its stdin.
"""

from __future__ import annotations

import json
import sys
from collections import deque

from rtmpump.sandbox.slack.faults import Hang
from rtmpump.sandbox.slack.workspace import Workspace
from tests.bench.common import CHANNELS


def main() -> None:
    """Run until stdin ends."""
    seconds, calls = float(sys.argv[1]), int(sys.argv[2])
    channels = {f"channel-{number}": f"C{number:04d}" for number in range(CHANNELS)}
    with Workspace(channels=channels) as slack:
        slack.faults.api_errors["chat.postMessage"] = deque([Hang(seconds)] * calls)
        told = {"api_url": slack.api_url, "token": slack.token, "app_token": slack.app_token}
        print(json.dumps(told), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
