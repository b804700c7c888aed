"""Whether all is well, in words: made here once, for /readyz, `rtmpump status` and the page.

Laws:

- What is not ready is said first, and of that what loses most: what is not read, then the links,
  what is not published, and the commands.
- It waits for nothing, so it can also be made while a disk hangs.
- A standby, and a pump without the turn, are ready and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from rtmpump.core.standstill import COMMANDS, NOT_CONNECTED, PUBLISHING, READING, Halt
from rtmpump.http import wording
from rtmpump.http.status import (
    CommandQueues,
    LastGap,
    Links,
    LinkState,
    Problem,
    SlackSide,
    Verdict,
    down_links,
    link_name,
)
from rtmpump.http.wording import Words
from rtmpump.metrics import FULL, SpoolStatus

BAD: Final = "bad"
WARN: Final = "warn"
NOTE: Final = "note"
NO_TURN: Final = "no_turn"
_NEARLY_FULL: Final = 80.0
_LONGEST: Final = 300
_NEWS: Final = 900.0
# Of the events that were confirmed, such a part that no queue took is as good as all of them.
_ALL_RETURNED: Final = 0.95
# With these a pump begins, and few queues are bound to them.
_FEW: Final = 10
_TOKEN: Final = ("token", "auth", "invalid_auth", "account", "not_authed", "missing_scope")


class Evidence(NamedTuple):
    """What the verdict is made of.

    `now` is that of the halts, `at` the time of day (RFC 3339). The last ones are None where they
    are not asked for.
    """

    links: Links
    stalled: list[str]
    halts: dict[str, list[Halt]]
    now: float
    at: str
    slack: SlackSide
    queues: CommandQueues
    is_blocked: bool
    spool: SpoolStatus | None = None
    full_in: float | None = None
    returned: int = 0
    confirmed: int = 0
    spool_dropped: int = 0
    dead_letters: int | None = None


def judge(seen: Evidence) -> Verdict:
    """Return the verdict."""
    problems = [*_failures(seen), *_warnings(seen), *_notes(seen)]
    bad = any(one.level == BAD for one in problems)
    if problems and problems[0].level != NOTE:
        first, *more = problems
        tone = BAD if bad else WARN
        return Verdict(
            ready=not bad,
            tone=tone,
            what=first.what,
            means=first.means,
            fix=first.fix,
            more=more,
            runbook=first.runbook,
        )
    what = "All is well: Slack and RabbitMQ are connected"
    if seen.links.role == "standby":
        what = "Standby: ready to take over from the active pump"
    return Verdict(ready=True, tone="ok", what=what, means="", fix="", more=problems, runbook="")


def _failures(seen: Evidence) -> Iterator[Problem]:
    if seen.stalled:
        what = f"No progress: {', '.join(seen.stalled)}"
        means = "These threads hang; under systemd the watchdog restarts rtmpump."
        yield _problem(BAD, "stalled", Words(what, means, "Restart rtmpump, and see its log"))
    down = [
        link
        for link in down_links(seen.links.wanted, seen.links.states)
        if not _is_renewed(seen, link)
    ]
    yield from _stopped(seen, READING, skip="slack" in down)
    yield from _links_down(seen, down)
    yield from _stopped(seen, PUBLISHING, skip="broker_events" in down)
    yield from _stopped(seen, COMMANDS, skip=bool(down) or bool(seen.halts.get(READING)))


def _is_renewed(seen: Evidence, link: str) -> bool:
    """Return whether the publisher makes itself a new connection: it is not what is wrong."""
    if link != "broker_events" or link not in seen.links.states:
        return False
    reason = seen.links.states[link].last_error.partition(":")[0]
    halts = seen.halts.get(PUBLISHING, [])
    return any(halt.reason == reason and halt.has_failed(seen.now) for halt in halts)


def _stopped(seen: Evidence, trip: str, *, skip: bool) -> Iterator[Problem]:
    """Give what of a trip has failed; with `skip` not what is the fault of a link that is down."""
    for halt in seen.halts.get(trip, []):
        if halt.has_failed(seen.now) and not (skip and halt.reason == NOT_CONNECTED):
            yield _halted(BAD, seen, trip, halt)


def _halted(level: str, seen: Evidence, trip: str, halt: Halt) -> Problem:
    words = wording.WORDS.get((trip, halt.reason), wording.OTHER[trip])
    fields = {
        "n": f"{halt.waiting:,} command{'' if halt.waiting == 1 else 's'}",
        "wait": "waits" if halt.waiting == 1 else "wait",
        "for_": lasting(max(seen.now - halt.since, 0.0)),
        "detail": halt.detail[:_LONGEST],
        "named": halt.reason,
        "spool": _how_full(seen),
    }
    entry = f"{trip}.{halt.reason}"
    entry = entry if entry in wording.ENTRIES else trip
    return _problem(level, halt.reason, words, entry, **fields)


def _links_down(seen: Evidence, down: list[str]) -> Iterator[Problem]:
    """Give one problem for all links to one place that are down."""
    groups: dict[str, list[str]] = {}
    for link in down:
        groups.setdefault("broker" if link.startswith("broker") else link, []).append(link)
    if len(groups) > 1:
        # Who looks only at the headline has to see all of it.
        first = next(iter(groups))
        yield _away(seen, first, groups.pop(first), ", ".join(map(link_name, down)))
    for group, links in groups.items():
        yield _away(seen, group, links, ", ".join(map(link_name, links)))


def _away(seen: Evidence, group: str, links: list[str], names: str) -> Problem:
    state = next(
        (one for link in links if (one := seen.links.states.get(link)) and one.last_error),
        LinkState(),
    )
    reason = state.last_error.partition(":")[0]
    words = wording.AWAY.get(group, wording.AWAY["broker"])
    fix = wording.FIXES.get(reason, words.fix)
    if group == "slack" and reason == "refused":
        fix = words.fix
    if group in ("slack", "web_api") and reason.startswith(_TOKEN):
        fix = wording.NEW_ONE
    fields = {
        "links": names,
        "why": f" ({state.last_error[:_LONGEST]})" if state.last_error else "",
        "next": _next_try(seen, state),
        "spool": _how_full(seen),
    }
    entry = group if group in wording.ENTRIES else "broker"
    return _problem(BAD, reason or NOT_CONNECTED, words._replace(fix=fix), entry, **fields)


def _warnings(seen: Evidence) -> Iterator[Problem]:
    is_publishing = not any(halt.has_failed(seen.now) for halt in seen.halts.get(PUBLISHING, []))
    if seen.is_blocked and is_publishing:
        yield _halted(WARN, seen, PUBLISHING, Halt("broker_blocked", seen.now))
    is_said = any(halt.reason == FULL for halt in seen.halts.get(READING, []))
    if seen.spool is not None and seen.spool.percent >= _NEARLY_FULL and not is_said:
        yield _nearly_full(seen, seen.spool)
    if seen.returned >= max(_FEW, seen.confirmed * _ALL_RETURNED):
        what = f"No queue takes the events: {seen.returned:,} came back in the last minutes"
        means = "They go to the exchange for unrouted events (events.unrouted), where there is one."
        fix = "Bind a queue to events.exchange, such as with the key message.#"
        yield _problem(WARN, "unrouted", Words(what, means, fix))


def _nearly_full(seen: Evidence, spool: SpoolStatus) -> Problem:
    what = f"The spool is {spool.percent:.0f} % full"
    if seen.full_in is not None:
        what += f", with room for {lasting(seen.full_in)} at the present rate"
    means = "When it is full nothing more is read from Slack (spool.when_full)."
    if seen.spool_dropped:
        means = f"It drops its oldest events: {seen.spool_dropped:,} since the start."
    fix = "Have RabbitMQ take the events, or make room: on the disk, and with spool.max_bytes"
    return _problem(WARN, "spool_fills", Words(what, means, fix))


def _notes(seen: Evidence) -> Iterator[Problem]:
    for halt in seen.halts.get(COMMANDS, []):
        if halt.is_lenient and not halt.has_failed(seen.now):
            yield _halted(NOTE, seen, COMMANDS, halt)
    slack, queues = seen.slack, seen.queues
    if queues.waits_for_turn:
        what = "Another pump has the turn for the commands"
        means = f"RabbitMQ gives those of {queues.queue} to it; this one is ready for its turn."
        yield _problem(NOTE, NO_TURN, Words(what, means, ""))
    if 0 < slack.websockets < slack.websockets_wanted:
        verb = "is" if slack.websockets == 1 else "are"
        what = f"{slack.websockets} of {slack.websockets_wanted} WebSockets {verb} open"
        means = "Events come all the same; another one is being opened."
        yield _problem(NOTE, "websockets", Words(what, means, ""))
    if slack.backfill.pending:
        yield _backfill(slack)
    elif slack.gaps.last is not None and _is_recent(seen, slack.gaps.last):
        yield _gap(slack.gaps.last)
    if seen.dead_letters:
        yield _dead_letters(seen.dead_letters, queues.dead_queue)


def _backfill(slack: SlackSide) -> Problem:
    fill = slack.backfill
    gaps = f"{fill.pending} gap{'' if fill.pending == 1 else 's'}"
    what = f"{gaps} to fill: {fill.conversations:,} conversations and {fill.messages:,} messages"
    means = f"It waits for {fill.waits_for}." if fill.waits_for else ""
    return _problem(NOTE, "backfill", Words(f"{what} so far", means, ""))


def _is_recent(seen: Evidence, gap: LastGap) -> bool:
    """Return whether a gap that is not filled is in the chart of the page."""
    try:
        ago = datetime.fromisoformat(seen.at) - datetime.fromisoformat(gap.until)
    except ValueError:
        return False
    return not gap.filled and ago.total_seconds() < _NEWS


def _gap(gap: LastGap) -> Problem:
    what = f"Events may be missing from {_clock(gap.since)} to {_clock(gap.until)} ({gap.reason})"
    fix = "Read that time in Slack's history, or set events.backfill for the next gap"
    if gap.reason == FULL:
        fix = "Make spool.max_bytes larger, so that the next outage fits"
    means = f"Consumers have the rtmpump.gap event; the gap is not filled: {gap.note}."
    return _problem(NOTE, "gap", Words(what, means, fix))


def _dead_letters(count: int, queue: str) -> Problem:
    what = f"{count:,} dead letter{' is' if count == 1 else 's are'} in {queue}"
    means = "These commands were not carried out; each has its reason."
    fix = "Look at them with `rtmpump dead list`, then `rtmpump dead retry` or `drop`"
    return _problem(NOTE, "dead_letters", Words(what, means, fix))


def _problem(
    level: str, reason: str, words: Words, entry: str | None = None, **fields: str
) -> Problem:
    """Fill in the fields, which may have braces of their own; without any nothing is filled in.

    `entry` is the key of the runbook's entry, where that is not the reason.
    """
    what, means, fix = (text.format(**fields) if fields else text for text in words)
    runbook = wording.ENTRIES.get(reason if entry is None else entry, "")
    return Problem(level=level, reason=reason, what=what, means=means, fix=fix, runbook=runbook)


def _how_full(seen: Evidence) -> str:
    if seen.spool is None:
        return ""
    room = "" if seen.full_in is None else f", room for {lasting(seen.full_in)} at the present rate"
    full = "under 1" if 0 < seen.spool.percent < 1 else f"{seen.spool.percent:.0f}"
    return f" ({full} % of the spool{room})"


def _clock(at: str) -> str:
    """Return an RFC 3339 time (UTC) without its day."""
    return f"{at[11:19]} UTC"


def _next_try(seen: Evidence, state: LinkState) -> str:
    try:
        left = datetime.fromisoformat(state.next_try_at) - datetime.fromisoformat(seen.at)
    except ValueError:
        return ""
    seconds = left.total_seconds()
    return f"; the next try is {f'in {lasting(seconds)}' if seconds >= 1 else 'now'}"


def lasting(seconds: float) -> str:
    """Return a time as people say it, such as `12 s` or `2 h 5 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    hours, minutes = divmod(whole // 60, 60)
    if hours >= 48:
        return f"{hours // 24} d"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
