"""What /status shows beside links and counters: Slack's side, and the queues of commands.

Any thread may call any of it; nothing here waits for a disk or a peer.
"""

from __future__ import annotations

import time

from msgspec.structs import replace

from rtmpump.core.pump_events import rfc3339
from rtmpump.daemon.wiring import Parts
from rtmpump.http.status import (
    BackfillProgress,
    CommandQueues,
    Gaps,
    LastGap,
    Links,
    SlackSide,
    WorkspaceNames,
)
from rtmpump.metrics import API, Gap

_OFF = "events.backfill is off"
_LOST = "what the spool dropped can't be fetched"


class Overview:
    """Looks at the parts of one daemon."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def links(self) -> Links:
        """Return the links; of the Web API only the sender knows when the next try is."""
        links = self._parts.status.states.snapshot()
        state = links.states.get(API)
        at = self._parts.current.term.sender.next_trial_at
        if state is not None and not state.up and at is not None:
            ahead = round(1000 * (at - time.monotonic()))
            next_try = rfc3339(time.time_ns() // 1_000_000 + max(ahead, 0))
            links.states[API] = replace(state, next_try_at=next_try)
        return links

    def slack(self) -> SlackSide:
        """Return what is known of Slack's side."""
        parts = self._parts
        slack = parts.config.slack
        who = parts.reader.signed_in
        return SlackSide(
            mode=slack.mode,
            workspace=WorkspaceNames(id=who.team, name=who.team_name, bot=who.bot),
            websockets=parts.source.connections,
            websockets_wanted=self._websockets_wanted(),
            gaps=self._gaps(),
            backfill=self._backfill(),
        )

    def queues(self) -> CommandQueues:
        """Return what is known of the queues of commands."""
        outbound = self._parts.config.outbound
        return CommandQueues(
            queue=outbound.queue,
            dead_queue=outbound.dead_queue,
            waits_for_turn=self._parts.current.commands_turn() is False,
        )

    def _websockets_wanted(self) -> int:
        slack = self._parts.config.slack
        if self._parts.status.states.role == "standby":
            return 0
        return slack.connections if slack.mode == "socket" else 1

    def _gaps(self) -> Gaps:
        metrics = self._parts.metrics
        recent = [self._gap(gap) for gap in metrics.last_gaps]
        last = recent[-1] if recent else None
        return Gaps(number=metrics.gaps_counted, last=last, recent=recent)

    def _gap(self, gap: Gap) -> LastGap:
        backfill = self._parts.backfill
        note = _LOST if gap.reason == "spool_full" else _OFF if backfill is None else ""
        is_pending = backfill is not None and backfill.is_pending(gap.from_ms, gap.to_ms)
        if not note and is_pending:
            note = "it is being filled, or waits for its turn"
        return LastGap(
            since=rfc3339(gap.from_ms),
            until=rfc3339(gap.to_ms),
            reason=gap.reason,
            filled=not note,
            note=note,
        )

    def _backfill(self) -> BackfillProgress:
        backfill = self._parts.backfill
        if backfill is None:
            return BackfillProgress()
        conversations, messages = backfill.progress_of_gap
        return BackfillProgress(
            on=True,
            pending=backfill.pending,
            conversations=conversations,
            messages=messages,
            waits_for=backfill.waits_for,
        )
