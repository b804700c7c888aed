"""When each `trigger_id` came: Slack takes one for three seconds (https://docs.slack.dev/reference/methods/views.open)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from rtmpump.gateway.envelopes import trigger_of
from rtmpump.slack_side.socket_mode import TRIGGER_SECONDS

_KEPT: Final = 10_000
_WITH_TRIGGER: Final = ("slash_command", "interactive")


class Triggers:
    """The newest triggers of what went to programs."""

    def __init__(self) -> None:
        self._received: OrderedDict[str, float] = OrderedDict()

    def saw(self, key: str, body: bytes, headers: Mapping[str, Any]) -> None:
        """Remember the trigger of an event, if it has one."""
        if not key.startswith(_WITH_TRIGGER):
            return
        trigger, received = trigger_of(body), headers.get("received_at")
        if trigger and isinstance(received, int):
            self._received[trigger] = received / 1000
            while len(self._received) > _KEPT:
                self._received.popitem(last=False)

    def left(self, trigger: str) -> float:
        """Return for how many seconds Slack still takes it; one that is not known counts as new."""
        received = self._received.get(trigger)
        return TRIGGER_SECONDS if received is None else received + TRIGGER_SECONDS - time.time()
