"""The socket under websocket-client: the reader never delays the writers, and every wait ends.

Its laws:
- The real socket is non-blocking. Every wait is a poll, and no lock of ours is held while polling.
- TLS calls take turns: two threads must not use OpenSSL's objects at once. A frame is whole because
  websocket-client holds its own lock while it calls `send`.
- One thread reads. If it can't write an answer of its own (a pong), that is no error yet: what had
  arrived before must still be delivered, and then the end of the stream is the error.
- Nothing follows a close frame (RFC 6455 §5.5.1), from whichever side it came.
- `shut` ends every wait. `free` closes the socket, and only when no thread reads or writes: another
  thread's call would meet a reused file descriptor.
- Of a frame to send it knows the first byte alone, and of Slack nothing.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket
import ssl
import threading
import time
from typing import NamedTuple

from rtmpump.links.slack.fast_frames import take_plain
from rtmpump.links.slack.waker import Waker

_BUFFER = 256 * 1024
_STALL_SECONDS = 5.0
# A writer that waits for TLS to read may find that the reader has done it: look again soon.
_CROSSED_SECONDS = 0.05
_OPCODE, _CLOSE = 0x0F, 0x8
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Ending(NamedTuple):
    """How a connection ended: `reason` is one word, `detail` a sentence."""

    reason: str
    detail: str


class UnwritableError(OSError):
    """Nothing was written: the connection takes no more frames."""


class Wire:
    """What websocket-client needs of a socket: `recv`, `send` and `gettimeout`; it owns `sock`.

    `ending` is set when the peer's last bytes are in the buffer; `at` is how many bytes of the
    buffer were handed out; `answering` is the thread whose writes are answers, while it reads.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self._socket = sock
        self._waker = Waker()
        self._turn = threading.Lock()
        self._space = memoryview(bytearray(_BUFFER))
        self._buffer = b""
        self.at = 0
        self.received_ms = 0
        self.ending: Ending | None = None
        self.answering: int | None = None
        self._wanted = select.POLLIN
        self._shut = False
        self._failure = ""
        self._said_close = False

    @property
    def writable(self) -> bool:
        """Whether a frame may still be sent."""
        return not (self._shut or self._failure or self._said_close or self.ending)

    @property
    def left(self) -> bool:
        """Whether bytes in the buffer wait to be handed out."""
        return self.at < len(self._buffer)

    @property
    def interest(self) -> tuple[int, int]:
        """The file descriptor, and for what to poll it before the next `fill`."""
        return self._socket.fileno(), self._wanted

    @property
    def got(self) -> bool:
        """Whether the last `fill` brought anything."""
        return bool(self._buffer)

    def gettimeout(self) -> int:
        """Return 0: then websocket-client calls `recv` and `send` with no waiting of its own."""
        return 0

    def recv(self, size: int) -> bytes:
        """Give up to `size` bytes of the buffer.

        Raises:
            TimeoutError: the buffer is empty; websocket-client keeps its half frame and can go on.
        """
        data = self._buffer[self.at : self.at + size]
        if not data:
            raise TimeoutError
        self.at += len(data)
        return data

    def take_plain(self, most: int, room: int) -> list[bytes]:
        """Return the payloads of the plain frames that come next; see `fast_frames`."""
        messages, self.at = take_plain(self._buffer, self.at, most, room)
        return messages

    def fill(self, wait: float) -> None:
        """Put what has arrived into the empty buffer, up to 256 KiB.

        Waits `wait` seconds at most for the first byte; `wake` ends that. For the reader alone.
        """
        self._receive()
        if not self.left and self.ending is None and wait > 0:
            self._wait_to_read(wait)
            self._receive()

    def send(self, data: bytes) -> int:
        """Write one whole frame, under websocket-client's lock.

        Raises:
            UnwritableError: nothing was written.
            OSError: the connection broke on the way, or the peer took nothing for 5 s. The
                connection is shut down, so the reader finds out at once.
        """
        try:
            self._send_frame(data)
        except OSError:
            if threading.get_ident() != self.answering:
                raise
        return len(data)

    def wake(self) -> None:
        """Make a `fill` that waits return at once, or the next one that would wait."""
        self._waker.wake()

    def shut(self) -> None:
        """End every wait of every thread; what has arrived can still be read."""
        self._shut = True
        self._shut_down()
        self.wake()

    def free(self) -> None:
        """Close the socket; the caller makes sure that no thread reads, writes or wakes."""
        self._socket.close()
        self._waker.close()

    def _receive(self) -> None:
        # Before the reading: what comes during it may not be part of it.
        self.received_ms = time.time_ns() // 1_000_000
        size = 0
        while size < _BUFFER and self.ending is None:
            count = self._receive_into(self._space[size:])
            if count is None:
                break
            size += count
        self._buffer = bytes(self._space[:size])
        self.at = 0

    def _receive_into(self, space: memoryview) -> int | None:
        """Return how many bytes came; None when no more can come now, or ever."""
        try:
            with self._turn:
                count = self._socket.recv_into(space)
        except _NOT_NOW as error:
            wants_write = isinstance(error, ssl.SSLWantWriteError)
            self._wanted = select.POLLOUT if wants_write else select.POLLIN
            return None
        except ssl.SSLError as error:
            return self._end("protocol", story(error))
        except OSError as error:
            return self._end("reset", story(error))
        return count or self._end("eof", "the peer ended the connection without a close frame")

    def _end(self, reason: str, detail: str) -> int | None:
        # A failed write comes first and is the cause: we ended the connection ourselves.
        if self._shut:
            self.ending = Ending("closed", "closed on this side")
        elif self._failure:
            self.ending = Ending("reset", self._failure)
        else:
            self.ending = Ending(reason, detail)
        return None

    def _wait_to_read(self, wait: float) -> None:
        poll = select.poll()
        poll.register(self._socket, self._wanted)
        poll.register(self._waker, select.POLLIN)
        ready = dict(poll.poll(math.ceil(wait * 1000)))
        if self._waker.fileno() in ready:
            self._waker.clear()

    def _send_frame(self, data: bytes) -> None:
        if not self.writable:
            raise UnwritableError
        if data[0] & _OPCODE == _CLOSE:
            self._said_close = True
        try:
            self._send_all(memoryview(data))
        except OSError as error:
            self._failure = f"writing failed: {story(error)}"
            self._shut_down()
            raise

    def _send_all(self, rest: memoryview) -> None:
        deadline = time.monotonic() + _STALL_SECONDS
        while rest:
            try:
                with self._turn:
                    count = self._socket.send(rest)
            except _NOT_NOW as error:
                self._wait_to_send(error, deadline)
            else:
                rest = rest[count:]
                deadline = time.monotonic() + _STALL_SECONDS

    def _wait_to_send(self, why: OSError, deadline: float) -> None:
        wait = deadline - time.monotonic()
        if wait <= 0 or self._shut:
            story = "closed on this side" if self._shut else "the peer takes nothing"
            raise ConnectionAbortedError(errno.ECONNABORTED, story)
        crossed = isinstance(why, ssl.SSLWantReadError)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN if crossed else select.POLLOUT)
        poll.poll(math.ceil(min(wait, _CROSSED_SECONDS if crossed else wait) * 1000))

    def _shut_down(self) -> None:
        # SSLSocket.shutdown would also drop the TLS state while the other thread uses it, and what
        # is read after that would be taken for plain text.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def story(error: OSError) -> str:
    """Say what an error of the system means, with nothing of its arguments."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    if error.errno == errno.ECONNABORTED and error.strerror:
        return error.strerror
    return os.strerror(error.errno) if error.errno else type(error).__name__
