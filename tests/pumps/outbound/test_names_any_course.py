"""Any course of commands by name: names move, Slack refuses and rests, brokers and links end.

A command is known by its text, a number. Slack, the directory and the redelivery are played here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from rtmpump.core.frames import Reply
from rtmpump.core.outbound.command_parsing import parse
from rtmpump.core.outbound.job import Job, fingerprint
from rtmpump.core.outbound.mailbox import LinkDown, LinkUp
from tests.support.dispatcher import DispatcherRig

IDS = ["C0ONE", "C0TWO", "C0THREE"]
NAMES = ["general", "random"]
COMMANDS = 40
STEPS = 150
REFUSED = ("4", "cannot process message")
SLOW_DOWN = ("-1", "slow down")


class Course(DispatcherRig):
    """One course; `finish` lets Slack and the directory answer all that is still open."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        super().__init__(rate=dice.choice([1, 1000]), burst=dice.choice([1, 100]))
        self.means = {name: dice.choice(IDS) for name in NAMES}
        self.asked: list[tuple[str, Callable[[str | None, str], None]]] = []
        self.jobs: dict[str, Job] = {}
        self.fields: dict[str, dict[str, Any]] = {}
        self.taken: list[str] = []
        self.replied = 0
        self.connection = 1
        self.is_up = True

    def lookup(
        self, name: str, answer: Callable[[str | None, str], None], *, not_id: str = ""
    ) -> str | None:
        """Know it now or later, as chance has it."""
        if self.dice.random() < 0.6 and self.means[name] != not_id:
            return self.means[name]
        self.asked.append((name, answer))
        return None

    def command(self) -> None:
        """A new one, by name or by id."""
        text = str(len(self.jobs))
        if len(self.jobs) < COMMANDS:
            channel = self.dice.choice([*NAMES, *NAMES, *IDS])
            self.fields[text] = {"channel": channel, "text": text}
            self._deliver(text, self.dice.choice([None, None, None, 5.0]))

    def move(self) -> None:
        """A name means another channel from now on."""
        self.means[self.dice.choice(NAMES)] = self.dice.choice(IDS)

    def tell(self) -> None:
        """The directory answers one question."""
        if self.asked:
            name, answer = self.asked.pop(self.dice.randrange(len(self.asked)))
            answer(self.means[name], "")
            self._read()

    def react(self) -> None:
        """Slack answers the oldest frame that has no answer, or never will."""
        if self.replied < len(self.frames):
            frame = self.frames[self.replied]
            self.replied += 1
            luck = self.dice.random()
            if luck < 0.25:
                self.reply(frame["id"], *REFUSED)
            elif luck < 0.4:
                self.reply(frame["id"], *SLOW_DOWN)
            elif luck < 0.9:
                self._accept(frame)

    def wait(self) -> None:
        """Time passes, at times more than a reply may take."""
        self.go_on(self.dice.choice([0.1, 1.0, 3.0, 11.0]))

    def switch_link(self) -> None:
        """The WebSocket ends, or is there again."""
        self.is_up = not self.is_up
        self.connection += self.is_up
        self.handle(LinkUp(self.connection) if self.is_up else LinkDown())

    def lose_broker(self) -> None:
        """The connection to RabbitMQ ends; it delivers again what is not over, in its order."""
        open_ones = [(text, job) for text, job in self.jobs.items() if not job.done]
        orphans = {job for _, job in open_ones if job.was_sent}
        self.dispatcher.leave_all([job for _, job in open_ones])
        for _, job in open_ones:
            job.tag = None
        for step in self.dice.choices([self.react, self.tell], k=2):
            step()
        for text, job in open_ones:
            if job in orphans:
                self.tags += 1
                job.tag = self.tags
                if not job.done:
                    self.dispatcher.take_back(job)
                    self.go_on()
            else:
                self._deliver(text, None)

    def finish(self) -> None:
        """Let all come to its end."""
        if not self.is_up:
            self.switch_link()
        for _ in range(2_000):
            while self.asked:
                self.tell()
            if self.replied < len(self.frames):
                self._accept(self.frames[self.replied])
                self.replied += 1
            self.go_on(0.5)
            if all(job.done for job in self.jobs.values()):
                return

    def awaits_any(self) -> bool:
        """Whether a late reply would still be taken."""
        replies = [Reply(id, True, "1.2", "", "", None) for id in self.ids]
        return any(map(self.dispatcher.awaits, replies))

    def _deliver(self, text: str, expires_in: float | None) -> None:
        body = json.dumps(self.fields[text]).encode()
        self.tags += 1
        job = Job(self.tags, fingerprint(body, None, None, None), None, body, self.now)
        job.expires_at = None if expires_in is None else self.now + expires_in
        job.command = parse(body)
        self.jobs[text] = job
        self.dispatcher.take(job, job.command)
        self.go_on()

    def _accept(self, frame: dict[str, Any]) -> None:
        self.taken.append(frame["text"])
        self.reply(frame["id"])

    def _read(self) -> None:
        notes, self.notes = self.notes, []
        for note in notes:
            self.handle(note)


@pytest.mark.parametrize("seed", range(100))
def test_any_course(seed: int) -> None:
    """All ends, once; those of a name keep their order; nothing is taken twice or left behind."""
    course = Course(seed)
    often = [course.command, course.react, course.wait, course.tell]
    steps = [*often, *often, *often, course.move, course.switch_link, course.lose_broker]
    for _ in range(STEPS):
        course.dice.choice(steps)()
    course.finish()
    assert [text for text, job in course.jobs.items() if not job.done] == []
    ends = [job for job, _ in course.ends]
    assert len(set(ends)) == len(ends)
    late = [job for job, end in course.ends if "expiration" in end.message and not job.expires_at]
    assert late == []
    for channel in (*NAMES, *IDS):
        same = [
            int(text)
            for text in course.taken
            if course.fields[text]["channel"] == channel and not course.jobs[text].uncertain
        ]
        assert same == sorted(set(same)), channel
    assert course.dispatcher.held_up.halts(course.now) == ()
    assert not course.awaits_any()
