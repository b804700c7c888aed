"""The spool's file, damaged between a kill -9 and the next start: what is gone is told.

What Slack had sent lies in the spool alone when it is hurt, in either mode, so none can ask that
all of it comes out again. What has to hold: what was told as lost is at least what is missing and
lies in no gap, the damaged file was set aside, and all that came later is whole.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

from tests.faults.proxy import Weather
from tests.faults.rig import Rig
from tests.support.spool import PAGE

# The third and the fifth page of the file say where events are from.
_FIRST_END = 3 * PAGE
_SECOND = 4 * PAGE


def strike(rig: Rig, problems: list[str]) -> str:
    """Let the spool fill, kill the pump, damage the file, start it again; says what happened."""
    with rig.questions.excused() if rig.questions is not None else nullcontext():
        return _strike(rig, problems)


def _strike(rig: Rig, problems: list[str]) -> str:
    # Slack may be about to write the last one; all before it come now, or were lost before.
    first = rig.ledger.emitted_count - 1
    rig.recover()
    rig.amqp_proxy.weather = Weather(stalls=True)
    count = rig.ledger.emitted_count
    rig.wait(lambda: rig.ledger.emitted_count > count + 2_000, "for the flood")
    with rig.breaks_commands():
        rig.end_pump(rig.pump.kill)
        last = rig.ledger.emitted_count
        before = set(rig.pump.spool.parent.iterdir())
        how = _hurt(rig)
        rig.amqp_proxy.heal()
        rig.amqp_proxy.reset()
        rig.start_pump()
        # What lay in the spool comes out before what is sent now.
        rig.recover()
        rig.ledger.ids_may_change = False
    missing = rig.ledger.missing(range(first, last))
    told = _told(rig)
    rig.ledger.excuse(range(first, last))
    aside = set(rig.pump.spool.parent.iterdir()) - before
    if told is not None and told < len(missing):
        problems.append(f"{how}: {len(missing)} events are missing and {told} were told as lost")
    for file in aside:
        if ".corrupt-" in file.name:
            file.unlink()
    word = "all" if told is None else f"{told}"
    return f"spool {how}: {len(missing)} missing, told as lost: {word}, set aside: {len(aside)}"


def _hurt(rig: Rig) -> str:
    dice = rig.dice
    files = [rig.pump.spool, Path(f"{rig.pump.spool}-wal")]
    file = dice.choice([one for one in files if one.exists() and one.stat().st_size > 8192])
    size = file.stat().st_size
    name = "log" if file.name.endswith("-wal") else "file"
    if dice.random() < 0.4:
        length = dice.randrange(0, size)
        os.truncate(file, length)
        rig.ledger.ids_may_change = name == "file" and length < _FIRST_END
        return f"{name} cut from {size} to {length} bytes"
    at = dice.randrange(0, size - 1)
    length = min(dice.choice((1, 16, 4096, 100_000)), size - at)
    rig.ledger.ids_may_change = name == "file" and at < _FIRST_END and at + length > _SECOND
    with file.open("r+b") as out:
        out.seek(at)
        out.write(dice.randbytes(length))
    return f"{name} of {size} bytes overwritten at {at}, {length} bytes"


def _told(rig: Rig) -> int | None:
    """How many events the pump said that it has lost; None if it can't know."""
    told = 0
    for line in rig.pump.logged("spool.set_aside"):
        if line.get("lost") is None:
            return None
        told += int(line["lost"])
    return told + sum(int(line["count"]) for line in rig.pump.logged("spool.event_damaged"))
