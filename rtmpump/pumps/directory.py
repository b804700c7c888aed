"""Finds the ids of channels by their names, in a thread of its own: no other pump waits for HTTP.

Laws: a lookup that the cache can't answer is answered from a list that was asked for after it, or
from one less than `fresh_for` seconds old with no `changed()` since. Answers come from this thread,
without the lock. A lookup that waits at a stop is never answered: "not found" would be wrong.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from rtmpump import config, log
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.retry import keep_trying
from rtmpump.links.slack.api_errors import ChannelsRefused
from rtmpump.links.slack.web_api import SlackApi

Answer = Callable[[str | None, str], None]

# How late a stop flag is noticed that was set without `stop`.
_STOP_NOTICED: Final = 1.0
# A list of many pages takes its time, and slack_sdk gives no sign in between.
_LISTING: Final = 600.0
_log = log.get("directory")


class _Lookup(NamedTuple):
    """One name, and whom to call with its id."""

    name: str
    answer: Answer


class _List(NamedTuple):
    """What Slack answered: ids by name, or why there are none; `version` when it was asked."""

    ids: dict[str, str]
    refusal: str
    version: int
    at: float

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
    ) -> None:
        self._api = api
        self._policy = policy
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._fresh_for = fresh_for
        self._changed = threading.Condition()
        self._version = 0
        self._list = _List({}, "", -1, -math.inf)
        self._waiting: list[_Lookup] = []

    def lookup(self, name: str, answer: Answer) -> str | None:
        """Return the id at once if it is known; else None, and call `answer(id, why)` later.

        That call comes once, from the directory's thread. If no channel has the name, `id` is None
        and `why` a sentence.
        """
        with self._changed:
            if self._list.version == self._version and name in self._list.ids:
                return self._list.ids[name]
            self._waiting.append(_Lookup(name, answer))
            self._changed.notify_all()
            return None

    def changed(self) -> None:
        """Ask for a new list at the next lookup: Slack reported a change to a channel."""
        with self._changed:
            self._version += 1

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
        while lookups := self._take():
            unsettled = self._settle(lookups)
            if unsettled and self._refresh():
                for lookup in unsettled:
                    self._list.settle(lookup)

    def _take(self) -> list[_Lookup]:
        """Wait for lookups and return them all; none after a stop."""
        with self._changed:
            while not self._waiting and not self._stop.is_set():
                self.lifecycle.progress()
                self._changed.wait(_STOP_NOTICED)
            taken, self._waiting = self._waiting, []
        return [] if self._stop.is_set() else taken

    def _settle(self, lookups: list[_Lookup]) -> list[_Lookup]:
        """Answer what the present list can answer, and return the other lookups."""
        with self._changed:
            if self._list.version != self._version:
                return lookups
        is_fresh = time.monotonic() - self._list.at < self._fresh_for
        unsettled = []
        for lookup in lookups:
            if is_fresh or lookup.name in self._list.ids:
                self._list.settle(lookup)
            else:
                unsettled.append(lookup)
        return unsettled

    def _refresh(self) -> bool:
        """Ask Slack until it answers; return False if a stop came first."""
        with self._changed:
            version = self._version
        answered = threading.Event()

        def ask() -> None:
            ids, refusal = self._ask()
            with self._changed:
                self._list = _List(ids, refusal, version, time.monotonic())
            answered.set()

        keep_trying(ask, policy=self._policy, lifecycle=self.lifecycle, report=_report)
        return answered.is_set()

    def _ask(self) -> tuple[dict[str, str], str]:
        self.lifecycle.rest(_LISTING)
        try:
            return self._api.channels(self._stop), ""
        except ChannelsRefused as refused:
            _log.error("slack.channels_refused", reason=refused.reason, fix=refused.detail)
            return {}, f"Slack does not list the channels: {refused.reason}; {refused.detail}"


def _report(retry: RetryDetails) -> None:
    _log.warning("slack.channels_retry", **retry._asdict())
