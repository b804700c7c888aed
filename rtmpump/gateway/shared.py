"""What all faces share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from rtmpump import log
from rtmpump.config import Config
from rtmpump.gateway.broker import BrokerLink
from rtmpump.gateway.commands import GatewayCommands
from rtmpump.gateway.counts import GatewayCounts
from rtmpump.gateway.queues import ProgramQueues
from rtmpump.gateway.triggers import Triggers
from rtmpump.gateway.troubles import Troubles

_log = log.get("gateway")


class Shared(NamedTuple):
    """One of each for the whole gateway."""

    config: Config
    broker: BrokerLink
    queues: ProgramQueues
    commands: GatewayCommands
    triggers: Triggers
    counts: GatewayCounts
    troubles: Troubles


def watch(task: asyncio.Task[Any], cut: Callable[[], None]) -> asyncio.Task[Any]:
    """Cut a connection where a task of it ends by a bug, so that it is never silently idle."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("gateway.bug", what="a task of a connection", exc_info=error)
            cut()

    task.add_done_callback(ended)
    return task
