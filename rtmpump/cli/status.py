"""`status`: what the running daemon is doing, from its HTTP port."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

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
from rtmpump.metrics import LINKS

_SECONDS: Final = 10.0
_ANSWER_MAX: Final = 16 << 20
# Who listens on all addresses is asked on the loopback.
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nobody listens here
_NAMES: Final = {
    "slack": "Slack",
    "broker_events": "RabbitMQ (events)",
    "broker_commands": "RabbitMQ (commands)",
    "broker_lock": "RabbitMQ (lock)",
}
_IS_IT_UP: Final = "is `rtmpump run` up, with this http.listen?"
_TURN_ON: Final = 'set it, such as to "127.0.0.1:9464", and restart the daemon'


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="The object of /status, for machines.")
def status(config_file: str | None, as_json: bool) -> None:
    """Tell what the running daemon is doing, from its HTTP port (http.listen).

    Exit code 0 means that it answered, 69 that it did not; whether it is ready stands in the first
    line, and in /readyz.
    """
    config = load(config_file, need_token=False).config
    start_log(config)
    told = _asked(config.http)
    if as_json:
        print_json(told)
    else:
        click.echo("\n".join(_in_words(told)))


def _asked(listen: Http) -> dict[str, Any]:
    """Get `/status`; raises ServiceUnreachable."""
    if listen.address is None:
        problem = 'http.listen is "" in the configuration, so it has no port'
        raise ServiceUnreachable("the daemon", problem, _TURN_ON)
    host, port = listen.address
    if port == 0:
        problem = "http.listen has port 0, so only its log tells the port (http.listening)"
        raise ServiceUnreachable("the daemon", problem, "give it a port of its own")
    daemon = f"the daemon at {listen.listen}"
    try:
        answer = _get(_ANY.get(host, host), port)
        told = json.loads(answer)
    except OSError as error:
        problem = str(error.strerror or error or "no answer in time").lower()
        raise ServiceUnreachable(daemon, problem, _IS_IT_UP) from error
    except (http.client.HTTPException, ValueError, RecursionError) as error:
        problem = "what answers there is no rtmpump, or hides it"
        raise ServiceUnreachable(daemon, problem, _IS_IT_UP) from error
    if not isinstance(told, dict) or "uptime_seconds" not in told:
        raise ServiceUnreachable(daemon, "what answers there is no rtmpump", _IS_IT_UP)
    return told


def _get(host: str, port: int) -> bytes:
    with closing(http.client.HTTPConnection(host, port, timeout=_SECONDS)) as connection:
        connection.request("GET", "/status")
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise http.client.HTTPException(response.status)
        return response.read(_ANSWER_MAX)


def _in_words(told: Mapping[str, Any]) -> Iterator[str]:
    metrics = _part(told, "metrics")
    rows = [
        *_links(_part(told, "links"), _wanted(told)),
        ("events", _events(_part(metrics, "events"))),
        ("spool", _spool(metrics.get("spool"))),
        ("commands", _commands(metrics)),
        ("dead letters", _dead(_part(metrics, "commands"))),
        *_latencies(metrics),
    ]
    width = max(len(name) for name, _ in rows)
    yield _headline(told)
    for name, words in rows:
        yield one_line(f"  {name:<{width}}  {words}")


def _headline(told: Mapping[str, Any]) -> str:
    metrics, links = _part(told, "metrics"), _part(told, "links")
    away = [link for link in _wanted(told) if not _part(links, link).get("up")]
    stalled = told.get("stalled") or []
    if stalled:
        state = click.style(f"hangs: no progress of {', '.join(map(str, stalled))}", fg="red")
    elif away:
        state = click.style(f"not ready: {', '.join(map(_name, away))}", fg="yellow")
    elif told.get("role") == "standby":
        state = click.style("standing by, ready to take over", fg="green")
    else:
        state = click.style("ready", fg="green")
    if metrics.get("broker_blocked"):
        state += click.style("; RabbitMQ has an alarm and takes no events", fg="yellow")
    up = lasted(told["uptime_seconds"])
    who = f"rtmpump {told.get('version', '?')}, pid {told.get('pid', '?')}, up {up}"
    return f"{one_line(who)}: {state}"


def _wanted(told: Mapping[str, Any]) -> list[str]:
    """The links that it needs; those of an older version, which does not tell, are known."""
    wanted = told.get("wanted")
    return wanted if isinstance(wanted, list) else list(LINKS)


def _name(link: str) -> str:
    return _NAMES.get(link, link)


def _links(states: Mapping[str, Any], wanted: list[str]) -> Iterator[tuple[str, str]]:
    for link in dict.fromkeys([*wanted, *states]):
        state = _part(states, link)
        if not state:
            yield _name(link), "not yet connected"
            continue
        word = "up" if state.get("up") else "DOWN" if link in wanted else "resting"
        error = f"; last error: {state['last_error']}" if state.get("last_error") else ""
        yield _name(link), f"{word} since {_moment(state.get('since'))}{error}"


def _events(events: Mapping[str, Any]) -> str:
    words = f"{events.get('received', 0):,} received, {events.get('confirmed', 0):,} confirmed"
    odd = {
        "that no queue took": events.get("returned", 0),
        "refused by a queue": events.get("nacked", 0),
        "given up": sum(_part(events, "dropped").values()),
    }
    return words + "".join(f", {count:,} {name}" for name, count in odd.items() if count)


def _spool(spool: Mapping[str, Any] | None) -> str:
    if not spool:
        return "can't be measured; see the log"
    if not spool.get("events"):
        return "empty"
    told = f"{amount(int(spool['events']), 'event')} waiting, {size(spool.get('bytes', 0))}"
    oldest = spool.get("oldest_seconds")
    return told if oldest is None else f"{told}, the oldest came {ago(oldest)}"


def _commands(metrics: Mapping[str, Any]) -> str:
    by_result = _by_result(_part(metrics, "commands"))
    done = ", ".join(f"{count:,} {result}" for result, count in sorted(by_result.items()))
    waiting = metrics.get("commands_waiting")
    return f"{done or 'none yet'}; {'?' if waiting is None else f'{waiting:,}'} waiting"


def _dead(commands: Mapping[str, Any]) -> str:
    count = sum(n for result, n in _by_result(commands).items() if result != "ok")
    told = f"{count:,} since it started" if count else "none since it started"
    return f"{told}; `rtmpump dead list` shows the queue"


def _latencies(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    events = _part(metrics, "confirm_latency")
    if events.get("count"):
        half, nearly_all = _upto(events.get("p50")), _upto(events.get("p99"))
        yield "latency", f"half {half}, 99% {nearly_all}, from the frame to RabbitMQ's confirm"
    trip = metrics.get("slack_rtt_seconds")
    if trip is not None:
        yield "Slack ping", f"{trip * 1000:.0f} ms"


def _upto(seconds: float | None) -> str:
    if seconds is None:
        return "beyond an hour"
    return f"within {seconds * 1000:g} ms" if seconds < 1 else f"within {seconds:g} s"


def _by_result(commands: Mapping[str, Any]) -> dict[str, int]:
    results: dict[str, int] = {}
    for counts in commands.values():
        for result, count in counts.items():
            results[result] = results.get(result, 0) + count
    return results


def _part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part that is an object; empty where another version has none of it."""
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _moment(since: object) -> str:
    """An RFC 3339 time as people read it, here and how long ago."""
    try:
        when = datetime.fromisoformat(str(since))
    except ValueError:
        return "?"
    passed = max((datetime.now(UTC) - when).total_seconds(), 0.0)
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S} ({ago(passed)})"
