"""Reads Slack's history page by page, at a pace that Slack allows, until it answers or a stop.

Laws:

- The methods are of Tier 3, 50 calls a minute; an app that is distributed outside Slack's
  Marketplace has one call a minute, with at most 15 messages. So calls have a rate limit of their
  own, and a 429 is obeyed for the time that it names
  (https://docs.slack.dev/apis/web-api/rate-limits).
- A limit and a refused token are waited for, whatever is read. So is an outage, for the list of
  conversations. One conversation must not delay all others for ever: a call for it that fails ten
  times in a row ends as InTrouble, and whoever reads decides when it is tried again.
- A cursor that Slack refuses loses nothing: the list of conversations is begun again, and messages
  go on where the last page ended.
- A wait is logged when its reason is new, and then every ten minutes. A stop ends each wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from rtmpump import config, log
from rtmpump.core import missed_messages
from rtmpump.core.missed_messages import Moment, Span
from rtmpump.core.outbound.api_calls import TRIAL, Trouble
from rtmpump.core.rate_limit import RateLimit
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.retry import keep_trying
from rtmpump.links.slack.api_errors import RATE_LIMIT_SECONDS, CallFailed, CallRefused, passes
from rtmpump.links.slack.web_api import SlackApi

KINDS: Final = ("public_channel", "private_channel", "mpim", "im")
# Slack recommends no more (https://docs.slack.dev/reference/methods/conversations.history).
PAGE: Final = 200
_HISTORY: Final = "conversations.history"
_REPLIES: Final = "conversations.replies"
_RATE: Final = 50 / 60
_BURST: Final = 20
_TRIES: Final = 10
_RESTARTS: Final = 5
_LOGGED_EVERY: Final = 600.0
_BAD_CURSOR: Final = "invalid_cursor"
# What Slack says to a list of conversations of a kind that the token may not read at all. All else
# passes, or is no answer to this question.
_NOT_THIS_KIND: Final = ("missing_scope", "not_allowed_token_type", "no_permission")
# Trouble that says nothing of one conversation.
_OF_ALL: Final = (Trouble.LIMITED, Trouble.TOKEN)
# The id of a workspace; that of an organisation begins with E.
_WORKSPACE: Final = "T"
_log = log.get("backfill")

Json = dict[str, Any]


class Stopped(Exception):
    """The stop came before the answer."""


class InTrouble(Exception):
    """What was asked for can't be read now, but Slack did not refuse it for good."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class History:
    """Reads what was said; one thread.

    Each method raises CallRefused where Slack said no, InTrouble where another try may help later,
    and Stopped after a stop. `waits` is called before each wait for a new try.
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
        self._logged: dict[str, float] = {}

    def begin(self, lifecycle: Lifecycle) -> None:
        """Go on with another lifecycle; the rate limit goes on too."""
        self.lifecycle = lifecycle

    def keep_trying(self, make: Callable[[], None]) -> None:
        """Call `make` until it raises no LinkError, with growing pauses.

        Raises:
            Stopped: a stop came first.
        """
        is_done = False

        def make_and_note() -> None:
            nonlocal is_done
            make()
            is_done = True

        keep_trying(
            make_and_note,
            policy=self._policy,
            lifecycle=self.lifecycle,
            report=self._report_wait,
        )
        if not is_done:
            raise Stopped

    def conversations(self, kind: str, team: str) -> list[str]:
        """Return the ids of all conversations of one kind that the bot is in, archived ones last.

        An outage is waited for. CallRefused is raised only if the token may not read this kind.
        """
        arguments = {"types": kind, "exclude_archived": "false", "limit": str(PAGE)}
        if team.startswith(_WORKSPACE):
            # The token of an organisation needs it, that of a workspace doesn't mind.
            arguments["team_id"] = team
        # All pages at once: a cursor may be too old when the conversations so far are filled.
        found: dict[str, bool] = {}
        try:
            for page in self._pages(_Place("users.conversations", arguments, "channels")):
                for one in page:
                    if isinstance(one.get("id"), str):
                        found[one["id"]] = one.get("is_archived") is True
        except CallRefused as refused:
            if refused.code in _NOT_THIS_KIND:
                raise
            raise InTrouble(refused.code, refused.detail) from None
        return sorted(found, key=lambda one: found[one])

    def messages(self, channel: str, oldest: Moment, latest: Moment) -> Iterator[list[Json]]:
        """Yield a channel's messages without the replies in threads, newest page first."""
        return self._messages(_HISTORY, channel, Span(oldest, latest), limit=str(PAGE))

    def replies(
        self, channel: str, thread: str, oldest: Moment, latest: Moment, limit: int
    ) -> Iterator[list[Json]]:
        """Yield a thread's messages, oldest page first; its parent may be among them."""
        return self._messages(_REPLIES, channel, Span(oldest, latest), limit=str(limit), ts=thread)

    def wait_until_slack_answers(self) -> None:
        """Return when Slack is at work."""
        try:
            self._ask(_Place(TRIAL, {}))
        except CallRefused:
            return

    def answers(self) -> bool:
        """Return whether Slack is at work, by one call."""
        return self._answers_to(TRIAL, {})

    def answers_for(self, channel: str) -> bool:
        """Return whether Slack says now what was said in a conversation, or that it won't."""
        return self._answers_to(_HISTORY, {"channel": channel, "limit": "1"})

    def _answers_to(self, method: str, arguments: dict[str, str]) -> bool:
        self._wait_for_pace(method)
        try:
            self._api.call(method, arguments)
        except CallFailed:
            return False
        except CallRefused as refused:
            return not passes(refused.code)
        return True

    def _messages(self, method: str, channel: str, span: Span, **more: str) -> Iterator[list[Json]]:
        arguments = {"channel": channel, "inclusive": "true"} | _limits(span) | more
        return self._pages(_Place(method, arguments, "messages", span))

    def _pages(self, place: _Place) -> Iterator[list[Json]]:
        while True:
            answer = self._ask(place)
            page = [one for one in answer[place.member] if isinstance(one, dict)]
            yield page
            if not place.go_on(page, _next_cursor(answer)):
                return

    def _ask(self, place: _Place) -> Json:
        answers: list[Json] = []
        tries = 0

        def ask() -> None:
            nonlocal tries
            self._wait_for_pace(place.method)
            try:
                answers.append(self._call(place))
            except CallFailed as failed:
                if failed.trouble is Trouble.LIMITED and failed.retry_after is None:
                    failed.retry_after = RATE_LIMIT_SECONDS
                tries += place.is_of_one_conversation and failed.trouble not in _OF_ALL
                if tries >= _TRIES:
                    raise InTrouble(failed.reason, failed.detail) from None
                raise

        self.keep_trying(ask)
        return answers[0]

    def _call(self, place: _Place) -> Json:
        """Make one call; a refusal that says nothing of what was asked for becomes a CallFailed."""
        try:
            answer = self._api.call(place.method, place.arguments)
        except CallRefused as refused:
            if refused.code == _BAD_CURSOR:
                place.begin_again(refused)
            elif not passes(refused.code):
                raise
            raise CallFailed(refused.code, refused.detail, certain=True) from None
        if place.member and not isinstance(answer.get(place.member), list):
            raise CallFailed("bad_answer", f"{place.method} gave no list", certain=True)
        return answer

    def _wait_for_pace(self, method: str) -> None:
        """Wait until a call is allowed.

        Raises:
            Stopped: a stop came first.
        """
        stop = self.lifecycle.stop
        while (wait := self._pace.take(method, time.monotonic())) and not stop.is_set():
            self.lifecycle.rest(wait)
            stop.wait(wait)
        if stop.is_set():
            raise Stopped
        self.lifecycle.progress()

    def _report_wait(self, retry: RetryDetails) -> None:
        now = time.monotonic()
        self._logged = {
            reason: at for reason, at in self._logged.items() if now - at < _LOGGED_EVERY
        }
        write = _log.info if retry.reason == "ratelimited" else _log.warning
        if retry.reason in self._logged:
            write = _log.debug
        else:
            self._logged[retry.reason] = now
        write("backfill.waits", **retry._asdict())
        self.waits(retry)


