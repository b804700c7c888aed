"""Signs of life on a slow line, where the age of an unconfirmed message says nothing.

Bytes that still leave are one. pika hands bytes to the kernel long before they leave. The kernel
counts those that the other side has acknowledged (tcp(7), TCP_INFO) and those that it has not
(tcp(7), SIOCOUTQ). TLS makes no difference there. Where a system counts nothing, no bytes are known
to leave.
"""

from __future__ import annotations

import socket
import struct
from fcntl import ioctl
from typing import Any, Final

_TIOCOUTQ: Final = 0x5411
_SIZE: Final = 128
# struct tcp_info of linux/tcp.h: 8 bytes, 24 numbers of 32 bits, two rates; then the bytes.
_ACKNOWLEDGED: Final = 120
# A heartbeat is no message: a broker that reads and never confirms acknowledges heartbeats too.
_MORE_THAN_HEARTBEATS: Final = 1024


class SignsOfLife:
    """What shows, beside confirms, that one connection gets on; ask it now and then."""

    def __init__(self) -> None:
        self._acknowledged = 0
        self._answers = False

    def answered(self, _frame: object) -> None:
        """Note an answer: each declare waits for the one before, and there are hundreds."""
        self._answers = True

    def seen(self, connection: Any) -> bool:
        """Return whether there was an answer since the last call, or messages that wait moved."""
        answers, self._answers = self._answers, False
        return self._moved(connection) or answers

    def _moved(self, connection: Any) -> bool:
        """Return whether messages wait to leave on pika's connection, and some of it has left."""
        transport: Any = getattr(connection, "_transport", None)
        sock = getattr(transport, "_sock", None)
        if not isinstance(sock, socket.socket):
            return False
        try:
            before, self._acknowledged = self._acknowledged, _acknowledged(sock)
            waiting = transport.get_write_buffer_size() + _unacknowledged(sock)
        except (OSError, AttributeError, struct.error):
            return False
        return self._acknowledged != before and waiting > _MORE_THAN_HEARTBEATS


def _acknowledged(sock: socket.socket) -> int:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    return int(struct.unpack_from("=Q", info, _ACKNOWLEDGED)[0])


def _unacknowledged(sock: socket.socket) -> int:
    return int(struct.unpack("=i", ioctl(sock.fileno(), _TIOCOUTQ, bytes(4)))[0])
