"""The fault suite: `make faults`, `make faults ARGS="--short --mode socket"`.

A flood of numbered events and a stream of commands go through the real pump while faults strike at
random; at the end nothing may be lost, out of order, unanswered or leaked. `--seed` repeats the
choice of the faults (their moments depend on the machine). Exit code 1 if a promise was broken.

`--pair` does so with two pumps, one of which is active, and three nodes: `pair` has that form.
`--gateway` does so with programs behind two gateways: `gateway` has that one.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.faults import (
    damage,
    gateway,
    pair,
    strikes,
    strikes_commands,
    strikes_lasting,
    strikes_machine,
    strikes_pumps,
    strikes_rtm,
    strikes_socket,
    traffic,
)
from tests.faults.course import Course, plan, say
from tests.faults.kinds import Kinds, Strike
from tests.faults.modes import MODES, RTM, SOCKET
from tests.faults.rig import Rig
from tests.faults.strikes import leave_nothing

_PEAK_MIB: Final = 256
_CALM: Final = 15.0


@dataclass(frozen=True)
class Form:
    """How long a run is: a part of the strikes, the last ones, leaves the pump alive."""

    strikes: int
    events: int
    event_rate: float
    command_rate: float
    seconds: float
    damages: int


SHORT: Final = {
    RTM.name: Form(24, 20_000, 1_000, 60, 75, 1),
    SOCKET.name: Form(24, 10_000, 500, 60, 40, 1),
}
LONG: Final = {
    RTM.name: Form(208, 1_000_000, 1_800, 100, 1_200, 8),
    SOCKET.name: Form(136, 300_000, 700, 80, 760, 4),
}
_OF_BOTH_MODES: Final = (
    strikes.KINDS | strikes_commands.KINDS | strikes_lasting.KINDS | strikes_machine.KINDS
)
_OF_ONE_MODE: Final = {
    RTM.name: strikes_rtm.KINDS | strikes_lasting.RTM,
    SOCKET.name: strikes_socket.KINDS | strikes_lasting.SOCKET,
}
_ENDS_PUMP: Final = {RTM.name: strikes_lasting.ENDS_RTM, SOCKET.name: strikes_pumps.KINDS}


@dataclass
class DamagedCourse(Course):
    """And what became of spools that were damaged on purpose."""

    damage: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one form; print what happens and, at the end, the figures."""
    options = _parser().parse_args(arguments)
    # SIGTERM, too, takes down all that was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.pair:
        return pair.main(options.short, options.seconds, options.seed, options.only)
    if options.gateway:
        return gateway.main(options.short, options.seconds, options.seed, options.only)
    form = (SHORT if options.short else LONG)[options.mode]
    seconds = "" if options.seconds is None else f"--seconds {options.seconds:.0f} "
    if options.seconds is not None:
        form = replace(form, seconds=options.seconds, events=0)
    pace = "" if options.pace == 1 else f"--pace {options.pace} "
    form = replace(
        form,
        event_rate=form.event_rate * options.pace,
        command_rate=form.command_rate * options.pace,
        events=int(form.events * options.pace),
    )
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    length = "--short " if options.short else ""
    command = f"make faults ARGS='{length}{seconds}{pace}--mode {options.mode} --seed {seed}'"
    say(f"seed {seed}; again with: {command}")
    began = time.monotonic()
    course = DamagedCourse()
    rig = Rig(MODES[options.mode], seed, form.event_rate, form.command_rate)
    try:
        _play(rig, form, options.only, course)
        say(_figures(rig, course, time.monotonic() - began, command))
    except AssertionError as error:
        rig.keeps_folder = True
        course.problems.append(f"after {course.last}: {error}; the log is in {rig.folder}")
    finally:
        rig.close()
    for problem in course.problems:
        say(f"BROKEN: {problem}")
    return 1 if course.problems else 0


