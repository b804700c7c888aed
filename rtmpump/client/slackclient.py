"""The face of the library slackclient 1, over RabbitMQ: bots that were written for it run on.

    from rtmpump.client.slackclient import SlackClient

It takes the URL of RabbitMQ where slackclient took the token; anything else is no URL, and
`$RTMPUMP_BROKER_URL` is taken. No token of Slack is needed. docs/client.md says what is different.

The names, their arguments and what they return are those of slackclient 1.3; its users know them
from https://slack.dev/python-slack-sdk and older pages.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future
from typing import Any, Final

from rtmpump.client.client import Client
from rtmpump.client.errors import ClientError, CommandFailed
from rtmpump.client.event import Event
from rtmpump.client.link import LOGGER
from rtmpump.client.rtm_shapes import RtmShapes, command, reply, slack_code
from rtmpump.client.slack_server import (
    SlackChannel,
    SlackConnectionError,
    SlackNotConnected,
    SlackServer,
    SlackUser,
)
from rtmpump.client.stream import EventStream
from rtmpump.errors import RtmpumpError

__all__ = [
    "SlackChannel",
    "SlackClient",
    "SlackConnectionError",
    "SlackNotConnected",
    "SlackServer",
    "SlackUser",
]

PATIENCE: Final = 60.0
"""For how long RabbitMQ may be away before that is said (seconds)."""
_READ_MOST: Final = 100
_LOG_IN_SECONDS: Final = 10.0
_PAGE: Final = 200
_AS_MESSAGE: Final = {"channel", "text", "thread_ts", "reply_broadcast"}
# RTM writes as the bot's user anyway.
_NO_MATTER: Final = {"as_user"}

_log = logging.getLogger(LOGGER)


class SlackClient:
    """A bot's connection; like slackclient's it is for one thread."""

    def __init__(
        self, token: str | None = None, *, patience: float = PATIENCE, **_others: Any
    ) -> None:
        """Take the URL of RabbitMQ as `token`; what else slackclient took is ignored."""
        url = token if token is not None and token.startswith(("amqp://", "amqps://")) else ""
        self.token = token
        self._patience = patience
        self._client = Client(url, name="slackclient", timeout=patience)
        self._events: EventStream | None = None
        self._shapes = RtmShapes()
        self._frames: deque[dict[str, Any]] = deque()
        self.server = SlackServer(token, self.send_frame, self._pages)

    def rtm_connect(self, with_team_state: bool = True, **_others: Any) -> bool:
        """Begin to receive events; return whether that could be done.

        With `with_team_state` channels and users are read when one is first looked for, if
        `outbound.api_methods` allows `conversations.list` and `users.list`.
        """
        try:
            if self._events is None:
                self._events = self._client.events(signals=False)
            self._client.connect()
            self._log_in()
        except RtmpumpError:
            _log.warning("Failed RTM connect", exc_info=True)
            return False
        self.server.begin(with_team_state)
        self._frames.append({"type": "hello"})
        return True

    def rtm_read(self) -> list[dict[str, Any]]:
        """Return the frames that have come, which may be none; the first one is `hello`.

        Raises:
            SlackNotConnected: RabbitMQ has been away for long, or `rtm_connect` was not called.
        """
        if self._events is None or not self.server.connected:
            raise SlackNotConnected("rtm_connect was not called, or did not succeed")
        self._check_patience()
        for event in self._events.take_all(_READ_MOST):
            self.server.log_in(_known_by(event))
            if (frame := self._shapes.frame(event)) is not None:
                self.server.process_changes(frame)
                self._frames.append(frame)
        read: list[dict[str, Any]] = []
        while self._frames:
            read.append(self._frames.popleft())
        return read

    def rtm_send_message(
        self,
        channel: str,
        message: str,
        thread: str | None = None,
        reply_broadcast: bool | None = None,
    ) -> None:
        """Send a message to a channel (an id or a name); what Slack says of it comes as a frame.

        Raises:
            SlackNotConnected: RabbitMQ has been away for long.
        """
        self.server.rtm_send_message(channel, message, thread, reply_broadcast)

    def send_frame(self, frame: dict[str, Any]) -> None:
        """Send a frame of RTM, such as a message, `typing` or `presence_sub`.

        Raises:
            SlackNotConnected: RabbitMQ has been away for long.
        """
        self._check_patience()
        fields = command(frame)
        if fields is None:
            return
        try:
            asked = self._client.submit(fields)
        except ClientError as error:
            raise self._not_connected(str(error)) from error
        asked.add_done_callback(lambda done: self._replied(frame, done))

    def api_call(self, method: str, timeout: float | None = None, **kwargs: Any) -> dict[str, Any]:
        """Call a method of the Web API that `outbound.api_methods` names.

        `chat.postMessage` needs no such permission, if it has only what RTM knows too.

        Returns:
            Slack's answer; `{"ok": False, "error": …}` where it was not allowed or failed.

        Raises:
            SlackConnectionError: there was no answer in time.
            SlackNotConnected: RabbitMQ has been away for long.
        """
        try:
            if method == "chat.postMessage" and kwargs.keys() <= _AS_MESSAGE | _NO_MATTER:
                return self._post(timeout, kwargs)
            response = self._client.call(method, timeout=timeout, **kwargs)
        except CommandFailed as error:
            # The pump's words for a method that it may not call.
            is_forbidden = error.code == "invalid_command" and "api_methods" in error.message
            code = "not_allowed" if is_forbidden else slack_code(error.code)
            return {"ok": False, "error": code, "message": error.message}
        except ClientError as error:
            if error.uncertain:
                raise SlackConnectionError(str(error)) from error
            raise self._not_connected(str(error)) from error
        self.server.learn_from(method, kwargs, response)
        return response

    def close(self) -> None:
        """End the connection; slackclient had no such method, and none is needed at the end."""
        self._client.close()
        self.server.connected = False

    def _post(self, timeout: float | None, arguments: dict[str, Any]) -> dict[str, Any]:
        fields = {name: arguments[name] for name in arguments if name in _AS_MESSAGE}
        result = self._client.send(timeout=timeout, **fields)
        if result.response is not None:
            return dict(result.response)
        message = {"type": "message", "text": fields.get("text", ""), "ts": result.ts}
        return {"ok": True, "channel": result.channel, "ts": result.ts, "message": message}

    def _log_in(self) -> None:
        try:
            who = self.api_call("auth.test", timeout=min(_LOG_IN_SECONDS, self._patience))
        except SlackNotConnected:
            raise
        except SlackConnectionError:
            # No pump is there now. The first event will say who we are.
            return
        self.server.log_in(who if who.get("ok") else {})

    def _pages(self, method: str, key: str) -> list[dict[str, Any]] | None:
        """Return all that a method lists; None if it may not be called."""
        found: list[dict[str, Any]] = []
        arguments: dict[str, Any] = {"limit": _PAGE}
        while True:
            answer = self.api_call(method, **arguments)
            if not answer.get("ok"):
                return None
            found += answer.get(key, [])
            arguments["cursor"] = answer.get("response_metadata", {}).get("next_cursor", "")
            if not arguments["cursor"]:
                return found

    def _replied(self, frame: dict[str, Any], done: Future[dict[str, Any]]) -> None:
        """Take the result of a command; on the thread of the connection."""
        error = done.exception()
        if isinstance(error, ClientError):
            result = {"ok": False, "error": {"code": error.code, "message": error.message}}
        else:
            result = done.result()
        if (answer := reply(frame, result)) is not None:
            self._frames.append(answer)

    def _check_patience(self) -> None:
        if self._client.down_for() > self._patience and self.server.connected:
            raise self._not_connected(f"RabbitMQ has been away for over {self._patience:g} s")

    def _not_connected(self, why: str) -> SlackNotConnected:
        self.server.connected = False
        return SlackNotConnected(why)


def _known_by(event: Event) -> dict[str, Any]:
    """Return who we are, where Slack could not be asked."""
    return {"team_id": event.headers.get("team"), "user_id": event.headers.get("bot")}
