"""One RTM connection of a simulated workspace, from the upgrade to the end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial

from rtmpump.sandbox.slack import rtm
from rtmpump.sandbox.slack.faults import EXPIRED_URL, Answer, AnswerKind
from rtmpump.sandbox.slack.hub import Hub
from rtmpump.sandbox.slack.registry import Ticket
from rtmpump.sandbox.slack.stream import Stream
from rtmpump.sandbox.slack.websocket import (
    Decoder,
    Opcode,
    ProtocolError,
    ReceivedMessage,
    close_code,
    encode,
    encode_close,
)
from rtmpump.slack_side import frames
from rtmpump.slack_side import rtm as slack

_CLOSE_SECONDS = 2.0


class RtmConnection:
    """A `hub.Peer` of RTM.

    Only its own thread reads (`serve`); any thread may write.
    """

    def __init__(self, hub: Hub, stream: Stream, ticket: Ticket | None) -> None:
        self.number = hub.next_number()
        self.live = False
        self.silent = False
        self._hub = hub
        self._stream = stream
        self._ticket = ticket
        self._decoder = Decoder(slack.FRAME_MAX)
        # Nothing may follow a close frame, so a writer of events checks `live` under this lock.
        self._order = threading.Lock()
        self._closing = False
        self._watched: set[str] = set()
        self._last_message = float("-inf")

    def serve(self) -> None:
        """Send hello, then answer the client until the connection ends."""
        self._join()
        try:
            self._greet()
            self._converse()
        except ProtocolError as error:
            self.close(error.code, error.reason)
            self._drain()
        except OSError:
            return
        finally:
            self._hub.remove(self)

    def deliver(self, body: bytes, opcode: int = Opcode.TEXT) -> bool:
        """Send one event, and wait for a slow peer; return False if the connection takes none."""
        return self.write_live(encode(body, opcode, piece=self._hub.faults.fragment))

    def write_live(self, data: bytes) -> bool:
        """Write encoded frames; return False if the connection takes none or broke."""
        try:
            with self._order:
                if not self.live:
                    return False
                self.write(data)
        except OSError:
            self._hub.set_live(self, False)
            return False
        return True

    def write(self, data: bytes) -> None:
        """Write bytes as they are.

        Raises:
            OSError: the connection has ended.
        """
        self._stream.write(data, step=1 if self._hub.faults.byte_by_byte else 0)

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; a peer that does not answer it is soon cut off."""
        if self._closing:
            return
        self._closing = True
        # Before the lock: a writer holds it while a peer does not read its event.
        self._hub.later(_CLOSE_SECONDS, self._stream.end)
        with self._order, contextlib.suppress(OSError):
            self._hub.set_live(self, False)
            self.write(encode_close(code, reason))

    def cut(self, *, reset: bool = False) -> None:
        """End the TCP connection without a close frame: with FIN, or with RST."""
        self._hub.set_live(self, False)
        self._stream.end(reset=reset)

    def silence(self) -> None:
        """Stop to read and to answer, but keep the connection."""
        self.silent = True
        self._hub.set_live(self, False)

    def presence(self, users: set[str] | None = None) -> None:
        """Send the presence of those of `users` that the client watches (None = all)."""
        watched = self._watched if users is None else self._watched & users
        self._send_presence(sorted(watched))

    def _join(self) -> None:
        self._hub.add(self)

    def _greet(self) -> None:
        kind = self._hub.faults.next_hello()
        if self._ticket is None:
            self._refuse(EXPIRED_URL)
        elif kind == "error":
            self._refuse(self._hub.faults.hello_error)
        elif kind == "send":
            with self._becoming_live():
                self._send(slack.hello("sandbox"))
                self._repeat_last_reply()

    @contextlib.contextmanager
    def _becoming_live(self) -> Iterator[None]:
        """Write hello inside: a client that has read it gets all events from then on."""
        with self._order, self._hub.changed:
            yield
            self._hub.set_live(self, True)

    def _refuse(self, error: rtm.Json) -> None:
        self._send({"type": "error", "error": error})
        self.close(1000)

    def _repeat_last_reply(self) -> None:
        how, last = self._hub.faults.repeat_last_reply, self._hub.last_accepted
        if last and how == "reply":
            self._send(slack.reply(*last))
        elif last and how == "echo":
            self._send(rtm.echo(*last, self._hub.author))

    def _converse(self) -> None:
        while data := self._stream.read():
            if self.silent:
                self._stream.wait_gone()
                return
            for message in self._decoder.feed(data):
                if not self._take(message):
                    return

    def _take(self, message: ReceivedMessage) -> bool:
        """Handle one message; return False if it was the last."""
        if message.opcode is Opcode.CLOSE:
            self._hub.note(self._hub.closes, close_code(message.payload))
            self.close(close_code(message.payload))
            return False
        if message.opcode is Opcode.PING:
            self.write(encode(message.payload, Opcode.PONG))
        elif message.opcode is Opcode.PONG:
            self._hub.note(self._hub.pongs, message.payload)
        elif not self._closing:
            self._take_frame(message.payload)
        return True

    def _take_frame(self, payload: bytes) -> None:
        frame = frames.read(payload)
        if frame is None:
            self._send(slack.error_event(*slack.CANNOT_PROCESS))
            return
        self._hub.note(self._hub.frames, frame)
        handle = _HANDLERS.get(str(frame.get("type")), RtmConnection._unknown)
        handle(self, frame)

    def _unknown(self, frame: rtm.Json) -> None:
        self._send(slack.refusal(frame, *slack.CANNOT_PROCESS))

    def _ping(self, frame: rtm.Json) -> None:
        self._send(slack.pong(frame))

    def _typing(self, frame: rtm.Json) -> None:
        self._hub.send_to_others(self, rtm.typing_event(frame, self._hub.author))

    def _presence_sub(self, frame: rtm.Json) -> None:
        ids = rtm.ids_of(frame)
        if ids is None:
            return self._unknown(frame)
        self._watched = set(ids)
        return self._send_presence(ids)

    def _presence_query(self, frame: rtm.Json) -> None:
        ids = rtm.ids_of(frame)
        if ids is None or len(ids) > rtm.QUERY_LIMIT:
            return self._unknown(frame)
        return self._send_presence(ids)

    def _send_presence(self, ids: list[str]) -> None:
        with self._hub.changed:
            presence = {user: self._hub.presence.get(user, "active") for user in ids}
        batch = self._ticket is not None and self._ticket.batch_presence
        for event in rtm.presence_events(presence, batch):
            self.deliver(rtm.as_bytes(event))

    def _message(self, frame: rtm.Json) -> None:
        answer = self._hub.faults.answer_to(frame)
        if answer.kind is AnswerKind.CUT_BEFORE_ACCEPT:
            return self.cut(reset=True)
        problem = self._problem(frame, answer)
        if problem:
            return self._send(slack.refusal(frame, *problem))
        event = self._hub.accept(frame, self.number)
        self._hub.publish(event, but=self)
        return self._reply(answer, frame, event["ts"])

    def _problem(self, frame: rtm.Json, answer: Answer) -> slack.RtmProblem | None:
        if answer.kind is AnswerKind.ERROR:
            return answer.code, answer.msg
        if self._comes_too_fast():
            return slack.TOO_FAST
        registry = self._hub.registry
        return rtm.problem(
            frame, [id for id in registry.channels.values() if id not in registry.archived]
        )

    def _comes_too_fast(self) -> bool:
        rate, now = self._hub.faults.rate_limit, time.monotonic()
        if rate and now - self._last_message < 1 / rate:
            return True
        self._last_message = now
        return False

    def _reply(self, answer: Answer, frame: rtm.Json, ts: str) -> None:
        reply, echo = slack.reply(frame, ts), rtm.echo(frame, ts, self._hub.author)
        if answer.kind is AnswerKind.CUT_BEFORE_REPLY:
            self.cut(reset=True)
        elif answer.kind is AnswerKind.LATE:
            self._hub.later(answer.seconds, partial(self.deliver, rtm.as_bytes(reply)))
        else:
            for words in _WORDS[answer.kind]:
                self._send(reply if words == "reply" else echo)

    def _send(self, frame: rtm.Json) -> None:
        self.write(encode(rtm.as_bytes(frame), piece=self._hub.faults.fragment))

    def _drain(self) -> None:
        """Read on for a moment: to close with unread input would reset what we wrote last."""
        deadline = time.monotonic() + _CLOSE_SECONDS
        try:
            while self._stream.read(max(0.0, deadline - time.monotonic())):
                pass
        except OSError:
            return


_WORDS = {
    AnswerKind.NORMAL: ("reply",),
    AnswerKind.NEVER: (),
    AnswerKind.TWICE: ("reply", "reply"),
    AnswerKind.ECHO_BEFORE: ("echo", "reply"),
    AnswerKind.ECHO_AFTER: ("reply", "echo"),
    AnswerKind.ECHO_ONLY: ("echo",),
}

_HANDLERS = {
    "ping": RtmConnection._ping,
    "message": RtmConnection._message,
    "typing": RtmConnection._typing,
    "presence_sub": RtmConnection._presence_sub,
    "presence_query": RtmConnection._presence_query,
}
