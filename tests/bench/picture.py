"""The figures as one picture, SVG by hand: bars of the rates, and how latencies are spread."""

from __future__ import annotations

import math
import statistics
from typing import Any

from tests.bench.report import TITLES

_COLOURS = {"obvious": "#999", "native": "#3a7", "rtmpump": "#c33", "raw": "#58b"}
_LOW, _HIGH = 0.3, 1000.0  # milliseconds
_LEFT, _WIDTH, _HEIGHT = 150, 380, 180


def svg(found: dict[str, Any]) -> str:
    """All of it; either half may be missing."""
    parts: list[str] = []
    if "throughput" in found:
        parts += _bars(found["throughput"])
    if "latency" in found:
        parts += _curves(found["latency"])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" '
        'font-family="sans-serif" font-size="12">\n'
        '<rect width="640" height="400" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bars(found: dict[str, list[dict[str, float]]]) -> list[str]:
    rates = {
        name: statistics.median(one["rate"] for one in found[name])
        for name in _COLOURS
        if name in found
    }
    parts = [_text(10, 20, "events a second, median")]
    for row, (name, rate) in enumerate(rates.items()):
        y, width = 30 + 26 * row, _WIDTH * rate / max(rates.values())
        parts += [
            _text(10, y + 14, TITLES[name]),
            f'<rect x="{_LEFT}" y="{y}" width="{width:.0f}" height="18" fill="{_COLOURS[name]}"/>',
            _text(_LEFT + width + 6, y + 14, f"{rate:,.0f}"),
        ]
    return parts


def _curves(found: dict[str, list[float]]) -> list[str]:
    bottom = 370
    parts = [_text(10, 165, "part of events that came within … ms (500 a second)")]
    for tick in (1, 10, 100, 1000):
        x = _place(tick)
        parts.append(f'<path d="M{x:.0f} {bottom}V{bottom - _HEIGHT}" stroke="#ddd"/>')
        parts.append(_text(x - 8, bottom + 16, str(tick)))
    for part in (0, 0.5, 1):
        y = bottom - _HEIGHT * part
        parts.append(f'<path d="M{_LEFT} {y:.0f}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 40, y + 4, f"{part:.0%}"))
    for row, (name, values) in enumerate(found.items()):
        ordered, steps = sorted(values), 100
        points = " ".join(
            f"{_place(ordered[min(len(ordered) - 1, len(ordered) * n // steps)]):.1f},"
            f"{bottom - _HEIGHT * n / steps:.1f}"
            for n in range(steps + 1)
        )
        colour = _COLOURS[name]
        line = f'fill="none" stroke="{colour}" stroke-width="2"'
        parts.append(f'<polyline points="{points}" {line}/>')
        parts.append(f'<text x="10" y="{205 + 18 * row}" fill="{colour}">{TITLES[name]}</text>')
    return parts


def _place(ms: float) -> float:
    inside = min(max(ms, _LOW), _HIGH)
    return _LEFT + _WIDTH * math.log(inside / _LOW) / math.log(_HIGH / _LOW)


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}">{text}</text>'
