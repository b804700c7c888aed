"""Drops bodies that are too large while they arrive, so that no message costs much memory.

RabbitMQ sends a body in frames of at most 128 KiB, and names its whole size before them. pika
collects the frames; here those of a body that nobody wants are thrown away one by one.
"""

from __future__ import annotations

from typing import Any

from pika import frame
from pika.channel import Channel, ContentFrameAssembler


class DroppedBody(bytes):
    """The empty body of a message whose body was dropped; `size` bytes came."""

    size: int


class BoundedAssembler(ContentFrameAssembler):
    """Is pika's, but gives a `DroppedBody` for each body of more than `most` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._dropping: DroppedBody | None = None
        self._left = 0
        self._message: Any = None

    def process(self, frame_value: Any) -> Any:
        """Take a frame; return a message with its last one, else None."""
        if isinstance(frame_value, frame.Header) and frame_value.body_size > self._most:
            self._begin(frame_value)
            return None
        if self._dropping is None or not isinstance(frame_value, frame.Body):
            return super().process(frame_value)
        self._left -= len(frame_value.fragment)
        if self._left > 0:
            return None
        dropped, self._dropping = self._dropping, None
        method, header, _ = self._message
        return method, header, dropped

    def _begin(self, header: frame.Header) -> None:
        """Have pika make the message at once, as one without a body, and keep it for the end."""
        self._dropping = DroppedBody()
        self._dropping.size = self._left = header.body_size
        header.body_size = 0
        self._message = super().process(header)


def drop_large_bodies(channel: Channel, most: int) -> None:
    """Have the channel drop each body of more than `most` bytes from now on."""
    # Private to pika, and not in its types; tests check that it is still there.
    channel._content_assembler = BoundedAssembler(most)  # type: ignore[attr-defined]
