"""One WebSocket of RTM: events out, messages in, their replies out.

Laws:

- Each connection has a queue of its own, which ends with it. Where the connection to RabbitMQ ends,
  the program is told `goodbye`, as by Slack: it would miss events without a word.
- A message is acknowledged to RabbitMQ when it was written to the program. Who reads nothing, or
  asks without reading, is cut off.
- What RTM answers, and in which words, stands in `rtmpump.slack_side.rtm`; which events it has, in
  `rtmpump.client.rtm_shapes`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from aiohttp import WSMsgType, web

from rtmpump.client.rtm_shapes import RtmShapes, command, reply
from rtmpump.errors import LinkError
from rtmpump.gateway.frame_writer import FrameWriter
from rtmpump.gateway.programs import Program
from rtmpump.gateway.shared import Shared, watch
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.links.rabbitmq.loop_connection import LoopChannel
from rtmpump.slack_side import frames, rtm

_PREFETCH: Final = 100
_KEPT: Final = 10_000
_OUTGOING_MAX: Final = 2_000
_UNDER_WAY_MAX: Final = 500
_BROKER_WITHIN: Final = 5.0
_MESSAGE: Final = "message"
_OF_RTM_ALONE: Final = ("typing", "presence_sub", "presence_query")


class _Received(NamedTuple):
    """An event, as `rtm_shapes` takes it."""

    type: str
    headers: Mapping[str, Any]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RtmSocket:
    """One connection; `serve` returns when it is over."""

    def __init__(self, shared: Shared, program: Program, socket: web.WebSocketResponse) -> None:
        self._shared = shared
        self._program = program
        self._socket = socket
        self._shapes = RtmShapes()
        self._outgoing: asyncio.Queue[tuple[str, int | None]] = asyncio.Queue()
        self._under_way: set[asyncio.Task[None]] = set()
        self._channel: LoopChannel | None = None

    @property
    def holds(self) -> int:
        """How many of its messages wait for their replies."""
        return len(self._under_way)

    async def serve(self, cut: Callable[[], None]) -> None:
        """Serve until the connection is over; `cut` ends it at once."""
        self._program.rtm.append(self)
        gauge = self._shared.counts.connections.labels(self._program.name, "rtm")
        gauge.inc()
        writer = FrameWriter(self._socket, cut, partial(self._refuse, "reads_nothing"))
        tasks: list[asyncio.Task[None]] = []
        try:
            # Before the first event, which comes while `_begin` has not returned yet.
            self._send(rtm.hello("rtmpump"))
            channel = await self._begin()
            tasks += [
                watch(asyncio.create_task(self._write(writer)), cut),
                watch(asyncio.create_task(self._leave_with(channel)), cut),
            ]
            async for message in self._socket:
                self._take(message, cut)
        except (LinkError, TimeoutError):
            await self.disconnect("")
        except ConnectionError:
            pass
        finally:
            gauge.dec()
            writer.close()
            self._program.rtm.remove(self)
            # What was sent is on its way; there is nobody to tell how it ended.
            for task in (*tasks, *self._under_way):
                task.cancel()
            await asyncio.gather(*tasks, *self._under_way, return_exceptions=True)
            if self._channel is not None:
                self._channel.close()

    async def disconnect(self, reason: str) -> None:
        """Say goodbye, which has no reason over RTM."""
        if not self._socket.closed:
            with suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(self._socket.send_json(rtm.GOODBYE), 1.0)

    async def close(self) -> None:
        """Close the WebSocket."""
        with suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self._socket.close(), 1.0)

    # From RabbitMQ to the program.

    async def _begin(self) -> LoopChannel:
        """Have a queue with the events from now on."""
        async with asyncio.timeout(_BROKER_WITHIN):
            connection = await self._shared.broker.connection()
            await self._shared.queues.have_exchange(connection)
            self._channel = channel = await connection.channel()
            queue = f"rtm.gateway.{self._program.name}.{secrets.token_hex(8)}"
            await channel.declare_queue(queue, {"x-max-length": _KEPT}, exclusive=True)
            for pattern in self._program.client.events:
                await channel.bind(queue, self._shared.queues.exchange, pattern)
            await channel.consume(queue, _PREFETCH, self._arrived)
            return channel

    async def _leave_with(self, channel: LoopChannel) -> None:
        await asyncio.shield(channel.ended)
        await self.disconnect("")
        await self.close()

    def _arrived(self, key: str, delivery: Delivery) -> None:
        type = str(delivery.properties.type or key).partition(".")[0]
        headers = delivery.properties.headers or {}
        frame = self._shapes.frame(_Received(type, headers, delivery.body))
        if frame is not None:
            self._outgoing.put_nowait((json.dumps(frame), delivery.tag))
        elif self._channel is not None:
            self._channel.ack(delivery.tag)

    async def _write(self, writer: FrameWriter) -> None:
        with suppress(ConnectionError):
            while True:
                text, tag = await self._outgoing.get()
                await writer.send(text)
                if tag is not None and self._channel is not None:
                    self._channel.ack(tag)

    def _send(self, frame: dict[str, Any]) -> None:
        self._outgoing.put_nowait((json.dumps(frame), None))

    # From the program to RabbitMQ.

    def _take(self, message: Any, cut: Callable[[], None]) -> None:
        if self._outgoing.qsize() > _OUTGOING_MAX:
            self._refuse("reads_nothing")
            cut()
            return
        frame = frames.read(message.data) if message.type is WSMsgType.TEXT else None
        if frame is None:
            self._refuse("no_json")
            self._send(rtm.error_event(*rtm.CANNOT_PROCESS))
            return
        kind = frame.get("type")
        if kind == "ping":
            self._send(rtm.pong(frame))
        elif kind == _MESSAGE:
            self._post(frame)
        elif kind in _OF_RTM_ALONE:
            self._pass_on(frame)
        else:
            self._send(rtm.refusal(frame, *rtm.CANNOT_PROCESS))

    def _post(self, frame: dict[str, Any]) -> None:
        if not self._program.client.send:
            name = self._program.name
            told = f"not_allowed: [gateway.clients.{name}] of the gateway has send = false"
            self._send(rtm.refusal(frame, 4, told))
        elif problem := rtm.text_problem(frame):
            self._send(rtm.refusal(frame, *problem))
        elif len(self._under_way) >= _UNDER_WAY_MAX:
            self._send(rtm.refusal(frame, *rtm.TOO_FAST))
        else:
            self._begin_command(frame)

    def _pass_on(self, frame: dict[str, Any]) -> None:
        """Carry out what RTM has without a reply; where the pump has no RTM, nothing does it."""
        may = self._program.client.send or frame["type"] != "typing"
        is_rtm = self._shared.config.slack.mode == "rtm"
        if may and is_rtm and len(self._under_way) < _UNDER_WAY_MAX:
            self._begin_command(frame)

    def _begin_command(self, frame: dict[str, Any]) -> None:
        task = asyncio.create_task(self._carry_out(frame))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _carry_out(self, frame: dict[str, Any]) -> None:
        fields = command(frame)
        if fields is None:
            return
        end = await self._shared.commands.ask(fields, None)
        answer = reply(frame, end.fields)
        if answer is not None:
            self._send(answer)

    def _refuse(self, reason: str) -> None:
        self._shared.counts.refuse(self._program.name, reason)
