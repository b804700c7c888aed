"""The page to look at: one file, drawn here from what `/status` tells, and kept live by page.js.

Laws:

- What page.js shows is what is shown here: it makes the same elements from the same status, part by
  part. So the page says all without a script, and a test holds the two against each other.
- A string becomes text, never markup, unless this file made it (`_Markup`).
- Nothing is loaded from anywhere; `POLICY` lets this script and this style run, by their hashes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from rtmpump.http import wording
from rtmpump.http.chart import Chart, chart

_HERE: Final = Path(__file__).parent
_NAMES: Final = {
    "slack": "Slack",
    "broker_events": "RabbitMQ (events)",
    "broker_commands": "RabbitMQ (commands)",
    "broker_lock": "RabbitMQ (lock)",
}
_ERROR_LENGTH: Final = 300


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_TEMPLATE: Final = Template((_HERE / "page.html").read_text("utf-8"))
_STYLE: Final = (_HERE / "page.css").read_text("utf-8")
_SCRIPT: Final = (_HERE / "page.js").read_text("utf-8")
POLICY: Final = (
    f"connect-src 'self'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page needs beyond `default-src 'none'`, as directives of a Content-Security-Policy."""


def render(status: dict[str, Any]) -> bytes:
    """Make the page of what `/status` tells."""
    tone, verdict = _verdict(status)
    drawn = chart(status["history"])
    parts = {
        "verdict": verdict,
        "about": _about(status),
        "as_of": _time(status["now"]),
        "links": _links(status),
        "tiles": _tiles(status),
        "chart": _chart(drawn),
        "ticks": _ticks(drawn),
        "said": drawn.said,
        "rate": wording.rate(drawn.now),
        "totals": _totals(status["metrics"]["events"]),
        "types": _types(drawn),
        "minutes_head": _minutes_head(drawn),
        "minutes": _minutes(drawn),
        "commands": _commands(status["metrics"]["commands"]),
        "dead_letters": _dead_letters(status["metrics"]["dead_letters"]),
        "changes": _changes(status["changes"]),
    }
    escaped = {name: _text(part) for name, part in parts.items()}
    kept = {"style": _STYLE, "script": _SCRIPT, "tone": tone, "version": _text(status["version"])}
    return _TEMPLATE.substitute(escaped, **kept).encode("utf-8", "replace")


class _Markup(str):
    """HTML that was made here."""

    __slots__ = ()


def _text(part: str) -> str:
    return part if isinstance(part, _Markup) else escape(part)


def _el(name: str, *children: str, **attributes: object) -> _Markup:
    """Make an element; `class_` is `class`, an attribute that is None is left out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return _Markup(f"<{name}{told}>{_join(children)}</{name}>")


def _join(parts: Iterable[str]) -> _Markup:
    return _Markup("".join(_text(part) for part in parts))


def _time(at: str) -> _Markup:
    return _el("time", wording.moment(at), datetime=at)


def _name(link: str) -> str:
    return _NAMES.get(link, link)


def _states(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every link, also those that are wanted and nothing was heard of yet."""
    unheard = {"up": None, "since": "", "last_error": ""}
    return {**dict.fromkeys(status["wanted"], unheard), **status["links"]}


def _verdict(status: dict[str, Any]) -> tuple[str, str]:
    """How it is as a whole: a tone (ok, warn, bad) and a sentence."""
    states = _states(status)
    down = [_name(link) for link in status["wanted"] if not states[link]["up"]]
    if status["stalled"]:
        return "bad", f"No progress: {', '.join(status['stalled'])}"
    if down:
        return "bad", f"Not connected: {', '.join(down)}"
    if status["metrics"]["broker_blocked"]:
        return "warn", "RabbitMQ takes no events now: it has an alarm of memory or disk"
    if status["role"] == "standby":
        return "ok", "Standing by: ready to take over from the active one"
    return "ok", "All is well: Slack and RabbitMQ are connected"


def _about(status: dict[str, Any]) -> str:
    up = wording.duration(status["uptime_seconds"])
    return f"Version {status['version']}, process {status['pid']}, running for {up}"


def _links(status: dict[str, Any]) -> _Markup:
    now = status["now"]
    return _join(
        _link(link, state, now, link in status["wanted"]) for link, state in _states(status).items()
    )


def _link(link: str, state: dict[str, Any], now: str, is_wanted: bool) -> _Markup:
    tone, told = {True: ("ok", "Up"), False: ("bad", "Down")}.get(
        state["up"], ("warn", "Not tried yet")
    )
    if not (state["up"] or is_wanted):
        tone, told = "idle", "Resting"
    more = []
    if state["since"]:
        told = f"{told} for {wording.since(state['since'], now)}"
        more.append(_el("p", "since ", _time(state["since"]), class_="faint"))
    if state["last_error"]:
        ago = wording.since(state["last_error_at"], now)
        error = _el("code", _short(state["last_error"]))
        more.append(_el("p", f"Last error, {ago} ago: ", error, class_="error"))
    return _el("li", _el("h3", _name(link)), _el("p", told, class_="state"), *more, data_tone=tone)


def _short(text: str) -> str:
    return text if len(text) <= _ERROR_LENGTH else f"{text[:_ERROR_LENGTH]}…"


