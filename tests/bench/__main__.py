"""The benches: `python -m tests.bench [quick] [BENCH…]`. They print figures and prove nothing."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import (
    ablation,
    answers,
    bounds,
    broadcast,
    client,
    commands,
    gateway,
    growth,
    idle,
    latency,
    many_answers,
    picture,
    report,
    starting,
    throughput,
)
from tests.bench.common import HERE, machine

BENCHES = (
    "throughput",
    "ablation",
    "latency",
    "answers",
    "many_answers",
    "growth",
    "live",
    "commands",
    "client",
    "gateway",
    "broadcast",
    "bounds",
    "starting",
    "idle",
)


def main() -> None:
    """Run those that were asked for, print the tables, and write JSON and picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="quick|BENCH", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--events", type=int, default=0, help="of throughput and growth")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "out", help="the folder for the results")
    options = parser.parse_args()
    unknown = set(options.what) - {"quick", *BENCHES}
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    found: dict[str, Any] = {"machine": machine()}
    before = _load()
    _run(options, found)
    found["load"] = [before, _load()]
    options.out.mkdir(exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(found) + "\n")
    (options.out / "results.svg").write_text(picture.svg(found))
    print(report.table(found))


def _run(options: argparse.Namespace, found: dict[str, Any]) -> None:
    quick = "quick" in options.what
    wanted = [name for name in BENCHES if name in options.what] or list(BENCHES)
    rounds = options.rounds or (1 if quick else 3)
    sizes = {
        "throughput": (options.events or (60_000 if quick else 300_000), rounds),
        "ablation": (options.events or (60_000 if quick else 300_000), rounds),
        "latency": (5.0 if quick else 20.0, rounds),
        "answers": (5.0 if quick else 20.0, rounds),
        "many_answers": (options.events or (5_000 if quick else 100_000),),
        "growth": (options.events or (100_000 if quick else 5_000_000),),
        "live": (options.events or (100_000 if quick else 5_000_000), 1 if quick else 5),
        "commands": (2000 if quick else 10_000, 5.0 if quick else 20.0),
        "client": (options.events or (30_000 if quick else 200_000), rounds),
        "gateway": (
            5.0 if quick else 20.0,
            options.events or (10_000 if quick else 80_000),
            rounds,
        ),
        "broadcast": (240, 1 if quick else 3),
        "bounds": (8 if quick else 40,),
        "starting": (1 if quick else 5,),
        "idle": (5.0 if quick else 60.0,),
    }
    runs: dict[str, Callable[..., Any]] = {
        "throughput": throughput.run,
        "ablation": ablation.run,
        "latency": latency.run,
        "answers": answers.run,
        "many_answers": many_answers.run,
        "growth": growth.run,
        "live": growth.live,
        "commands": commands.run,
        "client": client.run,
        "gateway": gateway.run,
        "broadcast": broadcast.run,
        "bounds": bounds.run,
        "starting": starting.run,
        "idle": idle.run,
    }
    for name in wanted:
        found[name] = runs[name](*sizes[name])


def _load() -> list[float]:
    return [round(one, 1) for one in os.getloadavg()]


if __name__ == "__main__":
    main()
