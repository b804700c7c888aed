"""What all faces share."""

from __future__ import annotations

from typing import NamedTuple

from rtmpump.config import Config
from rtmpump.gateway.broker import BrokerLink
from rtmpump.gateway.commands import GatewayCommands
from rtmpump.gateway.counts import GatewayCounts
from rtmpump.gateway.queues import ProgramQueues
from rtmpump.gateway.triggers import Triggers


class Shared(NamedTuple):
    """One of each for the whole gateway."""

    config: Config
    broker: BrokerLink
    queues: ProgramQueues
    commands: GatewayCommands
    triggers: Triggers
    counts: GatewayCounts
