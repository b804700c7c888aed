"""What the page can be in: each state as the daemon itself would describe it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from rtmpump.core.standstill import READING, Halt
from rtmpump.http.status import (
    BLANK,
    BackfillProgress,
    Gaps,
    LastGap,
    LinkChange,
    Links,
    LinkState,
    Status,
    WorkspaceNames,
    encode,
)
from rtmpump.http.verdict import Evidence, judge
from rtmpump.metrics import LINKS, STANDBY_LINKS, SpoolStatus
from tests.support.page import history

NOW = "2026-11-24T12:15:00.000Z"
_UP = LinkState(up=True, since="2026-11-24T08:00:00.000Z")
_HALTS_AT = 1000.0
_MIB = 1 << 20


def _document(*, full_in: float | None = None, dead: int | None = 0, **seen: Any) -> dict[str, Any]:
    """Give the document of a pump that is well but for what is given."""
    slack = _slack_side()
    queues = replace(BLANK.queues, queue="rtm.outbound", dead_queue="rtm.outbound.dead")
    well = {"stalled": [], "halts": {}, "is_blocked": False, "slack": slack, "queues": queues}
    links = Links("active", list(LINKS), dict.fromkeys(LINKS, _UP), [])
    spool = SpoolStatus(events=0, bytes=0, max_bytes=1018 * _MIB, percent=0.0, oldest_seconds=0)
    given = {"links": links, "now": _HALTS_AT, "at": NOW, "spool": spool, "full_in": full_in}
    evidence = Evidence(**well | given | {"dead_letters": dead} | seen)
    events = replace(BLANK.metrics.events, received=48_211, confirmed=48_211)
    metrics = replace(
        BLANK.metrics,
        version="0.1.0",
        events=events,
        spool=evidence.spool,
        dead_letters_waiting=dead,
        dead_letters={"channel_not_found": dead} if dead else {},
        commands={"message": {"ok": 1_204}},
        commands_waiting=0,
        slack_rtt_seconds=0.041,
    )
    status = replace(
        BLANK,
        version="0.1.0",
        now=NOW,
        pid=4711,
        uptime_seconds=15_300.0,
        role=evidence.links.role,
        wanted=evidence.links.wanted,
        links=evidence.links.states,
        changes=[LinkChange(at=NOW, link="slack", up=True, why="team T024BE7LD")],
        metrics=metrics,
        full_in_seconds=full_in,
        verdict=judge(evidence),
        slack=evidence.slack,
        queues=evidence.queues,
    )
    return _with_events(status)


def _with_events(status: Status) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(encode(status))
    types = ("message", "message.message_changed", "presence_change", "reaction_added", "other")
    return document | {"history": history(90, 10.0, *types)}


def _spool(percent: float) -> SpoolStatus:
    most = 1018 * _MIB
    return SpoolStatus(
        events=41_303,
        bytes=int(most * percent / 100),
        max_bytes=most,
        percent=percent,
        oldest_seconds=2_520,
    )


def _slack_side(**fields: Any) -> Any:
    workspace = WorkspaceNames(id="T024BE7LD", name="Example Works", bot="U024BE7LH")
    well = {"mode": "rtm", "workspace": workspace, "websockets": 1, "websockets_wanted": 1}
    return replace(BLANK.slack, **well | fields)


def reading_stopped() -> dict[str, Any]:
    """Give a pump whose spool is full."""
    full = {READING: [Halt("spool_full", _HALTS_AT - 40)]}
    return _document(halts=full, spool=_spool(100.0))


def broker_away() -> dict[str, Any]:
    """Give a pump whose RabbitMQ is down, with room for six hours."""
    down = LinkState(
        up=False,
        since="2026-11-24T11:33:00.000Z",
        last_error="refused: connect to 192.0.2.10:5672 failed, connection refused",
        last_error_at="2026-11-24T12:14:49.000Z",
        next_try_at="2026-11-24T12:15:04.000Z",
    )
    states = dict.fromkeys(LINKS, _UP) | {"broker_events": down, "broker_commands": down}
    links = Links("active", list(LINKS), states, [])
    return _document(links=links, spool=_spool(12.0), full_in=21_600.0, dead=None)


def a_gap() -> dict[str, Any]:
    """Give a pump that has had two gaps, the first of which was filled."""
    first = LastGap(
        since="2026-11-24T12:02:10.000Z",
        until="2026-11-24T12:03:40.000Z",
        reason="silent",
        filled=True,
        note="",
    )
    second = LastGap(
        since="2026-11-24T12:11:02.000Z",
        until="2026-11-24T12:11:14.000Z",
        reason="goodbye",
        filled=False,
        note="events.backfill is off",
    )
    gaps = Gaps(number=2, last=second, recent=[first, second])
    return _document(slack=_slack_side(gaps=gaps))


def standby() -> dict[str, Any]:
    """Give a pump that would take over."""
    resting = dict.fromkeys(LINKS, LinkState(up=False, since="2026-11-24T08:00:00.000Z"))
    states = resting | dict.fromkeys(STANDBY_LINKS, _UP)
    links = Links("standby", list(STANDBY_LINKS), states, [])
    return _document(links=links, slack=_slack_side(websockets=0, websockets_wanted=0))


def socket_mode() -> dict[str, Any]:
    """Give a pump in Socket Mode that holds one of two WebSockets, and fills a gap."""
    fill = BackfillProgress(on=True, pending=1, conversations=12, messages=340, waits_for="")
    side = _slack_side(mode="socket", websockets=1, websockets_wanted=2, backfill=fill)
    return _document(slack=side)


STATES: dict[str, Callable[[], dict[str, Any]]] = {
    "healthy": _document,
    "reading_stopped": reading_stopped,
    "broker_away": broker_away,
    "dead_letters": lambda: _document(dead=3),
    "gap": a_gap,
    "standby": standby,
    "socket_mode": socket_mode,
}
