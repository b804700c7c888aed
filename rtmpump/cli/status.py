"""`status`: what the running daemon is doing, from its HTTP port."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Final

import click

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
from rtmpump.errors import ServiceUnreachable
from rtmpump.http.status import Status, down_links, link_name, read
from rtmpump.metrics import EventCounts, MetricsSnapshot, SpoolStatus

_SECONDS: Final = 10.0
_ANSWER_MAX: Final = 16 << 20
# A daemon that listens on all addresses is asked on the loopback.
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not a place to listen
_IS_IT_UP: Final = "is `rtmpump run` up, with this http.listen?"
_TURN_ON: Final = 'set it, such as to "127.0.0.1:9464", and restart the daemon'


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="The object of /status, for machines.")
def status(config_file: str | None, as_json: bool) -> None:
    """Show what the running daemon is doing, from its HTTP port (http.listen).

    Exit code 0 means that it answered, 69 that it did not. The first line says whether it is ready,
    and so does /readyz.
    """
    config = load(config_file, need_token=False).config
    start_log(config)
    document, report = _ask(config.http)
    if as_json:
        print_json(document)
    else:
        click.echo("\n".join(_in_words(report)))


def _ask(listen: Http) -> tuple[object, Status]:
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
        document = json.loads(_get(_ANY.get(host, host), port))
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


def _in_words(status: Status) -> Iterator[str]:
    metrics = status.metrics
    rows = [
        *_links(status),
        ("events", _events(metrics.events)),
        ("spool", _spool(metrics.spool)),
        ("commands", _commands(metrics)),
        ("dead letters", _dead(metrics.commands)),
        *_latencies(metrics),
    ]
    width = max(len(name) for name, _ in rows)
    yield _headline(status)
    for name, words in rows:
        yield one_line(f"  {name:<{width}}  {words}")


def _headline(status: Status) -> str:
    down = down_links(status.wanted, status.links)
    if status.stalled:
        state = click.style(f"hangs: no progress of {', '.join(status.stalled)}", fg="red")
    elif down:
        state = click.style(f"not ready: {', '.join(map(link_name, down))}", fg="yellow")
    elif status.role == "standby":
        state = click.style("standing by, ready to take over", fg="green")
    else:
        waits = "; another pump has the turn for the commands"
        state = click.style(f"ready{waits if _waits(status) else ''}", fg="green")
    if status.metrics.broker_blocked:
        state += click.style("; RabbitMQ has an alarm and takes no events", fg="yellow")
    who = f"rtmpump {status.version}, pid {status.pid}, up {lasted(status.uptime_seconds)}"
    return f"{one_line(who)}: {state}"


def _waits(status: Status) -> bool:
    return status.metrics.commands_turn is False


def _links(status: Status) -> Iterator[tuple[str, str]]:
    for link in dict.fromkeys([*status.wanted, *status.links]):
        state = status.links.get(link)
        if state is None:
            yield link_name(link), "not yet connected"
            continue
        word = "up" if state.up else "DOWN" if link in status.wanted else "resting"
        error = f"; last error: {state.last_error}" if state.last_error else ""
        yield link_name(link), f"{word} since {_moment(state.since)}{error}"


def _events(events: EventCounts) -> str:
    words = f"{events.received:,} received, {events.confirmed:,} confirmed"
    odd = {
        "that no queue took": events.returned,
        "refused by a queue": events.nacked,
        "given up": sum(events.dropped.values()),
    }
    return words + "".join(f", {count:,} {name}" for name, count in odd.items() if count)


def _spool(spool: SpoolStatus | None) -> str:
    if spool is None:
        return "can't be measured; see the log"
    if not spool.events:
        return "empty"
    waiting = f"{amount(spool.events, 'event')} waiting, {size(spool.bytes)}"
    return f"{waiting}, the oldest came {ago(spool.oldest_seconds)}"


def _commands(metrics: MetricsSnapshot) -> str:
    by_result = _by_result(metrics.commands)
    done = ", ".join(f"{count:,} {result}" for result, count in sorted(by_result.items()))
    waiting = metrics.commands_waiting
    return f"{done or 'none yet'}; {'?' if waiting is None else f'{waiting:,}'} waiting"


def _dead(commands: dict[str, dict[str, int]]) -> str:
    count = sum(n for result, n in _by_result(commands).items() if result != "ok")
    since = f"{count:,} since it started" if count else "none since it started"
    return f"{since}; `rtmpump dead list` shows the queue"


def _latencies(metrics: MetricsSnapshot) -> Iterator[tuple[str, str]]:
    events = metrics.confirm_latency
    if events.count:
        half, nearly_all = _upto(events.p50), _upto(events.p99)
        yield "latency", f"half {half}, 99% {nearly_all}, from the frame to RabbitMQ's confirm"
    if metrics.slack_rtt_seconds is not None:
        yield "Slack ping", f"{metrics.slack_rtt_seconds * 1000:.0f} ms"


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
