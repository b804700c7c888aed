"""One WebSocket to Slack: one reader, writers of any thread, and every end has its reason.

Its laws:
- One `read` at a time. Any thread may call `send`, `ping`, `say_goodbye` and `close`; also `wake`,
  but not during `close`.
- `read` gives every frame that arrived, then it raises the end.
- Frames are bytes here; `core.frames` and `core.envelopes` know what they mean.
- The exceptions of websocket-client are translated here; `handshake` connects.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, cast

import websocket
from websocket import ABNF

from rtmpump.config import Slack
from rtmpump.errors import LinkError, NotConnected, WriteFailed
from rtmpump.links.scarcity import scarce
from rtmpump.links.slack.handshake import connect
from rtmpump.links.slack.socket_io import Ending, UnwritableError, Wire, story

_LINK = "slack"
_MOST_FRAMES = 512
_MOST_BYTES = 1 << 20
_LARGEST_MESSAGE = 16 << 20
_LARGEST_HEADER = 14
_DATA = (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY)
_NO_STATUS = 1005


class SlackConnection:
    """One WebSocket to Slack, from its upgrade to its end."""

    def __init__(self, client: websocket.WebSocket) -> None:
        """Take over a client that has connected; raises OSError."""
        if client.sock is None:
            raise _not_connected("the connection is gone")
        self._client = client
        self._wire = Wire(client.sock)
        client.sock = cast("Any", self._wire)
        self._reading = threading.Lock()
        self._opened = time.monotonic()
        self._ending: Ending | None = None
        self._half = 0
        # Whether websocket-client holds nothing of a message that is not whole.
        self._between = True
        self.pongs: list[bytes] = []
        """The payloads of the WebSocket pongs that the last `read` met."""

    @classmethod
    def open(cls, url: str, slack: Slack) -> SlackConnection:
        """Connect to a URL of Slack: TCP, proxy, TLS and upgrade within 20 s.

        Raises:
            LinkError: `expired_url` (HTTP 4xx; `at_once`), `ratelimited` (429), `handshake` (any
                other answer), `unreachable`, `proxy`, `tls`, `timeout`, `reset`, `bad_url`, or
                `scarce` (this machine has no file descriptor or no thread for it).
        """
        client = connect(url, slack)
        try:
            with scarce(_LINK):
                return cls(client)
        except OSError as error:  # the peer has gone already
            raise LinkError(_LINK, "reset", story(error)) from error

    @property
    def is_writable(self) -> bool:
        """Whether it takes frames."""
        return self._wire.writable

    @property
    def heard(self) -> bool:
        """Whether the last `read` took anything at all from the peer."""
        return self._wire.got

    @property
    def left(self) -> bool:
        """Whether the next `read` has bytes that arrived for the one before."""
        return self._wire.left

    @property
    def interest(self) -> tuple[int, int]:
        """The file descriptor and events to poll for before the next `read(0)`."""
        return self._wire.interest

    @property
    def received_ms(self) -> int:
        """When what the last `read` gave was taken from the socket (milliseconds since 1970)."""
        return self._wire.received_ms

    def read(self, wait: float) -> list[bytes]:
        """Give the payloads of the text and binary messages that are ready, in order.

        Waits `wait` seconds at most for the first bytes. The list is empty when none came, when no
        message is whole yet, for control frames, and after `wake`. At most 512 messages, or those
        that fill 1 MiB.

        Raises:
            LinkError: the end, `at_once`, after all that came before it: `closed`, `eof`, `reset`
                (over TLS, CPython 3.11 reports it as `eof`), `protocol` (RFC 6455 or TLS was
                broken), `too_large` (a message over 16 MiB, or whose header says so).
        """
        with self._reading:
            messages = self._next(wait) if self._ending is None else []
            if self._ending is not None and not messages:
                raise self._error(self._ending)
            return messages

    def send(self, frame: bytes) -> None:
        """Write one text frame, whole. Any thread.

        Raises:
            NotConnected: the connection takes no frames; nothing was written.
            WriteFailed: it broke on the way, or the peer took nothing for 5 s; it is shut down.
        """
        self._send(frame, ABNF.OPCODE_TEXT)

    def ping(self, payload: bytes) -> None:
        """Write a WebSocket ping; `pongs` will have the answer. Raises as `send` does."""
        self._send(payload, ABNF.OPCODE_PING)

    def say_goodbye(self) -> None:
        """Send a close frame (1000) if the connection takes one; never raises. Any thread.

        `read` goes on until the peer's answer. No other frame can follow.
        """
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self._client.send_close()

    def wake(self) -> None:
        """Make a `read` that waits return at once, or the next that would wait."""
        self._wire.wake()

    def close(self) -> None:
        """End and free the connection; waits of other threads end at once. Any thread."""
        self._wire.shut()
        with self._reading, self._client.lock:
            self._wire.free()

    def _send(self, frame: bytes, opcode: int) -> None:
        try:
            self._client.send(frame, opcode)
        except UnwritableError:
            raise _not_connected("the connection takes no more frames") from None
        except OSError as error:
            raise WriteFailed(_LINK, "write_failed", story(error), at_once=True) from error
        except websocket.WebSocketException as error:
            raise WriteFailed(_LINK, "write_failed", "timed out", at_once=True) from error

    def _next(self, wait: float) -> list[bytes]:
        # Bytes are left when the last read stopped at its limit: there is no need to wait.
        if not self._wire.left:
            self._wire.fill(wait)
        # What the reader writes in there are answers; a `send` of the same thread is none.
        self._wire.answering = threading.get_ident()
        try:
            return self._take()
        finally:
            self._wire.answering = None

    def _take(self) -> list[bytes]:
        """Return the messages in the buffer; set `_ending` when they are the last."""
        wire = self._wire
        messages: list[bytes] = []
        self.pongs = []
        room, whole = _MOST_BYTES, wire.at
        try:
            while room > 0 and len(messages) < _MOST_FRAMES:
                if self._between and (plain := wire.take_plain(_MOST_FRAMES - len(messages), room)):
                    messages += plain
                    room -= wire.at - whole
                    whole = wire.at
                    continue
                if self._between and not wire.left:
                    self._ending = wire.ending
                    break
                opcode, data = self._receive()
                if opcode in _DATA:
                    messages.append(data)
                    room -= len(data)
                    whole = wire.at
                elif opcode == ABNF.OPCODE_CLOSE:
                    self._ending = _closing(data)
                    return messages
                else:  # a ping or pong may stand between two fragments: no part of the message
                    whole += len(data) + 2
                    if opcode == ABNF.OPCODE_PONG:
                        self.pongs.append(data)
        except websocket.WebSocketTimeoutException:
            self._ending = wire.ending
        except websocket.WebSocketException as error:
            self._fail(Ending("protocol", str(error)), websocket.STATUS_PROTOCOL_ERROR)
            return messages
        self._half = wire.at - whole + (0 if messages else self._half)
        return self._check_size(messages)

    def _receive(self) -> tuple[int, bytes]:
        """Take the next message, or control frame, by way of websocket-client."""
        at, was_between = self._wire.at, self._between
        self._between = False
        try:
            opcode, frame = self._client.recv_data_frame(True)
        except websocket.WebSocketTimeoutException:
            self._between = was_between and self._wire.at == at
            raise
        self._between = was_between or opcode in _DATA
        return opcode, frame.data

    def _check_size(self, messages: list[bytes]) -> list[bytes]:
        """Refuse a message that is, or will be, too large; it can only be the last."""
        whole_is_too_large = bool(messages) and len(messages[-1]) > _LARGEST_MESSAGE
        half_is_too_large = (
            self._half > _LARGEST_MESSAGE + _LARGEST_HEADER
            or (self._client.frame_buffer.length or 0) > _LARGEST_MESSAGE
        )
        if whole_is_too_large or half_is_too_large:
            self._fail(
                Ending("too_large", "a message over 16 MiB"), websocket.STATUS_MESSAGE_TOO_BIG
            )
        return messages[:-1] if whole_is_too_large else messages

    def _fail(self, ending: Ending, code: int) -> None:
        """End the connection from our side (RFC 6455 §7.1.7); this write never raises."""
        self._ending = ending
        self._client.send_close(code)

    def _error(self, ending: Ending) -> LinkError:
        held = time.monotonic() - self._opened
        return LinkError(_LINK, ending.reason, ending.detail, at_once=True, held=held)


def _closing(body: bytes) -> Ending:
    """Read the peer's close frame: its code, and its reason without unprintable characters."""
    code = int.from_bytes(body[:2], "big") if body else _NO_STATUS
    text = body[2:].decode("utf-8", "replace")
    clean = "".join(char if char.isprintable() else " " for char in text).strip()
    return Ending("closed", f"{code} {clean}".rstrip())


def _not_connected(detail: str) -> NotConnected:
    return NotConnected(_LINK, "not_connected", detail)
