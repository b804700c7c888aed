"""A workspace that floods as it is told: a line `{"events": N, "rate": R}` each, null for flat out.

python -m tests.bench.phases [SIZE]. Messages have SIZE bytes, else that of all benches. It says
`api_url` and `token`, and `frames` when such a part has been written.
"""

from __future__ import annotations

import json
import sys
from itertools import islice

from rtmpump.sandbox.slack.workspace import Workspace
from tests.bench.common import SIZE, messages

_MANY = 1_000_000_000


def main() -> None:
    """Run until stdin ends."""
    bodies = messages(_MANY, int(sys.argv[1]) if sys.argv[1:] else SIZE)
    with Workspace() as slack:
        print(json.dumps({"api_url": slack.api_url, "token": slack.token}), flush=True)
        slack.wait_live(60)
        for line in sys.stdin:
            part = json.loads(line)
            frames = slack.emit_many(islice(bodies, part["events"]), part["rate"], hold=True)
            print(json.dumps({"frames": frames}), flush=True)


if __name__ == "__main__":
    main()
