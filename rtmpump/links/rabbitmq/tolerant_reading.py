"""Reading frames of the broker that pika can't: one message must never end a connection for ever.

Headers are whatever a producer put there, and RabbitMQ passes on what pika does not read: a time
past the year 9999, lists in lists a thousand deep. pika ends the connection then, the message is
delivered again, and so on. Here such headers are read as none: nobody needs them, and all else of
the message is as it was.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from pika import frame, spec
from pika.adapters.select_connection import SelectConnection

_BEFORE_PROPERTIES: Final = 12
_LENGTH: Final = 4
_MORE_FLAGS: Final = 1
_TEXTS_BEFORE: Final = (
    spec.BasicProperties.FLAG_CONTENT_TYPE,
    spec.BasicProperties.FLAG_CONTENT_ENCODING,
)


class TolerantConnection(SelectConnection):
    """pika's, but it also takes messages with headers that pika can't read."""

    # pika's own affair, which its types don't tell; a test holds that it is still there.
    _frame_buffer: bytes

    def _read_frame(self) -> Any:
        try:
            return frame.decode_frame(self._frame_buffer)
        except Exception:
            read = without_headers(self._frame_buffer)
            if read is None:
                raise
            return read


def without_headers(data: bytes) -> tuple[int, frame.Header] | None:
    """Read the whole frame that `data` begins with and leave out its `headers`.

    Gives its size and the frame; None where it is no content header frame that has any.
    """
    kind, channel, size = struct.unpack_from(">BHL", data)
    if kind != spec.FRAME_HEADER:
        return None
    body_size, flags = struct.unpack_from(">QH", data, spec.FRAME_HEADER_SIZE + 4)
    if not flags & spec.BasicProperties.FLAG_HEADERS or flags & _MORE_FLAGS:
        return None
    start = spec.FRAME_HEADER_SIZE + _BEFORE_PROPERTIES + 2
    at = start
    for flag in _TEXTS_BEFORE:
        at += 1 + data[at] if flags & flag else 0
    after = at + _LENGTH + struct.unpack_from(">L", data, at)[0]
    end = spec.FRAME_HEADER_SIZE + size
    rest = struct.pack(">H", flags ^ spec.BasicProperties.FLAG_HEADERS)
    rest += data[start:at] + data[after:end]
    properties = spec.BasicProperties().decode(rest)
    return end + spec.FRAME_END_SIZE, frame.Header(channel, body_size, properties)
