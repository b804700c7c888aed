"""Finds the ids of channels by their names, in a thread of its own: no other pump waits for HTTP.

Laws:

- An id is given only from a list that was asked for at most `NAMES_KEPT` seconds ago, for names can
  change without an event.
- After an event about a channel its names are given only from a list that was asked for after the
  event. The other names stay known.
- "Not found" is said only by a list that was asked for after the lookup, or by one less than
  `fresh_for` seconds old with no event since. An id that Slack refused is given again only by a
  list that was asked for because of such a refusal.
- Names that are in use are asked for again before they are too old, so that no lookup waits.
- Answers come from this thread, without the lock. A lookup that waits at a stop is never answered:
  "not found" would be wrong.

Trouble is reported to the lifecycle's listener, as the link `channel_list`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from rtmpump import config
from rtmpump.core.channel_events import Concerned
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.retry import keep_trying
from rtmpump.links.slack.api_errors import ChannelsRefused
from rtmpump.links.slack.web_api import SlackApi

Answer = Callable[[str | None, str], None]

LINK: Final = "channel_list"
NAMES_KEPT: Final = 600.0
"""How old a name may be, in seconds, counted from when its list was asked for."""
_ASK_AHEAD: Final = 300.0
_ASK_AHEAD_AGAIN: Final = 60.0
# How late a stop flag is noticed that was set without `stop`.
_STOP_NOTICED: Final = 1.0
# A list of many pages takes its time, and slack_sdk gives no sign in between.
_LISTING: Final = 600.0
# More events than this while Slack is asked for one list: then any channel may have changed.
_EVENTS_KEPT: Final = 1000


class _Lookup(NamedTuple):
    """One name, and whom to call with its id; `not_id` is one that Slack refused."""

    name: str
    answer: Answer
    not_id: str


class _List(NamedTuple):
    """What Slack answered: ids by name, or why there are none.

    `asked_at` and `version` (how many events there had been) are as when it was asked for, `at` is
    when the answer came. `is_check`: it was asked for because Slack refused an id.
    """

    ids: dict[str, str]
    refusal: str
    version: int
    asked_at: float
    at: float
    is_check: bool = False

    def settle(self, lookup: _Lookup) -> None:
        found = self.ids.get(lookup.name)
        unseen = f"there is no channel {lookup.name!r} that this token can see"
        lookup.answer(found, "" if found else self.refusal or unseen)


class Directory:
    """`run` is the body of a thread; any other may call `lookup`, `changed` and `stop`."""

    def __init__(
        self,
        api: SlackApi,
        *,
        policy: config.Retry,
        lifecycle: Lifecycle,
        fresh_for: float = 10.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._policy = policy
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._fresh_for = fresh_for
        self._now = now
        self._changed = threading.Condition()
        self._version = 0
        self._list = _List({}, "", -1, -math.inf, -math.inf)
        # Of the last list that had any: what no event has made doubtful since.
        self._known: dict[str, str] = {}
        self._known_at = -math.inf
        self._since_asked: list[Concerned | None] = []
        self._waiting: list[_Lookup] = []
        self._asks_ahead = False
        self._failed = False

    def lookup(self, name: str, answer: Answer, *, not_id: str = "") -> str | None:
        """Return the id at once if it is known; else None, and call `answer(id, why)` later.

        That call comes once, from the directory's thread. If no channel has the name, `id` is None
        and `why` a sentence. With `not_id`, an id that Slack refused, only another one is known;
        the answer may be that one still.
        """
        with self._changed:
            now = self._now()
            found = self._find(name, now)
            if found is None or found == not_id:
                self._waiting.append(_Lookup(name, answer, not_id))
                self._changed.notify_all()
                return None
            if now - self._known_at >= _ASK_AHEAD and now - self._list.at >= _ASK_AHEAD_AGAIN:
                self._asks_ahead = True
                self._changed.notify_all()
            return found

    def changed(self, concerned: Concerned | None = None) -> None:
        """Ask for a new list at the next lookup of a name that is concerned; of any, with None."""
        with self._changed:
            self._version += 1
            self._forget(concerned)
            self._since_asked.append(concerned)
            if len(self._since_asked) > _EVENTS_KEPT:
                self._since_asked = [None]

    def stop(self) -> None:
        """End the run."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def run(self) -> None:
        """Answer lookups until a stop.

        Raises:
            ConfigError: a file that the configuration names can't be used.
        """
        while (lookups := self._take()) is not None:
            unsettled = self._settle(lookups)
            is_check = any(lookup.not_id for lookup in unsettled)
            if (unsettled or not lookups) and self._refresh(is_check):
                for lookup in unsettled:
                    self._list.settle(lookup)

    def _take(self) -> list[_Lookup] | None:
        """Wait for lookups and return them all, or none if names get old; None after a stop."""
        with self._changed:
            while not (self._waiting or self._asks_ahead or self._stop.is_set()):
                self.lifecycle.progress()
                self._changed.wait(_STOP_NOTICED)
            taken, self._waiting = self._waiting, []
            self._asks_ahead = False
        return None if self._stop.is_set() else taken

    def _find(self, name: str, now: float) -> str | None:
        return self._known.get(name) if now - self._known_at < NAMES_KEPT else None

    def _forget(self, concerned: Concerned | None) -> None:
        if concerned is None:
            self._known = {}
            return
        ids, names = concerned
        if ids.intersection(self._known.values()) or not names.isdisjoint(self._known):
            self._known = {
                name: id for name, id in self._known.items() if id not in ids and name not in names
            }

    def _settle(self, lookups: list[_Lookup]) -> list[_Lookup]:
        """Answer what is known, and return the other lookups."""
        unsettled = []
        for lookup in lookups:
            with self._changed:
                now = self._now()
                found = self._find(lookup.name, now)
                is_fresh = self._is_fresh(now) and (self._list.is_check or not lookup.not_id)
            if found is not None and found != lookup.not_id:
                lookup.answer(found, "")
            elif is_fresh:
                self._list.settle(lookup)
            else:
                unsettled.append(lookup)
        return unsettled

    def _is_fresh(self, now: float) -> bool:
        """Return whether what the last list lacks is believed to be nowhere."""
        last = self._list
        is_new = now - last.at < self._fresh_for and now - last.asked_at < NAMES_KEPT
        return is_new and last.version == self._version

    def _refresh(self, is_check: bool) -> bool:
        """Ask Slack until it answers; return False if a stop came first."""
        answered = threading.Event()
        with self._changed:
            version, asked_at = self._version, self._now()
            self._since_asked = []

        def ask() -> None:
            ids, refusal = self._ask()
            with self._changed:
                self._list = _List(ids, refusal, version, asked_at, self._now(), is_check)
                if not refusal:
                    self._known, self._known_at = ids, asked_at
                    for concerned in self._since_asked:
                        self._forget(concerned)
                self._since_asked, self._asks_ahead = [], False
            answered.set()

        keep_trying(ask, policy=self._policy, lifecycle=self.lifecycle, report=self._report)
        return answered.is_set()

    def _ask(self) -> tuple[dict[str, str], str]:
        self.lifecycle.rest(_LISTING)
        try:
            ids = self._api.channels(self._stop)
        except ChannelsRefused as refused:
            attempt = 2 if self._failed else 1
            self._report(
                RetryDetails(LINK, refused.reason, refused.detail, attempt, self._fresh_for)
            )
            return {}, f"Slack does not list the channels: {refused.reason}; {refused.detail}"
        if self._failed:
            self._failed = False
            self.lifecycle.listener.link_up(LINK, f"{len(ids):,} channels")
        return ids, ""

    def _report(self, retry: RetryDetails) -> None:
        self._failed = True
        self.lifecycle.listener.link_down(retry._replace(link=LINK))
