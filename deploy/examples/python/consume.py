"""Print the events of one type, each once, as they come: python consume.py reaction_added."""

import json
import os
import sys

from rtmpump.client import Client

TYPE = sys.argv[1] if len(sys.argv) > 1 else "message"
QUEUE = f"example-python.{TYPE}"

with Client(os.environ.get("AMQP_URL", "")) as client:
    # Durable, so that events wait here while this program is away.
    events = client.events(f"{TYPE}.#", queue=QUEUE)
    print(f"waiting for events in {QUEUE}", file=sys.stderr)
    # An event is acknowledged when the next one is asked for; SIGINT and SIGTERM end the loop.
    for event in events:
        print(event.key, json.dumps(event.json(), ensure_ascii=False), flush=True)
