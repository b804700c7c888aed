"""Opens an AMQP connection on a socket that is connected: TLS and the handshake of AMQP.

Laws:

- One deadline for all of it, and one answer: the connection, or why there is none.
- pika reduces what ended a handshake to a guess. So its own words are kept: what the peer sent
  first, and the exception below pika's. `refusals` makes the line for people of them.

pika's own way to connect is not used: it waits 15 s for each address of a name.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

import pika
from pika.adapters.base_connection import _StreamingProtocolShim
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from rtmpump.links.dial import Deadline
from rtmpump.links.rabbitmq.tolerant_reading import TolerantConnection

_ENOUGH: Final = 16


class HandshakeFailed(Exception):
    """No connection came about: `cause` is what ended it, `heard` what the peer sent first.

    `heard` is None where even TLS did not come about.
    """

    def __init__(self, cause: BaseException | None, heard: bytes | None) -> None:
        super().__init__(cause, heard)
        self.cause = cause
        self.heard = heard


class OpeningConnection(TolerantConnection):
    """Is pika's connection, and keeps what it learns while it is opened."""

    heard = b""
    cause: BaseException | None = None

    # These three are private to pika; tests hold that they are called.

    def _read_frame(self) -> Any:
        if len(self.heard) < _ENOUGH:
            self.heard = bytes(self._frame_buffer[:_ENOUGH])
        return super()._read_frame()

    def _proto_connection_lost(self, error: BaseException | None) -> None:
        self.cause = error or self.cause
        super()._proto_connection_lost(error)  # type: ignore[misc]

    def _on_stream_terminated(self, error: Any) -> None:
        self.cause = self.cause or error or getattr(self, "_error", None)
        super()._on_stream_terminated(error)  # type: ignore[misc]


Answer = OpeningConnection | HandshakeFailed


class Opening:
    """One connection that is being opened; all of it on the thread of `loop`."""

    def __init__(self, loop: IOLoop, node: pika.URLParameters, done: Callable[[Answer], None]):
        """Call `done` once, on the thread of the loop."""
        self._loop = loop
        self._services: Any = SelectorIOServicesAdapter(loop)
        self._node = node
        self._done = done
        self._connection: OpeningConnection | None = None
        self._task: Any = None
        self._timer: Any = None
        self._is_over = False

    def begin(self, sock: socket.socket, deadline: Deadline) -> None:
        """Begin on a connected socket, which belongs to the connection from now on.

        Raises:
            OSError: the peer has gone already.
        """
        sock.getpeername()
        sock.setblocking(False)
        tls = self._node.ssl_options
        self._timer = self._loop.call_later(deadline.left, self._too_late)
        self._task = self._services.create_streaming_connection(
            protocol_factory=self._make,
            sock=sock,
            ssl_context=tls.context if tls else None,
            server_hostname=tls.server_hostname if tls else None,
            on_done=self._linked,
        )

    def abandon(self) -> None:
        """Close the socket of a connection that did not come about; pika has no public way."""
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            close_socket(self._connection)

    def _make(self) -> Any:
        self._connection = OpeningConnection(
            self._node, custom_ioloop=self._services, internal_connection_workflow=False
        )
        self._connection.add_on_open_error_callback(self._failed, remove_default=True)
        self._connection.add_on_open_callback(self._opened)
        return _StreamingProtocolShim(self._connection)

    def _linked(self, result: Any) -> None:
        if isinstance(result, BaseException):
            self._end(HandshakeFailed(result, None))

    def _opened(self, connection: Any) -> None:
        self._end(connection)

    def _failed(self, connection: Any, error: Any) -> None:
        self._end(HandshakeFailed(connection.cause or error, connection.heard))

    def _too_late(self) -> None:
        heard = None if self._connection is None else self._connection.heard
        self._end(HandshakeFailed(TimeoutError("no answer in time"), heard))

    def _end(self, answer: Answer) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._loop.remove_timeout(self._timer)
        if isinstance(answer, HandshakeFailed):
            self.abandon()
        self._done(answer)


def close_socket(connection: Any) -> None:
    """Close the socket of a peer that never answered our close."""
    sock = getattr(getattr(connection, "_transport", None), "_sock", None)
    if isinstance(sock, socket.socket):
        sock.close()
