"""All libraries before both servers: `make clients`; writes docs/clients.md.

`make clients ARGS=bolt.py` runs some programs alone, and then writes nothing. Exit code 1 if a
library failed, or if one can't run on this machine: then the page stays as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.clients import page
from tests.clients.installed import NotHere, command
from tests.clients.judge import judge
from tests.clients.libraries import LIBRARIES, SERVERS, Library

_AT_ONCE: Final = 2


def main() -> int:
    """Run them; return the exit code."""
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__)
    parser.add_argument("programs", nargs="*", help="such as bolt.py; all, if none is named")
    wanted = parser.parse_args().programs
    libraries = [one for one in LIBRARIES if not wanted or one.program in wanted]
    here = [one for one in libraries if _is_here(one)]
    pairs = [(one, server) for one in here for server in SERVERS]
    with RabbitNode() as node, ThreadPoolExecutor(_AT_ONCE) as pool:
        node.start()
        results = list(pool.map(lambda pair: _judged(pair[0], pair[1], node), pairs))
    outcomes = {
        (one.program, server): had for (one, server), had in zip(pairs, results, strict=True)
    }
    if len(here) == len(LIBRARIES):
        page.PAGE.write_text(page.written(outcomes))
        print(f"written: {page.PAGE.name}")
    failed = sum(bool(problem) for had in results for problem in had.values())
    print(f"{len(pairs)} runs, {failed} scenarios failed")
    return 1 if failed or len(here) < len(libraries) else 0


def _is_here(library: Library) -> bool:
    try:
        command(library)
    except NotHere as reason:
        print(f"skipped {library.name}: {reason}", flush=True)
        return False
    return True


def _judged(library: Library, server: str, node: RabbitNode) -> dict[str, str]:
    began = time.monotonic()
    had = judge(library, server, node)
    words = ", ".join(f"{name} {'FAILED' if problem else 'ok'}" for name, problem in had.items())
    took = time.monotonic() - began
    print(f"{library.name} {library.version}, {server}, {took:.0f} s: {words}", flush=True)
    for name, problem in had.items():
        if problem:
            print(f"  {name}: {problem}", flush=True)
    return had


if __name__ == "__main__":
    sys.exit(main())
