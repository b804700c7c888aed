"""config.slow_rates: when RabbitMQ would have to wait too long."""

from __future__ import annotations

from typing import Any

import pytest

from rtmpump import config
from rtmpump.config.slow_rates import SlowRate, slow_rates


def slow(**outbound: Any) -> list[SlowRate]:
    """What is said of these keys."""
    return list(slow_rates(config.Config(outbound=config.Outbound(**outbound))))


def test_the_defaults_are_well_inside() -> None:
    """Also with calls of the Web API."""
    assert slow() == []
    assert slow(api_methods=frozenset({"reactions.add"})) == []


@pytest.mark.parametrize(
    ("rate", "prefetch", "wanted"),
    [
        (1.0, 1803, []),
        (1.0, 1804, [SlowRate("outbound.rate", 1801.0, 1800)]),
        (0.1, 1000, [SlowRate("outbound.rate", 9970.0, 180)]),
        (0.0001, 4, [SlowRate("outbound.rate", 10_000.0, 1)]),
    ],
)
def test_where_the_limit_is(rate: float, prefetch: int, wanted: list[SlowRate]) -> None:
    """What goes at once (`burst`) does not wait; what is proposed is one command at least."""
    assert slow(rate=rate, prefetch=prefetch) == [pytest.approx(one) for one in wanted]


def test_the_rate_of_calls_counts_where_there_are_calls() -> None:
    """Without api_methods it is never used."""
    assert slow(api_rate=0.1) == []
    (found,) = slow(api_rate=0.1, api_methods=frozenset({"reactions.add"}))
    assert (found.key, found.prefetch) == ("outbound.api_rate", 180)
