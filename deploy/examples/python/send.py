"""Send a message to Slack and wait for its result: python send.py general 'Hello world'."""

import json
import os
import sys

from rtmpump.client import Client, ClientError, CommandFailed

if len(sys.argv) != 3:
    sys.exit("usage: python send.py CHANNEL TEXT")
try:
    with Client(os.environ.get("AMQP_URL", ""), timeout=30) as client:
        sent = client.send(sys.argv[1], sys.argv[2])
except CommandFailed as error:
    print(json.dumps({"ok": False, "error": {"code": error.code, "message": error.message}}))
    sys.exit(1)
except ClientError as error:
    sys.exit(f"{'it is not known whether it was' if error.uncertain else 'not'} sent: {error}")
fields = {"channel": sent.channel, "ts": sent.ts}
print(json.dumps({"ok": True, **fields, "attempts": sent.attempts, "uncertain": sent.uncertain}))
