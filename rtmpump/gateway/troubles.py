"""What RabbitMQ refuses to the gateway while it is connected: too long, and we are not ready."""

from __future__ import annotations

import time
from typing import Final

_BORNE_FOR: Final = 5.0


class Troubles:
    """Each has a name, so that whoever tries again can end it."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._problems: dict[str, str] = {}

    def begin(self, name: str, problem: str) -> None:
        """Note a refusal; one that is there already began when it first was."""
        self._since.setdefault(name, time.monotonic())
        self._problems[name] = problem

    def end(self, name: str) -> None:
        """Forget it, if it was there."""
        self._since.pop(name, None)

    def first(self) -> str:
        """Return the oldest that has lasted for five seconds, in words; "" if none has."""
        begun, name = min(((at, name) for name, at in self._since.items()), default=(0.0, ""))
        return self._problems[name] if name and time.monotonic() - begun >= _BORNE_FOR else ""
