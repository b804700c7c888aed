"""What Python is given to run as `rtmpump`."""

from __future__ import annotations

# As a user starts it.
PLAIN = ("-m", "rtmpump")
# What Slack allows in a minute is allowed in two seconds: many tests cut the WebSocket.
OFTEN = (
    "-c",
    "from rtmpump import cli; from rtmpump.links import retry;retry.CALLS_SPAN = 2.0;cli.main()",
)


def with_change(module: str, name: str, value: float) -> tuple[str, ...]:
    """Return what runs a pump as `OFTEN`, with another value in a module of `rtmpump.pumps`."""
    parent, _, last = f"rtmpump.pumps.{module}".rpartition(".")
    return OFTEN[0], f"from {parent} import {last}; {last}.{name} = {value}; {OFTEN[1]}"


# The config takes no more than the three seconds that Slack gives. A busy machine needs longer for
# what a test does before it answers, so here a consumer has a minute.
LONG_ANSWERS = (
    "-c",
    "from rtmpump import cli; from rtmpump.links import answers, retry; retry.CALLS_SPAN = 2.0\n"
    "before = answers.Answers.__init__\n"
    "answers.Answers.__init__ = lambda self, within, count: before(self, 60.0, count)\n"
    "cli.main()",
)
