"""The count at the end, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from rtmpump.demo.screen import Screen
from rtmpump.demo.tally import Tally
from rtmpump.sandbox.slack.hub import Sent


class _Row(NamedTuple):
    name: str
    number: int
    note: str = ""
    bad: bool = False


class Summary:
    """The counts of one show, read once at its end."""

    def __init__(
        self, tally: Tally, sent: Sequence[Sent], *, live: bool, problems: Sequence[str] = ()
    ) -> None:
        self.events = tally.events()
        self.commands = tally.commands()
        self._live = live
        self._problems = list(problems)
        times = Counter(one.text for one in sent)
        self.sent = len(times)
        self.sent_again = sum(times.values()) - len(times)
        self._delays = sorted(tally.delays)

    @property
    def ok(self) -> bool:
        """Whether nothing was lost, mixed up, wrongly rejected or left unanswered."""
        events, commands = self.events, self.commands
        if self._problems or events.lost or events.clashes:
            return False
        return not (commands.failed or commands.unanswered or self._vanished)

    @property
    def _vanished(self) -> int:
        """Commands that were answered as sent, but are not at Slack."""
        return max(0, self.commands.ok - self.sent)

    def show(self, screen: Screen) -> None:
        """Print the tables."""
        screen.say()
        self._table(screen, "Events, Slack → RabbitMQ", self._event_rows())
        if not self._live:
            self._table(screen, "Commands, RabbitMQ → Slack", self._command_rows())
        for problem in self._problems:
            screen.say(problem, fg="red")
        verdict = self._verdict()
        screen.say(verdict, fg="green" if self.ok else "red", bold=True)

    def _event_rows(self) -> list[_Row]:
        events = self.events
        if self._live:
            return [
                _Row("received", events.received + events.others),
                _Row("repeated", events.repeated, "the same message_id came again"),
            ]
        delay = f"half of them within {median(self._delays):.0f} ms" if self._delays else ""
        alone = f"{events.undelivered} while no client was connected" if events.undelivered else ""
        rows = [
            _Row("emitted", events.emitted, alone),
            _Row("received", events.received, delay),
            _Row("missed", events.missed, "while disconnected; rtmpump.gap events announced them"),
            _Row("lost", events.lost, "neither received nor announced", bad=events.lost > 0),
            _Row("repeated", events.repeated, "the same message_id came again"),
            _Row("others", events.others, "hello, the pump's own events, its own messages"),
        ]
        if events.clashes:
            rows.append(_Row("mixed up", events.clashes, "two events, one message_id", bad=True))
        return rows

    def _command_rows(self) -> list[_Row]:
        commands = self.commands
        again = f"{self.sent_again} of them more than once" if self.sent_again else ""
        rows = [
            _Row("enqueued", commands.enqueued),
            _Row("sent", commands.ok, "answered with Slack's ts"),
            _Row(
                "rejected",
                commands.rejected,
                "as expected of the bad one" if commands.rejected else "",
            ),
            _Row("failed", commands.failed, bad=commands.failed > 0),
            _Row("unanswered", commands.unanswered, bad=commands.unanswered > 0),
            _Row("at Slack", self.sent, again),
        ]
        if self._vanished:
            rows.append(_Row("vanished", self._vanished, "answered, not at Slack", bad=True))
        return rows

    def _verdict(self) -> str:
        if not self.ok:
            return "Something was lost or went wrong."
        if self._live:
            return "Done."
        gaps = " (gaps announced all missed events)" if self.events.missed else ""
        return f"Nothing was lost{gaps}."

    def _table(self, screen: Screen, title: str, rows: Sequence[_Row]) -> None:
        screen.say(title, bold=True)
        for row in rows:
            line = f"  {row.name:<12}{row.number:>9,}  {row.note}".rstrip()
            if row.bad:
                screen.say(line, fg="red", bold=True)
            else:
                screen.say(line)
