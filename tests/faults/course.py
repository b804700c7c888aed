"""What the forms of the suite share: what happened in a run, and which strikes come next."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Form:
    """How long a run is: so many strikes at the most, and so many seconds."""

    strikes: int
    seconds: float


@dataclass
class Course:
    """What happened in a run; times in seconds."""

    kinds: Counter[str] = field(default_factory=Counter)
    recoveries: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    last: str = "the start"

    def recovered(self, kind: str, took: float) -> None:
        """Note how long it took until all was well after a strike of this kind."""
        self.recoveries[kind] = max(took, self.recoveries.get(kind, 0.0))


def plan(dice: random.Random, kinds: Sequence[str], count: int) -> list[str]:
    """Each kind before any comes again, in an order of chance."""
    plan: list[str] = []
    while kinds and len(plan) < count:
        plan += dice.sample(kinds, len(kinds))
    return plan[:count]


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)
