"""A million strange inputs: `make fuzz`, `make fuzz ARGS="--inputs 20000 --seed 7"`.

Good input is spoiled in ways of chance and fed to all that reads what others wrote. Each must come
to an end within a second, with an answer or an error of ours, and memory must not grow. Exit code 1
and the input itself if one does not.
"""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from tests.faults.traffic import memory
from tests.fuzz import targets

_SECOND: Final = 1.0
_WARM: Final = 0.1
_GROWTH_KIB: Final = 16 << 10
# A file is written and read for each config; the parts are of 1000.
_PARTS: Final = {"frame": 480, "command": 380, "headers": 120, "config": 20}
_WORDS: Final = (
    b'"type"', b'"channel"', b'"text"', b'"ts"', b'"reply_to"', b"null", b"true", b"-1", b"1e999",
    b"NaN", b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\ud800", b"\\u0000", b"\xff",
    b"\xed\xa0\x80", b"\xf0\x9f\x8e\x89", b"9" * 400, b"[" * 3000, b'{"a":' * 1500, b"\0", b"\n",
    b"=", b"#", b"'''", b"[slack]\n", b"urls = [", b"0x", b"1979-05-27", b"T" + b"\xff" * 8,
    b"A\xff\xff\xff\xff",
)  # fmt: skip


class Hangs(Exception):
    """An input took longer than a second."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Feed all targets; gives the exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGALRM, _hangs)
    with tempfile.TemporaryDirectory(prefix="rtmpump-fuzz-") as folder:
        of_name: dict[str, targets.Target] = {
            "frame": targets.a_frame,
            "command": targets.a_command,
            "headers": targets.some_headers,
            "config": partial(targets.a_config, folder=Path(folder)),
        }
        return max(
            _feed(name, target, options.inputs * _PARTS[name] // 1000, random.Random(seed))
            for name, target in of_name.items()
        )


def _feed(name: str, target: targets.Target, count: int, chance: random.Random) -> int:
    seeds, began, warm = targets.seeds(name), time.monotonic(), 0
    for number in range(count):
        data = spoiled(chance.choice(seeds), seeds, chance)
        signal.setitimer(signal.ITIMER_REAL, _SECOND)
        try:
            target(data)
        except BaseException as error:
            print(f"{name} {number}: {type(error).__name__}: {error}\n{data!r:.5000}", flush=True)
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if number == int(_WARM * count):
            warm = _now_kib()
    grown = _now_kib() - warm
    seconds = time.monotonic() - began
    print(f"{name}: {count:,} inputs, {seconds:.0f} s, memory grew by {grown} KiB", flush=True)
    return int(grown > _GROWTH_KIB)


def spoiled(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Input with a few bytes or words put in, taken out, doubled or mixed with another's."""
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((0, 1, 4, 30)))
        match chance.randrange(6):
            case 0:
                data = data[:at] + chance.choice(_WORDS) + data[to:]
            case 1:
                data = data[:at] + data[to:]
            case 2:
                data = data[:at] + chance.randbytes(chance.randrange(1, 9)) + data[to:]
            case 3:
                data = data[:to] + data[at:]
            case 4:
                data = data[:at]
            case _:
                other = chance.choice(others)
                data = data[:at] + other[chance.randrange(len(other) + 1) :]
    return data[:100_000]


def _now_kib() -> int:
    return memory(0)["VmRSS"]


def _hangs(_number: int, _frame: FrameType | None) -> None:
    raise Hangs


if __name__ == "__main__":
    sys.exit(main())
