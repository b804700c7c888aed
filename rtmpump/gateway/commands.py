"""GatewayCommands from the gateway to the pump, and their results; answers to the pump's questions.

Laws:

- A command that a program waits for ends with its wait: it has an `expiration`, so what was said
  to have failed is not carried out later.
- The results come to this connection alone. Where it ends, each command that waits is uncertain.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import suppress
from typing import Any, Final, NamedTuple

from rtmpump import log
from rtmpump.errors import LinkError
from rtmpump.gateway.broker import BrokerLink
from rtmpump.gateway.troubles import Troubles
from rtmpump.links.rabbitmq.connection import REPLIES
from rtmpump.links.rabbitmq.listener import Delivery, Properties
from rtmpump.links.rabbitmq.loop_connection import LoopChannel

EXPIRES_AFTER: Final = 25.0
"""How long a command of a program may wait for its turn; its HTTP call waits half a minute."""
_RESULT_AFTER: Final = 12.0
_CONFIRM_WITHIN: Final = 10.0
_CHANNEL_WITHIN: Final = 3.0

_log = log.get("gateway")


class CommandEnd(NamedTuple):
    """The result of a command as the pump wrote it (contract §5), or made of what went wrong."""

    ok: bool
    fields: dict[str, Any]

    @property
    def code(self) -> str:
        """The code of the error, without `slack_` before Slack's own."""
        return str(self._error.get("code", "")).removeprefix("slack_")

    @property
    def message(self) -> str:
        """The error in words."""
        return str(self._error.get("message", ""))

    @property
    def _error(self) -> dict[str, Any]:
        error = self.fields.get("error")
        return error if isinstance(error, dict) else {}


def failed(code: str, message: str) -> CommandEnd:
    """Return the end of a command that has no result."""
    return CommandEnd(False, {"ok": False, "error": {"code": code, "message": message}})


class GatewayCommands:
    """Publishes on one channel, which `run` keeps open."""

    def __init__(self, queue: str, broker: BrokerLink, troubles: Troubles) -> None:
        self._queue = queue
        self._broker = broker
        self._troubles = troubles
        self._channel: LoopChannel | None = None
        self._opened = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[CommandEnd]] = {}

    async def run(self) -> None:
        """Keep a channel, until this is cancelled."""
        while True:
            connection = await self._broker.connection()
            try:
                channel = await connection.channel()
                await channel.expect_replies(self._replied)
                self._channel = channel
                self._opened.set()
                self._troubles.end(self)
                error = await asyncio.shield(channel.ended)
            except LinkError as refused:
                error = refused
            self._channel = None
            self._opened.clear()
            self._lose_all(error)
            if not connection.ended.done():
                problem = error.problem
                self._troubles.begin(self, f"no channel for commands: {problem}")
                _log.warning("gateway.no_commands", problem=problem)
                await asyncio.sleep(1.0)

    async def ask(self, fields: dict[str, Any], expires: float | None) -> CommandEnd:
        """Have the pump carry out a command, and return how it ended.

        `expires` is for how many seconds it may wait for its turn; None for as long as it takes.
        """
        channel = await self._open_channel()
        if channel is None:
            return failed("service_unavailable", "the gateway has no connection to RabbitMQ")
        correlation = secrets.token_hex(16)
        future: asyncio.Future[CommandEnd] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = future
        properties = Properties(
            content_type="application/json",
            delivery_mode=2,
            message_id=correlation,
            correlation_id=correlation,
            reply_to=REPLIES,
            timestamp=int(time.time()),
            expiration=None if expires is None else str(max(1, round(expires * 1000))),
            app_id="rtmpump",
        )
        try:
            published = channel.publish(self._queue, json.dumps(fields).encode(), properties)
            outcome = await asyncio.wait_for(published, _CONFIRM_WITHIN)
            if outcome != "taken":
                problem = f"there is no queue {self._queue}; start the pump once"
                if outcome == "refused":
                    problem = f"the queue {self._queue} takes no more"
                return failed("service_unavailable", problem)
            return await asyncio.wait_for(
                future, None if expires is None else expires + _RESULT_AFTER
            )
        except TimeoutError:
            return failed("request_timeout", "no pump answered in time")
        except LinkError as error:
            problem = error.problem
            return failed("uncertain", f"the connection to RabbitMQ ended: {problem}")
        finally:
            self._waiting.pop(correlation, None)

    async def _open_channel(self) -> LoopChannel | None:
        """Return the channel; it may come in a moment, as after a start."""
        if self._channel is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._opened.wait(), _CHANNEL_WITHIN)
        return self._channel

    def answer(self, to: str, body: bytes, properties: Properties) -> None:
        """Publish an answer to the pump's question."""
        if self._channel is not None:
            self._channel.send(to, body, properties)

    def _replied(self, _key: str, delivery: Delivery) -> None:
        future = self._waiting.get(str(delivery.properties.correlation_id or ""))
        if future is None or future.done():
            return
        try:
            fields = json.loads(delivery.body)
        except (ValueError, RecursionError):
            return
        if isinstance(fields, dict):
            future.set_result(CommandEnd(fields.get("ok") is True, fields))

    def _lose_all(self, error: LinkError) -> None:
        problem = f"the connection to RabbitMQ ended: {error.problem}"
        for future in self._waiting.values():
            if not future.done():
                future.set_result(failed("uncertain", problem))
