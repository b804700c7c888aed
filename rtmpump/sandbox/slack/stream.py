"""One TCP or TLS connection whose every wait can be ended from another thread.

Its laws:
- The socket is non-blocking; every wait is a poll of it together with a wake-up socket.
- Only the thread that owns the connection closes the socket, and only while nobody writes: a close
  in the middle of another thread's call would let that call meet a reused file descriptor, and
  would hold back the RST of `end(reset=True)`.
- TLS calls take turns, because OpenSSL's objects must not be used by two threads at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time

_READ, _WRITE = select.POLLIN, select.POLLOUT
_HANG_UP = getattr(select, "POLLRDHUP", 0)
_LINGER_NONE = struct.pack("ii", 1, 0)
_CHUNK = 1 << 16
_HANDSHAKE_SECONDS = 10.0


class StreamEnded(OSError):
    """The connection was ended from this side."""


class Stream:
    """A server's end of a connection; reading by its owner only, writing by anybody."""

    def __init__(self, connection: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = _wrapped(connection, tls) if tls else connection
        self._awake, self._waker = socket.socketpair()
        self._ended = threading.Event()
        self._reset = False
        self._buffer = b""
        self._writing = threading.Lock()
        self._turn = threading.Lock() if tls else contextlib.nullcontext()

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended.is_set()

    def handshake(self) -> None:
        """The TLS handshake; nothing without TLS."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return
        deadline = time.monotonic() + _HANDSHAKE_SECONDS
        while True:
            try:
                self._socket.do_handshake()
                return
            except ssl.SSLWantReadError:
                self._wait(_READ, deadline)
            except ssl.SSLWantWriteError:
                self._wait(_WRITE, deadline)

    def read(self, timeout: float | None = None) -> bytes:
        """What has arrived, at least one byte; b"" at the end.

        Raises:
            TimeoutError: nothing came in `timeout` seconds.
            OSError: the connection broke or was ended.
        """
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._receive(deadline)

    def read_until(self, end: bytes, limit: int) -> bytes:
        """The bytes up to and with `end`; b"" when the peer closed or passed `limit` before it."""
        data = self._buffer
        while end not in data:
            more = self._receive(None)
            data += more
            if not more or len(data) > limit:
                return b""
        head, _, self._buffer = data.partition(end)
        return head + end

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes; fewer only when the peer closed."""
        data = self._buffer
        while len(data) < size and (more := self._receive(None)):
            data += more
        self._buffer = data[size:]
        return data[:size]

    def write(self, data: bytes, *, step: int = 0) -> None:
        """Writes all of `data`, in sends of `step` bytes if given; waits for a peer that is slow.

        Raises:
            OSError: the connection broke or was ended.
        """
        with self._writing:
            rest = memoryview(data)
            while rest:
                sent = self._send(rest[:step] if step else rest)
                rest = rest[sent:]

    def end(self, *, reset: bool = False) -> None:
        """Makes every present and future wait fail; the owner closes then, with an RST if asked."""
        self._reset = self._reset or reset
        if not self._ended.is_set():
            self._ended.set()
            with contextlib.suppress(OSError):
                self._waker.send(b"!")

    def wait_gone(self) -> None:
        """Waits, without reading, until the peer has gone or `end` is called."""
        with contextlib.suppress(OSError):
            self._wait(_HANG_UP, None)

    def pause(self, seconds: float) -> bool:
        """Waits for `seconds`; False when the connection was ended meanwhile."""
        return not self._ended.wait(min(seconds, threading.TIMEOUT_MAX))

    def close(self) -> None:
        """Closes the socket; for the owner only."""
        self.end()
        with self._writing:
            if self._reset:
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            for end in (self._socket, self._awake, self._waker):
                end.close()

    def _receive(self, deadline: float | None) -> bytes:
        while True:
            self._check()
            try:
                with self._turn:
                    return self._socket.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(_READ, deadline)
            except ssl.SSLWantWriteError:
                self._wait(_WRITE, deadline)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    def _send(self, data: memoryview) -> int:
        while True:
            self._check()
            try:
                with self._turn:
                    return self._socket.send(data)
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(_WRITE, None)
            except ssl.SSLWantReadError:
                self._wait(_READ, None)

    def _wait(self, direction: int, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket, direction)
        poll.register(self._awake, _READ)
        wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(wait):
            raise TimeoutError("the peer said nothing")
        self._check()

    def _check(self) -> None:
        if self._ended.is_set():
            raise StreamEnded("ended")


def _wrapped(connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
    return tls.wrap_socket(
        connection, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