def _tiles(status: dict[str, Any]) -> _Markup:
    metrics, recent = status["metrics"], status["recent"]
    confirms, commands = recent["confirm_latency"], recent["command_latency"]
    span, round_trip = wording.duration(recent["seconds"]), metrics["slack_rtt_seconds"]
    waiting = metrics["commands_waiting"]
    wait = "" if waiting is None else f"; {wording.fixed(waiting, 0)} waiting now"
    return _join(
        [
            _spool_tile(metrics["spool"]),
            _tile(
                "From frame to confirm",
                _quantiles(confirms),
                f"{wording.counted(confirms['count'], 'event', 'events')} in the last {span}",
            ),
            _tile(
                "From command to result",
                _quantiles(commands),
                f"{wording.counted(commands['count'], 'command', 'commands')} in the last {span}"
                f"{wait}",
            ),
            _tile(
                "Slack round trip",
                wording.latency(round_trip),
                "not measured yet" if round_trip is None else "the last ping",
            ),
        ]
    )


def _spool_tile(spool: dict[str, Any] | None) -> _Markup:
    if spool is None:
        return _tile("Events in the spool", wording.UNKNOWN, "it can't be asked now")
    told = f"{wording.size(spool['bytes'])} on disk"
    if spool["events"]:
        told = f"{told}, the oldest waits for {wording.duration(spool['oldest_seconds'])}"
    return _tile("Events in the spool", wording.fixed(spool["events"], 0), told)


def _quantiles(told: dict[str, Any]) -> _Markup:
    return _join(
        _el("span", wording.quantile(told, name), " ", _el("small", name))
        for name in ("p50", "p99")
    )


def _tile(term: str, value: str, more: str) -> _Markup:
    return _el("div", _el("dt", term), _el("dd", value), _el("dd", more, class_="faint"))


def _chart(drawn: Chart) -> _Markup:
    lines = [
        _el("path", class_="grid", d=line)
        for line in ("M0 0H900", "M0 100H900", "M300 0V200", "M600 0V200")
    ]
    bands = [
        _el("path", _el("title", band.type), class_=f"k{band.colour}", d=band.path)
        for band in drawn.bands
    ]
    return _join([*lines, *bands])


def _ticks(drawn: Chart) -> _Markup:
    return _join(_el("span", wording.trimmed(value)) for value in (drawn.top, drawn.top / 2, 0))


def _totals(events: dict[str, Any]) -> str:
    dropped = sum(events["dropped"].values())
    told = [f"{wording.fixed(events[key], 0)} {key}" for key in ("received", "confirmed")]
    told += [
        f"{wording.fixed(count, 0)} {what}"
        for count, what in (
            (events["returned"], "that no queue took"),
            (events["nacked"], "refused by RabbitMQ and sent again"),
            (dropped, "left out or given up"),
        )
        if count
    ]
    return f"Since the start: {', '.join(told)}."


def _types(drawn: Chart) -> _Markup:
    rows = [
        _row(
            _join([_el("i", class_=f"k{band.colour}"), band.type]),
            wording.rate(band.now),
            wording.rate(band.most),
            wording.fixed(band.events, 0),
        )
        for band in drawn.bands
    ]
    none = "No event came" if drawn.minutes else "The first ten seconds are being counted"
    return _rows(rows, none, 4)


def _minutes_head(drawn: Chart) -> _Markup:
    names = ["Until (UTC)", "all", *(band.type for band in drawn.bands)]
    return _el("tr", *(_el("th", name, scope="col") for name in names))


def _minutes(drawn: Chart) -> _Markup:
    rows = [
        _row(
            _el("time", minute.until[11:19], datetime=minute.until),
            wording.rate(minute.all),
            *map(wording.rate, minute.each),
        )
        for minute in drawn.minutes
    ]
    return _rows(rows, "Nothing is counted yet", 2)


def _commands(commands: dict[str, dict[str, int]]) -> _Markup:
    rows = [
        _row(type, result, wording.fixed(count, 0))
        for type, results in commands.items()
        for result, count in results.items()
    ]
    return _rows(rows, "None yet", 3)


def _dead_letters(dead_letters: dict[str, int]) -> _Markup:
    rows = [_row(code, wording.fixed(count, 0)) for code, count in dead_letters.items()]
    return _rows(rows, "None", 2)


def _changes(changes: list[dict[str, Any]]) -> _Markup:
    rows = [
        _row(
            _day_and_time(change["at"]),
            _name(change["link"]),
            _join([_up_or_down(change["up"]), " ", _short(change["why"])]),
        )
        for change in reversed(changes)
    ]
    return _rows(rows, "None yet", 3)


def _up_or_down(up: bool) -> _Markup:
    return _el("b", "up" if up else "down", data_tone="ok" if up else "bad")


def _day_and_time(at: str) -> _Markup:
    """For a narrow column: it breaks between the two alone."""
    return _el("time", _el("span", at[:10]), " ", _el("span", at[11:19]), datetime=at)


def _row(head: str, *cells: str) -> _Markup:
    return _el("tr", _el("th", head, scope="row"), *(_el("td", cell) for cell in cells))


def _rows(rows: list[_Markup], none: str, columns: int) -> _Markup:
    return _join(rows) if rows else _el("tr", _el("td", none, colspan=columns, class_="faint"))
