"""Programs of Slack's own library behind two gateways: `make faults ARGS="--gateway"`.

No name loses an event that the pump accepted; what comes again has the same `event_id`; nothing is
left in a queue, and a gateway that lives through all of it keeps no thread and no file.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from tests.faults import traffic
from tests.faults.course import Course, Form, plan, say
from tests.faults.gateway_rig import NAMES, GatewayRig
from tests.faults.gateway_strikes import ENDS_GATEWAY, KINDS, Strike
from tests.support.waiting import wait_until

_RATE: Final = 100.0
_PEAK_MIB: Final = 150
_CALM: Final = 30.0
# Struck in every run, the short ones too, before chance has its turn.
_FIRST: Final = ("gateway: kill -9", "program: kill -9", "pump: kill -9")
# What a gateway says where it did not do what it should.
_BAD_NEWS: Final = ("gateway.bug", "gateway.unanswered", "Traceback")


# A quarter of the strikes, the last ones, leaves the gateways alive.
SHORT: Final = Form(12, 45)
LONG: Final = Form(1_000, 600)


def main(short: bool, seconds: float | None, seed: int | None, only: str) -> int:
    """Run one form; print what happens and, at the end, the figures."""
    form = SHORT if short else LONG
    if seconds is not None:
        form = Form(LONG.strikes, seconds)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    length = "--short " if short else "" if seconds is None else f"--seconds {seconds:.0f} "
    command = f"make faults ARGS='--gateway {length}--seed {seed}'"
    say(f"seed {seed}; again with: {command}")
    began, course = time.monotonic(), Course()
    rig = GatewayRig(seed, _RATE)
    try:
        _play(rig, form, only, course)
        say(_figures(rig, course, time.monotonic() - began, command))
    except AssertionError as error:
        course.problems.append(f"after {course.last}: {error}")
    finally:
        rig.keeps_folder = bool(course.problems)
        rig.close()
    for problem in course.problems:
        say(f"BROKEN: {problem}")
    if course.problems:
        say(f"the logs are in {rig.folder}")
    return 1 if course.problems else 0


def _play(rig: GatewayRig, form: Form, only: str, course: Course) -> None:
    wait_until(lambda: rig.workspace.live, what="for the first hello")
    rig.flood.start()
    rig.recover()
    say("all is up")
    began = time.monotonic()
    alive = {name: strike for name, strike in KINDS.items() if only in name}
    ends = {name: strike for name, strike in ENDS_GATEWAY.items() if only in name}
    _strike(rig, alive | ends, form.strikes * 3 // 4, began + 0.75 * form.seconds, course)
    # Now the same processes have to bear all of it, so that what they leak adds up.
    calm = _calm_belongings(rig)
    _strike(rig, alive, form.strikes // 4, began + form.seconds, course)
    _find_leaks(rig, calm, course)
    _end(rig, course)


def _plan(rig: GatewayRig, kinds: Mapping[str, Strike], count: int) -> list[str]:
    """The first ones; then each kind before any comes again, in an order of chance."""
    first = [name for name in _FIRST if name in kinds]
    return (first + plan(rig.dice, [*kinds], count - len(first)))[:count]


def _strike(
    rig: GatewayRig, kinds: Mapping[str, Strike], count: int, until: float, course: Course
) -> None:
    for name in _plan(rig, kinds, count):
        if time.monotonic() > until:
            return
        began, course.last = time.monotonic(), name
        kinds[name](rig)
        course.kinds[name] += 1
        lasted, took = time.monotonic() - began, None
        # Now and then the next one comes before all is well again.
        if rig.dice.random() < 0.7:
            took = rig.recover()
            course.recovered(name, took)
        rig.check()
        well = "not awaited" if took is None else f"well after {took:.1f} s"
        say(f"{sum(course.kinds.values()):>4} {name}, {lasted:.1f} s, {well}")


def _calm_belongings(rig: GatewayRig) -> list[Counter[str]]:
    """What the gateways have while each program has its one connection."""
    rig.recover()
    wait_until(rig.connected, _CALM, "for the connections of all programs")
    return traffic.least_belongings([gateway.pid for gateway in rig.gateways])


def _find_leaks(rig: GatewayRig, calm: list[Counter[str]], course: Course) -> None:
    deadline = time.monotonic() + _CALM
    while any(more := _more(now := _calm_belongings(rig), calm)) and time.monotonic() < deadline:
        time.sleep(0.5)
    if any(more):
        course.problems.append(f"the gateways have more than before: {more}")
    held = [traffic.memory(gateway.pid)["VmRSS"] >> 10 for gateway in rig.gateways]
    say(f"the gateways have {[dict(one) for one in now]}, {held} MiB")


def _more(now: list[Counter[str]], before: list[Counter[str]]) -> list[Counter[str]]:
    return [one - other for one, other in zip(now, before, strict=True)]


def _end(rig: GatewayRig, course: Course) -> None:
    course.last = "the end"
    rig.recover()
    rig.flood.stop()
    rig.settle()
    rig.weigh()
    emitted = rig.ledger.emitted_count
    for accounts in rig.accounts.values():
        course.problems += accounts.problems(emitted)
    # The pump's last events are for no program, and a gateway has to take them.
    rig.stop(rig.pump)
    with suppress(AssertionError):
        wait_until(lambda: not any(rig.left().values()), _CALM)
    # What a gateway still holds goes back to its queue.
    for gateway in rig.gateways:
        rig.stop(gateway)
    course.problems += [
        f"{count} are left in {name}" for name, count in rig.left().items() if count
    ]
    (line,) = rig.pump.logged("stopped")
    if line["left_in_spool"]:
        course.problems.append(f"the pump left {line['left_in_spool']} events in its spool")
    course.problems += _bad_news(rig)
    if rig.peak_kib > _PEAK_MIB << 10:
        course.problems.append(f"a gateway took {rig.peak_kib >> 10} MiB")


def _bad_news(rig: GatewayRig) -> list[str]:
    secrets = [*rig.tokens.all, *(name.token for name in NAMES)]
    said = [process.output() for process in (*rig.gateways, rig.pump)]
    found = [f"a gateway says {word}" for word in _BAD_NEWS if any(word in one for one in said)]
    if any(secret in one for one in said for secret in secrets):
        found.append("a token is in what a gateway or the pump wrote")
    return found


def _figures(rig: GatewayRig, course: Course, seconds: float, command: str) -> str:
    emitted = rig.ledger.emitted_count
    rows: list[tuple[str, Any]] = [
        ("command", f"`{command}`"),
        ("seconds", f"{seconds:.0f}"),
        ("strikes", sum(course.kinds.values())),
        ("events emitted", f"{emitted:,}"),
        ("events that the pump did not accept", rig.unaccepted()),
    ]
    for name in NAMES:
        one = rig.accounts[name.name]
        starts = sum(program.starts for program in rig.programs if program.name == name.name)
        rows.append(
            (
                f"`{name.name}`, {len(name.gateways)} connections",
                f"{one.acknowledged:,} acknowledged, {one.lost(emitted)} lost, {one.repeats:,} "
                f"repeated, {starts} processes",
            )
        )
    rows += [
        ("peak RSS of a gateway", f"{rig.peak_kib / 1024:.0f} MiB"),
        ("longest recovery", f"{rig.longest_recovery:.1f} s"),
    ]
    lines = ["", "| what | figure |", "|---|---|", *(f"| {name} | {what} |" for name, what in rows)]
    lines += ["", "| strike | times | longest recovery |", "|---|---|---|"]
    for strike, count in sorted(course.kinds.items()):
        took = course.recoveries.get(strike)
        lines.append(f"| {strike} | {count} | {'' if took is None else f'{took:.1f} s'} |")
    return "\n".join([*lines, ""])
