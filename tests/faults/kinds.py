"""Strikes by name. Each breaks one thing, holds it for a while, and mends it."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faults.rig import Rig

Strike = Callable[[Rig], None]


class Kinds(dict[str, Strike]):
    """In the order in which they were entered."""

    def enter(self, name: str) -> Callable[[Strike], Strike]:
        """Enter a strike under its name."""

        def enter(strike: Strike) -> Strike:
            self[name] = strike
            return strike

        return enter


def hold(rig: Rig, low: float, high: float) -> None:
    """For so many seconds it stays as it is."""
    time.sleep(rig.dice.uniform(low, high))
