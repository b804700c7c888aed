"""What RabbitMQ delivers again: in which order, and what is known of it.

Mostly that is after a connection to it ended. But a quorum queue whose leader loses the node of a
consumer for a moment takes all back from it, and gives it the same again on the same connection;
what the consumer then acknowledges by the old tags, it ignores.

Laws:

- Deliveries that were with us go before new ones. RabbitMQ can give a new connection a message that
  no consumer had, before it gives it those of the old connection: it puts these back only when it
  knows that the old one is gone. So new ones are held back until all of ours came again, but for
  `patience` seconds at most, for RabbitMQ may not notice the end of the old connection.
- A command that was sent to Slack is known when it comes again, and isn't sent twice.
- On the same connection only a command with a name is known, and only if it can't be another one of
  the same name: that one would never be sent. What the pump gave back itself is no return either.
- Of two equal commands, one sent and acknowledged, the other not sent, it is the latter that comes
  again for certain.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from typing import Final, Generic, TypeVar

from rtmpump.core.outbound.job import Fingerprint, Job

T = TypeVar("T")

# An ack that was written so long ago did arrive: heartbeats find a dead connection sooner.
_ACK_ARRIVES: Final = 60.0


class Redelivery(Generic[T]):
    """The order of the deliveries of one consumer; times in seconds of the caller's clock."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._owed = 0
        self._held: list[T] = []
        self._until = 0.0

    def ended(self, with_us: int) -> None:
        """Note the end of a connection that held `with_us` unacknowledged deliveries."""
        self._owed += with_us + len(self._held)
        self._held.clear()

    def begun(self, now: float) -> float | None:
        """Note that a new connection consumes.

        Returns:
            The time at which `late` has to be called; None if nothing is owed.
        """
        self._until = now + self._patience
        return self._until if self._owed else None

    def take(self, delivery: T, now: float, *, again: bool) -> list[T]:
        """Return the deliveries that may be taken on now, in order.

        Args:
            delivery: the one that just came.
            now: the time.
            again: whether it was delivered before.
        """
        if not self._owed and not self._held:
            return [delivery]
        if again:
            self._owed = max(0, self._owed - 1)
        elif self._owed and now < self._until:
            self._held.append(delivery)
            return []
        return [delivery, *self.late(now)]

    def late(self, now: float) -> list[T]:
        """Return what was held back, if nothing is owed any more or patience is over."""
        if self._owed and now < self._until:
            return []
        self._owed = 0
        held, self._held = self._held, []
        return held


class Orphans:
    """Jobs whose connection to the broker ended before their ack; their messages come again.

    The newest `most` are kept. Of the jobs whose ack was written, which may have been lost with the
    connection, the newest `most_acked` are remembered. Times in seconds of the caller's clock.
    """

    def __init__(self, most: int, most_acked: int) -> None:
        self._most = most
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._by_fingerprint: dict[Fingerprint, list[int]] = {}
        self._acked: deque[tuple[float, Job]] = deque(maxlen=most_acked)

    def __len__(self) -> int:
        return len(self._jobs)

    def acked(self, job: Job, now: float) -> None:
        """Remember a job whose ack was written now, if no other command has its name."""
        if job.fingerprint.is_named:
            job.command = None
            self._acked.append((now, job))

    def connection_ended(self, jobs: Collection[Job], now: float) -> list[Job]:
        """Keep those of `jobs` that were sent, and those whose ack may be lost.

        Returns:
            The jobs that had to make room; they are not known when they come again.
        """
        sent = [job for job in jobs if job.was_sent]
        unsent = {job.fingerprint for job in jobs if not job.was_sent}
        oldest = now - _ACK_ARRIVES
        maybe = [j for at, j in self._acked if at > oldest and j.fingerprint not in unsent]
        self._acked.clear()
        # Those that come again for certain stand before equal ones that perhaps come.
        return self._keep([*sent, *maybe])

    def adopt(self, fingerprint: Fingerprint) -> Job | None:
        """Take out the oldest job with this fingerprint; return None if there is none."""
        keys = self._by_fingerprint.get(fingerprint)
        if not keys:
            return None
        job = self._jobs[keys[0]]
        self._forget(job)
        return job

    def adopt_acked(self, fingerprint: Fingerprint, deliveries: int, now: float) -> Job | None:
        """Take out a job whose ack was written on this connection; None if there is none."""
        for at, job in reversed(self._acked):
            if at <= now - _ACK_ARRIVES:
                return None
            if job.fingerprint == fingerprint and job.may_come_again(deliveries):
                self._acked.remove((at, job))
                return job
        return None

    def take_all(self) -> list[Job]:
        """Take out all: they did not come in their time."""
        taken = list(self._jobs.values())
        self._jobs.clear()
        self._by_fingerprint.clear()
        return taken

    def _keep(self, jobs: Iterable[Job]) -> list[Job]:
        for job in jobs:
            job.tag = None
            job.let_go()
            self._jobs[id(job)] = job
            self._by_fingerprint.setdefault(job.fingerprint, []).append(id(job))
        forgotten = list(self._jobs.values())[: max(0, len(self._jobs) - self._most)]
        for job in forgotten:
            self._forget(job)
        return forgotten

    def _forget(self, job: Job) -> None:
        del self._jobs[id(job)]
        keys = self._by_fingerprint[job.fingerprint]
        keys.remove(id(job))
        if not keys:
            del self._by_fingerprint[job.fingerprint]


def in_hand(jobs: Iterable[Job], fingerprint: Fingerprint, deliveries: int) -> Job | None:
    """Return the job of a delivery that comes again although the connection lives on, if any.

    `deliveries` is how often it came before.
    """
    alike = (job for job in jobs if job.fingerprint == fingerprint)
    return next((job for job in alike if job.may_come_again(deliveries)), None)
