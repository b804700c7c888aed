"""Fills gaps: what was said in a gap goes from Slack's history into the spool.

Laws:

- A message goes through the spool like any event, so it is confirmed and survives a crash. The
  spool keeps its source (`BACKFILL`), for the header.
- Live events go first: nothing is added while the spool is half full. Batches are small, so the
  reader waits for one commit at most.
- A channel's messages and the replies in its threads come in the order of their times. Slack gives
  the newest first, so a channel is read to its end before its first message is published. Of what
  is too much for the memory only the times are kept; it is read again when its turn comes.
- Progress is kept with the gap. One gap after the other. What can't be read is logged once.
- A gap is given up never, a kind of conversations only if the token may not read it, and one
  conversation only if Slack refuses it or is in trouble with it alone. What is in trouble is put
  off until the others were read.
- A stop ends the work after the call that is under way; the next `run` goes on in the same gap.

One thread. Other threads may call `missed` and `wake`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core import missed_messages, pump_events
from rtmpump.core.missed_messages import Moment, OpenGap, Said, Span
from rtmpump.core.routes import BACKFILL
from rtmpump.errors import LinkError, SpoolFailed, SpoolFull
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.slack.api_errors import CallRefused
from rtmpump.links.slack.history import KINDS, PAGE, History, InTrouble, Stopped
from rtmpump.metrics import Metrics
from rtmpump.pumps.backfill.gap_file import GapFile
from rtmpump.spool import Spool

_BATCH: Final = 100
_BATCH_BYTES: Final = 1 << 20
# The most that is kept in memory of one channel's messages, and of its threads.
_KEPT_BYTES: Final = 8 << 20
_THREADS_MAX: Final = 1000
_REPLIES_KEPT: Final = 4000
_REPLIES_LEAST: Final = 15
_ROOM_ASKED: Final = 1.0
_STOP_NOTICED: Final = 1.0
# Refusals that hold for all conversations of a kind if they hold for the first one.
_OF_THE_KIND: Final = ("missing_scope", "not_allowed_token_type")
# How often a conversation is put off before it may be given up, and how many others are asked for
# then.
_ROUNDS: Final = 3
_OTHERS_ASKED: Final = 3
_FIXES: Final = {
    "missing_scope": "add the scope to the app, and install it again",
    "not_allowed_token_type": "Slack lets the bot of a classic app read direct messages only",
    "not_in_channel": "invite the bot",
}
_NAMED_MAX: Final = 10
# A gap that ends later than in this time was announced by a wrong clock.
_LIMITED_MS: Final = 120_000

_log = log.get("backfill")


class _Page(NamedTuple):
    """A page of a channel's history; `kept` is None if it has to be read again."""

    span: Span
    kept: list[Said] | None
    size: int


