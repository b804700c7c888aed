"""Rates at which commands wait in the pump for longer than RabbitMQ lets a consumer wait.

RabbitMQ takes a consumer off its queue that has not acknowledged a message within its
`consumer_timeout`, by default 30 minutes (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
Nothing is lost by it, as what was not sent is delivered again, but the connection breaks each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from rtmpump.config.sections import Config, Outbound

CONSUMER_TIMEOUT: Final = 1800.0


class SlowRate(NamedTuple):
    """`outbound.prefetch` commands take `seconds` by the rate `key`; `prefetch` would be enough."""

    key: str
    seconds: float
    prefetch: int


def slow_rates(config: Config) -> Iterator[SlowRate]:
    """Yield each rate by which a whole `outbound.prefetch` takes longer than RabbitMQ waits."""
    outbound = config.outbound
    yield from _slow(outbound, "outbound.rate", outbound.rate)
    if outbound.api_methods:
        yield from _slow(outbound, "outbound.api_rate", outbound.api_rate)


def _slow(outbound: Outbound, key: str, rate: float) -> Iterator[SlowRate]:
    """Say how long the last of them waits, if all are for one channel or one method."""
    seconds = (outbound.prefetch - outbound.burst) / rate
    if seconds > CONSUMER_TIMEOUT:
        yield SlowRate(key, seconds, max(1, int(CONSUMER_TIMEOUT * rate)))
