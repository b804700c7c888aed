"""The envelopes of Socket Mode, each kept until the app acknowledges it.

Each event goes to one connection of the app, any of them. An envelope that is not acknowledged in
time is sent again three times: at once, after a minute, and after five more. Then Slack gives up
(https://docs.slack.dev/apis/events-api#retries). Slash commands and interactions are sent only
once.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from threading import TIMEOUT_MAX
from typing import Any, NamedTuple

from rtmpump.sandbox.slack.hub import Hub, SocketPeer
from rtmpump.sandbox.slack.registry import APP, TOKEN
from rtmpump.slack_side import socket_mode
from rtmpump.slack_side.socket_mode import EVENTS_API


class EnvelopeDelivery(NamedTuple):
    """One write of an event to a connection: its number, or 0 if there was no connection."""

    envelope_id: str
    connection: int
    attempt: int
    at: float


@dataclass(eq=False)
class SentEnvelope:
    """One event and its deliveries; `acknowledged_on` is the number of a connection.

    `answer` is the payload that came with the acknowledgement. `heed` is called with it, unless it
    came too late: then Slack does not heed it either.
    """

    kind: str
    payload: bytes
    event_id: str
    takes_answer: bool
    deliveries: list[EnvelopeDelivery] = field(default_factory=list)
    acknowledgements: int = 0
    acknowledged_on: int = 0
    acknowledged_at: float = 0.0
    answer: Any = None
    given_up: bool = False
    heed: Callable[[Any], object] | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether the app has acknowledged it."""
        return self.acknowledgements > 0


class Envelopes:
    """The events of one app, and when each is due again; `enabled` after its first connection."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._numbers = count(1)
        self._due: list[tuple[float, int, SentEnvelope, int]] = []
        self._by_id: dict[str, SentEnvelope] = {}
        self._turn = count()
        self._is_running = False
        self.enabled = False
        self.all: list[SentEnvelope] = []
        hub.events_api = lambda event: self.enabled and self.event(event)

    def event(self, event: bytes) -> bool:
        """Send an event; return whether it was written to a connection at once."""
        number = next(self._numbers)
        event_id = f"Ev{number:09d}"
        payload = socket_mode.event_payload(
            event,
            team=self._hub.registry.team,
            bot=self._hub.registry.bot,
            event_id=event_id,
            event_time=int(time.time()),
            app=APP,
            token=TOKEN,
        )
        return self._send(SentEnvelope(EVENTS_API, payload, event_id, False))

    def interaction(
        self, kind: str, payload: bytes, heed: Callable[[Any], object] | None = None
    ) -> SentEnvelope:
        """Send what a person did: `kind` is "slash_commands" or "interactive"."""
        envelope = SentEnvelope(kind, payload, "", True, heed=heed)
        self._send(envelope)
        return envelope

    def acknowledge(self, id: str, connection: int, answer: object) -> bool:
        """Take an acknowledgement; return False if no such envelope was sent."""
        with self._hub.changed:
            envelope = self._by_id.get(id)
            if envelope is None:
                return False
            is_first = not envelope.acknowledgements
            if is_first:
                envelope.acknowledged_on, envelope.acknowledged_at = connection, time.time()
                envelope.answer = answer
            # Last: who sees it without the lock sees the answer too.
            envelope.acknowledgements += 1
            heed = envelope.heed if is_first and not envelope.given_up else None
            self._hub.changed.notify_all()
        if heed is not None:
            heed(answer)
        return True

    def missing(self) -> list[SentEnvelope]:
        """Return those that are not acknowledged."""
        with self._hub.changed:
            return [one for one in self.all if not one.acknowledged]

    def forget(self) -> list[SentEnvelope]:
        """Forget those that are acknowledged, and return them."""
        with self._hub.changed:
            over = [one for one in self.all if one.acknowledged]
            self.all = [one for one in self.all if not one.acknowledged]
            self._by_id = {id: one for id, one in self._by_id.items() if not one.acknowledged}
            return over

    def retry_now(self) -> None:
        """Send at once all that waits for its next try."""
        with self._hub.changed:
            self._due = [(0.0, n, envelope, attempt) for _, n, envelope, attempt in self._due]
            heapq.heapify(self._due)
            self._hub.due.notify_all()

    def _send(self, envelope: SentEnvelope) -> bool:
        with self._hub.changed:
            self.all.append(envelope)
            self._start()
        return self._deliver(envelope, 0)

    def _deliver(self, envelope: SentEnvelope, attempt: int) -> bool:
        """Write it to one connection (or more, if the faults say so), and set its deadline."""
        faults = self._hub.faults
        id = socket_mode.new_envelope_id()
        if faults.same_envelope_id and envelope.deliveries:
            id = envelope.deliveries[0].envelope_id
        frame = socket_mode.envelope(
            envelope.kind,
            envelope.payload,
            id=id,
            takes_answer=envelope.takes_answer,
            attempt=attempt,
            reason=socket_mode.NOT_ACKNOWLEDGED if attempt else "",
        )
        with self._hub.changed:
            self._by_id[id] = envelope
        written = 0
        for peer in self._choice()[: faults.copies]:
            delivery = EnvelopeDelivery(id, peer.number, attempt, time.time())
            with self._hub.changed:
                envelope.deliveries.append(delivery)
            written += peer.deliver(frame)
        if not written:
            with self._hub.changed:
                envelope.deliveries.append(EnvelopeDelivery(id, 0, attempt, time.time()))
        self._plan(envelope, attempt, faults.ack_seconds if written else 0.0)
        return bool(written)

    def _choice(self) -> list[SocketPeer]:
        """Return the live connections, first the one whose turn it is."""
        peers = self._hub.live_sockets()
        first = next(self._turn) % len(peers) if peers else 0
        return peers[first:] + peers[:first]

    def _plan(self, envelope: SentEnvelope, attempt: int, patience: float) -> None:
        waits = self._hub.faults.retry_after if envelope.kind == EVENTS_API else ()
        with self._hub.changed:
            wait = waits[attempt] if attempt < len(waits) else 0.0
            due = (time.monotonic() + patience + wait, next(self._numbers), envelope, attempt + 1)
            heapq.heappush(self._due, due)
            if self._due[0] is due:
                self._hub.due.notify_all()
            self._hub.changed.notify_all()

    def _start(self) -> None:
        if not self._is_running:
            self._is_running = self._hub.spawn(self._run)

    def _run(self) -> None:
        """Send again what is due."""
        while (task := self._next()) is not None:
            task()

    def _next(self) -> Callable[[], object] | None:
        hub = self._hub
        with hub.changed:
            while not hub.stopping.is_set():
                now = time.monotonic()
                while self._due and self._due[0][2].acknowledged:
                    heapq.heappop(self._due)
                if self._due and self._due[0][0] <= now:
                    _, _, envelope, attempt = heapq.heappop(self._due)
                    tries = len(hub.faults.retry_after) if envelope.kind == EVENTS_API else 0
                    if attempt <= tries:
                        return lambda: self._deliver(envelope, attempt)
                    envelope.given_up = True
                    hub.changed.notify_all()
                    continue
                wait = self._due[0][0] - now if self._due else TIMEOUT_MAX
                hub.due.wait(min(wait, TIMEOUT_MAX))
        return None
