"""Asks the directory which channel a name means, for commands that have just come."""

from __future__ import annotations

from functools import partial

from rtmpump.core.outbound.mailbox import NameAnswered
from rtmpump.pumps.outbound.way import ChannelIds, DispatchListener


class NameLookups:
    """Questions to the directory; an answer that is not known at once comes as a note."""

    def __init__(self, channel_ids: ChannelIds, listener: DispatchListener) -> None:
        self._channel_ids = channel_ids
        self._listener = listener

    def ask(self, name: str) -> NameAnswered | None:
        """Ask for the channel of a name; return the answer if it is known."""
        id = self._channel_ids.lookup(name, partial(self._answered, name))
        return None if id is None else NameAnswered(name, id, "")

    def _answered(self, name: str, id: str | None, why: str) -> None:
        """Bring the answer to the sender's thread. On the thread of the directory."""
        self._listener.notify(NameAnswered(name, id, why))
