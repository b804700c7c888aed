"""The reports about a spool, as lines of JSON: how full it is, whether it is sound, what is in it.

Laws:

- The lines are the same for a spool that a command opened and for that of a running daemon, which
  sends them through `daemon.control_socket`.
- Only one batch is in memory, and the spool's lock is free between two batches: a report never
  delays an append for longer than one batch takes.
- A report covers the events that were there when it began, so it ends while new events come.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from rtmpump.core import tolerant_json
from rtmpump.core.routes import route
from rtmpump.errors import SpoolCorrupt, SpoolError
from rtmpump.spool import Row, Spool

_BATCH: Final = 256
_PROBLEMS_MAX: Final = 200
STILL_AT_WORK: Final = b"\n"
"""An empty line in an answer only says that the work goes on."""


def info(spool: Spool) -> Iterator[bytes]:
    """Yield one object: times in seconds, sizes in bytes, `oldest_seconds` null if it is empty."""
    usage = spool.usage()
    oldest = usage.oldest_received_ms
    yield _line(
        {
            "path": str(spool.path),
            "events": usage.events,
            "bytes": usage.bytes,
            "max_bytes": usage.max_bytes,
            "events_max_bytes": usage.events_max_bytes,
            "is_full": usage.is_full,
            "first_seq": usage.first_seq if usage.events else None,
            "last_seq": usage.last_seq,
            "oldest_seconds": None if oldest is None else _age(oldest),
            "epoch": spool.epoch,
            "set_aside": set_aside(spool.path),
        }
    )


def set_aside(path: Path) -> list[str]:
    """Return the damaged spools that lie beside this one, the oldest first."""
    found = path.parent.glob(f"{_literal(path.name)}.corrupt-*")
    return sorted(str(one) for one in found if not one.name.endswith("-wal"))


def verify(spool: Spool) -> Iterator[bytes]:
    """Read all events, batch by batch, and yield a string for each problem, 200 at most.

    The rest of the file is checked at each start, and by `find_all_problems`.
    """
    try:
        found = 0
        for problems in _batches_of_problems(spool):
            yield STILL_AT_WORK
            for problem in problems[: _PROBLEMS_MAX - found]:
                yield _line(problem)
            found += len(problems)
            if found >= _PROBLEMS_MAX:
                return
    except SpoolCorrupt as damage:
        yield _line(damage.problem)


def export(spool: Spool) -> Iterator[bytes]:
    """Yield one object for each sound event.

    Raises:
        SpoolError: At the end, if some events could not be read.
    """
    upto, after, at_end, damaged = spool.usage().last_seq, 0, False, 0
    while not at_end and after < upto:
        peek = spool.peek(after, _BATCH)
        after, at_end = peek.after, peek.at_end
        damaged += len(peek.problems)
        yield b"".join(_line(_event(row)) for row in peek.rows if row.seq <= upto)
    if damaged:
        problem = "not all of it could be read, and the rest was left out"
        raise SpoolError(str(spool.path), problem, "`rtmpump spool verify` lists the damage")


ANSWERS: Final[dict[str, Callable[[Spool], Iterator[bytes]]]] = {
    "info": info,
    "verify": verify,
    "export": export,
}


def _batches_of_problems(spool: Spool) -> Iterator[list[str]]:
    spool.check_state()
    upto, after, at_end = spool.usage().last_seq, 0, False
    while not at_end and after < upto:
        peek = spool.peek(after, _BATCH)
        after, at_end = peek.after, peek.at_end
        yield peek.problems


def _event(row: Row) -> dict[str, Any]:
    origin = row.origin
    name = route(
        row.body,
        seq=row.seq,
        received_ms=row.received_ms,
        team=origin.team,
        bot=origin.bot,
        epoch=origin.epoch,
    )
    return {
        "seq": row.seq,
        "received_at": row.received_ms,
        "team": origin.team,
        "bot": origin.bot,
        "message_id": name.message_id,
        "routing_key": name.routing_key,
        **_body(row.body),
    }


def _body(body: bytes) -> dict[str, Any]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "base64": True}


def _line(value: object) -> bytes:
    return tolerant_json.shown(msgspec.json.encode(value).decode()).encode() + b"\n"


def _age(received_ms: int) -> float:
    return round(max(time.time() - received_ms / 1000, 0.0), 3)


def _literal(name: str) -> str:
    """Return a pattern of glob that matches this file name alone."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
