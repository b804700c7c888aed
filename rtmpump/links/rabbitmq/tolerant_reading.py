"""Reads frames that pika can't read: no message may end the connection again and again.

A producer can put anything into headers, and RabbitMQ passes on what pika can't read: a time past
the year 9999, or lists nested a thousand deep. pika then ends the connection, the message is
delivered again, and so on for ever. Here such headers are dropped; the rest of the message stays as
it is. Headers that pika can just read are dropped too if they are nested deep: it could not write
them into a dead letter, where it has more callers.

Other headers are kept as they came, and decoded at each reading: as objects of Python small ones
take thirty times as much memory, and a thousand commands may wait with them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pika import data as amqp_data
from pika import exceptions as amqp
from pika import frame, spec
from pika.adapters.select_connection import SelectConnection

_BEFORE_PROPERTIES: Final = 12
_LENGTH: Final = 4
_DEPTH_MAX: Final = 100
# A list in a list takes five bytes, a table six. Hardly a message has so many bytes of headers.
_DEEP_BYTES_MIN: Final = 5 * _DEPTH_MAX
_MORE_FLAGS: Final = 1
_TEXTS_BEFORE: Final = (
    spec.BasicProperties.FLAG_CONTENT_TYPE,
    spec.BasicProperties.FLAG_CONTENT_ENCODING,
)


class TolerantConnection(SelectConnection):
    """Is pika's connection, but also takes messages with headers that pika can't read.

    It can also end without a cancel of its consumers.
    """

    # Private to pika, and not in its types; tests check that all of it is still there.
    _frame_buffer: bytes
    _error: BaseException
    _set_connection_state: Callable[[int], None]
    _on_close_ready: Callable[[], None]

    def end(self) -> None:
        """Close the connection in good order, but cancel no consumer, unlike pika's `close`.

        After a cancel RabbitMQ gives the next consumer what waits in the queue at once, past all
        that ours holds unacknowledged. This way it puts everything back first, in its order.
        """
        self._error = amqp.ConnectionClosedByClient(200, "Normal shutdown")
        self._set_connection_state(self.CONNECTION_CLOSING)
        self._on_close_ready()

    def _read_frame(self) -> Any:
        try:
            read = frame.decode_frame(self._frame_buffer)
        except Exception:
            bare = without_headers(self._frame_buffer)
            if bare is None:
                raise
            return bare
        if isinstance(read[1], frame.Header) and read[1].properties.headers is not None:
            properties, table = read[1].properties, _table(self._frame_buffer)
            if len(table) >= _DEEP_BYTES_MIN and _is_deep(properties.headers):
                table = b""
            read[1].properties = _compact(properties, table)
        return read


class CompactProperties(spec.BasicProperties):
    """Properties whose headers are decoded at each reading; `table` has them as they came."""

    table: bytes

    @property
    def headers(self) -> dict[str, Any] | None:  # type: ignore[override]
        """The headers; None if there are none."""
        if not self.table:
            return None
        decoded: dict[Any, Any] = amqp_data.decode_table(self.table, 0)[0]
        return decoded


def headers_size(properties: spec.BasicProperties) -> int:
    """Return how many bytes the headers of a message took on the wire."""
    return len(properties.table) if isinstance(properties, CompactProperties) else 0


def without_headers(data: bytes) -> tuple[int, frame.Header] | None:
    """Read the frame at the beginning of `data` without its `headers`.

    Returns:
        Its size in bytes and the frame; None if it is no content header frame with headers.
    """
    kind, channel, size = struct.unpack_from(">BHL", data)
    if kind != spec.FRAME_HEADER:
        return None
    body_size, flags = struct.unpack_from(">QH", data, spec.FRAME_HEADER_SIZE + 4)
    if not flags & spec.BasicProperties.FLAG_HEADERS or flags & _MORE_FLAGS:
        return None
    start = spec.FRAME_HEADER_SIZE + _BEFORE_PROPERTIES + 2
    at, after = _place_of_table(data, flags)
    end = spec.FRAME_HEADER_SIZE + size
    rest = struct.pack(">H", flags ^ spec.BasicProperties.FLAG_HEADERS)
    rest += data[start:at] + data[after:end]
    properties = spec.BasicProperties().decode(rest)
    return end + spec.FRAME_END_SIZE, frame.Header(channel, body_size, properties)


def _place_of_table(data: bytes, flags: int) -> tuple[int, int]:
    """Return where the headers begin and end in a content header frame that has some."""
    at = spec.FRAME_HEADER_SIZE + _BEFORE_PROPERTIES + 2
    for flag in _TEXTS_BEFORE:
        at += 1 + data[at] if flags & flag else 0
    return at, at + _LENGTH + int(struct.unpack_from(">L", data, at)[0])


def _table(data: bytes) -> bytes:
    """Return the headers of the content header frame at the beginning of `data`, as they came."""
    _, flags = struct.unpack_from(">QH", data, spec.FRAME_HEADER_SIZE + 4)
    begin, end = _place_of_table(data, flags)
    return data[begin:end]


def _compact(properties: spec.BasicProperties, table: bytes) -> CompactProperties:
    compact = CompactProperties.__new__(CompactProperties)
    compact.__dict__.update(vars(properties))
    del compact.__dict__["headers"]
    compact.table = table
    return compact


def _is_deep(headers: Mapping[str, Any] | None) -> bool:
    """Return whether tables and lists are nested more than `_DEPTH_MAX` deep."""
    level: list[Any] = [] if headers is None else [headers]
    for _ in range(_DEPTH_MAX):
        level = [inner for one in level for inner in _values(one) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _values(one: Any) -> Iterable[Any]:
    return one.values() if isinstance(one, dict) else one
