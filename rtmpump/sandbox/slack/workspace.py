"""A simulated Slack workspace on 127.0.0.1: Web API and WebSockets on one port.

An app may use RTM, Socket Mode, or both at once: each gets all events.

It behaves as Slack documents until its `faults` say otherwise; `faults.py` lists all that it can do
wrong. `python -m rtmpump.sandbox.slack --help` runs one in a process of its own.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Any

from rtmpump.sandbox.slack import rtm
from rtmpump.sandbox.slack.archive import Archive
from rtmpump.sandbox.slack.envelopes import Envelopes, SentEnvelope
from rtmpump.sandbox.slack.faults import Faults
from rtmpump.sandbox.slack.front_desk import HOST, FrontDesk
from rtmpump.sandbox.slack.hub import Call, Hub, Peer, Sent
from rtmpump.sandbox.slack.person import Person
from rtmpump.sandbox.slack.registry import APP, Registry
from rtmpump.sandbox.slack.responses import PersonalAnswer, Responses
from rtmpump.sandbox.slack.websocket import Opcode, encode, header
from rtmpump.slack_side.rtm import GOODBYE

__all__ = ["Call", "Faults", "Sent", "SentEnvelope", "Workspace"]

BOT = "U0PUMP"
CHANNELS = {
    "general": "C0GENERAL",
    "random": "C0RANDOM",
    "secret": "G0SECRET",
    "U0ALICE": "D0ALICE",
}
_CHUNK_FRAMES = 256
_CHUNKS_A_SECOND = 100


class Workspace:
    """One workspace. It listens as soon as it is made; threads and sockets end with `stop()`.

    `channels` maps names to ids (C public, G private, D direct: its name is the other user's id).
    `port` 0 takes a free one. With `tls` it speaks https and wss. Times are in seconds.
    """

    def __init__(
        self,
        *,
        team: str = "T0SANDBOX",
        token: str = "xoxb-sandbox",  # noqa: S107 - opens nothing but this
        app_token: str = "xapp-sandbox",  # noqa: S107 - likewise
        channels: Mapping[str, str] = CHANNELS,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        registry = Registry(team, BOT, token, app_token, dict(channels))
        self._hub = Hub(registry)
        self._envelopes = Envelopes(self._hub)
        self._responses = Responses(self._hub)
        self._desk = FrontDesk(self._hub, self._envelopes, self._responses, port, tls)
        self.host = HOST
        self.port = self._desk.port
        self._base = f"{'https' if tls else 'http'}://{HOST}:{self.port}"
        self.api_url = f"{self._base}/api/"

    @property
    def team(self) -> str:
        """The team id."""
        return self._hub.registry.team

    @property
    def bot(self) -> str:
        """The user id of the owner of the token."""
        return self._hub.registry.bot

    @property
    def token(self) -> str:
        """The only valid token; may be changed."""
        return self._hub.registry.token

    @token.setter
    def token(self, token: str) -> None:
        self._hub.registry.token = token

    @property
    def app_token(self) -> str:
        """The only valid app-level token; may be changed."""
        return self._hub.registry.app_token

    @app_token.setter
    def app_token(self, token: str) -> None:
        self._hub.registry.app_token = token

    @property
    def channels(self) -> dict[str, str]:
        """Names and ids of the channels; may be changed."""
        return self._hub.registry.channels

    @property
    def users(self) -> dict[str, str]:
        """Ids and names of people; may be changed."""
        return self._hub.registry.users

    @property
    def page_size(self) -> int:
        """The most channels or users in one answer of a list; may be changed."""
        return self._hub.registry.page_size

    @page_size.setter
    def page_size(self, page_size: int) -> None:
        self._hub.registry.page_size = page_size

    @property
    def archived(self) -> set[str]:
        """Ids of archived channels; may be changed."""
        return self._hub.registry.archived

    @property
    def archive(self) -> Archive:
        """The messages of `say` and of clients, and which of them the token may read."""
        return self._hub.registry.archive

    @property
    def faults(self) -> Faults:
        """The switches for all that can go wrong."""
        return self._hub.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._hub.faults = faults

    @property
    def sent(self) -> list[Sent]:
        """The accepted messages of clients."""
        return self._hub.sent

    @property
    def responses(self) -> list[PersonalAnswer]:
        """What the app answered to people: by a `response_url`, or to a slash command at once."""
        return self._responses.all

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Every JSON object that clients sent, pings included."""
        return self._hub.frames

    @property
    def calls(self) -> list[Call]:
        """Every call of the Web API, also the failed ones."""
        return self._hub.calls

    @property
    def pongs(self) -> list[bytes]:
        """The payloads of the WebSocket pongs of clients."""
        return self._hub.pongs

    @property
    def closes(self) -> list[int]:
        """The codes of the close frames that clients sent, 1005 for one without, in order."""
        return self._hub.closes

    @property
    def connections(self) -> int:
        """How many WebSockets were opened until now."""
        return self._hub.connections

    @property
    def live(self) -> int:
        """How many connections got hello and get events: not closing, not playing dead."""
        return len(self._hub.live_peers()) + len(self.sockets)

    @property
    def sockets(self) -> list[int]:
        """The numbers of the live connections of Socket Mode."""
        return [peer.number for peer in self._hub.live_sockets() if not peer.silent]

    @property
    def envelopes(self) -> list[SentEnvelope]:
        """All envelopes for Socket Mode, with their deliveries."""
        return self._envelopes.all

    def unacknowledged(self) -> list[SentEnvelope]:
        """Return the envelopes that the app has not acknowledged."""
        return self._envelopes.missing()

    def forget_acknowledged(self) -> list[SentEnvelope]:
        """Forget `frames` and the acknowledged `envelopes`, so that a long run doesn't keep them.

        Returns:
            These envelopes.
        """
        with self._hub.changed:
            self._hub.frames.clear()
            return self._envelopes.forget()

    def retry_now(self) -> None:
        """Send at once all that waits for its next try."""
        self._envelopes.retry_now()

    def wait(self, predicate: Callable[[], object], timeout: float = 100.0) -> bool:
        """Wait until `predicate()` is true, asked at each change; return False after `timeout`."""
        with self._hub.changed:
            return bool(self._hub.changed.wait_for(predicate, timeout))

    def wait_live(self, timeout: float = 100.0, count: int = 1) -> bool:
        """Wait until at least `count` connections are live; return False after `timeout`."""
        return self.wait(lambda: self.live >= count, timeout)

    def emit(self, event: Mapping[str, Any] | str | bytes, binary: bool = False) -> int:
        """Send an event to every live connection; return to how many it was written.

        A dictionary is sent as it is; nothing is added. It waits for peers that read slowly.
        """
        body, opcode = rtm.as_bytes(event), Opcode.BINARY if binary else Opcode.TEXT
        written = sum(peer.deliver(body, opcode) for peer in self._hub.live_peers())
        return written + (self._envelopes.enabled and self._envelopes.event(body))

    def slash(self, command: str, text: str = "", user: str = "U0ALICE") -> SentEnvelope:
        """Use a slash command in the first channel, see `Person.slash`."""
        return self.person(user).slash(command, text, next(iter(self.channels), ""))

    def person(self, user: str = "U0ALICE") -> Person:
        """Return a user, who can press buttons, fill modals and the like."""
        return Person(self._hub, self._envelopes, self._responses, self._base, user)

    def interact(self, payload: Mapping[str, Any]) -> SentEnvelope:
        """Send an interaction as it is, over Socket Mode; `person` makes whole ones."""
        return self._envelopes.interaction("interactive", rtm.as_bytes(payload))

    def limit_events(self, minute: int) -> SentEnvelope:
        """Tell the app that events are dropped in this minute (its beginning, seconds since 1970).

        It is sent over Socket Mode only.
        """
        payload = {
            "token": "sandbox",
            "type": "app_rate_limited",
            "team_id": self.team,
            "minute_rate_limited": minute,
            "api_app_id": APP,
        }
        return self._envelopes.interaction("events_api", rtm.as_bytes(payload))

    def disconnect(
        self,
        reason: str = "refresh_requested",
        *,
        close_after: float | None = 10.0,
        numbers: Collection[int] | None = None,
    ) -> None:
        """Announce the end of connections of Socket Mode (all, or those with these numbers)."""
        for peer in self._hub.live_sockets():
            if numbers is None or peer.number in numbers:
                peer.disconnect(reason, close_after)

    def emit_many(
        self, frames: Iterable[bytes], rate: float | None = None, *, hold: bool = False
    ) -> int:
        """Send many bodies as fast as the peers take them, or at `rate` a second.

        `stop()` ends it early.

        Args:
            frames: the bodies.
            rate: how many a second; None means as fast as possible.
            hold: whether to wait while no client is connected; else such events are lost, as at
                Slack.

        Returns:
            How many were written to at least one connection.
        """
        if self._envelopes.enabled:
            return self._emit_envelopes(frames, rate, hold)
        written, started, seen = 0, time.monotonic(), 0
        for data, count in _chunks(frames, _chunk_size(rate), self.faults.fragment):
            if hold and not self._wait_for_a_client():
                break
            written += count if self._write_live(data) else 0
            seen += count
            due = started + seen / rate if rate else 0.0
            if self._hub.stopping.wait(max(0.0, due - time.monotonic()) if rate else 0.0):
                break
        return written

    def _emit_envelopes(self, frames: Iterable[bytes], rate: float | None, hold: bool) -> int:
        written, started = 0, time.monotonic()
        for number, body in enumerate(frames):
            if (hold and not self._wait_for_a_client()) or self._hub.stopping.is_set():
                break
            written += self.emit(body)
            due = started + (number + 1) / rate - time.monotonic() if rate else 0.0
            if due > 0:
                self._hub.stopping.wait(due)
        return written

    def say(
        self, channel: str, text: str, user: str = "U0ALICE", thread_ts: str | None = None
    ) -> str:
        """Say something in a channel (name or id), as a user does; return the ts of the message.

        It is sent as a `message` event, and it is in the history even if no client is connected.
        """
        ts = self._hub.next_ts()
        message = {"channel": self._hub.registry.channel_id(channel) or channel, "text": text}
        if thread_ts:
            message["thread_ts"] = thread_ts
        event = rtm.message_event(message, ts, rtm.Author(user, self.team))
        self._hub.publish(self._hub.keep(event))
        return ts

    def keep(self, event: Mapping[str, Any]) -> None:
        """Put a `message` event into the history, as Slack does before it sends it; see `emit`."""
        self._hub.keep(dict(event))

    def set_presence(self, user: str, presence: str) -> None:
        """Make a user "active" or "away", and send this to the connections that watch the user."""
        with self._hub.changed:
            self._hub.presence[user] = presence
        for peer in self._hub.live_peers():
            peer.presence({user})

    def ping(self, payload: bytes = b"") -> None:
        """Send a WebSocket ping; the answers are in `pongs`."""
        data = encode(payload, Opcode.PING)
        for peer in (*self._hub.live_peers(), *self._hub.live_sockets()):
            peer.write_live(data)

    def goodbye(self, close_after: float | None = 0.1) -> None:
        """Send `goodbye`, and close the connections that got it after so many seconds."""
        peers = self._hub.live_peers()
        for peer in peers:
            peer.deliver(rtm.as_bytes(GOODBYE))
        if close_after is not None:
            self._hub.later(close_after, lambda: _each(peers, lambda peer: peer.close(1000)))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake on every open connection."""
        _each(self._hub.open_peers(), lambda peer: peer.close(code, reason))

    def cut(self, numbers: Collection[int] | None = None) -> None:
        """End open connections (all, or those with these numbers) without a handshake (FIN)."""
        _each(self._numbered(numbers), lambda peer: peer.cut())

    def reset(self) -> None:
        """Reset every open connection (RST)."""
        for peer in self._hub.open_peers():
            peer.cut(reset=True)

    def silence(self, numbers: Collection[int] | None = None) -> None:
        """Play dead on open connections: they stay, but nothing is read or answered any more."""
        _each(self._numbered(numbers), lambda peer: peer.silence())

    def raw(self, data: bytes) -> None:
        """Write bytes unchanged to every live connection: half frames, impossible opcodes."""
        for peer in (*self._hub.live_peers(), *self._hub.live_sockets()):
            peer.write_live(data)

    def down(self) -> None:
        """Take Slack down: reset all connections, refuse new ones, until `up()`."""
        self._desk.close()
        self.reset()
        self._desk.end_all(reset=True)

    def up(self) -> None:
        """Listen again, on the same port."""
        self._desk.open()

    def stop(self) -> None:
        """End everything; return when all threads have ended and all sockets are closed."""
        # First no new work can begin, then running work is interrupted, then we wait for its end.
        self._hub.stop()
        self._desk.close()
        self._desk.end_all()
        self._hub.join()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _numbered(self, numbers: Collection[int] | None) -> list[Peer]:
        return [p for p in self._hub.open_peers() if numbers is None or p.number in numbers]

    def _write_live(self, data: bytes) -> int:
        return sum(peer.write_live(data) for peer in self._hub.live_peers())

    def _wait_for_a_client(self) -> bool:
        with self._hub.changed:
            self._hub.changed.wait_for(lambda: self.live or self._hub.stopping.is_set())
        return not self._hub.stopping.is_set()


def _each(peers: list[Peer], do: Callable[[Peer], None]) -> None:
    for peer in peers:
        with contextlib.suppress(OSError):
            do(peer)


def _chunk_size(rate: float | None) -> int:
    return max(1, min(_CHUNK_FRAMES, int(rate / _CHUNKS_A_SECOND))) if rate else _CHUNK_FRAMES


def _chunks(frames: Iterable[bytes], size: int, piece: int) -> Iterable[tuple[bytes, int]]:
    """Yield buffers of encoded frames, each with the number of its frames."""
    parts: list[bytes] = []
    count = 0
    for body in frames:
        if piece:
            parts.append(encode(body, piece=piece))
        else:
            parts += (header(len(body)), body)
        count += 1
        if count == size:
            yield b"".join(parts), count
            parts, count = [], 0
    if count:
        yield b"".join(parts), count
