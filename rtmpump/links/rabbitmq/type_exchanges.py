"""Which event types have their exchange, and what to declare for a new one.

What must not live here: how anything is declared, and the connection.
"""

from __future__ import annotations

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.event_types import TYPES
from rtmpump.core.routes import UNKNOWN
from rtmpump.links.rabbitmq import topology

_log = log.get("publisher")


class TypeExchanges:
    """The event types whose exchange exists.

    `known` holds the types that need no declaration before their events are published.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._declares = config.broker.declare == "active" and bool(config.events.type_exchange)
        self._later: list[str] = []
        self.known = {UNKNOWN, *TYPES} if self._declares else _Everything()
        self._is_reported = False

    def items(self) -> list[topology.Item]:
        """Return the exchanges of all types beyond the documented ones, for a new connection."""
        events = self._config.events
        return [item for type in self._later for item in topology.for_type(events, type)]

    def learn(self, type: str) -> list[topology.Item]:
        """Add a new type; return what must be declared before its events are published."""
        if len(self.known) >= topology.TYPES_MAX:
            self._report_too_many(type)
            return []
        self.known.add(type)
        self._later.append(type)
        return topology.for_type(self._config.events, type)

    def do_without(self, type: str) -> None:
        """Forget the exchange of a type: it can't be declared, so the events exchange must do."""
        self._later.remove(type)

    def _report_too_many(self, type: str) -> None:
        if not self._is_reported:
            self._is_reported = True
            _log.warning(
                "types.too_many", limit=topology.TYPES_MAX, type=type, fix="bind to events.exchange"
            )


class _Everything(set[str]):
    """Contains every type: for users who declare their exchanges themselves, or want none."""

    def __contains__(self, _type: object) -> bool:
        return True
