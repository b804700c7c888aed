"""A workspace in a process of its own, for a bench that must not share its interpreter."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence

from rtmpump.sandbox.slack.workspace import Workspace

_LOOK_EVERY = 0.5
_FIRST_SECOND = 1_700_000_000
_EVENT = '{"type":"message","channel":"C0GENERAL","user":"U0ALICE","text":"%s","ts":"%d.%06d"}'


def messages(count: int, size: int) -> Iterator[bytes]:
    """Yield `count` message events of `size` bytes each (or as few as they need).

    Each `ts` is greater than the one before; the text begins with the number of the event, from 0.
    """
    bare = len(_EVENT % ("000000000 ", _FIRST_SECOND, 0))
    padding = "x" * max(0, size - bare)
    for number in range(count):
        second, micro = divmod(number, 1_000_000)
        text = f"{number:09d} {padding}"
        yield (_EVENT % (text, _FIRST_SECOND + second, micro)).encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, or until the parent process ends; return an exit code.

    It prints one JSON object a line: first `api_url` and the tokens; after a flood `frames`,
    `seconds` and `rate` (frames a second, as written to the socket).
    """
    options = _parser().parse_args(arguments)
    over = threading.Event()
    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with Workspace(port=options.port, token=options.token) as workspace:
        _print_line(
            {
                "api_url": workspace.api_url,
                "token": workspace.token,
                "app_token": workspace.app_token,
                "port": workspace.port,
            }
        )
        if options.flood:
            threading.Thread(target=_flood, args=(workspace, options), daemon=True).start()
        while not over.wait(_LOOK_EVERY) and os.getppid() == parent:
            pass
    return 0


def _flood(workspace: Workspace, options: argparse.Namespace) -> None:
    workspace.wait_live(threading.TIMEOUT_MAX)
    started = time.monotonic()
    bodies = messages(options.flood, options.size)
    written = workspace.emit_many(bodies, options.rate, hold=True)
    seconds = max(time.monotonic() - started, 1e-9)
    _print_line({"frames": written, "seconds": round(seconds, 3), "rate": round(written / seconds)})


def _print_line(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rtmpump.sandbox.slack", description="A simulated Slack workspace."
    )
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--token", default="xoxb-sandbox", help="the token that is valid")
    parser.add_argument("--flood", type=int, default=0, metavar="N", help="messages to send")
    parser.add_argument("--size", type=int, default=300, metavar="BYTES", help="of each message")
    parser.add_argument("--rate", type=float, default=None, metavar="R", help="messages a second")
    return parser
