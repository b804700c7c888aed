"""`status`: what the running daemon is doing, from its HTTP port."""

from __future__ import annotations

import http.client
import json
import shutil
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Final, NoReturn

import click

from rtmpump.cli.columns import terminal_width
from rtmpump.cli.common import (
    ago,
    amount,
    config_option,
    lasted,
    load,
    one_line,
    print_json,
    size,
    start_log,
)
from rtmpump.config import Http
from rtmpump.counters import LatencyHistogram
from rtmpump.errors import ServiceUnreachable
from rtmpump.http.status import SlackSide, Status, Verdict, link_name, read, sentence
from rtmpump.metrics import EventCounts, MetricsSnapshot, SpoolStatus

_SECONDS: Final = 10.0
_ANSWER_MAX: Final = 16 << 20
# A daemon that listens on all addresses is asked on the loopback.
ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not a place to listen
_COLOURS: Final = {"ok": "green", "warn": "yellow", "bad": "red"}
_MORE: Final = {"bad": "also wrong", "warn": "watch out", "note": "note"}
_IS_IT_UP: Final = "is `rtmpump run` up, with this http.listen?"
_EVERY: Final = 2.0
_AGAIN: Final = "\x1b[H\x1b[J"
# A median of fewer, or a 99th percentile, says more about chance than about the pump.
_FOR_MEDIAN: Final = 20
_FOR_99: Final = 100
_TURN_ON: Final = 'set it, such as to "127.0.0.1:9464", and restart the daemon'


@click.command()
@config_option
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="The object of /status, for machines.")
def status(config_file: str | None, watch: bool, as_json: bool) -> None:
    """Show what the running daemon is doing, from its HTTP port (http.listen).

    Exit code 0 means that it answered, 69 that it did not. The first line says whether it is ready,
    and so does /readyz.

    --watch asks every two seconds. It draws the terminal anew, and stays through a restart of the
    daemon. In a pipe each answer follows the one before; with --json each is one line.
    """
    try:
        config = load(config_file, need_token=False).config
        start_log(config)
        if watch:
            _watch(config.http, as_json)
        document, report = ask(config.http)
        if as_json:
            print_json(document)
        else:
            click.echo("\n".join(_in_words(report, terminal_width())))
    except KeyboardInterrupt:
        if not watch:
            raise


def _watch(listen: Http, as_json: bool) -> NoReturn:
    """Show it every two seconds; once it has answered, it may be away.

    Raises:
        ServiceUnreachable: the first question had no answer.
    """
    has_answered = False
    while True:
        columns = terminal_width()
        try:
            document, report = ask(listen)
            has_answered = True
            lines = [*_in_words(report, columns)]
        except ServiceUnreachable as error:
            if not has_answered:
                raise
            document, lines = None, _wrapped(f"rtmpump: {error}", columns)
        if not as_json:
            _draw(lines, columns)
        elif document is not None:
            print_json(document)
        else:
            click.echo("\n".join(lines), err=True)
        time.sleep(_EVERY)


def _draw(lines: list[str], columns: int | None) -> None:
    """Print what there is now; on a terminal in place of what was there before, as far as fits."""
    now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    if columns is None:
        click.echo("\n".join([now, *lines, ""]))
        return
    shown = [f"{now}, every {_EVERY:g} s; Ctrl-C ends", *lines]
    click.echo(_AGAIN + "\n".join(shown[: shutil.get_terminal_size().lines - 1]))


def _wrapped(text: str, columns: int | None, indent: str = "") -> list[str]:
    """Return a text as lines of so many columns, or as one for None; all but the first indented."""
    plain = one_line(text)
    if columns is None:
        return [plain]
    # A terminal that is too narrow breaks the lines itself.
    size = max(columns, len(indent) + 20)
    return textwrap.wrap(plain, size, subsequent_indent=indent, break_on_hyphens=False)


