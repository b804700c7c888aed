"""Which event types have their exchange, and what a new type needs.

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
    """The types whose exchange is there, and how to make the exchange of another.

    `known` holds the types that need nothing before their events are published.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._declares = config.broker.declare == "active" and bool(config.events.type_exchange)
        self._later: list[str] = []
        self.known = {UNKNOWN, *TYPES} if self._declares else _Everything()
        self._told = False

    def items(self) -> list[topology.Item]:
        """The exchanges of all types beyond the documented ones, for a new connection."""
        events = self._config.events
        return [item for type in self._later for item in topology.for_type(events, type)]

    def learn(self, type: str) -> list[topology.Item]:
        """Count a new type as known; gives what must be declared before it is published."""
        if len(self.known) >= topology.TYPES_MAX:
            self._tell_too_many(type)
            return []
        self.known.add(type)
        self._later.append(type)
        return topology.for_type(self._config.events, type)

    def do_without(self, type: str) -> None:
        """Its exchange can't be declared; its events go to the events exchange alone."""
        self._later.remove(type)

    def _tell_too_many(self, type: str) -> None:
        if not self._told:
            self._told = True
            _log.warning(
                "types.too_many", limit=topology.TYPES_MAX, type=type, fix="bind to events.exchange"
            )


class _Everything(set[str]):
    """Knows every type: for those who declare their exchanges themselves, or want none."""

    def __contains__(self, _type: object) -> bool:
        return True
