"""Publishes many events in one write; the only file that uses private parts of pika.

Laws:

- The broker sees no difference. `EventFrames` writes the bytes that pika would write; an event that
  it leaves to pika is written by pika, at its place among the others.
- Two things of pika are used: `Connection._output_marshaled_frames`, and that `basic_publish` on a
  channel in confirm mode only writes. `tests/links/rabbitmq/test_batch_publish.py` fails when that
  changes.
- Each channel is checked first, without writing a byte. If the check fails, pika publishes the
  events one by one: slower, but with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pika import frame, spec
from pika.channel import Channel

from rtmpump import log
from rtmpump.core.routes import Route
from rtmpump.links.rabbitmq.event_frames import EventFrames
from rtmpump.links.rabbitmq.event_properties import event_properties

_FRAMES: Final = 3  # method, header, body
# pika copies the rest of a block after each send, and TLS sends 16 KiB at a time.
_BLOCK: Final = 64 << 10
_FACTS: Final = {"event_id": "Ev1", "event_time": 1_700_000_000, "answer_by": 2**41, "x": True}
_MESSAGE: Final = ("message.bot_message", "message", "m:T:C:1.2:x", 1_700_000_000_123)
_SAMPLES: Final = tuple(
    Route(*_MESSAGE, seq, "T", "U", *words, facts, reply_to=reply_to, correlation_id=reply_to)
    for seq in (1, 2**40)
    for words in (("", ""), ("Ü1", "U2"))
    for facts, reply_to in ((None, ""), (_FACTS, ""), (_FACTS, "rtm.answers.1"))
)

_log = log.get("publisher")


class BatchPublisher:
    """Publishes events to one exchange on one open channel."""

    def __init__(self, channel: Channel, exchange: str, mandatory: bool) -> None:
        self._channel = channel
        self._exchange = exchange
        self._mandatory = mandatory
        # The stubs of pika have no types for private members.
        self._connection: Any = channel.connection
        self._frame_max: int = channel.connection.params.frame_max
        self._frames = EventFrames(channel.channel_number, self._frame_max, exchange, mandatory)
        self.is_fast = self._try()

    def publish(self, events: Iterable[tuple[Route, bytes]]) -> None:
        """Publish all in order; each delivery tag is one higher than the one before.

        Raises what `basic_publish` raises for a closed channel.
        """
        if not (self.is_fast and self._channel.is_open):
            for name, body in events:
                self._publish_one(name, body)
            return
        pieces: list[bytes] = []
        count = size = 0
        for name, body in events:
            made = self._frames.pieces(name, body)
            if made is not None:
                pieces += made
                count += 1
                # Headers of Socket Mode may be larger than the body.
                size += sum(map(len, made)) if name.facts else len(body)
            if made is None or size > _BLOCK:
                self._write(pieces, count)
                pieces, count, size = [], 0, 0
            if made is None:
                self._publish_one(name, body)
        self._write(pieces, count)

    def _write(self, pieces: list[bytes], count: int) -> None:
        if pieces:
            self._connection._output_marshaled_frames([b"".join(pieces)])
            self._connection.frames_sent += _FRAMES * count - 1

    def _publish_one(self, name: Route, body: bytes) -> None:
        properties = event_properties(name, self._frame_max)
        self._channel.basic_publish(
            self._exchange, name.routing_key, body, properties, self._mandatory
        )

    def _try(self) -> bool:
        """Return whether this pika writes our bytes, and has the private parts that we use."""
        try:
            for name in _SAMPLES:
                made = self._frames.pieces(name, b"{}")
                if made is None or b"".join(made) != self._by_pika(name, b"{}"):
                    raise ValueError("pika writes an event in another way")
            if not callable(self._connection._output_marshaled_frames):
                raise TypeError("pika's _output_marshaled_frames is no method")
            self._connection.frames_sent += 0
        except Exception as problem:
            fix = "use the pika that constraints.txt names"
            _log.warning("publish.slow", problem=str(problem), fix=fix)
            return False
        return True

    def _by_pika(self, name: Route, body: bytes) -> bytes:
        number, key = self._channel.channel_number, name.routing_key
        publish = spec.Basic.Publish(
            exchange=self._exchange, routing_key=key, mandatory=self._mandatory
        )
        frames = (
            frame.Method(number, publish),
            frame.Header(number, len(body), event_properties(name)),
            frame.Body(number, body),
        )
        return b"".join(one.marshal() for one in frames)