def ask(listen: Http) -> tuple[object, Status]:
    """Return `/status` as it came and as it was understood.

    Raises:
        ServiceUnreachable: Nothing answers there, or something that is no rtmpump.
    """
    if listen.address is None:
        problem = 'http.listen is "" in the configuration, so it has no port'
        raise ServiceUnreachable("the daemon", problem, _TURN_ON)
    host, port = listen.address
    if port == 0:
        problem = "http.listen has port 0, so only its log has the port (http.listening)"
        raise ServiceUnreachable("the daemon", problem, "give it a port of its own")
    daemon = f"the daemon at {listen.listen}"
    try:
        document = json.loads(_get(ANY.get(host, host), port))
        return document, read(document)
    except OSError as error:
        problem = str(error.strerror or error or "no answer in time").lower()
        raise ServiceUnreachable(daemon, problem, _IS_IT_UP) from error
    except (http.client.HTTPException, ValueError, RecursionError) as error:
        problem = "what answers there is no rtmpump, or a proxy stands before it"
        raise ServiceUnreachable(daemon, problem, _IS_IT_UP) from error


def _get(host: str, port: int) -> bytes:
    with closing(http.client.HTTPConnection(host, port, timeout=_SECONDS)) as connection:
        connection.request("GET", "/status")
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise http.client.HTTPException(response.status)
        return response.read(_ANSWER_MAX)


def _in_words(status: Status, columns: int | None) -> Iterator[str]:
    metrics = status.metrics
    rows = [
        *_advice(status.verdict),
        *_workspace(status.slack),
        *_links(status),
        ("events", _events(metrics.events)),
        ("spool", _spool(metrics.spool, status.full_in_seconds)),
        ("gaps", _gaps(status.slack)),
        ("commands", _commands(metrics)),
        ("dead letters", _dead(status)),
        *_latencies(metrics),
    ]
    width = max(len(name) for name, _ in rows)
    yield from _headline(status, columns)
    for name, words in rows:
        yield from _wrapped(f"  {name:<{width}}  {words}", columns, " " * (width + 4))


def _headline(status: Status, columns: int | None) -> Iterator[str]:
    verdict = status.verdict
    state = "ready" if verdict.ready else "not ready"
    if verdict.ready and status.role == "standby":
        state = "standing by, ready to take over"
    if verdict.tone != "ok":
        state += f": {sentence(verdict)}"
    who = f"rtmpump {status.version}, pid {status.pid}, up {lasted(status.uptime_seconds)}: "
    first, *more = _wrapped(who + state, columns)
    start = one_line(who).rstrip()
    for line in (first, *more):
        plain = start if line is first and line.startswith(start) else ""
        yield plain + click.style(line[len(plain) :], fg=_COLOURS.get(verdict.tone))


def _advice(verdict: Verdict) -> Iterator[tuple[str, str]]:
    if verdict.means:
        yield "it means", verdict.means
    for problem in verdict.more:
        yield _MORE.get(problem.level, "note"), sentence(problem)


def _workspace(slack: SlackSide) -> Iterator[tuple[str, str]]:
    if not slack.mode:
        return
    who = slack.workspace
    named = f"{who.name} ({who.id}), bot {who.bot}" if who.id else "not known yet"
    mode = "RTM" if slack.mode == "rtm" else "Socket Mode"
    held = f"{slack.websockets} of {amount(slack.websockets_wanted, 'WebSocket')}"
    yield "workspace", f"{named}; {mode}, {held}"


def _links(status: Status) -> Iterator[tuple[str, str]]:
    for link in dict.fromkeys([*status.wanted, *status.links]):
        state = status.links.get(link)
        if state is None:
            yield link_name(link), "not yet connected"
            continue
        word = "up" if state.up else "DOWN" if link in status.wanted else "resting"
        error = f"; last error: {state.last_error}" if state.last_error else ""
        again = f"; next try {_in(state.next_try_at, status.now)}" if state.next_try_at else ""
        since = f" since {_moment(state.since)}" if state.since else ""
        yield link_name(link), f"{word}{since}{error}{again}"


def _events(events: EventCounts) -> str:
    words = f"{events.received:,} received from Slack, {events.confirmed:,} confirmed by RabbitMQ"
    if events.confirmed:
        # Else the second number could pass the first.
        words += " (with the pump's own, and what waited from before)"
    ignored = events.dropped.get("ignored", 0)
    odd = {
        "that no queue took": events.returned,
        "refused by a queue": events.nacked,
        "ignored, as events.ignore says": ignored,
        "given up": sum(events.dropped.values()) - ignored,
    }
    return words + "".join(f", {count:,} {name}" for name, count in odd.items() if count)


