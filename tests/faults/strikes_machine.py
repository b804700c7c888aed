"""What happens to the machine of the pump: it sleeps, and its clock is set."""

from __future__ import annotations

from typing import Final

from tests.faults.kinds import Kinds, hold
from tests.faults.rig import Rig, frozen

KINDS: Final = Kinds()

_HOUR: Final = 3600.0
# A gap is as wide as the clock was wrong, and excuses what is lost in it.
_WRONG: Final = 20.0


@KINDS.enter("machine: asleep")
def _sleep(rig: Rig) -> None:
    with rig.breaks_commands(), frozen(rig.pump.pid):
        hold(rig, 0, 1)
        # Slack may give up in that time, or the machine wakes up before.
        if rig.dice.random() < 0.5:
            rig.workspace.cut()
        rig.sleep(rig.dice.choice((10.0, _HOUR, 24 * _HOUR)))


@KINDS.enter("machine: the clock is set, and set right")
def _set_clock(rig: Rig) -> None:
    # While it is wrong nobody can tell a gap as it was, so nothing else may go wrong then.
    for ahead in (rig.dice.choice((-_WRONG, _WRONG)), 0.0):
        rig.recover()
        with rig.breaks_commands():
            rig.workspace.cut()
            rig.clocks.set(ahead)
        rig.recover()
