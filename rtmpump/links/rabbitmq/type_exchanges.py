"""Which event types have their exchange, and what to declare for a new one.

A type whose exchange the broker refuses (somebody has one of another kind, or there is no
permission) does without: its events go to the events exchange alone. Each new connection tries
again, and that is logged once.

What must not live here: how anything is declared, and the connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.event_types import TYPES
from rtmpump.core.routes import UNKNOWN
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.declaring import Groups, Refusal

_NAMED_MAX: Final = 10

_log = log.get("publisher")


class TypeExchanges:
    """The event types whose exchange exists.

    `known` holds the types that need no declaration before their events are published.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._declares = config.broker.declare == "active" and bool(config.events.type_exchange)
        self._later: list[str] = []
        self._refused: set[str] = set()
        self.known = {UNKNOWN, *TYPES} if self._declares else _Everything()
        self._is_reported = False

    def groups(self) -> Groups:
        """Return the exchange and the binding of each type, for a new connection."""
        return self._groups((*TYPES, *self._later) if self._declares else ())

    def learn(self, type: str) -> Groups:
        """Add a new type; return what must be declared before its events are published."""
        if len(self.known) >= topology.TYPES_MAX:
            self._report_too_many(type)
            return {}
        self.known.add(type)
        self._later.append(type)
        return self._groups([type])

    def declared(self, groups: Groups, refusals: Iterable[Refusal]) -> None:
        """Take in what the broker refused of these groups, and log what is new."""
        by_type = {one.group: one for one in refusals if one.group in groups}
        new = [type for type in by_type if type not in self._refused]
        self._refused = (self._refused - groups.keys()) | by_type.keys()
        if new:
            problem, named = by_type[new[0]].detail, ", ".join(new[:_NAMED_MAX])
            fix = "delete these exchanges, or bind to events.exchange"
            _log.error("type.refused", types=named, count=len(new), problem=problem, fix=fix)

    def _groups(self, types: Iterable[str]) -> Groups:
        events = self._config.events
        return {type: items for type in types if (items := topology.for_type(events, type))}

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
