"""What a simulated workspace knows of itself: its channels, its people, its open tickets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rtmpump.sandbox.slack.archive import Archive
from rtmpump.slack_side.tickets import Tickets

APP: Final = "A0SANDBOX"
DOMAIN: Final = "sandbox"
NAME: Final = "Sandbox"
TOKEN: Final = "sandbox"  # noqa: S105 - the verification token, which opens nothing
_TYPES: Final = {"C": "public_channel", "G": "private_channel", "D": "im"}
_MANY: Final = "mpdm-"


@dataclass
class Ticket:
    """The right to open one WebSocket."""

    batch_presence: bool = False
    socket_mode: bool = False


@dataclass
class Registry:
    """What the workspace knows: itself, its channels (name to id), its people (id to name).

    The first letter of a channel's id is its kind: C public, G private, D direct (its name
    is the other user's id); a private one whose name begins with "mpdm-" is a direct message
    among several. `archived` holds ids.
    """

    team: str
    bot: str
    token: str
    app_token: str
    channels: dict[str, str]
    page_size: int = 100
    archived: set[str] = field(default_factory=set)
    tickets: Tickets[Ticket] = field(default_factory=Tickets)
    archive: Archive = field(default_factory=Archive)
    users: dict[str, str] = field(default_factory=lambda: {"U0ALICE": "alice", "U0BOB": "bob"})

    @property
    def bot_id(self) -> str:
        """The id of the bot, which differs from that of its user."""
        return self.bot.replace("U", "B", 1)

    @property
    def people(self) -> dict[str, str]:
        """Ids and names of all users, the bot's too, and of all with a direct channel."""
        direct = [name for name, id in list(self.channels.items()) if id.startswith("D")]
        return {self.bot: "pump"} | {id: id.lower() for id in direct} | self.users

    def channel_id(self, channel: str) -> str | None:
        """Return the id of a channel that is given by name, #name or id; None if there is none."""
        if channel in self.channels.values():
            return channel
        return self.channels.get(channel.removeprefix("#"))

    def name_of(self, channel: str) -> str | None:
        """Return the name of a channel (of a direct one: the user's id); None if there is none."""
        # A list, because another thread may open a channel at the same time.
        return next((name for name, id in list(self.channels.items()) if id == channel), None)

    def channel_name(self, channel: str) -> str:
        """Return the name of a channel as a slash command tells it."""
        return "directmessage" if channel.startswith("D") else self.name_of(channel) or ""

    def kind(self, channel: str) -> str | None:
        """Return the kind of conversation of an id; None if there is none."""
        name = self.name_of(channel)
        if name is None:
            return None
        return "mpim" if name.startswith(_MANY) else _TYPES.get(channel[:1])

    def channel_type(self, channel: str) -> str:
        """Return the `channel_type` that a message event has in the Events API."""
        kind = self.kind(channel) or _TYPES.get(channel[:1], "")
        return {"public_channel": "channel", "private_channel": "group"}.get(kind, kind)

    def members(self, channel: str) -> list[str]:
        """Return the ids of those in a channel: all, but in direct messages those named."""
        if channel.startswith("D"):
            return sorted({self.name_of(channel) or "", self.bot})
        return sorted(
            id for id in self.people if id != self.bot or channel not in self.archive.left
        )
