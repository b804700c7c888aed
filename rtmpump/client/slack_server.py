"""What a bot of slackclient 1 knows of its workspace: `server`, its channels and its users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rtmpump.errors import RtmpumpError

_NEW_CHANNEL: Final = ("channel_created", "group_joined", "channel_joined")
_OPENING: Final = ("conversations.open", "conversations.create", "conversations.join", "im.open")


class SlackConnectionError(RtmpumpError):
    """A call had no answer, as slackclient says it."""


class SlackNotConnected(SlackConnectionError):
    """There is no connection, as slackclient says it."""


class SlackChannel:
    """A channel; it equals its id, its name, and its name behind a "#"."""

    def __init__(self, server: SlackServer, name: str, id: str, members: list[str]) -> None:
        self.server = server
        self.name = name
        self.id = id
        self.members = members

    def __eq__(self, other: object) -> bool:
        return other in (self.name, f"#{self.name}", self.id) if isinstance(other, str) else False

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<channel {self.name} {self.id}>"

    def send_message(
        self, message: str, thread: str | None = None, reply_broadcast: bool = False
    ) -> None:
        """Send a message to the channel, or to a thread of it."""
        self.server.rtm_send_message(self.id, message, thread, reply_broadcast)


class SlackUser:
    """A user; it equals its id and its name."""

    def __init__(self, server: SlackServer, fields: Mapping[str, Any]) -> None:
        profile = fields.get("profile") or {}
        self.server = server
        self.id = str(fields.get("id", ""))
        self.name = str(fields.get("name", self.id))
        self.real_name = str(fields.get("real_name", self.name))
        self.tz = str(fields.get("tz", "unknown"))
        self.email = str(profile.get("email", ""))

    def __eq__(self, other: object) -> bool:
        return other in (self.id, self.name) if isinstance(other, str) else False

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<user {self.name} {self.id}>"


class SlackChannels(list[SlackChannel]):
    """The channels that are known; `find` reads all of them first, if it may."""

    def __init__(self, server: SlackServer) -> None:
        super().__init__()
        self._server = server

    def find(self, name: str) -> SlackChannel | None:
        """Return a channel by its name or id.

        Where Slack could not be asked, any name gives a channel: the pump knows whether it exists.
        """
        are_all_known = self._server.read_channels()
        for channel in self:
            if channel == name:
                return channel
        if are_all_known:
            return None
        bare = name.removeprefix("#")
        return SlackChannel(self._server, bare, bare, [])


class SlackUsers(dict[str, SlackUser]):
    """The users that are known, by their ids; `find` reads all of them first, if it may."""

    def __init__(self, server: SlackServer) -> None:
        super().__init__()
        self._server = server

    def find(self, name: str) -> SlackUser | None:
        """Return a user by id or name.

        Where Slack could not be asked, any id gives a user of whom nothing else is known.
        """
        are_all_known = self._server.read_users()
        found = self.get(name) or next((user for user in self.values() if user.name == name), None)
        if found is None and not are_all_known and _is_user_id(name):
            return SlackUser(self._server, {"id": name})
        return found


class SlackServer:
    """The state of a bot; `connected` ends with the connection."""

    def __init__(
        self,
        token: str | None,
        send: Callable[[dict[str, Any]], None],
        read_all: Callable[[str, str], list[dict[str, Any]] | None],
    ) -> None:
        """Take `send`, which sends a frame of RTM, and `read_all`.

        `read_all` returns what a method lists under a key, or None if it may not be called.
        """
        self.token = token
        self.connected = False
        self.username: str | None = None
        self.domain: str | None = None
        self.login_data: dict[str, Any] = {"ok": True, "self": {}, "team": {}, "url": ""}
        self.channels = SlackChannels(self)
        self.users = SlackUsers(self)
        self._send = send
        self._read_all = read_all
        self._to_read: set[str] = set()
        self._complete: set[str] = set()

    def send_to_websocket(self, data: dict[str, Any]) -> None:
        """Send a frame of RTM."""
        self._send(data)

    def rtm_send_message(
        self,
        channel: str,
        message: str,
        thread: str | None = None,
        reply_broadcast: bool | None = None,
    ) -> None:
        """Send a message to a channel, or to a thread of it."""
        frame: dict[str, Any] = {"type": "message", "channel": channel, "text": message}
        if thread is not None:
            frame["thread_ts"] = thread
            if reply_broadcast:
                frame["reply_broadcast"] = True
        self._send(frame)

    def ping(self) -> None:
        """Do nothing: the connection has heartbeats."""

    def log_in(self, who: Mapping[str, Any]) -> None:
        """Take who we are, from the answer of `auth.test`; what is known already stays."""
        ours, team = self.login_data["self"], self.login_data["team"]
        pairs = (
            (ours, "id", who.get("user_id")),
            (ours, "name", who.get("user")),
            (team, "id", who.get("team_id")),
            (team, "name", who.get("team")),
            (team, "domain", _domain(str(who.get("url", "")))),
        )
        for target, name, value in pairs:
            if value and not target.get(name):
                target[name] = value
        self.username, self.domain = ours.get("name"), team.get("domain")

    def begin(self, with_team_state: bool) -> None:
        """Note that there is a connection; with team state, channels and users may be read."""
        self.connected = True
        self._to_read = {"channels", "members"} if with_team_state else set()

    def read_channels(self) -> bool:
        """Read all channels, once; return whether they are all known."""
        for channel in self._read("conversations.list", "channels"):
            self._add_channel(channel)
        return "channels" in self._complete

    def read_users(self) -> bool:
        """Read all users, once; return whether they are all known."""
        for user in self._read("users.list", "members"):
            self._add_user(user)
        return "members" in self._complete

    def _read(self, method: str, key: str) -> list[dict[str, Any]]:
        if key not in self._to_read:
            return []
        self._to_read.discard(key)
        found = self._read_all(method, key)
        if found is None:
            return []
        self._complete.add(key)
        return found

    def process_changes(self, frame: Mapping[str, Any]) -> None:
        """Learn from an event of new channels and users."""
        channel, user = frame.get("channel"), frame.get("user")
        if frame.get("type") in (*_NEW_CHANNEL, "im_created") and isinstance(channel, dict):
            self._add_channel(channel)
        if frame.get("type") == "team_join" and isinstance(user, dict):
            self._add_user(user)

    def learn_from(
        self, method: str, arguments: Mapping[str, Any], response: Mapping[str, Any]
    ) -> None:
        """Learn from an answer of Slack of a channel that was opened."""
        channel = response.get("channel")
        if method in _OPENING and isinstance(channel, dict):
            name = arguments.get("user") or arguments.get("users")
            self._add_channel({"name": name, **channel} if name else channel)

    def _add_channel(self, fields: Mapping[str, Any]) -> None:
        id = str(fields.get("id", ""))
        name = str(fields.get("name") or fields.get("user") or id)
        if id and not any(channel.id == id for channel in self.channels):
            members = [str(member) for member in fields.get("members") or []]
            self.channels.append(SlackChannel(self, name, id, members))

    def _add_user(self, fields: Mapping[str, Any]) -> None:
        user = SlackUser(self, fields)
        if user.id:
            self.users[user.id] = user


def _is_user_id(name: str) -> bool:
    return name[:1] in ("U", "W") and name.isalnum() and name.isupper()


def _domain(url: str) -> str:
    """Return the workspace's part of `https://workspace.slack.com/`."""
    return url.partition("://")[2].partition(".")[0]
