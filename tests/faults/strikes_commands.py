"""Commands that harm whoever carries them out, among those of others."""

from __future__ import annotations

from typing import Final

from tests.faults import traffic
from tests.faults.kinds import Kinds, hold
from tests.faults.rig import Rig

KINDS: Final = Kinds()
_UNDELIVERABLE: Final = "result.undeliverable"


def _enter(name: str, odd: list[traffic.Odd]) -> None:
    @KINDS.enter(f"commands: {name}")
    def strike(rig: Rig) -> None:
        rig.commands.odd.extend(rig.dice.choice(odd) for _ in range(rig.dice.randint(1, 10)))
        hold(rig, 0.2, 2)


for _name, _odd in traffic.ODDITIES.items():
    _enter(_name, _odd)


def end_second_connection(rig: Rig) -> None:
    """Leave the pump with the thread for what may end a connection, and without that connection.

    It opens it when it needs it, and keeps it until something ends it.
    """
    told = rig.pump.log_text().count(_UNDELIVERABLE)
    rig.commands.odd.append(traffic.ODDITIES["a poisonous reply address"][0])
    rig.wait(lambda: rig.pump.log_text().count(_UNDELIVERABLE) > told, "for its end")
