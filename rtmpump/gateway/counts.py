"""What the gateway measures, for `/metrics`."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from rtmpump import log

OTHER: Final = "other"
"""The label for what a queue dropped that no name has any more."""
_LOG_EVERY: Final = 60.0

_log = log.get("gateway")


class GatewayCounts:
    """Counters by the name of the program; `told` also logs, once a minute for each kind."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.connections = Gauge(
            "rtmpump_gateway_connections",
            "WebSockets that are open.",
            ("client", "face"),
            registry=self._registry,
        )
        self.envelopes = Counter(
            "rtmpump_gateway_envelopes",
            "Envelopes by how they went: sent, again, acknowledged, given_back, unanswered.",
            ("client", "result"),
            registry=self._registry,
        )
        self.calls = Counter(
            "rtmpump_gateway_calls",
            "Calls of the Web API by how they ended.",
            ("client", "result"),
            registry=self._registry,
        )
        self.refused = Counter(
            "rtmpump_gateway_refused",
            "What programs sent and could not be used, by the reason.",
            ("client", "reason"),
            registry=self._registry,
        )
        self.dropped = Counter(
            "rtmpump_gateway_dropped",
            "Events that a full queue dropped, the oldest first.",
            ("client",),
            registry=self._registry,
        )
        self.waiting = Gauge(
            "rtmpump_gateway_queue_messages",
            "Events that wait in the queue of a program.",
            ("client",),
            registry=self._registry,
        )
        self.most = Gauge(
            "rtmpump_gateway_queue_max_messages",
            "How many events the queue of a program keeps.",
            ("client",),
            registry=self._registry,
        )
        self.queues_left = Gauge(
            "rtmpump_gateway_queues_left",
            "Queues of programs that are no longer configured.",
            registry=self._registry,
        )
        self.link_up = Gauge(
            "rtmpump_gateway_link_up",
            "Whether RabbitMQ is connected.",
            registry=self._registry,
        )
        self.ready = Gauge(
            "rtmpump_gateway_ready",
            "Whether /readyz says that it is ready.",
            registry=self._registry,
        )
        self._tallies: dict[str, Tally[str]] = {}
        self._logged_at: dict[str, float] = {}

    def begin(self, clients: Iterable[str]) -> None:
        """Begin at zero what alerts look at: the first of a kind is else no increase."""
        for client in clients:
            self.dropped.labels(client)
            self.envelopes.labels(client, "unanswered")
        self.dropped.labels(OTHER)

    def told(self, event: str, client: str, **fields: Any) -> None:
        """Log an event of a program as a warning, at most once a minute, with how often it was."""
        tally = self._tallies.setdefault(event, Tally())
        tally[client] += 1
        now = time.monotonic()
        if now - self._logged_at.get(event, -_LOG_EVERY) < _LOG_EVERY:
            return
        self._logged_at[event] = now
        _log.warning(event, clients=dict(tally), **fields)
        tally.clear()

    def refuse(self, client: str, reason: str) -> None:
        """Count and log something of a program that can't be used."""
        self.refused.labels(client, reason).inc()
        self.told("gateway.refused", client, reason=reason)

    def total(self, counter: Counter, client: str, **labels: str) -> int:
        """Return what a counter has for a program, over all labels but those that are given."""
        wanted = {"client": client, **labels}.items()
        (family,) = counter.collect()
        return sum(
            round(sample.value)
            for sample in family.samples
            if sample.name.endswith("_total") and wanted <= sample.labels.items()
        )

    def waiting_of(self, client: str) -> int | None:
        """Return how many events wait in the queue of a program, None where it is not known."""
        name = "rtmpump_gateway_queue_messages"
        value = self._registry.get_sample_value(name, {"client": client})
        return None if value is None else round(value)

    def exposition(self, *, is_up: bool, is_ready: bool) -> bytes:
        """Return the page of `/metrics`, in text format 0.0.4."""
        self.link_up.set(is_up)
        self.ready.set(is_ready)
        return generate_latest(self._registry)
