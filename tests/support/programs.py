"""What Python is given to run as `rtmpump`."""

from __future__ import annotations

# As a user starts it.
PLAIN = ("-m", "rtmpump")
# What Slack allows in a minute is allowed in two seconds: many tests cut the WebSocket.
OFTEN = (
    "-c",
    "from rtmpump import cli; from rtmpump.links import retry;retry.CALLS_SPAN = 2.0;cli.main()",
)
