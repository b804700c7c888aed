"""The life of one command in the pump, from its delivery to its acknowledgement.

WAITING → WRITTEN (it waits for Slack's answer) → SETTLED (only result, dead letter and ack are
left); back to WAITING when it has to be sent again. LOOKING: Slack refused its channel, and another
one may have the name. After the end of the connection to the broker a job has no `tag`: it lives on
as an orphan until RabbitMQ delivers its message again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.core.outbound.commands import Command
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.errors import CommandRejected

# What is older was not made when the command was sent.
_TIMESTAMP_OLDEST: Final = 86_400.0


class Stage(Enum):
    """How far a command has come."""

    WAITING = "waiting"
    WRITTEN = "written"
    LOOKING = "looking"
    SETTLED = "settled"


class Fingerprint(NamedTuple):
    """What a delivery is known by when it comes again; equal ones are exchangeable."""

    digest: bytes
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None

    @property
    def is_named(self) -> bool:
        """Whether its producer gave it a name that no other command has.

        A correlation id alone may be a constant; a producer that waits for a result needs one of
        its own for each command.
        """
        return bool(self.message_id or (self.correlation_id and self.reply_to))

    @property
    def hash(self) -> str:
        """One text for all of it."""
        return blake2b(repr(tuple(self)).encode(), digest_size=16).hexdigest()


def fingerprint(
    body: bytes, message_id: str | None, correlation_id: str | None, reply_to: str | None
) -> Fingerprint:
    """Return the fingerprint of a delivery; it holds no body, which may be large."""
    digest = blake2b(body, digest_size=16).digest()
    return Fingerprint(digest, message_id, correlation_id, reply_to)


class Part(Enum):
    """What is published at the end of a command."""

    LETTER = "letter"
    RESULT = "result"


@dataclass(slots=True, eq=False)
class Report:
    """How far the end of a job has been reported.

    `done` are the parts that the broker took or that were given up, `under_way` those whose confirm
    is awaited. `alone` says that no other message may be under way beside its parts, since one of
    them may have ended a connection. `result_id` is the `message_id` of the result, `retry_until`
    when a refused result is given up, `left_out` what the dead letter lacks, and `refused` whether
    the broker ever refused a part.
    """

    done: set[Part] = field(default_factory=set)
    under_way: set[Part] = field(default_factory=set)
    alone: bool = False
    result_id: str = ""
    retry_until: float | None = None
    left_out: str = ""
    refused: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """One command; times in seconds of a clock that never goes back.

    `name` is that by which it gives its channel, "" for an id. `queue_key` is that of its channel
    queue, `costs` says whether Slack's rate limit of messages counts it. `throttle` is the name of
    what may hold it back, and `ticket` what it got there when it went. `token_refused_in` is how
    many trials of the token had passed when Slack refused it for this command, and `trouble` what
    its last attempt met. `ids` are the message ids of RTM that it was written with, `failures`
    counts the attempts after which it had to wait. It does not go again before `again_at`, and had
    its outcome at `settled_at`. `body` is b"" while it is an orphan: the next delivery brings it
    again. `size` is how many bytes of it are held, `dropped` the size of a body that was too large
    to be kept. `came_back`: another pump had it before, or this one before it was started.
    `deliveries` is how often it came before, as RabbitMQ counts that.
    """

    tag: int | None
    fingerprint: Fingerprint
    properties: Any
    body: bytes
    received_at: float
    came_back: bool = False
    deliveries: int = 0
    expires_at: float | None = None
    command: Command | None = None
    name: str = ""
    channel_id: str = ""
    queue_key: str = ""
    costs: bool = False
    throttle: str = ""
    ticket: int | None = None
    token_refused_in: int | None = None
    stage: Stage = Stage.WAITING
    attempts: int = 0
    failures: int = 0
    again_at: float = -math.inf
    uncertain: bool = False
    ids: list[int] = field(default_factory=list)
    outcome: Outcome | None = None
    trouble: Trouble | None = None
    settled_at: float | None = None
    looked_again: bool = False
    size: int = 0
    dropped: int = 0
    report: Report = field(default_factory=Report)

    @property
    def done(self) -> bool:
        """Whether its outcome is known."""
        return self.stage is Stage.SETTLED

    @property
    def was_written(self) -> bool:
        """Whether Slack's answer is awaited."""
        return self.stage is Stage.WRITTEN

    @property
    def holds_queue(self) -> bool:
        """Whether something is awaited for it, so that nothing of its queue may go."""
        return self.stage in (Stage.WRITTEN, Stage.LOOKING)

    @property
    def was_sent(self) -> bool:
        """Whether Slack may have seen it, or its outcome is known."""
        return self.attempts > 0 or self.done

    @property
    def kind(self) -> str:
        """The contract's `type`, or "invalid"."""
        return "invalid" if self.command is None else self.command.kind

    def may_come_again(self, deliveries: int) -> bool:
        """Return whether a delivery of this name can be this command, which the queue took back.

        Another one of the same name that came as often would never be sent.
        """
        return deliveries > self.deliveries

    def let_go(self) -> None:
        """Hold nothing of what the delivery brought; the next one brings it again."""
        self.body, self.properties, self.size = b"", None, 0

    def is_late(self, now: float) -> bool:
        """Whether its `expiration` has passed."""
        return self.expires_at is not None and self.expires_at <= now


def expiry(job: Job, wall_clock: float) -> float | None:
    """Return when its `expiration` ends it.

    It counts from the property `timestamp`, where that can be right: whole seconds, not in the
    future and at most a day old. RabbitMQ counts only up to the delivery, so without a timestamp we
    count from there. A whole second says no more than that the command was sent before its end, and
    a command of half a second must not die of that: so it counts from the end of that second.

    Args:
        job: The command, which was delivered just now.
        wall_clock: The time of day in seconds since 1970.

    Raises:
        CommandRejected: the property is no number of milliseconds.
    """
    given = job.properties.expiration
    if given is None:
        return None
    if not str(given).isdecimal():
        problem = f"the property expiration is {given!r}; give milliseconds as a string"
        raise CommandRejected("invalid_command", problem)
    return job.received_at - _age(job.properties.timestamp, wall_clock) + int(given) / 1000


def _age(timestamp: object, wall_clock: float) -> float:
    """Return for how many seconds a command with this timestamp has surely been on its way."""
    if not isinstance(timestamp, int) or not 0 <= wall_clock - timestamp <= _TIMESTAMP_OLDEST:
        return 0.0
    return max(0.0, wall_clock - timestamp - 1)
