"""One connection of Socket Mode to a simulated workspace: envelopes out, acknowledgements in."""

from __future__ import annotations

from rtmpump.sandbox.slack.connection import RtmConnection
from rtmpump.sandbox.slack.envelopes import Envelopes
from rtmpump.sandbox.slack.hub import Hub
from rtmpump.sandbox.slack.registry import APP, Ticket
from rtmpump.sandbox.slack.stream import Stream
from rtmpump.sandbox.slack.websocket import Opcode, encode
from rtmpump.slack_side import frames, socket_mode

_CLOSE_SOON = 0.05
_HOST = "applink-sandbox"
_PING = f"Ping from {_HOST}".encode()


class SocketConnection(RtmConnection):
    """A `hub.SocketPeer`: it differs from RTM in what it sends and reads."""

    def __init__(
        self, hub: Hub, stream: Stream, ticket: Ticket | None, envelopes: Envelopes
    ) -> None:
        super().__init__(hub, stream, ticket)
        self._envelopes = envelopes
        self._place = 0

    def disconnect(self, reason: str, close_after: float | None) -> None:
        """Announce the end, which comes after so many seconds (None: never)."""
        self.deliver(socket_mode.disconnect(reason, host=_HOST))
        if close_after is not None:
            self._hub.later(close_after, lambda: self.close(1000))

    def silence(self) -> None:
        """Play dead without Slack's knowledge: Slack goes on to send, but nothing arrives."""
        self.silent = True

    def deliver(self, body: bytes, opcode: int = Opcode.TEXT) -> bool:
        """Send one frame; return False if the connection takes none."""
        return True if self.silent and self.live else super().deliver(body, opcode)

    def _join(self) -> None:
        self._place = self._hub.add_socket(self)

    def _greet(self) -> None:
        kind = self._hub.faults.next_hello()
        if self._ticket is None:
            self.close(1008, "expired ticket")
        elif self._place > self._hub.faults.most_sockets:
            self.write(encode(socket_mode.disconnect(socket_mode.TOO_MANY, host=_HOST)))
            self._hub.later(_CLOSE_SOON, lambda: self.close(1000))
        elif kind == "send":
            self._envelopes.enabled = True
            with self._becoming_live():
                count = len(self._hub.open_sockets())
                self.write(encode(socket_mode.hello(count, host=_HOST, app=APP)))
            self._hub.spawn(self._ping_on)

    def _ping_on(self) -> None:
        """Ping as Slack does, until the end: slack-go takes 30 s without a ping as an end."""
        while self.live and not self._hub.stopping.wait(self._hub.faults.ping_seconds):
            if not self.silent:
                self.write_live(encode(_PING, Opcode.PING))

    def _take_frame(self, payload: bytes) -> None:
        """Take an acknowledgement; Slack answers neither to it nor to other frames."""
        frame = frames.read(payload)
        if frame is None:
            return
        self._hub.note(self._hub.frames, frame)
        id = frame.get("envelope_id")
        if isinstance(id, str) and not self._hub.faults.deaf_to_acks:
            self._envelopes.acknowledge(id, self.number, frame.get("payload"))