def _spool(spool: SpoolStatus | None, full_in: float | None) -> str:
    if spool is None:
        return "can't be measured; see the log"
    if not spool.events:
        return "empty"
    waiting = (
        f"{amount(spool.events, 'event')} waiting, the oldest came {ago(spool.oldest_seconds)}"
    )
    full = f"{size(spool.bytes)} of {size(spool.max_bytes)} ({spool.percent:g} %)"
    room = "" if full_in is None else f", full in {lasted(full_in)} at the present rate"
    return f"{waiting}; {full}{room}"


def _gaps(slack: SlackSide) -> str:
    last, fill = slack.gaps.last, slack.backfill
    words = "none since it started"
    if last is not None:
        filled = "filled" if last.filled else f"not filled: {last.note}"
        words = f"{slack.gaps.number:,} since it started; the last from {_clock(last.since)} to "
        words += f"{_clock(last.until)} ({last.reason}), {filled}"
    if fill.pending:
        words += f"; {fill.pending:,} to fill, {amount(fill.messages, 'message')} so far"
    return words + (f", waits for {fill.waits_for}" if fill.waits_for else "")


def _commands(metrics: MetricsSnapshot) -> str:
    by_result = _by_result(metrics.commands)
    done = ", ".join(f"{count:,} {result}" for result, count in sorted(by_result.items()))
    waiting = metrics.commands_waiting
    since = f"{done} since it started" if done else "none since it started"
    return f"{since}; {'?' if waiting is None else f'{waiting:,}'} waiting"


def _dead(status: Status) -> str:
    waiting, queue = status.metrics.dead_letters_waiting, status.queues.dead_queue
    results = _by_result(status.metrics.commands)
    count = sum(n for result, n in results.items() if result != "ok")
    since = f"{count:,} since it started" if count else "none since it started"
    there = "not known how many" if waiting is None else f"{waiting:,}" if waiting else "none"
    # RabbitMQ is asked for the depth every few seconds, so "none" may be a little old.
    shows = "" if waiting == 0 and not count else "; `rtmpump dead list` shows what is there"
    return f"{there} in {queue or 'the queue'}, {since}{shows}"


def _in(at: str, now: str) -> str:
    """Return when something comes, such as `in 12s`."""
    try:
        left = datetime.fromisoformat(at) - datetime.fromisoformat(now)
    except ValueError:
        return "?"
    return f"in {lasted(max(left.total_seconds(), 0.0))}"


def _clock(at: str) -> str:
    """Return an RFC 3339 time as people here read it."""
    try:
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return "?"


def _latencies(metrics: MetricsSnapshot) -> Iterator[tuple[str, str]]:
    if metrics.confirm_latency.count:
        yield "latency", _latency(metrics.confirm_latency)
    if metrics.slack_rtt_seconds is not None:
        ms = metrics.slack_rtt_seconds * 1000
        yield "Slack ping", f"{ms:.0f} ms" if ms >= 1 else "under 1 ms"


def _latency(events: LatencyHistogram) -> str:
    trip = "from the frame to RabbitMQ's confirm"
    if events.count < _FOR_MEDIAN:
        return f"too few events yet ({events.count:,} of {_FOR_MEDIAN:,}) to say, {trip}"
    nearly_all = f", 99% {_upto(events.p99)}" if events.count >= _FOR_99 else ""
    measured = f"of {amount(events.count, 'event')} since it started"
    return f"half {_upto(events.p50)}{nearly_all}, {trip}; {measured}"


def _upto(seconds: float | None) -> str:
    if seconds is None:
        return "beyond an hour"
    return f"within {seconds * 1000:g} ms" if seconds < 1 else f"within {seconds:g} s"


def _by_result(commands: dict[str, dict[str, int]]) -> dict[str, int]:
    results: dict[str, int] = {}
    for counts in commands.values():
        for result, count in counts.items():
            results[result] = results.get(result, 0) + count
    return results


def _moment(since: str) -> str:
    """Return an RFC 3339 time as people read it: here, and how long ago."""
    try:
        when = datetime.fromisoformat(since)
    except ValueError:
        return "?"
    passed = max((datetime.now(UTC) - when).total_seconds(), 0.0)
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S} ({ago(passed)})"
