"""The way of commands to Slack; it is shut while another pump may be the active one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rtmpump.errors import NotConnected
from rtmpump.links.active_role import ActiveRole
from rtmpump.links.slack.rtm import RtmSource
from rtmpump.pumps.web_api_workers import Answered, WebApiWorkers

# When a command that may not go out now is worth another try; a new term begins with a new sender.
_RETRY_SECONDS: Final = 1.0


class SlackGate:
    """Both methods may be called from any thread."""

    def __init__(self, role: ActiveRole, rtm: RtmSource | None, calls: WebApiWorkers) -> None:
        """Take the ways to Slack; `rtm` is None in Socket Mode, where each command is a call."""
        self._role = role
        self._rtm = rtm
        self._calls = calls

    def send(self, frame: bytes, connection: int) -> None:
        """Write a frame on RTM's WebSocket.

        Raises:
            NotConnected: the connection is over, or this pump may not be the active one.
            WriteFailed: the connection broke on the way.
        """
        if not self._role.is_held():
            raise NotConnected("slack", "standby", "this pump is not the active one")
        if self._rtm is None:
            raise NotConnected("slack", "not_connected", "in Socket Mode each command is a call")
        self._rtm.send(frame, connection=connection)

    def submit(self, method: str, arguments: Mapping[str, str], answered: Answered) -> float:
        """Have a method of the Web API called, or return the seconds after which to ask again."""
        if not self._role.is_held():
            return _RETRY_SECONDS
        self._calls.submit(method, arguments, answered, self._role.is_held)
        return 0.0
