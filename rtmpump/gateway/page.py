"""`/status` and `/`: who is connected, what waits, and what was refused, as JSON and to look at.

The page has no script: it loads itself again. Its style is that of the daemon's page.
"""

from __future__ import annotations

import os
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from rtmpump.gateway.programs import Program, Programs
from rtmpump.gateway.shared import Shared
from rtmpump.metrics import program_version

PROGRAM: Final = "rtmpump gateway"
"""How `/status` says what answers."""
_STYLE: Final = (Path(__file__).parents[1] / "http" / "page.css").read_text("utf-8")
_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="5">
<title>rtmpump gateway: $verdict</title>
<style>$style</style>
</head>
<body>
<header>
<h1>rtmpump gateway</h1>
<div class="banner" data-tone="$tone"><p class="verdict">$verdict</p></div>
<p class="faint">$about</p>
</header>
<main>
<h2>Programs</h2>
<div class="scroll">
<table class="numbers">
<thead><tr><th scope="col">Program</th>$heads</tr></thead>
<tbody>
$rows
</tbody>
</table>
</div>
</main>
</body>
</html>
""")
_COLUMNS: Final = {
    "socket_mode": "WebSockets, Socket Mode",
    "rtm": "WebSockets, RTM",
    "waiting": "events that wait",
    "held": "sent, not acknowledged",
    "acknowledged": "acknowledged",
    "unanswered": "never acknowledged",
    "dropped": "dropped",
    "calls": "calls",
    "refused": "refused",
}


class GatewayPage:
    """Makes both from what the gateway counts; `file` is its configuration's."""

    def __init__(self, shared: Shared, programs: Programs, file: Path | None) -> None:
        self._shared = shared
        self._programs = programs
        self._file = os.path.realpath(file) if file else ""
        self._since = _now()

    def problem(self, *, is_stopping: bool) -> str:
        """Return why the gateway is not ready, "" if it is."""
        if is_stopping:
            return "the gateway is being stopped"
        if not self._shared.broker.is_up:
            return "RabbitMQ is not connected"
        return self._shared.troubles.first()

    def status(self, *, is_stopping: bool) -> dict[str, Any]:
        """Return the document of `/status`."""
        problem = self.problem(is_stopping=is_stopping)
        return {
            "program": PROGRAM,
            "version": program_version(),
            "pid": os.getpid(),
            "file": self._file,
            "since": self._since,
            "now": _now(),
            "ready": not problem,
            "problem": problem,
            "clients": {
                name: self._of(program) for name, program in self._programs.by_name.items()
            },
        }

    def _of(self, program: Program) -> dict[str, Any]:
        counts, name = self._shared.counts, program.name
        waiting = counts.waiting_of(name)
        return {
            "queue": program.client.queue_name,
            "max_messages": program.client.max_messages,
            "socket_mode": len(program.sockets),
            "rtm": len(program.rtm),
            "waiting": waiting,
            "held": sum(socket.holds for socket in program.sockets),
            "acknowledged": counts.total(counts.envelopes, name, result="acknowledged"),
            "unanswered": counts.total(counts.envelopes, name, result="unanswered"),
            "dropped": counts.total(counts.dropped, name),
            "calls": counts.total(counts.calls, name),
            "refused": counts.total(counts.refused, name),
        }

    def page(self, *, is_stopping: bool) -> str:
        """Return the page."""
        status = self.status(is_stopping=is_stopping)
        about = f"{status['version']}, pid {status['pid']}, since {status['since']}"
        return _PAGE.substitute(
            style=_STYLE,
            tone="ok" if status["ready"] else "bad",
            verdict=escape(status["problem"] or "ready"),
            about=escape(about),
            heads="".join(f'<th scope="col">{head}</th>' for head in _COLUMNS.values()),
            rows="\n".join(_row(name, one) for name, one in status["clients"].items()),
        )


def _row(name: str, client: dict[str, Any]) -> str:
    cells = ("-" if client[key] is None else f"{client[key]:,}" for key in _COLUMNS)
    numbers = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(name)}</th>{numbers}</tr>'


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
