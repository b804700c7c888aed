"""What RabbitMQ refuses to the gateway while it is connected: too long, and we are not ready."""

from __future__ import annotations

import time
from typing import Final

_BORNE_FOR: Final = 5.0


class Troubles:
    """Each is of `whom` it was refused to, who tries again and ends it."""

    def __init__(self) -> None:
        self._all: dict[object, tuple[float, str]] = {}

    def begin(self, whom: object, problem: str) -> None:
        """Note a refusal; one that is there already began when it first was."""
        since, _ = self._all.get(whom, (time.monotonic(), ""))
        self._all[whom] = (since, problem)

    def end(self, whom: object) -> None:
        """Forget it, if it was there."""
        self._all.pop(whom, None)

    def first(self) -> str:
        """Return the oldest that has lasted for five seconds, in words; "" if none has."""
        since, problem = min(self._all.values(), default=(0.0, ""))
        return problem if time.monotonic() - since >= _BORNE_FOR else ""
