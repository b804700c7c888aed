"""Several pumps on one app, which Socket Mode allows: all read, and they take turns at commands."""

from __future__ import annotations

from typing import Final

from tests.faults.kinds import Kinds, hold
from tests.faults.rig import Rig
from tests.support.pump import PumpProcess

KINDS: Final = Kinds()
_STOPS_IN: Final = 25.0
_TRIES: Final = 3


@KINDS.enter("pumps: several on one app, killed and stopped")
def _several(rig: Rig) -> None:
    """The first one has its turn, so that is the one that goes first."""
    rig.recover()
    with rig.breaks_commands():
        fellows = [rig.start_fellow() for _ in range(rig.dice.randint(1, 2))]
        wanted = rig.mode.connections * (1 + len(fellows))
        rig.wait(lambda: rig.workspace.live >= wanted, "for the connections of all")
        hold(rig, 0.5, 2)
        rig.end_pump(rig.pump.kill if rig.dice.random() < 0.5 else rig.stop_pump)
        hold(rig, 0.5, 2)
        rig.start_pump()
        rig.recover()
        for fellow in fellows:
            if rig.dice.random() < 0.5:
                fellow.kill()
                hold(rig, 0, 1)
                fellow.start()
            hold(rig, 0, 1)
            _end(fellow)


def _end(fellow: PumpProcess) -> None:
    """End it for good: nothing that it has stored may stay there."""
    for _ in range(_TRIES):
        fellow.wait_ready()
        fellow.end_in_order(_STOPS_IN)
        (line,) = fellow.logged("stopped")
        if not line["left_in_spool"]:
            return
        fellow.start()
    raise AssertionError(f"it leaves events in its spool\n{fellow.log_text()[-5000:]}")
