"""The configuration: every key with its type and default, as frozen structs.

`find` says which file, `load` reads it and the environment. All that can be known to be wrong
without asking Slack or RabbitMQ is a ConfigError here, before anything starts.

- `sections` are the structs; `values` and `secrets` say how one value is read.
- `sources` are the file and the environment; `loading` puts all together.
- `contradictions` finds values that can't go together, `exposure` files that anybody may read.
"""

from rtmpump.config.exposure import Exposed, exposed
from rtmpump.config.loading import find, load
from rtmpump.config.secrets import Secret
from rtmpump.config.sections import (
    Broker,
    Config,
    Events,
    Ha,
    Http,
    Log,
    Outbound,
    Retry,
    Slack,
    SpoolConfig,
)

__all__ = [
    "Broker",
    "Config",
    "Events",
    "Exposed",
    "Ha",
    "Http",
    "Log",
    "Outbound",
    "Retry",
    "Secret",
    "Slack",
    "SpoolConfig",
    "exposed",
    "find",
    "load",
]
