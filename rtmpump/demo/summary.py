"""The count at the end, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from rtmpump.demo.screen import Screen
from rtmpump.demo.tally import Tally
from rtmpump.sandbox.slack.hub import Sent

_WHY_MISSED = {
    "rtm": "RTM was disconnected and never replays; each gap was announced",
    "socket": "Socket Mode was disconnected until Slack gave up; each gap was announced",
}


_CLASSIC = (
    "The simulated workspace lets the pump read all of the history; the real Slack lets the bot of "
    "a classic app, so RTM, read direct messages only."
)


class Played(NamedTuple):
    """What kind of show it was; `hurried` if a signal ended the wait for what was under way."""

    mode: str = "rtm"
    live: bool = False
    backfill: bool = False
    hurried: bool = False


class _Row(NamedTuple):
    name: str
    number: int
    note: str = ""
    bad: bool = False


class Summary:
    """The counts of one show, read once at its end."""

    def __init__(
        self, tally: Tally, sent: Sequence[Sent], played: Played, problems: Sequence[str] = ()
    ) -> None:
        self.events = tally.events()
        self.commands = tally.commands()
        self._played = played
        self._problems = list(problems)
        times = Counter(one.text for one in sent)
        self.sent = len(times)
        self.sent_again = sum(times.values()) - len(times)
        self._delays = sorted(tally.delays)

    @property
    def ok(self) -> bool:
        """Whether nothing was lost, mixed up, wrongly rejected or left unanswered."""
        return not (self._is_wrong or self.events.lost or self.commands.unanswered)

    @property
    def is_cut_short(self) -> bool:
        """Whether something has not come, but was not waited for either."""
        return self._played.hurried and not self.ok and not self._is_wrong

    @property
    def _is_wrong(self) -> bool:
        """Whether something went wrong that no waiting mends."""
        wrong = self.events.clashes or self.commands.failed or self._vanished
        return bool(self._problems or wrong)

    @property
    def _vanished(self) -> int:
        """Commands that were answered as sent, but are not at Slack."""
        return max(0, self.commands.ok - self.sent)

    def show(self, screen: Screen) -> None:
        """Print the tables."""
        screen.say()
        self._table(screen, "Events, from Slack to RabbitMQ", self._event_rows())
        if not self._played.live:
            self._table(screen, "Commands, from RabbitMQ to Slack", self._command_rows())
        screen.say()
        for problem in self._problems:
            screen.paragraph(problem, fg="red")
        colour = "green" if self.ok else "yellow" if self.is_cut_short else "red"
        screen.paragraph(self._verdict(), fg=colour, bold=True)
        for remark in self._remarks():
            screen.paragraph(remark, fg="yellow")

    def _event_rows(self) -> list[_Row]:
        events = self.events
        repeated = _Row("repeated", events.repeated, self._why_repeated())
        if self._played.live:
            return [_Row("received", events.received + events.others), repeated]
        rows = [
            _Row("emitted", events.emitted, "by the people of the workspace"),
            _Row("received", events.received, self._delay()),
        ]
        if self._played.backfill:
            rows.append(_Row("fetched", events.fetched, "later, from the history (backfill)"))
        rows += [
            _Row("not delivered", events.missed, self._why_missed() if events.missed else ""),
            self._absent("lost", events.lost, "neither received nor announced as missing"),
            repeated,
            _Row("others", events.others, "hello, the pump's own events, its own messages"),
        ]
        if events.clashes:
            rows.append(_Row("mixed up", events.clashes, "two events, one message_id", bad=True))
        return rows

    def _command_rows(self) -> list[_Row]:
        commands = self.commands
        again = f"{self.sent_again} of them more than once" if self.sent_again else ""
        bad = "the third one, bad on purpose" if commands.rejected else ""
        rows = [
            _Row("enqueued", commands.enqueued),
            _Row("sent", commands.ok, "answered with Slack's ts"),
            _Row("rejected", commands.rejected, bad),
            _Row("failed", commands.failed, bad=commands.failed > 0),
            self._absent("unanswered", commands.unanswered, ""),
            _Row("at Slack", self.sent, again),
        ]
        if self._vanished:
            rows.append(_Row("vanished", self._vanished, "answered, not at Slack", bad=True))
        return rows

    def _absent(self, name: str, number: int, note: str) -> _Row:
        """Return the row of what did not come."""
        if not number:
            return _Row(name, 0)
        if self.is_cut_short:
            return _Row("not awaited", number, "still under way when Ctrl-C ended the wait")
        return _Row(name, number, note, bad=True)

    def _verdict(self) -> str:
        if self.is_cut_short:
            return "Ended before all had come, so it can't be said whether anything was lost."
        if not self.ok:
            return "Something was lost or went wrong: see the red lines."
        if self._played.live:
            return "Done."
        events = self.events
        arrived = f"{events.received + events.fetched:,} events arrived"
        if events.fetched:
            arrived += f" ({events.fetched:,} of them from the history)"
        answered = f"all {self.commands.enqueued:,} commands were answered"
        if events.missed:
            return f"Of what Slack delivered nothing was lost: {arrived}, {answered}."
        return f"Nothing was lost: all {arrived}, {answered}."

    def _remarks(self) -> Iterator[str]:
        """Say what the consumer did not get although nothing went wrong, and what helps."""
        events = self.events
        if self._played.mode == "rtm" and events.fetched:
            yield _CLASSIC
        if not events.missed:
            return
        yield f"{events.missed:,} not delivered: {self._why_missed()}."
        if self._played.backfill:
            yield "None of them is in Slack's history: that holds no reactions, edits and the like."
        else:
            yield (
                f"With --backfill, {events.fetchable:,} of them would have come from Slack's "
                "history: that holds messages, but no reactions, edits and the like."
            )
            if self._played.mode == "rtm" and events.fetchable:
                yield _CLASSIC

    def _why_missed(self) -> str:
        return _WHY_MISSED[self._played.mode]

    def _why_repeated(self) -> str:
        same = "the same message_id again, to be dropped"
        if self._played.backfill and self.events.repeated:
            return f"{same}; most by backfill, which fetches 5 s more on both sides of a gap"
        return same

    def _delay(self) -> str:
        return f"half of them within {median(self._delays):,.0f} ms" if self._delays else ""

    def _table(self, screen: Screen, title: str, rows: Sequence[_Row]) -> None:
        screen.say(title, bold=True)
        for row in rows:
            style = {"fg": "red", "bold": True} if row.bad else {}
            screen.entry(row.name, f"{row.number:>8,}", row.note, **style)
