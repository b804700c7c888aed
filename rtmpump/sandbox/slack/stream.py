"""One TCP or TLS connection; another thread can end every wait of it.

Its laws:
- The socket is non-blocking; every wait is a poll of it together with a wake-up socket.
- Only the thread that owns the connection closes the socket, and only while no thread writes. After
  a close in the middle of its call, another thread could use a file descriptor that is already
  another's; and the RST of `end(reset=True)` would come late.
- TLS calls take turns, because two threads must not use one object of OpenSSL at once.
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
    """This side has ended the connection."""


class Stream:
    """The server's side of a connection; only its owner reads, any thread may write."""

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
        """Do the TLS handshake; without TLS do nothing."""
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
        """Return what has arrived, at least one byte; b"" at the end.

        Raises:
            TimeoutError: nothing arrived in `timeout` seconds.
            OSError: the connection broke or was ended.
        """
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._receive(deadline)

    def read_until(self, end: bytes, limit: int) -> bytes:
        """Return the bytes up to and with `end`; b"" if the peer closed or passed `limit`."""
        data = self._buffer
        while end not in data:
            more = self._receive(None)
            data += more
            if not more or len(data) > limit:
                return b""
        head, _, self._buffer = data.partition(end)
        return head + end

    def read_exactly(self, size: int) -> bytes:
        """Return `size` bytes; fewer only if the peer closed."""
        data = self._buffer
        while len(data) < size and (more := self._receive(None)):
            data += more
        self._buffer = data[size:]
        return data[:size]

    def write(self, data: bytes, *, step: int = 0) -> None:
        """Write all of `data`, in sends of `step` bytes if given; wait for a slow peer.

        Raises:
            OSError: the connection broke or was ended.
        """
        with self._writing:
            rest = memoryview(data)
            while rest:
                sent = self._send(rest[:step] if step else rest)
                rest = rest[sent:]

    def end(self, *, reset: bool = False) -> None:
        """Let every wait fail, now and later; the owner then closes, with an RST if asked."""
        self._reset = self._reset or reset
        if not self._ended.is_set():
            self._ended.set()
            with contextlib.suppress(OSError):
                self._waker.send(b"!")

    def wait_gone(self) -> None:
        """Wait, without reading, until the peer has closed or `end` is called."""
        with contextlib.suppress(OSError):
            self._wait(_HANG_UP, None)

    def pause(self, seconds: float) -> bool:
        """Wait for `seconds`; return False if the connection ended before."""
        return not self._ended.wait(min(seconds, threading.TIMEOUT_MAX))

    def close(self) -> None:
        """Close the socket; only for the owner."""
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
            raise TimeoutError("the peer sent nothing")
        self._check()

    def _check(self) -> None:
        if self._ended.is_set():
            raise StreamEnded("ended")


def _wrapped(connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
    return tls.wrap_socket(
        connection, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
