"""What the connections of one workspace share: the records, the peers, the threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from rtmpump.sandbox.slack import rtm
from rtmpump.sandbox.slack.faults import Faults
from rtmpump.sandbox.slack.registry import Registry
from rtmpump.sandbox.slack.views import Views
from rtmpump.sandbox.slack.websocket import Opcode

_JOIN_SECONDS = 10.0


class Sent(NamedTuple):
    """An accepted message of a client; `received_at` is in seconds since 1970.

    `connection` is 0 for a message of chat.postMessage.
    """

    channel: str
    text: str
    thread_ts: str | None
    reply_broadcast: bool
    ts: str
    id: Any
    connection: int
    received_at: float
    blocks: Any = None
    attachments: Any = None


class Call(NamedTuple):
    """A call of the Web API; `args` are without the token, `time` is in seconds since 1970."""

    method: str
    args: dict[str, str]
    time: float


class Peer(Protocol):
    """A client's WebSocket, as the others of its workspace see it.

    `number` counts from 1; `live` is whether it gets events; `silent` whether it plays dead.
    """

    number: int
    live: bool
    silent: bool

    def deliver(self, body: bytes, opcode: int = Opcode.TEXT) -> bool:
        """Send one event, and wait for a slow peer; return False if the connection takes none."""

    def write_live(self, data: bytes) -> bool:
        """Write encoded frames; return False if the connection takes none or broke."""

    def presence(self, users: set[str] | None = None) -> None:
        """Send the presence of those of `users` that the client watches (None: all)."""

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""

    def cut(self, *, reset: bool = False) -> None:
        """End the TCP connection without a word: with FIN, or with RST."""

    def silence(self) -> None:
        """Play dead from now on."""


class SocketPeer(Peer, Protocol):
    """A WebSocket of Socket Mode."""

    def disconnect(self, reason: str, close_after: float | None) -> None:
        """Announce the end, which comes after so many seconds (None: never)."""


class Hub:
    """The shared state; the condition `changed` guards it and is notified of every change.

    `due` has the same lock, and is notified when what is to be done next has changed: who waits
    for that is not woken by each event.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.views = Views(registry.team, registry.bot_id)
        self.faults = Faults()
        lock = threading.RLock()
        self.changed, self.due = threading.Condition(lock), threading.Condition(lock)
        self.sent: list[Sent] = []
        self.frames: list[rtm.Json] = []
        self.calls: list[Call] = []
        self.pongs: list[bytes] = []
        self.closes: list[int] = []
        self.presence: dict[str, str] = {}
        self.last_accepted: tuple[rtm.Json, str] | None = None
        self.connections = 0
        self.events_api: Callable[[bytes], bool] = lambda _: False
        self.peers: list[Peer] = []
        self.sockets: list[SocketPeer] = []
        self.stopping = threading.Event()
        self._threads: set[threading.Thread] = set()
        self.posted_at: dict[str, float] = {}
        self._last_micros = 0

    @property
    def author(self) -> rtm.Author:
        """The bot that clients of this workspace speak as."""
        registry = self.registry
        return rtm.Author(
            registry.bot, registry.team, registry.bot_id, registry.people[registry.bot]
        )

    def next_ts(self) -> str:
        """Return a message `ts`: seconds and microseconds, always greater than the one before."""
        with self.changed:
            self._last_micros = max(time.time_ns() // 1000, self._last_micros + 1)
            return f"{self._last_micros // 1_000_000}.{self._last_micros % 1_000_000:06d}"

    def accept(
        self, message: rtm.Json, connection: int, content: rtm.Json | None = None
    ) -> rtm.Json:
        """Accept a message of a client; return its event, which is not sent yet.

        `content` is what the event says, where that is more than the text.
        """
        with self.changed:
            ts = self.next_ts()
            self.last_accepted = (message, ts)
            event = rtm.message_event(message, ts, self.author) | (content or {})
            event = self.keep(event)
            self.note(self.sent, _as_sent(message, ts, connection))
            return event

    def keep(self, event: rtm.Json) -> rtm.Json:
        """Put a `message` event into the history; return it with what Slack knows of its thread."""
        with self.changed:
            return self.registry.archive.keep(event)

    def publish(self, event: rtm.Json, *, but: Peer | None = None) -> int:
        """Send an event to every live connection but one; return to how many it was written.

        A message has a `channel_type` in the Events API, and none over RTM.
        """
        body = rtm.as_bytes(event)
        written = sum(peer.deliver(body) for peer in self.live_peers() if peer is not but)
        if event.get("type") == "message" and isinstance(event.get("channel"), str):
            kind = self.registry.channel_type(event["channel"])
            body = rtm.as_bytes(event | ({"channel_type": kind} if kind else {}))
        return written + self.events_api(body)

    def note(self, record: list[Any], entry: object) -> None:
        """Add `entry` to one of the records, and wake all that wait for a change."""
        with self.changed:
            record.append(entry)
            self.changed.notify_all()

    def next_number(self) -> int:
        """Return the number of a new connection, from 1."""
        with self.changed:
            self.connections += 1
            return self.connections

    def add(self, peer: Peer) -> None:
        """Add an open connection of RTM."""
        with self.changed:
            self.peers.append(peer)
            self.changed.notify_all()

    def add_socket(self, peer: SocketPeer) -> int:
        """Add an open connection of Socket Mode; return how many there are with it."""
        with self.changed:
            self.sockets.append(peer)
            self.changed.notify_all()
            return len(self.sockets)

    def remove(self, ended: Peer) -> None:
        """Remove a connection that has ended."""
        with self.changed:
            ended.live = False
            self.peers = [peer for peer in self.peers if peer is not ended]
            self.sockets = [peer for peer in self.sockets if peer is not ended]
            self.changed.notify_all()

    def set_live(self, peer: Peer, live: bool) -> None:
        """Set whether a connection gets events from now on."""
        with self.changed:
            peer.live = live
            self.changed.notify_all()

    def open_peers(self) -> list[Peer]:
        """Return all connections that have not ended."""
        with self.changed:
            return [*self.peers, *self.sockets]

    def live_peers(self) -> list[Peer]:
        """Return the connections of RTM that get events."""
        with self.changed:
            return [peer for peer in self.peers if peer.live]

    def open_sockets(self) -> list[SocketPeer]:
        """Return the connections of Socket Mode that have not ended."""
        with self.changed:
            return list(self.sockets)

    def live_sockets(self) -> list[SocketPeer]:
        """Return the connections of Socket Mode that get events."""
        with self.changed:
            return [peer for peer in self.sockets if peer.live]

    def send_to_others(self, sender: Peer, event: rtm.Json) -> None:
        """Send an event to every live connection of RTM but the sender's."""
        for peer in self.live_peers():
            if peer is not sender:
                peer.deliver(rtm.as_bytes(event))

    def spawn(self, work: Callable[[], object]) -> bool:
        """Run `work` in a thread that `join` waits for; return False once the workspace stops."""
        with self.changed:
            if self.stopping.is_set():
                return False
            # A thread can't remove itself: it would still run for a moment after that.
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            thread = threading.Thread(target=work, name="sandbox", daemon=True)
            thread.start()
            self._threads.add(thread)
            return True

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Run `work` after `seconds`, or never if the workspace stops before."""

        def run() -> None:
            if not self.stopping.wait(seconds):
                work()

        self.spawn(run)

    def stop(self) -> None:
        """Wake all that wait, to end."""
        with self.changed:
            self.stopping.set()
            self.changed.notify_all()
            self.due.notify_all()

    def join(self) -> None:
        """Wait for all threads; nothing may call `spawn` any more."""
        deadline = time.monotonic() + _JOIN_SECONDS
        with self.changed:
            threads = self._threads - {threading.current_thread()}
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _as_sent(message: rtm.Json, ts: str, connection: int) -> Sent:
    return Sent(
        channel=message["channel"],
        text=message["text"],
        thread_ts=message.get("thread_ts"),
        reply_broadcast=bool(message.get("reply_broadcast")),
        ts=ts,
        id=message.get("id"),
        connection=connection,
        received_at=time.time(),
        blocks=message.get("blocks"),
        attachments=message.get("attachments"),
    )
