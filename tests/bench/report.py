"""The figures as a table of Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from tests.bench.latency import quantile

TITLES = {
    "obvious": "the obvious script",
    "native": "Node.js pair",
    "rtmpump": "rtmpump",
    "raw": "raw pika (ceiling)",
    "generator": "load generator alone",
}


def table(found: dict[str, Any]) -> str:
    """All that was measured, one table for each bench."""
    parts = [f"{key}: {value}" for key, value in found["machine"].items()]
    lines = ["; ".join(parts), "", f"load average before and after: {found['load']}", ""]
    for name, make in _TABLES.items():
        if name in found:
            lines += [*make(found[name]), ""]
    return "\n".join(lines)


def _throughput(found: dict[str, list[dict[str, float]]]) -> list[str]:
    lines = _header("", "events/s, median", "lowest", "highest", "of obvious", "of Node.js")
    lines[0] += " µs CPU an event | of the broker | others, cores |"
    lines[1] += "---|---|---|"
    median = {name: statistics.median(one["rate"] for one in all_) for name, all_ in found.items()}
    for name, rounds in found.items():
        rates = [one["rate"] for one in rounds]
        ratios = [_ratio(median[name], median.get(other)) for other in ("obvious", "native")]
        spent = [_median(rounds, key) for key in ("process_us", "broker_us", "others")]
        numbers = (f"{n:,.0f}" for n in (median[name], min(rates), max(rates)))
        lines.append(_row(TITLES[name], *numbers, *ratios, *spent))
    return lines


def _ablation(found: dict[str, list[dict[str, float]]]) -> list[str]:
    lines = _header("rtmpump, whole or with", "events/s, median", "µs CPU an event", "of the whole")
    whole = statistics.median(one["process_us"] for one in found["whole"])
    for name, rounds in found.items():
        spent = statistics.median(one["process_us"] for one in rounds)
        rate = statistics.median(one["rate"] for one in rounds)
        lines.append(_row(name, f"{rate:,.0f}", f"{spent:.1f}", _ratio(spent, whole)))
    return lines


def _latency(found: dict[str, list[float]]) -> list[str]:
    lines = _header("latency at 500/s, ms", "p50", "p90", "p99", "p99 of obvious")
    base = quantile(found["obvious"], 0.99)
    for name, all_ in found.items():
        values = [quantile(all_, part) for part in (0.5, 0.9, 0.99)]
        lines.append(_row(TITLES[name], *(f"{v:.2f}" for v in values), _ratio(values[-1], base)))
    return lines


def _answers(found: dict[str, list[float]]) -> list[str]:
    lines = _header("envelope to acknowledgement, ms", "p50", "p90", "p99")
    for name, all_ in found.items():
        lines.append(_row(name, *(f"{quantile(all_, part):.2f}" for part in (0.5, 0.9, 0.99))))
    return lines


def _growth(found: dict[str, dict[str, float]]) -> list[str]:
    lines = _header(
        "growth", "events/s", "µs CPU an event", "writes an event", "highest RSS, MiB", "others"
    )
    for name, one in found.items():
        figures = (one["process_us"], one["writes"], one.get("rss_mib", ""), one["others"])
        lines.append(_row(name, f"{one['rate']:,.0f}", *map(str, figures)))
    return lines


def _live(found: list[dict[str, dict[str, float]]]) -> list[str]:
    parts = ("live, first", "live, last")
    lines = _header("live", *(f"{part}: µs, writes, others" for part in parts), "last of first")
    for number, one in enumerate(found, 1):
        cells = [
            f"{one[part]['process_us']}, {one[part]['writes']}, {one[part]['others']}"
            for part in parts
        ]
        first, last = (one[part]["process_us"] for part in parts)
        lines.append(_row(f"round {number}", *cells, _ratio(last, first)))
    return lines


def _plain(found: dict[str, float]) -> list[str]:
    return [*_header("", "value"), *(_row(name, f"{value:,}") for name, value in found.items())]


def _header(*cells: str) -> list[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _ratio(one: float, other: float | None) -> str:
    return f"{one / other:.2f}" if other else ""


def _median(rounds: list[dict[str, float]], key: str) -> str:
    values = [one[key] for one in rounds if key in one]
    return f"{statistics.median(values):.1f}" if values else ""


_TABLES: dict[str, Callable[[Any], list[str]]] = {
    "throughput": _throughput,
    "ablation": _ablation,
    "latency": _latency,
    "answers": _answers,
    "many_answers": _plain,
    "growth": _growth,
    "live": _live,
    "commands": _plain,
    "client": _plain,
    "gateway": _plain,
    "broadcast": _plain,
    "bounds": _plain,
    "starting": _plain,
    "idle": _plain,
}
