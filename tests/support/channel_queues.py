"""Queues of channels, and jobs that know no more than these have to know."""

from __future__ import annotations

from dataclasses import dataclass

from rtmpump.core.outbound.channel_queues import ChannelQueues
from rtmpump.core.outbound.commands import POST
from rtmpump.core.outbound.throttle import Pauses
from rtmpump.core.outbound.throttles import Throttles
from rtmpump.core.rate_limit import RateLimit

RATE, BURST = 2.0, 2


@dataclass(eq=False)
class Piece:
    """A job that knows no more than a queue has to know."""

    costs: bool = True
    done: bool = False
    throttle: str = POST
    key: str = ""
    ticket: int | None = None
    holds_queue: bool = False
    again_at: float = 0.0


class Queues(ChannelQueues[Piece]):
    """Queues that show their throttles."""

    def __init__(self, calls: RateLimit | None = None) -> None:
        calls = RateLimit(1_000.0, 1_000) if calls is None else calls
        self.throttles = Throttles(Pauses(0.5, 60.0), calls)
        super().__init__(RateLimit(RATE, BURST), self.throttles)


def queues() -> Queues:
    """Return new queues."""
    return Queues()


def due(some: Queues, now: float) -> list[Piece]:
    """Return what may be sent now."""
    return list(some.due(now))


def end(some: Queues, key: str, job: Piece, now: float) -> None:
    """Settle the job."""
    job.done = True
    some.throttles.leave(job)
    some.settle(key, job, now)