def _play(rig: Rig, form: Form, only: str, course: DamagedCourse) -> None:
    began = time.monotonic()
    # Before the first hello of all there is nothing that a gap could begin with.
    rig.wait(lambda: rig.workspace.live, "for the first hello")
    rig.flood.start()
    rig.recover()
    say("all is up")
    mode = rig.mode.name
    alive = _chosen(_OF_BOTH_MODES | _OF_ONE_MODE[mode], only)
    kinds = alive | _chosen(strikes.ENDS_PUMP | _ENDS_PUMP[mode], only)
    until = began + 0.75 * form.seconds
    _strike(rig, kinds, plan(rig.dice, [*kinds], form.strikes * 3 // 4), until, course)
    # Now one process has to bear all of it, so that what it leaks adds up.
    strikes.kill_at_full_disk(rig)
    calm = _calm_belongings(rig)
    _strike(rig, alive, plan(rig.dice, [*alive], form.strikes // 4), began + form.seconds, course)
    _find_leaks(rig, calm, course)
    for _ in range(form.damages):
        course.damage.append(damage.strike(rig, course.problems))
        say(course.damage[-1])
    while rig.ledger.received < form.events and time.monotonic() < began + form.seconds:
        rig.check()
        time.sleep(0.2)
    _end(rig, course)


def _chosen(kinds: Mapping[str, Strike], only: str) -> Kinds:
    return Kinds({name: strike for name, strike in kinds.items() if only in name})


def _strike(
    rig: Rig, kinds: Mapping[str, Strike], plan: list[str], until: float, course: Course
) -> None:
    for name in plan:
        if time.monotonic() > until:
            return
        began, course.last = time.monotonic(), name
        kinds[name](rig)
        course.kinds[name] += 1
        lasted, took = time.monotonic() - began, None
        # Now and then the next one comes before all is well again.
        if rig.dice.random() < 0.7:
            took = rig.recover()
            leave_nothing(rig)
            course.recovered(name, took)
        rig.check()
        well = "not awaited" if took is None else f"well after {took:.1f} s"
        say(f"{sum(course.kinds.values()):>4} {name}, {lasted:.1f} s, {well}")


def _calm_belongings(rig: Rig) -> Counter[str]:
    rig.recover()
    leave_nothing(rig)
    rig.recover()
    strikes_commands.end_second_connection(rig)
    # A message by chat.postMessage has a socket of its own for a moment.
    rig.commands.hold()
    try:
        with rig.asker.quiet():
            return traffic.least_belongings([rig.pump.pid])[0]
    finally:
        rig.commands.go_on()


def _find_leaks(rig: Rig, calm: Counter[str], course: Course) -> None:
    """The same process, as calm as before: it has the same threads, sockets and files."""
    deadline = time.monotonic() + _CALM
    while (now := _calm_belongings(rig)) != calm and time.monotonic() < deadline:
        time.sleep(0.5)
    if now != calm:
        course.problems.append(f"the pump had {dict(calm)} and now has {dict(now)}")
    say(f"the pump has {dict(now)}, {traffic.memory(rig.pump.pid)}")


def _end(rig: Rig, course: Course) -> None:
    leave_nothing(rig)
    rig.recover()
    rig.commands.end()
    rig.flood.stop()
    if rig.questions is not None:
        rig.questions.stop()
    rig.settle()
    rig.weigh()
    rig.flood.count_deliveries()
    if waiting := len(rig.unacknowledged()):
        course.problems.append(f"Slack was never told of {waiting} events")
    rig.pump.terminate()
    if code := rig.pump.wait(25):
        course.problems.append(f"the pump ended with {code}")
    (line,) = rig.pump.logged("stopped")
    if line["left_in_spool"]:
        course.problems.append(f"the pump left {line['left_in_spool']} events in its spool")
    rig.settle(pump_runs=False)
    said = rig.pump.output()
    if any(token in said for token in rig.tokens.all):
        course.problems.append("a token is in what the pump wrote")
    rig.asker.stop()
    course.problems += rig.asker.problems
    if rig.questions is not None:
        course.problems += rig.questions.problems()
    course.problems += rig.ledger.problems(traffic.accepted(rig.workspace))
    if rig.peak_kib > _PEAK_MIB << 10:
        course.problems.append(f"the pump took {rig.peak_kib >> 10} MiB")


def _figures(rig: Rig, course: DamagedCourse, seconds: float, command: str) -> str:
    ledger = rig.ledger
    commands = ledger.commands()
    again = commands.pop("repeated")
    rows: list[tuple[str, Any]] = [
        ("command", f"`{command}`"),
        ("seconds", f"{seconds:.0f}"),
        ("faults", sum(course.kinds.values())),
        ("events emitted", f"{ledger.emitted_count:,}"),
        ("events received", f"{ledger.received:,}"),
        ("events told by a gap", f"{ledger.told():,}"),
        ("events lost", f"{len(ledger.lost()):,}"),
        ("of a spool damaged on purpose", f"{ledger.damaged():,} lost"),
        ("events repeated", f"{ledger.repeats:,}"),
        ("commands", ", ".join(f"{code} {count:,}" for code, count in commands.most_common())),
        ("results repeated", f"{again:,}"),
        ("messages at Slack", f"{len(rig.workspace.sent):,}"),
        ("pump processes", rig.pumps),
        ("peak RSS", f"{rig.peak_kib / 1024:.0f} MiB"),
        ("longest recovery", f"{rig.longest_recovery:.1f} s"),
        ("asked how it is", f"{rig.asker.asked:,} times; {rig.asker.green:,} times it was ready"),
    ]
    if rig.mode.sends_again:
        rows.append(("deliveries by Slack, echoes of messages too", f"{rig.flood.deliveries:,}"))
    if rig.questions is not None:
        rows.append(("questions", rig.questions.figures))
    lines = ["", "| what | figure |", "|---|---|", *(f"| {name} | {what} |" for name, what in rows)]
    lines += ["", "| fault | times | longest recovery |", "|---|---|---|"]
    for name, count in sorted(course.kinds.items()):
        took = course.recoveries.get(name)
        lines.append(f"| {name} | {count} | {'' if took is None else f'{took:.1f} s'} |")
    return "\n".join([*lines, "", *(f"- {told}" for told in course.damage)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--mode", choices=MODES, default=RTM.name, help="default: %(default)s")
    parser.add_argument("--pair", action="store_true", help="two pumps with [ha], three nodes")
    parser.add_argument("--gateway", action="store_true", help="programs behind two gateways")
    parser.add_argument("--short", action="store_true", help="a minute or two")
    parser.add_argument("--seconds", type=float, help="how long it strikes, instead")
    parser.add_argument(
        "--pace", type=float, default=1.0, help="of the load, 0.3 on a machine with other work"
    )
    parser.add_argument("--seed", type=int, default=None, help="of the choice of faults")
    parser.add_argument("--only", default="", metavar="WORD", help="kinds that contain this")
    return parser


if __name__ == "__main__":
    sys.exit(main())
