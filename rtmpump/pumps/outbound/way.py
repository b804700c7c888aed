"""What the dispatcher needs of a way to Slack, and what became of one attempt.

A way transmits one job and reads Slack's answer to it. It decides nothing: the dispatcher knows
order, rate and expiration, and decides whether and when a job goes again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

from rtmpump.config import Outbound
from rtmpump.core.outbound.api_calls import CallAnswer, Trouble
from rtmpump.core.outbound.commands import Command
from rtmpump.core.outbound.job import Job
from rtmpump.core.outbound.mailbox import Note
from rtmpump.core.outbound.outcome import Outcome


class SlackAccess(Protocol):
    """Where commands go: the WebSocket of RTM, and the workers that call the Web API."""

    def send(self, frame: bytes, connection: int) -> None:
        """Write a frame to the WebSocket connection of this number.

        Raises:
            NotConnected: nothing was written.
            WriteFailed: a part of the frame may have been written.
        """

    def submit(
        self, method: str, arguments: Mapping[str, str], answered: Callable[[CallAnswer], None]
    ) -> float:
        """Have a method called and return 0.0, or return the seconds after which to ask again.

        `answered` is called from another thread.
        """


class ChannelIds(Protocol):
    """Where the id of a channel comes from: the directory."""

    def lookup(
        self, name: str, answer: Callable[[str | None, str], None], *, not_id: str = ""
    ) -> str | None:
        """Return the id of a channel if it is known; else return None, and call `answer` later.

        `answer` takes the id and "", or None and the reason. It is called from another thread.
        Slack refused `not_id`: it is known no more, but may be the answer again.
        """


class DispatchListener(Protocol):
    """Who is called back: the sender."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Report how the job ended. On the sender's thread."""

    def notify(self, note: Note) -> None:
        """Bring a note to the sender's thread. From any thread."""


class NotNow(NamedTuple):
    """Nothing was done, and no attempt is counted.

    The job goes again after `wait` seconds, once its way is open.
    """

    wait: float = 0.0


class Held(NamedTuple):
    """Slack surely did nothing, and the job is not at fault: no attempt is counted.

    `wait`: the least time in seconds until the next attempt. `code` and `detail` are for the log.
    """

    trouble: Trouble
    code: str
    detail: str = ""
    wait: float = 0.0


class Failed(NamedTuple):
    """An attempt failed in such a way that the job may go again; `why` is for people.

    `certain`: Slack surely did nothing. `wait`: the least time in seconds until the next attempt.
    `backs_off`: the wait grows with each failure of the job. `detail`: for the log.
    """

    code: str
    why: str
    certain: bool = True
    wait: float = 0.0
    backs_off: bool = True
    detail: str = ""


Verdict: TypeAlias = Outcome | Failed | Held | NotNow
"""What became of an attempt."""


def end_after(attempts: int, failed: Failed, outbound: Outbound) -> Outcome | None:
    """Return the end of a job whose last attempt of so many failed; None if it goes again."""
    timed_out = not failed.certain and failed.code == "timeout"
    if not failed.certain and outbound.on_uncertain == "dead-letter":
        code = "timeout" if timed_out else "uncertain"
        return Outcome(False, "", code, f"{failed.why}; it is not known whether Slack took it")
    if attempts >= outbound.max_attempts:
        code = "timeout" if timed_out else "max_attempts"
        return Outcome(False, "", code, f"{attempts} attempts: {failed.why}")
    return None


class Way(ABC):
    """One way to Slack; all of it belongs to the sender's thread."""

    tells_trouble: ClassVar[bool]
    """Whether an attempt that failed says something of the way, and not of its job alone."""
    reply_timeout: float | None = None
    """How long to wait for a reply, in seconds; None: an answer comes for certain."""
    is_open: bool = True
    """Whether jobs can be transmitted, as far as is known."""

    @abstractmethod
    def transmit(self, job: Job, command: Command) -> Verdict | None:
        """Transmit the command and count the attempt; return None if the answer comes later."""

    @abstractmethod
    def log_again(self, job: Job, failed: Failed | Held, wait: float) -> None:
        """Log that the job goes again in `wait` seconds, while others go on."""

    def log_fields(self, job: Job) -> dict[str, Any]:
        """Return further fields for the log line of a job that failed."""
        return {}

    def unanswered(self, job: Job) -> Verdict | None:
        """Return what became of a job to which no reply came in time."""
        return None