class Backfill:
    """The pump that fills gaps; `run` is the body of its thread."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        gaps: GapFile,
        metrics: Metrics,
        history: History,
        stored: Callable[[], None],
    ) -> None:
        """Begin with the gaps of the file; `stored` is called when events are in the spool."""
        self._ignore = config.events.ignore
        self._threads_before = config.events.backfill_threads
        self._spool = spool
        self._gaps = gaps
        self._metrics = metrics
        self.lifecycle = history.lifecycle
        self._stop = self.lifecycle.stop
        self._stored = stored
        self._history = history
        history.waits = self._slack_waits
        self._said: dict[str, set[str]] = defaultdict(set)
        self._changed = threading.Condition()
        self._is_known_whose = False
        self._open: set[str] = set()
        self._put_off: Counter[str] = Counter()
        self.waits_for = ""
        """What the present call or message waits for; "" if for nothing. Any thread may read it."""

    @property
    def pending(self) -> int:
        """How many gaps are still to be filled. From any thread."""
        return len(self._gaps)

    @property
    def progress_of_gap(self) -> tuple[int, int]:
        """How many conversations and messages the present gap has so far. From any thread."""
        gap = self._gaps.present
        return (0, 0) if gap is None else (gap.channels, gap.messages)

    def is_pending(self, from_ms: int, to_ms: int) -> bool:
        """Return whether a gap is still to be filled. From any thread."""
        return self._gaps.covers(from_ms, to_ms)

    def missed(self, from_ms: int, to_ms: int, team: str, bot: str) -> None:
        """Keep a gap (milliseconds since 1970) and fill it. From any thread."""
        self._gaps.add(OpenGap(from_ms, to_ms, team, bot))
        with self._changed:
            self._is_known_whose = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Notice a stop now. From any thread."""
        with self._changed:
            self._changed.notify_all()

    def begin(self, lifecycle: Lifecycle) -> None:
        """Be ready for another `run`, with a lifecycle of its own."""
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._history.begin(lifecycle)

    def run(self) -> None:
        """Fill gaps until a stop.

        Raises:
            SpoolError: the spool is damaged.
        """
        try:
            while (gap := self._next()) is not None:
                self._fill(gap)
        except Stopped:
            return

    def _next(self) -> OpenGap | None:
        """Wait for a gap and return it; None after a stop."""
        with self._changed:
            while not self._stop.is_set():
                self.lifecycle.progress()
                # Before the first hello we don't know which team the token is of.
                gap = self._gaps.first() if self._is_known_whose else None
                if gap is not None and not _goes_on(gap):
                    return gap
                self._changed.wait(_STOP_NOTICED)
        return None

    def _fill(self, gap: OpenGap) -> None:
        times = {"from": pump_events.rfc3339(gap.from_ms), "to": pump_events.rfc3339(gap.to_ms)}
        _log.info("backfill.began", **times)
        self._gaps.begin(gap)
        self._open.clear()
        self._put_off.clear()
        self._history.keep_trying(partial(self._go_round, gap))
        closing = pump_events.backfilled(
            from_ms=gap.from_ms,
            to_ms=gap.to_ms,
            channels=gap.channels,
            messages=gap.messages,
            failed=gap.failed,
        )
        self._store(gap, [closing], source="")
        self._gaps.close(gap)
        self._log_failures(gap)
        counts = {"channels": gap.channels, "messages": gap.messages, "failed": len(gap.failed)}
        _log.info("backfill.done", **times, **counts)

    def _go_round(self, gap: OpenGap) -> None:
        """Fill all of a gap that can be read now.

        Raises:
            LinkError: something is left for another round.
        """
        left: InTrouble | None = None
        for kind in KINDS:
            try:
                self._fill_kind(gap, kind)
            except CallRefused as refused:
                self._give_up(gap, kind, refused.code, refused.detail)
            except InTrouble as trouble:
                left = trouble
        if left is not None:
            raise LinkError("slack", left.reason, left.detail)

    def _fill_kind(self, gap: OpenGap, kind: str) -> None:
        """Fill all conversations of a kind.

        Raises:
            CallRefused: none of the kind can be read.
            InTrouble: the list of them, or one of them, has to be read later.
        """
        if kind in gap.done:
            return
        channels = self._history.conversations(kind, gap.team)
        self.waits_for = ""
        left: InTrouble | None = None
        to_fill = [one for one in channels if one not in gap.done]
        self._open.update(to_fill)
        for channel in to_fill:
            try:
                self._fill_or_give_up(gap, channel, channels)
            except InTrouble as trouble:
                left = trouble
        if left is not None:
            raise left
        self._done(gap, kind)

    def _fill_or_give_up(self, gap: OpenGap, channel: str, channels: list[str]) -> None:
        """Fill one of the conversations of a kind, or note that it can't be read.

        Raises:
            CallRefused: none of the kind can be read.
            InTrouble: this one has to be read later.
        """
        try:
            self._fill_channel(gap, channel)
        except CallRefused as refused:
            if refused.code in _OF_THE_KIND and not _read(gap, channels):
                raise
            self._give_up(gap, channel, refused.code, refused.detail)
        except InTrouble as trouble:
            self._put_off_or_give_up(gap, channel, trouble)
        else:
            gap.channels += 1
            self._done(gap, channel)

    def _put_off_or_give_up(self, gap: OpenGap, channel: str, trouble: InTrouble) -> None:
        """Give a conversation up if Slack is long in trouble with it alone.

        Raises:
            InTrouble: it has to be read later.
        """
        _log.debug("backfill.put_off", conversations=channel, reason=trouble.reason)
        if not self._is_alone_in_trouble(gap, channel):
            self._history.wait_until_slack_answers()
            raise trouble
        self._put_off[channel] += 1
        if self._put_off[channel] < _ROUNDS:
            raise trouble
        self._give_up(gap, channel, trouble.reason, trouble.detail)

    def _is_alone_in_trouble(self, gap: OpenGap, channel: str) -> bool:
        """Return whether Slack answers for other conversations at this moment."""
        others = _read(gap, [one for one in reversed(gap.done) if one not in KINDS])
        if others:
            return any(map(self._history.answers_for, others[:_OTHERS_ASKED]))
        # Nothing can be compared with the only one.
        return self._open == {channel} and self._history.answers()

    def _give_up(self, gap: OpenGap, what: str, reason: str, detail: str) -> None:
        _log.debug("backfill.given_up", conversations=what, reason=reason)
        self._said[reason].add(detail)
        self._note_failure(gap, what, reason)
        self._done(gap, what)

    def _done(self, gap: OpenGap, what: str) -> None:
        self.waits_for = ""
        self._open.discard(what)
        gap.done.append(what)
        gap.channel = gap.upto = ""
        self._gaps.save()

    def _fill_channel(self, gap: OpenGap, channel: str) -> None:
        within = missed_messages.span(gap.from_ms, gap.to_ms)
        # Also where a part is in the spool: a thread of that part may go on.
        since = missed_messages.before(within.first, self._threads_before)
        reached = missed_messages.moment(gap.upto) if gap.channel == channel else None
        if reached is not None:
            within = Span(missed_messages.after(reached), within.last)
        pages, threads = self._survey(channel, since, within)
        self._note_too_many(gap, channel, threads)
        threads = threads[:_THREADS_MAX]
        limit = max(_REPLIES_LEAST, min(PAGE, _REPLIES_KEPT // max(1, len(threads))))
        streams = [self._channel_stream(channel, pages)]
        streams += [self._thread_stream(gap, channel, one, within, limit) for one in threads]
        for batch in _batches(missed_messages.in_order(streams)):
            self._store(gap, [one.body for one in batch], source=BACKFILL)
            gap.channel, gap.upto = channel, str(batch[-1].at)
            gap.messages += len(batch)
            self._metrics.received(BACKFILL, len(batch))
            self._gaps.save()

    def _survey(self, channel: str, since: Moment, within: Span) -> tuple[list[_Page], list[str]]:
        """Read a channel to its end; return its pages, oldest first, and its live threads."""
        pages: list[_Page] = []
        threads: set[str] = set()
        first_kept = kept = 0
        for messages in self._history.messages(channel, since, within.last):
            threads |= missed_messages.threads(messages, within)
            said = missed_messages.said(messages, channel, within, self._ignore)
            if not said:
                continue
            size = sum(len(one.body) for one in said)
            pages.append(_Page(Span(said[0].at, said[-1].at), said, size))
            kept += size
            while kept > _KEPT_BYTES and first_kept < len(pages) - 1:
                # The newest are needed last.
                kept -= pages[first_kept].size
                pages[first_kept] = pages[first_kept]._replace(kept=None)
                first_kept += 1
        return pages[::-1], sorted(threads, reverse=True)

    def _channel_stream(self, channel: str, pages: list[_Page]) -> Iterator[Said]:
        while pages:
            page = pages.pop(0)
            if page.kept is not None:
                yield from page.kept
                continue
            again = self._history.messages(channel, page.span.first, page.span.last)
            messages = list(chain.from_iterable(again))
            yield from missed_messages.said(messages, channel, page.span, self._ignore)

    def _thread_stream(
        self, gap: OpenGap, channel: str, thread: str, within: Span, limit: int
    ) -> Iterator[Said]:
        """Yield the replies of a thread; its parent comes with its channel, if it is in the gap."""
        parent = missed_messages.moment(thread)
        try:
            for messages in self._history.replies(channel, thread, *within, limit):
                for one in missed_messages.said(messages, channel, within, self._ignore):
                    if one.at != parent:
                        yield one
        except CallRefused as refused:
            if refused.code != "thread_not_found":
                self._note_failure(gap, channel, refused.code)
        except InTrouble as trouble:
            # Its conversation was read just now. It need not be given up for one thread.
            if self._put_off[channel] + 1 < _ROUNDS or not self._history.answers_for(channel):
                raise
            self._note_failure(gap, channel, trouble.reason)

    def _note_too_many(self, gap: OpenGap, channel: str, threads: list[str]) -> None:
        if len(threads) > _THREADS_MAX:
            self._note_failure(gap, channel, "too_many_threads")

    def _note_failure(self, gap: OpenGap, channel: str, reason: str) -> None:
        """Note once that a part of a channel can't be read."""
        if (channel, reason) not in gap.failed:
            gap.failed.append((channel, reason))

    def _store(self, gap: OpenGap, bodies: list[bytes], source: str) -> None:
        """Put events into the spool, as soon as there is room, and on the disk.

        Raises:
            Stopped: a stop came first.
        """
        now_ms = time.time_ns() // 1_000_000
        items = [(now_ms, body) for body in bodies]

        def append() -> None:
            usage = self._spool.usage()
            if usage.bytes > usage.events_max_bytes // 2:
                raise SpoolFull(str(self._spool.path), "the live events need the other half")
            self._spool.append_later(items, team=gap.team, bot=gap.bot, source=source)

        self._insist(append, "room in the spool")
        self._stored()
        self._insist(self._spool.sync, "the disk")
        self.lifecycle.progress()

    def _insist(self, store: Callable[[], None], need: str) -> None:
        """Try it until it succeeds."""
        while True:
            try:
                store()
                break
            except (SpoolFull, SpoolFailed) as refused:
                _log.debug("backfill.waits", need=need, problem=str(refused))
            self.waits_for = need
            self.lifecycle.rest(_ROOM_ASKED)
            if self._stop.wait(_ROOM_ASKED):
                raise Stopped
        self.waits_for = ""

    def _slack_waits(self, retry: RetryDetails) -> None:
        self.waits_for = f"Slack ({retry.reason})"

    def _log_failures(self, gap: OpenGap) -> None:
        """Log one line for each reason."""
        by_reason: dict[str, list[str]] = defaultdict(list)
        for what, reason in gap.failed:
            by_reason[reason].append(what)
        for reason, names in by_reason.items():
            fix = _FIXES.get(reason, "see what Slack's page of conversations.history says of it")
            _log.warning(
                "backfill.refused",
                reason=reason,
                count=len(names),
                conversations=", ".join(names[:_NAMED_MAX]),
                detail="; ".join(sorted(self._said[reason])[:_NAMED_MAX]),
                fix=fix,
            )
        self._said.clear()


def _read(gap: OpenGap, channels: list[str]) -> list[str]:
    """Return those of the conversations that were read to their end."""
    read = set(gap.done) - {what for what, _ in gap.failed}
    return [one for one in channels if one in read]


def _goes_on(gap: OpenGap) -> bool:
    """Return whether a gap is not over: Slack says that it drops events for a minute."""
    return 0 < gap.to_ms - time.time_ns() // 1_000_000 <= _LIMITED_MS


def _batches(said: Iterable[Said]) -> Iterator[list[Said]]:
    batch: list[Said] = []
    size = 0
    for one in said:
        if batch and (len(batch) == _BATCH or size + len(one.body) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += len(one.body)
    if batch:
        yield batch
