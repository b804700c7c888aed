"""Two pumps, one of them active, on three RabbitMQ nodes: `make faults ARGS="--pair"`.

Two pumps never write, somebody reads as soon as the documentation says, and neither an event that
Slack wrote nor a command is lost, whatever strikes.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from rtmpump.sandbox.slack.workspace import Sent
from tests.faults import traffic
from tests.faults.course import Course, Form, plan, say
from tests.faults.pair_rig import PairRig
from tests.faults.pair_strikes import KINDS, SILENT, PairStrike
from tests.faults.two_pumps import Span, outside
from tests.support.waiting import wait_until

_SHOWN: Final = 5
_EVENTS: Final = 200.0
_COMMANDS: Final = 20.0
_ANSWERS: Final = {"ok", "invalid_command", "repeated"}
_REJOIN: Final = PairStrike(PairRig.rejoin, SILENT)


SHORT: Final = Form(10, 130)
LONG: Final = Form(1_000, 660)


@dataclass
class PairCourse(Course):
    """And for how long nobody read, by the kind of strike."""

    without_reader: dict[str, float] = field(default_factory=dict)
    outside: float = 0.0
    within: float = 0.0


def main(short: bool, seconds: float | None, seed: int | None, only: str) -> int:
    """Run one form; print what happens and, at the end, the figures."""
    form = SHORT if short else LONG
    if seconds is not None:
        form = Form(LONG.strikes, seconds)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    length = "--short " if short else "" if seconds is None else f"--seconds {seconds:.0f} "
    command = f"make faults ARGS='--pair {length}--seed {seed}'"
    say(f"seed {seed}; again with: {command}")
    began, course = time.monotonic(), PairCourse()
    rig = PairRig(seed, _EVENTS, _COMMANDS)
    try:
        _play(rig, form, only, course)
        say(_figures(rig, course, time.monotonic() - began, command))
    except AssertionError as error:
        course.problems.append(f"in {course.last}: {error}")
    finally:
        rig.keeps_folder = bool(course.problems)
        rig.close()
    for problem in course.problems:
        say(f"BROKEN: {problem}")
    if course.problems:
        say(f"the logs are in {rig.folder}")
    return 1 if course.problems else 0


def _play(rig: PairRig, form: Form, only: str, course: PairCourse) -> None:
    # Before the first hello of all there is nothing that a gap could begin with.
    wait_until(lambda: rig.workspace.live, what="for the first hello")
    rig.watch.start()
    rig.flood.start()
    rig.recover()
    say("all is up")
    until = time.monotonic() + form.seconds
    for name in plan(rig.dice, [name for name in KINDS if only in name], form.strikes):
        if time.monotonic() > until:
            break
        kind = KINDS[name]
        if kind.whole and rig.divided:
            _strike(rig, "nodes that were alone restarted", _REJOIN, course)
        _strike(rig, name, kind, course)
    _end(rig, course)


def _strike(rig: PairRig, name: str, kind: PairStrike, course: PairCourse) -> None:
    began, course.last = time.time(), name
    active = rig.name(rig.active)
    kind.do(rig)
    struck = time.time()
    well = _recovered(rig, course, f"after {name} at {began:.3f}")
    unread = _judge(rig, name, kind, began, course)
    if well is None:
        well = _begun_anew(rig, course)
    rig.ledger.struck(began * 1000, well * 1000)
    took = max(0.0, well - struck)
    course.kinds[name] += 1
    course.recovered(name, took)
    course.without_reader[name] = max(unread, course.without_reader.get(name, 0.0))
    _blame_writers(rig, course)
    now = rig.name(rig.active)
    say(
        f"{sum(course.kinds.values()):>4} {name}, {struck - began:.1f} s, well after {took:.1f} s, "
        f"nobody read for {unread:.1f} s, {active if now == active else f'{active} -> {now}'}"
    )


def _recovered(rig: PairRig, course: PairCourse, when: str) -> float | None:
    """Wait until all is well; None if it does not become so, which is a problem."""
    try:
        return rig.recover()
    except AssertionError as error:
        _blame(course, f"{when}: {error}")
        return None


def _begun_anew(rig: PairRig, course: PairCourse) -> float:
    """Get both pumps to work again, so that the rest of the run tells something."""
    rig.restart_pumps()
    well = _recovered(rig, course, "after a restart of both pumps")
    if well is None:
        rig.restart_pumps(anew=True)
        well = rig.recover()
    return well


def _judge(rig: PairRig, name: str, kind: PairStrike, began: float, course: PairCourse) -> float:
    """Hold the times without a reader against the bound; return the longest one, whole."""
    longest = 0.0
    for span in rig.watch.readers.spans(began):
        longest = max(longest, span.seconds)
        counted = max((part.seconds for part in outside(span, rig.troubles)), default=0.0)
        course.outside = max(course.outside, counted)
        course.within = max(course.within, span.seconds - counted)
        if counted > kind.bound + span.late:
            _blame(course, _unread(name, kind, span, counted))
    return longest


def _unread(name: str, kind: PairStrike, span: Span, counted: float) -> str:
    return (
        f"{name}: nobody read for {counted:.2f} s (and {span.seconds - counted:.2f} s in which "
        f"RabbitMQ was unwell) from {span.since:.3f} to {span.to:.3f}; {kind.bound:.1f} s are "
        f"allowed, and {span.late:.2f} s for the watcher that was held up"
    )


def _blame_writers(rig: PairRig, course: PairCourse) -> None:
    for overlap in rig.watch.commands.overlaps[:_SHOWN]:
        _blame(course, f"two wrote: {overlap}")


def _blame(course: PairCourse, problem: str) -> None:
    """Tell a problem once, at once."""
    if problem not in course.problems:
        course.problems.append(problem)
        say(f"BROKEN: {problem}")


def _end(rig: PairRig, course: PairCourse) -> None:
    course.last = "the end"
    rig.recover()
    rig.commands.end()
    rig.flood.stop()
    rig.settle()
    rig.watch.stop()
    for pump in (rig.standby, rig.active):
        rig.stop_pump(pump)
        (line,) = pump.logged("stopped")
        if line["left_in_spool"]:
            course.problems.append(f"a pump left {line['left_in_spool']} events in its spool")
    _blame_writers(rig, course)
    course.problems += rig.ledger.problems(traffic.accepted(rig.workspace))
    codes = rig.ledger.commands().keys() - _ANSWERS
    course.problems += [f"commands died of trouble: {code}" for code in sorted(codes)]
    course.problems += _sent_twice_by_one(rig)


def _sent_twice_by_one(rig: PairRig) -> list[str]:
    """A pump never repeats a command on the connection on which it got the reply."""
    return [
        f"command {one.id} was sent twice on connection {one.connection}, {one.apart:.3f} s apart"
        for one in _repeats(rig)
        if one.connection == one.before
    ]


class _Repeat(NamedTuple):
    """A command that a pump carried out again, though its producer published it once.

    `unread` is how long the connection `before` still lasted after it.
    """

    id: str
    before: int
    connection: int
    apart: float
    unread: float


def _repeats(rig: PairRig) -> list[_Repeat]:
    last: dict[str, Sent] = {}
    found = []
    for one in rig.workspace.sent:
        before = last.get(one.text)
        if before is not None and not rig.ledger.is_doubled(one.text):
            ended = rig.watch.ended.get(before.connection, one.received_at)
            at = before.received_at
            numbers = before.connection, one.connection
            found.append(_Repeat(one.text, *numbers, one.received_at - at, ended - at))
        last[one.text] = one
    return found


def _told_repeats(rig: PairRig) -> str:
    repeats = _repeats(rig)
    apart = max((one.apart for one in repeats), default=0.0)
    unread = max((one.unread for one in repeats), default=0.0)
    return (
        f"{len(repeats):,}, at most {apart:.1f} s later; "
        f"the connection before had ended within {unread:.1f} s"
    )


def _figures(rig: PairRig, course: PairCourse, seconds: float, command: str) -> str:
    ledger = rig.ledger
    commands = ledger.commands()
    results_again = commands.pop("repeated")
    terms = sum(pump.output().count('"lock.taken"') for pump in rig.pumps)
    rows: list[tuple[str, Any]] = [
        ("command", f"`{command}`"),
        ("seconds", f"{seconds:.0f}"),
        ("strikes", sum(course.kinds.values())),
        ("takeovers", terms - 1),
        ("seconds with two writers", f"{rig.watch.commands.seconds():.3f}"),
        ("pings of an old connection after a new one wrote", len(rig.watch.others.overlaps)),
        ("longest time without a reader, RabbitMQ well", f"{course.outside:.1f} s"),
        ("longest such time, RabbitMQ unwell", f"{course.within:.1f} s"),
        ("latest look of the watcher", f"{rig.watch.latest:.2f} s"),
        ("events emitted", f"{ledger.emitted_count:,}"),
        ("events received", f"{ledger.received:,}"),
        ("events told by a gap", f"{ledger.told():,}"),
        ("events lost", f"{len(ledger.lost()):,}"),
        ("events repeated", f"{ledger.repeats:,}, {ledger.two_ids:,} with two ids"),
        ("commands", ", ".join(f"{code} {count:,}" for code, count in commands.most_common())),
        ("commands carried out again", _told_repeats(rig)),
        ("results repeated", f"{results_again:,}"),
        ("messages at Slack", f"{len(rig.workspace.sent):,}"),
        ("longest recovery", f"{max(course.recoveries.values(), default=0.0):.1f} s"),
    ]
    lines = ["", "| what | figure |", "|---|---|", *(f"| {name} | {what} |" for name, what in rows)]
    lines += ["", "| strike | times | longest recovery | nobody read, at most |"]
    lines += ["|---|---|---|---|"]
    for name, count in sorted(course.kinds.items()):
        took, unread = course.recoveries[name], course.without_reader[name]
        lines.append(f"| {name} | {count} | {took:.1f} s | {unread:.1f} s |")
    return "\n".join([*lines, ""])
