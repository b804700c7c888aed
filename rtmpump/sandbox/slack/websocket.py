"""The server's side of RFC 6455 frames: bytes in, messages out, and the other way round.

It is our own code because a sandbox must be able to break rules, and because a library for servers
would be a dependency only for tests. It knows no socket and no thread. Extensions are never
negotiated, so every reserved bit is an error.
"""

from __future__ import annotations

import base64
import hashlib
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FIN = 0x80
_MASKED = 0x80
_CONTROL = 0x08
_SHORT, _MEDIUM, _LONG = 125, 126, 127
_NO_STATUS = 1005


class Opcode(IntEnum):
    """RFC 6455 §5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class ProtocolError(Exception):
    """The peer broke RFC 6455; `code` is the close code to answer with (§7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class ReceivedMessage(NamedTuple):
    """A whole message, or one control frame."""

    opcode: Opcode
    payload: bytes


class _Frame(NamedTuple):
    fin: bool
    opcode: Opcode
    payload: bytes
    size: int


def accept_key(key: str) -> str:
    """Return the `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


@lru_cache(maxsize=4096)
def header(length: int, opcode: int = Opcode.TEXT, fin: bool = True) -> bytes:
    """Return the header of an unmasked frame of `length` bytes; any opcode may be given."""
    first = bytes([(_FIN if fin else 0) | opcode])
    if length <= _SHORT:
        return first + bytes([length])
    if length < 1 << 16:
        return first + bytes([_MEDIUM]) + length.to_bytes(2, "big")
    return first + bytes([_LONG]) + length.to_bytes(8, "big")


def encode(payload: bytes, opcode: int = Opcode.TEXT, *, piece: int = 0) -> bytes:
    """Return a message as a server sends it; with `piece` cut into fragments of so many bytes."""
    if not piece or len(payload) <= piece:
        return header(len(payload), opcode) + payload
    pieces = [payload[at : at + piece] for at in range(0, len(payload), piece)]
    last = len(pieces) - 1
    return b"".join(
        header(len(part), Opcode.CONTINUATION if at else opcode, at == last) + part
        for at, part in enumerate(pieces)
    )


def encode_close(code: int, reason: str = "") -> bytes:
    """Return a close frame; code 1005 means one without a body (RFC 6455 §7.1.5)."""
    body = b"" if code == _NO_STATUS else code.to_bytes(2, "big") + reason.encode()[:123]
    return encode(body, Opcode.CLOSE)


def close_code(payload: bytes) -> int:
    """Return the code in a close frame's body; 1005 if it has none."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else _NO_STATUS


class Decoder:
    """Turns bytes of a client into whole messages.

    `limit` is the most bytes of a message. After a `ProtocolError` it can't be used any more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._opcode: Opcode | None = None
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[ReceivedMessage]:
        """Take received bytes; return the messages that are complete now.

        Raises:
            ProtocolError: a rule is broken (1002), the text isn't UTF-8 (1007), or a message is
                over the limit (1009).
        """
        self._buffer += data
        messages: list[ReceivedMessage] = []
        while (frame := self._next_frame()) is not None:
            del self._buffer[: frame.size]
            message = self._take(frame)
            if message is not None:
                messages.append(message)
        return messages

    def _next_frame(self) -> _Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode = _checked_opcode(buffer[0], buffer[1])
        start, length = _lengths(buffer)
        if start and opcode < _CONTROL:
            self._check_size(length)
        if not start or len(buffer) < start + length:
            return None
        mask = bytes(buffer[start - 4 : start])
        payload = _unmask(bytes(buffer[start : start + length]), mask)
        return _Frame(bool(buffer[0] & _FIN), opcode, payload, start + length)

    def _check_size(self, length: int) -> None:
        if sum(map(len, self._parts)) + length > self._limit:
            raise ProtocolError(1009, "message too big")

    def _take(self, frame: _Frame) -> ReceivedMessage | None:
        if frame.opcode >= _CONTROL:
            return ReceivedMessage(frame.opcode, frame.payload)
        if (frame.opcode is Opcode.CONTINUATION) != (self._opcode is not None):
            raise ProtocolError(1002, "fragments out of order")
        self._opcode = self._opcode or frame.opcode
        self._parts.append(frame.payload)
        return self._finish(self._opcode) if frame.fin else None

    def _finish(self, opcode: Opcode) -> ReceivedMessage:
        payload = b"".join(self._parts)
        self._opcode, self._parts = None, []
        if opcode is Opcode.TEXT:
            _check_utf8(payload)
        return ReceivedMessage(opcode, payload)


def _checked_opcode(first: int, second: int) -> Opcode:
    if first & 0x70:
        raise ProtocolError(1002, "reserved bits are set")
    try:
        opcode = Opcode(first & 0x0F)
    except ValueError:
        raise ProtocolError(1002, "unknown opcode") from None
    if not second & _MASKED:
        raise ProtocolError(1002, "a client must mask its frames")
    if opcode >= _CONTROL and (not first & _FIN or second & 0x7F > _SHORT):
        raise ProtocolError(1002, "bad control frame")
    return opcode


def _lengths(buffer: bytearray) -> tuple[int, int]:
    """Return where the payload starts (after the mask) and its length; (0, 0) = incomplete."""
    length, start = buffer[1] & 0x7F, 2
    if length == _MEDIUM:
        start, length = 4, int.from_bytes(buffer[2:4], "big")
    elif length == _LONG:
        start, length = 10, int.from_bytes(buffer[2:10], "big")
    return (start + 4, length) if len(buffer) >= start + 4 else (0, 0)


def _unmask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError(1007, "text is not UTF-8") from None
