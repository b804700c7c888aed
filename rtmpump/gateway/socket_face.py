"""One WebSocket of Socket Mode: envelopes out, acknowledgements in.

Laws:

- A message is acknowledged to RabbitMQ when the program acknowledged its envelope, or gave no sign
  of it after the last attempt. Each connection consumes on a channel of its own, so its end gives
  back at once all that it holds.
- Any connection of the name may acknowledge an envelope: after a reconnect a program does so on its
  new one.
- A WebSocket lives through the end of the connection to RabbitMQ. What was acknowledged in the
  gap is not sent again when RabbitMQ delivers it once more.
- `hello` comes when the queue is bound: who has read it gets all events from then on. Where
  RabbitMQ refuses that it comes without it, and where RabbitMQ is away after five seconds: a
  program takes a long silence for a dead connection.
- A connection holds at most `PREFETCH` messages. A program that does not read is cut off.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from aiohttp import WSMsgType, web

from rtmpump import log
from rtmpump.core.envelopes import is_object
from rtmpump.errors import LinkError
from rtmpump.gateway.envelopes import OutgoingEnvelope, is_for_programs, rebuilt
from rtmpump.gateway.frame_writer import FrameWriter
from rtmpump.gateway.programs import EnvelopeHolder, Program
from rtmpump.gateway.shared import Shared, watch
from rtmpump.links.answers import ANSWER_MAX
from rtmpump.links.rabbitmq.listener import Delivery, Properties
from rtmpump.links.rabbitmq.loop_connection import LoopChannel
from rtmpump.links.retry import AttemptPauses
from rtmpump.slack_side import frames, socket_mode

PREFETCH: Final = 100
"""How many messages one connection holds."""
ACK_WITHIN: float = socket_mode.ACK_SECONDS
"""How long Slack waits for an acknowledgement (seconds); then the pause begins."""
RETRY_AFTER: tuple[float, ...] = (1.0, 60.0, 300.0)
"""How long it waits then before it sends an envelope again (seconds): "nearly immediately", a
minute, five minutes (https://docs.slack.dev/apis/events-api/#retries)."""
HOST: Final = "rtmpump"
"""How programs know us in `debug_info`."""

_BOUND_WITHIN: Final = 5.0

_log = log.get("gateway")


class _Held:
    """A message that was sent to a program, until it is acknowledged."""

    def __init__(self, envelope: OutgoingEnvelope, delivery: Delivery, key: str) -> None:
        self.envelope = envelope
        self.delivery = delivery
        self.key = key
        self.attempt = 0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def message_id(self) -> str:
        return str(self.delivery.properties.message_id or "")


class EnvelopeSocket:
    """One connection; `serve` returns when it is over."""

    def __init__(self, shared: Shared, program: Program, socket: web.WebSocketResponse) -> None:
        self._shared = shared
        self._program = program
        self._socket = socket
        self._outgoing: asyncio.Queue[tuple[EnvelopeHolder, str, str]] = asyncio.Queue()
        self._held: dict[str, _Held] = {}
        self._channel: LoopChannel | None = None
        self._consumer = ""
        self._greeted = asyncio.Event()
        self._stopping = False
        self._sent = shared.counts.envelopes.labels(program.name, "sent")
        self._acknowledged = shared.counts.envelopes.labels(program.name, "acknowledged")

    @property
    def holds(self) -> int:
        """How many messages it holds."""
        return len(self._held)

    def is_held(self, id: str) -> bool:
        """Return whether it holds an envelope."""
        return id in self._held

    def send_for(self, holder: EnvelopeHolder, id: str, frame: str) -> None:
        """Send an envelope that `holder` holds, unless it is acknowledged first."""
        self._outgoing.put_nowait((holder, id, frame))

    async def serve(self, cut: Callable[[], None]) -> None:
        """Serve until the connection is over; `cut` ends it at once."""
        self._program.sockets.append(self)
        gauge = self._shared.counts.connections.labels(self._program.name, "socket")
        gauge.inc()
        writer = FrameWriter(self._socket, cut, partial(self._refuse, "reads_nothing"))
        tasks = [
            watch(asyncio.create_task(self._consume()), cut),
            watch(asyncio.create_task(self._write(writer)), cut),
        ]
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    self._take(message.data)
                else:
                    self._refuse("no_text")
        except ConnectionError:
            pass
        finally:
            gauge.dec()
            writer.close()
            self._program.sockets.remove(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._let_go(is_over=True)
            self._shared.troubles.end(self)

    async def disconnect(self, reason: str) -> None:
        """Tell the program that this connection ends soon; no more messages come on it."""
        self._stopping = True
        if self._channel is not None and self._consumer:
            self._channel.stop_consuming(self._consumer)
            self._consumer = ""
        frame = socket_mode.disconnect(reason, host=HOST)
        with suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self._socket.send_str(frame.decode()), 1.0)

    async def close(self) -> None:
        """Close the WebSocket."""
        with suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self._socket.close(), 1.0)

    async def _greet(self) -> None:
        with suppress(LinkError, TimeoutError):
            async with asyncio.timeout(_BOUND_WITHIN):
                connection = await self._shared.broker.connection()
                await self._shared.queues.ensure(connection, self._program.client)
        hello = socket_mode.hello(len(self._program.sockets), host=HOST, app="")
        with suppress(ConnectionError):
            await self._socket.send_str(hello.decode())
        self._greeted.set()

    # From RabbitMQ to the program.

    async def _consume(self) -> None:
        await self._greet()
        pauses = AttemptPauses(self._shared.config.retry)
        client = self._program.client
        while not self._stopping:
            connection = await self._shared.broker.connection()
            try:
                await self._shared.queues.ensure(connection, client)
                self._channel = channel = await connection.channel()
                self._consumer = await channel.consume(client.queue_name, PREFETCH, self._arrived)
                self._shared.troubles.end(self)
                if self._stopping:
                    channel.stop_consuming(self._consumer)
                error = await asyncio.shield(channel.ended)
            except LinkError as refused:
                error = refused
            self._let_go(is_over=False)
            if connection.ended.done():
                continue
            wait = pauses.after(error)
            problem = error.problem
            self._shared.troubles.begin(self, f"no events for {client.name}: {problem}")
            _log.warning(
                "gateway.no_events", client=client.name, problem=problem, retry_in=round(wait, 3)
            )
            await asyncio.sleep(wait)

    def _arrived(self, key: str, delivery: Delivery) -> None:
        id = str(delivery.properties.message_id or "")
        is_repeat = delivery.redelivered and id and id in self._program.settled
        # What went through a queue has the routing key of its event as its type.
        key = str(delivery.properties.type or key)
        headers = delivery.properties.headers or {}
        envelope = None
        if is_for_programs(key) and not is_repeat:
            is_asked = bool(delivery.properties.reply_to)
            envelope = rebuilt(key, delivery.body, headers, id, is_asked=is_asked)
        if envelope is None:
            if self._channel is not None:
                self._channel.ack(delivery.tag)
            return
        self._shared.triggers.saw(key, delivery.body, headers)
        frame = envelope.frame()
        held = self._held[envelope.id] = _Held(envelope, delivery, key)
        self._program.holders[envelope.id] = self
        self._outgoing.put_nowait((self, envelope.id, frame))
        self._sent.inc()
        self._set_timer(held)
        if len(self._held) >= PREFETCH:
            fix = f"narrow events in [gateway.clients.{self._program.name}] to what it listens to"
            self._shared.counts.told("gateway.full", self._program.name, fix=fix)

    async def _write(self, writer: FrameWriter) -> None:
        """Send what waits."""
        await self._greeted.wait()
        with suppress(ConnectionError):
            while True:
                holder, id, frame = await self._outgoing.get()
                if holder.is_held(id):
                    await writer.send(frame)

    def _set_timer(self, held: _Held) -> None:
        loop = asyncio.get_running_loop()
        is_last = held.attempt >= len(RETRY_AFTER)
        pause = 0.0 if is_last else RETRY_AFTER[held.attempt]
        held.timer = loop.call_later(
            ACK_WITHIN + pause, self._give_up if is_last else self._send_again, held
        )

    def _send_again(self, held: _Held) -> None:
        held.attempt += 1
        frame = held.envelope.frame(held.attempt)
        self._program.other(self).send_for(self, held.envelope.id, frame)
        self._shared.counts.envelopes.labels(self._program.name, "again").inc()
        self._set_timer(held)

    def _give_up(self, held: _Held) -> None:
        self._shared.counts.envelopes.labels(self._program.name, "unanswered").inc()
        fix = "have a listener for it, or leave it out of the client's events"
        self._shared.counts.told("gateway.unanswered", self._program.name, key=held.key, fix=fix)
        self._settle(held)

    # From the program to RabbitMQ.

    def _take(self, text: str) -> None:
        frame = frames.read(text)
        if frame is None:
            self._refuse("no_json")
            return
        id = frame.get("envelope_id")
        if not isinstance(id, str):
            self._refuse("no_acknowledgement")
            return
        holder = self._program.holders.get(id)
        if holder is not None:
            holder.acknowledged(id, frame.get("payload"))
        elif not self._program.acknowledged_late(id):
            self._refuse("unknown_envelope")

    def acknowledged(self, id: str, payload: object) -> None:
        """Take the acknowledgement of an envelope that it holds."""
        held = self._held[id]
        self._acknowledged.inc()
        self._answer(held, payload)
        self._settle(held)

    def _answer(self, held: _Held, payload: object) -> None:
        """Give the pump the payload of an acknowledgement, or none (contract §4a)."""
        properties = held.delivery.properties
        to = str(properties.reply_to or "")
        if not to or to.startswith("amq."):
            return
        body = b"" if payload is None or payload == {} else json.dumps(payload).encode()
        if body and (len(body) > ANSWER_MAX or not is_object(body)):
            self._refuse("no_answer")
            body = b""
        answer = Properties(correlation_id=properties.correlation_id, app_id="rtmpump")
        self._shared.commands.answer(to, body, answer)

    def _settle(self, held: _Held) -> None:
        self._forget(held)
        if held.message_id:
            # RabbitMQ keeps back acks for a quorum queue, and the end of a channel may lose them.
            self._program.settled.add([held.message_id])
        if self._channel is not None:
            self._channel.ack(held.delivery.tag)

    def _forget(self, held: _Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
        self._held.pop(held.envelope.id, None)
        self._program.holders.pop(held.envelope.id, None)

    def _let_go(self, *, is_over: bool) -> None:
        """Take all that it holds as given back: its channel is over, or is closed now."""
        back = list(self._held.values())
        for held in back:
            self._forget(held)
            self._program.lose(held.envelope.id, held.message_id)
        if back:
            self._shared.counts.envelopes.labels(self._program.name, "given_back").inc(len(back))
        if self._channel is not None:
            self._channel.close()
        self._channel, self._consumer = None, ""
        if is_over:
            self._stopping = True

    def _refuse(self, reason: str) -> None:
        self._shared.counts.refuse(self._program.name, reason)
