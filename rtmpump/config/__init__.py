"""The configuration: every key with its type and default, as frozen structs.

`find` chooses the file; `load` reads it and the environment. Every mistake that can be found
without Slack and RabbitMQ is a ConfigError here, before anything starts.

- `sections` holds the structs; `values` and `secrets` say how one value is read.
- `sources` reads the file and the environment; `loading` puts all together, and `mistakes` keeps
  what is wrong so that all of it is reported; `origins` says where each value comes from.
- `contradictions` finds values that can't go together, `exposure` files that all users may read,
  `slow_rates` rates by which RabbitMQ would have to wait too long, `unanswerable` events that Slack
  can't be answered on, `gateway_traps` what a program of the gateway would miss.
"""

from rtmpump.config.exposure import Exposed, exposed, files, gateway_files
from rtmpump.config.gateway_traps import Trap, gateway_traps
from rtmpump.config.loading import PLACES, find, load
from rtmpump.config.origins import origins
from rtmpump.config.secrets import Secret
from rtmpump.config.sections import (
    Broker,
    Config,
    Events,
    Gateway,
    GatewayClient,
    Ha,
    Http,
    Log,
    Outbound,
    Retry,
    Slack,
    SpoolConfig,
)
from rtmpump.config.slow_rates import SlowRate, slow_rates
from rtmpump.config.unanswerable import unanswerable

__all__ = [
    "PLACES",
    "Broker",
    "Config",
    "Events",
    "Exposed",
    "Gateway",
    "GatewayClient",
    "Ha",
    "Http",
    "Log",
    "Outbound",
    "Retry",
    "Secret",
    "Slack",
    "SlowRate",
    "SpoolConfig",
    "Trap",
    "exposed",
    "files",
    "find",
    "gateway_files",
    "gateway_traps",
    "load",
    "origins",
    "slow_rates",
    "unanswerable",
]
