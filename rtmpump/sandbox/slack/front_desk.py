"""The port of a simulated workspace: accepts, speaks HTTP, and passes WebSockets on."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from functools import partial

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack import http_wire, posting, webapi
from rtmpump.sandbox.slack.connection import RtmConnection
from rtmpump.sandbox.slack.envelopes import Envelopes
from rtmpump.sandbox.slack.faults import AnswerKind, Hang, HttpAnswer, Raw, Reset
from rtmpump.sandbox.slack.http_wire import HttpRequest
from rtmpump.sandbox.slack.hub import Call, Hub
from rtmpump.sandbox.slack.method_call import MethodCall, error, parsed
from rtmpump.sandbox.slack.responses import PATH, Responses
from rtmpump.sandbox.slack.socket_connection import SocketConnection
from rtmpump.sandbox.slack.stream import Stream
from rtmpump.sandbox.slack.websocket import accept_key
from rtmpump.slack_side.tickets import RTM_PATH, SOCKET_MODE_PATH
from rtmpump.slack_side.web_api import BadArguments

HOST = "127.0.0.1"
_API = "/api/"
_BACKLOG = 128
_ACCEPT_SECONDS = 0.5
_ACCEPT_PAUSE = 0.02


class FrontDesk:
    """Listens from the beginning; after `close`, `open` listens again on the same port."""

    def __init__(
        self,
        hub: Hub,
        envelopes: Envelopes,
        responses: Responses,
        port: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._hub = hub
        self._envelopes = envelopes
        self._responses = responses
        self._tls = tls
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._listener: socket.socket | None = None
        self.port = port
        self._find_port() if port == 0 else self.open()

    def open(self) -> None:
        """Listen; do nothing if it listens already.

        Raises:
            OSError: the port is taken.
        """
        with self._lock:
            if self._listener is None and not self._hub.stopping.is_set():
                listener = socket.create_server((HOST, self.port), backlog=_BACKLOG)
                listener.settimeout(_ACCEPT_SECONDS)
                self._listener = listener
                self._hub.spawn(partial(self._accept, listener))

    def close(self) -> None:
        """Stop to listen; open connections go on."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            # After a close alone the thread stays in accept(), and the port open until it returns.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def end_all(self, *, reset: bool = False) -> None:
        """Interrupt every connection, also those of HTTP; with an RST if asked."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.end(reset=reset)

    def _find_port(self) -> None:
        """Listen on a free port; try again if another process takes the port first."""
        for last in (False, False, False, True):
            self.port = free_port(HOST)
            try:
                return self.open()
            except OSError:
                if last:
                    raise
        return None

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # closed; or too many open files, then it may work later
                self._hub.stopping.wait(_ACCEPT_PAUSE)
                continue
            if not self._hub.spawn(partial(self._serve, connection)):
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            stream = Stream(connection, self._tls)
        except OSError:
            connection.close()
            return
        with self._lock:
            self._streams.add(stream)
            if self._listener is None:  # closed after this one was accepted, so end_all missed it
                stream.end(reset=True)
        try:
            self._converse(stream)
        except OSError:
            return
        finally:
            with self._lock:
                self._streams.discard(stream)
            stream.close()

    def _converse(self, stream: Stream) -> None:
        stream.handshake()
        while (request := http_wire.read_request(stream)) is not None:
            if request.path.startswith(_API):
                self._answer_call(stream, request)
            elif request.path.startswith(PATH):
                self._take_response(stream, request)
            elif request.wants_upgrade and request.path.startswith((RTM_PATH, SOCKET_MODE_PATH)):
                return self._upgrade(stream, request)
            else:
                stream.write(http_wire.answer(404, b"not found", {}))
            if not request.keeps_alive or stream.ended:
                return None
        return None

    def _answer_call(self, stream: Stream, request: HttpRequest) -> None:
        method = request.path.removeprefix(_API)
        try:
            self._note_call(method, request)
        except BadArguments as bad:
            stream.write(http_wire.json_answer(error(bad.code)))
            return
        fault = self._hub.faults.next_api_fault(method)
        if isinstance(fault, str):
            stream.write(http_wire.json_answer({"ok": False, "error": fault}))
        elif isinstance(fault, dict):
            stream.write(http_wire.json_answer(fault))
        elif not self._met(stream, fault):
            return
        elif method == posting.METHOD:
            self._post(stream, request)
        else:
            call = MethodCall(self._hub, request.arguments, self._link)
            with self._hub.changed:
                members = webapi.answer(call, method, request)
            stream.write(http_wire.json_answer(members))
            for event in call.events:
                self._hub.publish(event)

    def _take_response(self, stream: Stream, request: HttpRequest) -> None:
        members = parsed(request.body.decode(errors="replace"))
        found = members if isinstance(members, dict) else {}
        status, answer = self._responses.take(request.path, found)
        stream.write(http_wire.json_answer(answer, status))

    def _post(self, stream: Stream, request: HttpRequest) -> None:
        """Take a message by chat.postMessage; it may be accepted and the answer lost."""
        hub, arguments = self._hub, request.arguments
        problem = webapi.auth_problem(hub.registry, posting.METHOD, request)
        answer = hub.faults.answer_to(dict(arguments))
        if answer.kind is AnswerKind.CUT_BEFORE_ACCEPT:
            return stream.end(reset=True)
        if answer.kind is AnswerKind.ERROR:
            problem = problem or answer.msg
        problem = problem or posting.problem(hub, arguments)
        if problem:
            return stream.write(http_wire.json_answer({"ok": False, "error": problem}))
        if seconds := posting.rest(hub, arguments):
            body = b'{"ok":false,"error":"ratelimited"}'
            return stream.write(http_wire.answer(429, body, {"Retry-After": str(seconds)}))
        members = posting.accept(hub, arguments)
        if answer.kind is AnswerKind.CUT_BEFORE_REPLY:
            return stream.end(reset=True)
        if answer.kind is AnswerKind.NEVER:
            return stream.wait_gone()
        if answer.kind is AnswerKind.LATE and not stream.pause(answer.seconds):
            return None
        return stream.write(http_wire.json_answer(members))

    def _note_call(self, method: str, request: HttpRequest) -> None:
        arguments = {k: v for k, v in request.arguments.items() if k != "token"}
        self._hub.note(self._hub.calls, Call(method, arguments, time.time()))

    def _met(self, stream: Stream, fault: HttpAnswer | Hang | Reset | Raw | None) -> bool:
        """Let a fault happen; return whether the right answer shall follow."""
        if isinstance(fault, HttpAnswer):
            body = fault.body.encode() if isinstance(fault.body, str) else fault.body
            stream.write(http_wire.answer(fault.status, body, fault.headers))
            return False
        if isinstance(fault, Reset):
            stream.end(reset=True)
            return False
        if isinstance(fault, Raw):
            stream.write(fault.data)
            return False
        return stream.pause(fault.seconds) if isinstance(fault, Hang) else True

    def _link(self, ticket: str, socket_mode: bool) -> str:
        scheme = "wss" if self._tls else "ws"
        team = self._hub.registry.team
        place = self._hub.faults.place or f"{HOST}:{self.port}"
        way = f"{SOCKET_MODE_PATH}?ticket={ticket}&" if socket_mode else f"{RTM_PATH}{ticket}?"
        return self._hub.faults.connect_url or f"{scheme}://{place}{way}v=5&team={team}"

    def _upgrade(self, stream: Stream, request: HttpRequest) -> None:
        if not self._met(stream, self._hub.faults.next_handshake()):
            return
        with self._hub.changed:
            word = request.path.removeprefix(RTM_PATH)
            if request.path == SOCKET_MODE_PATH:
                word = request.arguments.get("ticket", "")
            ticket = self._hub.registry.tickets.redeem(word, self._hub.faults.next_url_ttl())
        accept = accept_key(request.headers["sec-websocket-key"])
        stream.write(http_wire.switching_protocols(accept))
        if ticket is not None and ticket.socket_mode:
            SocketConnection(self._hub, stream, ticket, self._envelopes).serve()
        else:
            RtmConnection(self._hub, stream, ticket).serve()
