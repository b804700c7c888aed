"""The Web API: which method a program may call, and each call as a command.

Laws:

- A token of ours is all that a program needs, and it goes no further.
- A method must stand in two lists, the program's and the pump's; who lacks it is named.
- What Slack answers is the answer, up to the limit of a result; what was left out is named.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any, Final

from rtmpump.core.outbound.api_calls import TRIAL
from rtmpump.core.outbound.command_body import BODY_MAX
from rtmpump.core.outbound.commands import POST
from rtmpump.core.outbound.post_arguments import POST_ARGUMENTS
from rtmpump.gateway.commands import EXPIRES_AFTER, CommandEnd, failed
from rtmpump.gateway.programs import Program
from rtmpump.gateway.shared import Shared

Answer = dict[str, Any]

_METHOD: Final = re.compile(r"[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)+")
_MESSAGE: Final = ("channel", "text", "thread_ts", "reply_broadcast")
_KEPT: Final = 600.0
_IDENTITY_WITHIN: Final = 5.0
_UPLOADS: Final = ("files.upload",)
_WITH_TRIGGER: Final = "views."
# The expiration passed in RabbitMQ, or in the pump.
_NOT_SENT: Final = ("request_timeout", "timeout")
# These have the types of JSON in a command; a form has texts.
_OF_JSON: Final = ("blocks", "attachments", "metadata")
_FLAGS: Final = (
    "reply_broadcast",
    "mrkdwn",
    "link_names",
    "unfurl_links",
    "unfurl_media",
    "as_user",
)
_WORDS: Final = {"true": True, "1": True, "false": False, "0": False}


class WebApi:
    """Carries out calls; `identity` is that of the pump's bot, kept for ten minutes."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._identity: Answer = {}
        self._asked_at = -_KEPT
        self._asking: asyncio.Task[Answer] | None = None
        self._is_socket_mode = shared.config.slack.mode == "socket"

    async def call(self, program: Program, method: str, arguments: dict[str, Any]) -> Answer:
        """Return the answer to a call; errors are answers too."""
        answer = await self._call(program, method, arguments)
        result = "ok" if answer.get("ok") else "failed"
        self._shared.counts.calls.labels(program.name, result).inc()
        return answer

    async def identity(self) -> Answer:
        """Return the answer of `auth.test`; an old one where no pump answers."""
        if time.monotonic() - self._asked_at < _KEPT:
            return self._identity
        if self._asking is None or self._asking.done():
            # A thousand programs that start together ask once.
            self._asking = asyncio.create_task(self._ask_identity())
        return await asyncio.shield(self._asking)

    async def _ask_identity(self) -> Answer:
        end = await self._shared.commands.ask(
            {"type": "api", "method": TRIAL, "arguments": {}}, _IDENTITY_WITHIN
        )
        if end.ok:
            self._identity, self._asked_at = _of_call(end), time.monotonic()
        return self._identity or _of_call(end)

    async def _call(self, program: Program, method: str, arguments: dict[str, Any]) -> Answer:
        if method == TRIAL:
            return await self.identity()
        if len(method) > 80 or _METHOD.fullmatch(method) is None:
            return error("unknown_method", "no method of Slack has this name")
        if method in _UPLOADS:
            message = "files can't go through RabbitMQ; upload them with a token of Slack"
            return error("file_uploads_not_supported", message)
        if method == POST and program.client.send:
            return await self._post(program, arguments)
        if method not in program.client.api_methods:
            return self._not_allowed(program, method)
        return await self._api(method, arguments)

    def _not_allowed(self, program: Program, method: str) -> Answer:
        table = f"[gateway.clients.{program.name}]"
        if method == POST:
            return error("not_allowed", f"{table} of the gateway has send = false")
        return error("not_allowed", f"add {method} to api_methods in {table} of the gateway")

    async def _post(self, program: Program, arguments: dict[str, Any]) -> Answer:
        """Post a message: as a `message` where that command takes all of it."""
        given = {name: value for name, value in arguments.items() if value is not None}
        # Bolt names the workspace in each call, and the pump has one.
        given.pop("team_id", None)
        known = {*_MESSAGE, *(POST_ARGUMENTS if self._is_socket_mode else ())}
        if not self._is_socket_mode and given.get("as_user"):
            # Over RTM it is the bot's user that writes.
            del given["as_user"]
        if not given.keys() <= known:
            return await self._api(POST, arguments)
        if "channel" not in given:
            return error("channel_not_found", "the argument channel is missing")
        if not any(given.get(name) for name in ("text", *_OF_JSON, "markdown_text")):
            return error("no_text", "there is neither text nor blocks")
        fields = {name: _typed(name, value) for name, value in given.items() if value != ""}
        if not fields.get("thread_ts"):
            fields.pop("reply_broadcast", None)
        return _of_message(await self._ask({"type": "message", **fields}, EXPIRES_AFTER), fields)

    async def _api(self, method: str, arguments: dict[str, Any]) -> Answer:
        expires = EXPIRES_AFTER
        trigger = arguments.get("trigger_id")
        if method.startswith(_WITH_TRIGGER) and isinstance(trigger, str) and trigger:
            expires = self._shared.triggers.left(trigger)
            if expires <= 0:
                return _expired()
        end = await self._ask({"type": "api", "method": method, "arguments": arguments}, expires)
        is_unsent = end.code in _NOT_SENT and not end.fields.get("uncertain")
        if expires < EXPIRES_AFTER and is_unsent:
            return _expired()
        return _of_call(end)

    async def _ask(self, fields: dict[str, Any], expires: float) -> CommandEnd:
        size = len(json.dumps(fields))
        if size > BODY_MAX:
            return failed("too_long", f"the call has {size:,} bytes; send at most {BODY_MAX:,}")
        return await self._shared.commands.ask(fields, expires)


def error(code: str, message: str) -> Answer:
    """Return an error as Slack words it, with words of ours beside it."""
    return {"ok": False, "error": code, "message": message}


def _expired() -> Answer:
    return error("expired_trigger_id", "Slack takes a trigger_id for three seconds")


def _typed(name: str, value: Any) -> Any:
    """Return an argument of a form with the type that the command has for it."""
    if not isinstance(value, str):
        return value
    if name in _FLAGS:
        return _WORDS.get(value.lower(), value)
    if name in _OF_JSON:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _of_message(end: CommandEnd, fields: dict[str, Any]) -> Answer:
    if not end.ok or "response" in end.fields:
        return _of_call(end)
    message = {"type": "message", "text": fields.get("text", ""), "ts": end.fields.get("ts")}
    if "thread_ts" in fields:
        message["thread_ts"] = fields["thread_ts"]
    return {
        "ok": True,
        "channel": end.fields.get("channel"),
        "ts": end.fields.get("ts"),
        "message": message,
    }


def _of_call(end: CommandEnd) -> Answer:
    if end.ok:
        response = end.fields.get("response")
        answer = dict(response) if isinstance(response, dict) else {"ok": True}
        if left_out := end.fields.get("left_out"):
            answer["left_out"] = left_out
        return answer
    if end.code == "invalid_command" and "outbound.api_methods" in end.message:
        return error("not_allowed", f"the pump's list lacks it: {end.message}")
    return error(end.code, end.message)
