"""Reads Slack's history page by page, at a pace that Slack allows, until it answers or a stop.

Laws:

- The methods are of Tier 3, 50 calls a minute; an app that is distributed outside Slack's
  Marketplace has one call a minute, with at most 15 messages. So calls have a rate limit of their
  own, and a 429 is obeyed for the time that it names
  (https://docs.slack.dev/apis/web-api/rate-limits).
- A call that fails ten times in a row counts as refused: one conversation must not delay all others
  for ever. A limit, an outage of Slack and a refused token are waited for.
- A stop ends each wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from rtmpump import config, log
from rtmpump.core.missed_messages import Moment
from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.core.rate_limit import RateLimit
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.retry import keep_trying
from rtmpump.links.slack.api_errors import RATE_LIMIT_SECONDS, CallFailed, CallRefused
from rtmpump.links.slack.web_api import SlackApi

KINDS: Final = ("public_channel", "private_channel", "mpim", "im")
# Slack recommends no more (https://docs.slack.dev/reference/methods/conversations.history).
PAGE: Final = 200
_RATE: Final = 50 / 60
_BURST: Final = 20
_TRIES: Final = 10
_log = log.get("backfill")

Json = dict[str, Any]


class Stopped(Exception):
    """The stop came before the answer."""


class History:
    """Reads what was said; one thread.

    Each method raises CallRefused where Slack said no, and Stopped after a stop. `waits` is called
    before each wait for a new try.
    """

    waits: Callable[[RetryDetails], None]

    def __init__(
        self,
        api: SlackApi,
        *,
        policy: config.Retry,
        lifecycle: Lifecycle,
    ) -> None:
        self._api = api
        self._policy = policy
        self.lifecycle = lifecycle
        self.waits = _ignore
        self._pace = RateLimit(_RATE, _BURST)

    def begin(self, lifecycle: Lifecycle) -> None:
        """Go on with another lifecycle; the rate limit goes on too."""
        self.lifecycle = lifecycle

    def conversations(self, kind: str) -> Iterator[list[str]]:
        """Yield the ids of all conversations of one kind that the bot is in."""
        arguments = {"types": kind, "exclude_archived": "true", "limit": str(PAGE)}
        for page in self._pages("users.conversations", arguments, "channels"):
            yield [one["id"] for one in page if isinstance(one.get("id"), str)]

    def messages(self, channel: str, oldest: Moment, latest: Moment) -> Iterator[list[Json]]:
        """Yield a channel's messages without the replies in threads, newest page first."""
        return self._messages("conversations.history", channel, oldest, latest, PAGE)

    def replies(
        self, channel: str, thread: str, oldest: Moment, latest: Moment, limit: int
    ) -> Iterator[list[Json]]:
        """Yield a thread's messages, oldest page first; its parent may be among them."""
        method = "conversations.replies"
        return self._messages(method, channel, oldest, latest, limit, ts=thread)

    def _messages(
        self,
        method: str,
        channel: str,
        oldest: Moment,
        latest: Moment,
        limit: int,
        **more: str,
    ) -> Iterator[list[Json]]:
        arguments = {"channel": channel, "oldest": str(oldest), "latest": str(latest)}
        arguments |= {"inclusive": "true", "limit": str(limit)} | more
        return self._pages(method, arguments, "messages")

    def _pages(self, method: str, arguments: dict[str, str], member: str) -> Iterator[list[Json]]:
        cursor = ""
        while True:
            answer = self._ask(method, arguments | ({"cursor": cursor} if cursor else {}))
            page = answer.get(member)
            if not isinstance(page, list):
                raise CallRefused("bad_answer", f"{method} gave no list")
            yield [one for one in page if isinstance(one, dict)]
            before, cursor = cursor, _next_cursor(answer)
            if not cursor:
                return
            if cursor == before:
                raise CallRefused("bad_answer", f"{method} gave a list without an end")

    def _ask(self, method: str, arguments: dict[str, str]) -> Json:
        answers: list[Json] = []
        tries = 0

        def ask() -> None:
            nonlocal tries
            self._wait_for_pace(method)
            if self.lifecycle.stop.is_set():
                return
            try:
                answers.append(self._api.call(method, arguments))
            except CallFailed as failed:
                if failed.trouble is Trouble.LIMITED and failed.retry_after is None:
                    failed.retry_after = RATE_LIMIT_SECONDS
                tries += failed.trouble is None
                if tries >= _TRIES:
                    raise CallRefused(failed.reason, failed.detail) from None
                raise

        keep_trying(ask, policy=self._policy, lifecycle=self.lifecycle, report=self._report_wait)
        if not answers:
            raise Stopped
        return answers[0]

    def _wait_for_pace(self, method: str) -> None:
        stop = self.lifecycle.stop
        while (wait := self._pace.take(method, time.monotonic())) and not stop.is_set():
            self.lifecycle.rest(wait)
            stop.wait(wait)
        self.lifecycle.progress()

    def _report_wait(self, retry: RetryDetails) -> None:
        write = _log.info if retry.reason == "ratelimited" else _log.warning
        write("backfill.waits", **retry._asdict())
        self.waits(retry)


def _ignore(_retry: RetryDetails) -> None:
    pass


def _next_cursor(answer: Json) -> str:
    metadata = answer.get("response_metadata")
    cursor = metadata.get("next_cursor") if isinstance(metadata, dict) else ""
    return cursor if isinstance(cursor, str) else ""
