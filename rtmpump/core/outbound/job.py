"""The life of one command in the pump, from its delivery to its acknowledgement.

WAITING → WRITTEN (Slack's reply is awaited) → SETTLED (only result, dead letter and ack are left);
back to WAITING when it has to be sent again. While the broker's connection is away a job has no
`tag`: it lives on as an orphan until RabbitMQ delivers its message again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple

from rtmpump.core.outbound import api_calls
from rtmpump.core.outbound.commands import Api, Command, Message
from rtmpump.core.outbound.outcome import Outcome


class Stage(Enum):
    """How far a command has come."""

    WAITING = "waiting"
    WRITTEN = "written"
    SETTLED = "settled"


class Fingerprint(NamedTuple):
    """By this a delivery is known again; two commands that are equal in it are exchangeable."""

    digest: bytes
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None

    @property
    def is_named(self) -> bool:
        """Whether its producer gave it a name that no other command has.

        A correlation id alone may be a constant; who waits for an answer needs one of its own.
        """
        return bool(self.message_id or (self.correlation_id and self.reply_to))


def fingerprint(
    body: bytes, message_id: str | None, correlation_id: str | None, reply_to: str | None
) -> Fingerprint:
    """Make the fingerprint of a delivery; it doesn't hold the body, which may be large."""
    digest = blake2b(body, digest_size=16).digest()
    return Fingerprint(digest, message_id, correlation_id, reply_to)


@dataclass(slots=True, eq=False)
class Job:
    """One command; times in seconds of a clock that never goes back.

    `body` is b"" while it is an orphan: the next delivery brings it again.
    """

    tag: int | None
    fingerprint: Fingerprint
    properties: Any
    body: bytes
    received_at: float
    expires_at: float | None = None
    command: Command | None = None
    channel_id: str = ""
    lane: str = ""
    stage: Stage = Stage.WAITING
    attempts: int = 0
    failures: int = 0
    uncertain: bool = False
    ids: list[int] = field(default_factory=list)
    outcome: Outcome | None = None
    result_confirmed: bool = False
    result_due_by: float | None = None
    dead_confirmed: bool = False

    @property
    def done(self) -> bool:
        """Whether its outcome is known."""
        return self.stage is Stage.SETTLED

    @property
    def costs(self) -> bool:
        """Whether Slack's rate limit of its channel counts it: messages only."""
        if isinstance(self.command, Api):
            return api_calls.is_message(self.command)
        return isinstance(self.command, Message)

    @property
    def kind(self) -> str:
        """The contract's `type`, or "invalid"."""
        return "invalid" if self.command is None else self.command.kind

    def is_late(self, now: float) -> bool:
        """Whether its `expiration` has passed."""
        return self.expires_at is not None and self.expires_at <= now


class Orphans:
    """Jobs whose connection to the broker ended before their ack; they come again for certain.

    So a command that was sent to Slack already is known when RabbitMQ delivers it again, and isn't
    sent twice. At most `most` are kept, the newest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._by_fingerprint: dict[Fingerprint, list[int]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> Job | None:
        """Keep a job until its message is delivered again; gives the one that had to go for it."""
        job.tag = None
        job.body = b""
        self._jobs[id(job)] = job
        self._by_fingerprint.setdefault(job.fingerprint, []).append(id(job))
        if len(self._jobs) <= self._most:
            return None
        oldest = next(iter(self._jobs.values()))
        self._forget(oldest)
        return oldest

    def adopt(self, fingerprint: Fingerprint) -> Job | None:
        """Take out the oldest job with this fingerprint."""
        keys = self._by_fingerprint.get(fingerprint)
        if not keys:
            return None
        job = self._jobs[keys[0]]
        self._forget(job)
        return job

    def take_all(self) -> list[Job]:
        """Take out all: they had their time and did not come."""
        taken = list(self._jobs.values())
        self._jobs.clear()
        self._by_fingerprint.clear()
        return taken

    def _forget(self, job: Job) -> None:
        del self._jobs[id(job)]
        keys = self._by_fingerprint[job.fingerprint]
        keys.remove(id(job))
        if not keys:
            del self._by_fingerprint[job.fingerprint]
