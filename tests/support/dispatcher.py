"""A dispatcher with a Slack, a directory and a clock of our own, and no broker."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rtmpump import config
from rtmpump.core.frames import Reply
from rtmpump.core.outbound.api_calls import TRIAL, CallAnswer
from rtmpump.core.outbound.command_parsing import parse
from rtmpump.core.outbound.job import Job, fingerprint
from rtmpump.core.outbound.mailbox import CallAnswered, LinkUp, Note
from rtmpump.core.outbound.outcome import Outcome
from rtmpump.core.session import MessageIds
from rtmpump.pumps.outbound.dispatcher import Dispatcher


class DispatcherRig:
    """A dispatcher, the Slack behind it, and who is called back."""

    def __init__(self, mode: str = "rtm", **outbound: Any) -> None:
        self.now = 1_000.0
        self.frames: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, str], Callable[[CallAnswer], None]]] = []
        self.broken: deque[Exception] = deque()
        self.waits: deque[float] = deque()
        self.looked_up: list[Callable[[str | None, str], None]] = []
        self.known: dict[str, str] = {}
        self.notes: list[Note] = []
        self.no_trials = 0.0
        self.trials: list[Callable[[CallAnswer], None]] = []
        self.ends: list[tuple[Job, Outcome]] = []
        self.tags = 0
        env = {"SLACK_API_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1", "RTMPUMP_SLACK_MODE": mode}
        env |= {"RTMPUMP_RETRY_JITTER": "none"}
        given = {"rate": 1_000, "burst": 100} | outbound
        env |= {f"RTMPUMP_OUTBOUND_{key.upper()}": str(value) for key, value in given.items()}
        no_file: Path | None = None
        self.dispatcher = Dispatcher(
            config.load(no_file, env), self, self, MessageIds(), self, lambda: self.now
        )
        self.dispatcher.handle(LinkUp(1))

    def send(self, frame: bytes, connection: int) -> None:
        """Take a frame, unless the connection is broken."""
        if self.broken:
            raise self.broken.popleft()
        self.frames.append(json.loads(frame))

    def submit(
        self, method: str, arguments: Mapping[str, str], answered: Callable[[CallAnswer], None]
    ) -> float:
        """Take a call, unless it has to wait."""
        if method == TRIAL:
            if self.no_trials:
                return self.no_trials
            self.trials.append(answered)
            return 0.0
        if self.waits:
            return self.waits.popleft()
        self.calls.append((method, dict(arguments), answered))
        return 0.0

    def lookup(
        self, name: str, answer: Callable[[str | None, str], None], *, not_id: str = ""
    ) -> str | None:
        """Know only the names of `known`."""
        id = self.known.get(name)
        if id is None or id == not_id:
            self.looked_up.append(answer)
            return None
        return id

    def notify(self, note: Note) -> None:
        """Keep a note."""
        self.notes.append(note)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Keep an end."""
        self.ends.append((job, outcome))

    def take(self, expires_in: float | None = None, came_back: bool = False, **fields: Any) -> Job:
        """Take a command."""
        body = json.dumps(fields).encode()
        self.tags += 1
        job = Job(self.tags, fingerprint(body, None, None, None), None, body, self.now)
        job.expires_at = None if expires_in is None else self.now + expires_in
        job.came_back = came_back
        job.command = parse(body)
        self.dispatcher.take(job, job.command)
        self.go_on()
        return job

    def message(self, text: str, channel: str = "C1A", **given: Any) -> Job:
        """Take a message."""
        return self.take(channel=channel, text=text, **given)

    def call(self, method: str = "reactions.add", **arguments: Any) -> Job:
        """Take a call of the Web API."""
        return self.take(type="api", method=method, arguments=arguments)

    def go_on(self, seconds: float = 0.0) -> float:
        """Let time pass; return in how many seconds the next thing is due."""
        self.now += seconds
        return self.dispatcher.go_on(sends=True) - self.now

    def handle(self, note: Any) -> None:
        """Handle what comes from Slack."""
        self.dispatcher.handle(note)
        self.go_on()

    def reply(self, id: int, code: object = None, text: str = "") -> None:
        """Answer the frame of this id, with an error if there is a code."""
        ok = code is None
        self.handle(Reply(id, ok, "1.2" if ok else "", str(code or ""), text, None))

    def answer(self, answer: CallAnswer) -> None:
        """Answer the last call."""
        self.calls[-1][2](answer)
        note = self.notes.pop()
        assert isinstance(note, CallAnswered)
        self.handle(note)

    def try_out(self, answer: CallAnswer) -> None:
        """Slack answers the last trial."""
        self.trials[-1](answer)
        self.handle(self.notes.pop())

    @property
    def ids(self) -> list[int]:
        """The ids of the frames that were written."""
        return [frame["id"] for frame in self.frames]

    @property
    def texts(self) -> list[str]:
        """The texts that were written."""
        return [frame["text"] for frame in self.frames]

    @property
    def codes(self) -> list[str]:
        """How the jobs ended."""
        return ["ok" if outcome.ok else outcome.code for _, outcome in self.ends]
