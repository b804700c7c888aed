"""What `slack.mode` changes in a run; all else is the same.

RTM's Slack tells each event once, on one connection: what it wrote to nobody, or into a socket that
died, is covered by a gap, and the rest comes in order.

In Socket Mode it sends again until it was told that the event arrived, so all of it has to come,
gap or not. Which of the connections an event takes is chance, and one that is sent again comes
after others that are younger: there is no order that anybody promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rtmpump.sandbox.slack.faults import Faults


@dataclass(frozen=True)
class Mode:
    """`dials` is the method that gives out WebSocket URLs; `connections` are up when all is well.

    `sends_again` is whether Slack does so; `patience` are the fields of `Faults` that say when.
    """

    name: str
    dials: str
    connections: int
    sends_again: bool
    patience: Mapping[str, Any] = field(default_factory=dict)

    def fair(self, place: str) -> Faults:
        """Nothing goes wrong, and WebSockets come by way of `place`."""
        return Faults(place=place, **self.patience)

    def settings(self, app_token_file: Path) -> dict[str, object]:
        """What the pump's section [slack] says of it."""
        if not self.sends_again:
            return {}
        return {
            "mode": self.name,
            "connections": self.connections,
            "app_token_file": str(app_token_file),
            "answered": ["interactive.view_submission"],
        }


_NEVER_GIVES_UP: Final = (0.2, 0.5, *(1.0,) * 10_000)

RTM: Final = Mode("rtm", "rtm.connect", 1, sends_again=False)
SOCKET: Final = Mode(
    "socket",
    "apps.connections.open",
    3,
    sends_again=True,
    patience={"ack_seconds": 0.3, "retry_after": _NEVER_GIVES_UP},
)
MODES: Final = {mode.name: mode for mode in (RTM, SOCKET)}
