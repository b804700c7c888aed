"""Many events in one write: the one place that knows what pika keeps to itself.

Laws:

- The broker can't tell the difference: `EventFrames` writes what pika would write, and what it
  leaves to pika is written by pika, in its place among the others.
- Used are `Connection._output_marshaled_frames`, and that `basic_publish` on a channel in confirm
  mode does nothing but write. `tests/links/test_fast_publish.py` fails when that changes.
- Each channel is tried first, without a byte written. Fails that, then pika publishes one by one:
  slower, and the same for everybody else.
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
# pika copies what is left of a block after each send, and TLS sends 16 KiB at a time.
_BLOCK: Final = 64 << 10
_SAMPLES: Final = tuple(
    Route("message.bot_message", "message", "m:T:C:1.2:x", 1_700_000_000_123, seq, "T", "U", *words)
    for seq in (1, 2**40)
    for words in (("", ""), ("Ü1", "U2"))
)

_log = log.get("publisher")


class FastPublish:
    """Publishes events to one exchange on one open channel."""

    def __init__(self, channel: Channel, exchange: str, mandatory: bool) -> None:
        self._channel = channel
        self._exchange = exchange
        self._mandatory = mandatory
        # The types of pika's stubs leave out what is private.
        self._connection: Any = channel.connection
        self._frames = EventFrames(
            channel.channel_number, channel.connection.params.frame_max, exchange, mandatory
        )
        self.is_fast = self._try()

    def publish(self, events: Iterable[tuple[Route, bytes]]) -> None:
        """Publish all in order; each one's delivery tag is one higher than that of the one before.

        Raises what `basic_publish` raises for a channel that is closed.
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
                size += len(body)
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
        self._channel.basic_publish(
            self._exchange, name.routing_key, body, event_properties(name), self._mandatory
        )

    def _try(self) -> bool:
        """Whether this pika writes what we would write, and has what we use."""
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