class _Place:
    """Where in a list the next page begins; `member` of an answer is the page.

    `span` is that of the messages that are still to come; None for another list.
    """

    def __init__(
        self, method: str, arguments: dict[str, str], member: str = "", span: Span | None = None
    ) -> None:
        self.method = method
        self.member = member
        self._arguments = arguments
        self._span = span
        self._cursor = ""
        self._restarts = 0

    @property
    def is_of_one_conversation(self) -> bool:
        """Whether trouble here may be that of one conversation alone."""
        return self._span is not None

    @property
    def arguments(self) -> dict[str, str]:
        """The arguments of the call for the next page."""
        return self._arguments | ({"cursor": self._cursor} if self._cursor else {})

    def go_on(self, page: list[Json], cursor: str) -> bool:
        """Note a page; return whether there is another.

        Raises:
            InTrouble: the list has no end.
        """
        if cursor and cursor == self._cursor:
            raise InTrouble("bad_answer", f"{self.method} gave a list without an end")
        if self._span is not None:
            self._span = _rest(self._span, page, is_newest_first=self.method == _HISTORY)
        self._cursor = cursor
        return bool(cursor)

    def begin_again(self, refused: CallRefused) -> None:
        """Do without the cursor: ask for the whole list, or for the messages that are missing.

        Raises:
            InTrouble: that was done too often.
        """
        before = self._arguments
        if self._span is not None:
            self._arguments = before | _limits(self._span)
        self._restarts = self._restarts + 1 if self._arguments == before else 1
        if self._restarts > _RESTARTS:
            raise InTrouble(refused.code, refused.detail)
        self._cursor = ""


def _limits(span: Span) -> dict[str, str]:
    return {"oldest": str(span.first), "latest": str(span.last)}


def _rest(span: Span, page: list[Json], *, is_newest_first: bool) -> Span:
    """Return the part of a span that comes after a page."""
    found = [missed_messages.moment(one.get("ts")) for one in page]
    moments = [at for at in found if at is not None and at in span]
    if not moments:
        return span
    if is_newest_first:
        return Span(span.first, max(span.first, missed_messages.just_before(min(moments))))
    return Span(min(span.last, missed_messages.after(max(moments))), span.last)


def _ignore(_retry: RetryDetails) -> None:
    pass


def _next_cursor(answer: Json) -> str:
    metadata = answer.get("response_metadata")
    cursor = metadata.get("next_cursor") if isinstance(metadata, dict) else ""
    return cursor if isinstance(cursor, str) else ""
