"""What Slack's errors mean, in our words: what to do, and whether another try may help.

Its law: no text that leaves here quotes a token, a body or a URL. Errors of slack_sdk quote the
request and the answer, so they are cut off (`from None`) and never chained.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, NoReturn
from urllib.error import URLError
from urllib.parse import urlsplit

from rtmpump import config
from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.errors import Fate, LinkError, RtmpumpError, TokenRefused
from rtmpump.links.scarcity import SCARCE, lack
from rtmpump.links.slack.bot_token import AppToken, BotToken

RATE_LIMIT_SECONDS: Final = 30.0
"""For how long to ask for nothing where Slack limits us and names no time."""
_MIGRATION_SECONDS: Final = 30.0
_DAY: Final = 86_400
_DETAIL: Final = 200

_TAKE_ANOTHER: Final = "take a new token from the app's page and set it as slack.token"
_ADMIN: Final = "ask an admin of the workspace to allow it"
_OUR_FAULT: Final = "check slack.api_url; if it is right, this is a fault of rtmpump"
# Slack's codes for a token that can never work, and what to do about each
# (https://docs.slack.dev/reference/methods/rtm.connect#errors).
_TOKEN_FIXES: Final = {
    "not_authed": "set slack.token or SLACK_API_TOKEN",
    "invalid_auth": "check that the token was copied whole, and is of this workspace",
    "account_inactive": "the user or app of the token was removed; " + _TAKE_ANOTHER,
    "token_revoked": "the token was revoked; " + _TAKE_ANOTHER,
    "token_expired": "RTM needs a token that does not expire: one without token rotation",
}
_OTHER_FIXES: Final = {
    "not_allowed_token_type": "RTM needs the token of a classic app (xoxb- of a classic bot); "
    'Slack has no RTM for the tokens of newer apps: they take slack.mode = "socket"',
    "missing_scope": "add the scope to the classic app and install it again",
    "no_permission": _ADMIN,
    "org_login_required": "the workspace moved into an Enterprise organisation: " + _TAKE_ANOTHER,
    "access_denied": _ADMIN,
    "accesslimited": _ADMIN,
    "two_factor_setup_required": "set up two-factor authentication for the user of the token",
    "enterprise_is_restricted": "RTM is not there for an Enterprise organisation's own token; "
    "take one of a workspace",
    "ekm_access_denied": "an admin suspended access by Enterprise Key Management; " + _ADMIN,
    "is_bot": "take the token of a user or of a classic app's bot",
    "method_deprecated": "Slack has retired this method; look for a newer rtmpump",
    "unknown_method": _OUR_FAULT,
    "invalid_arg_name": _OUR_FAULT,
    "invalid_arguments": _OUR_FAULT,
    "invalid_array_arg": _OUR_FAULT,
    "invalid_charset": _OUR_FAULT,
    "invalid_form_data": _OUR_FAULT,
    "invalid_post_type": _OUR_FAULT,
    "missing_post_type": _OUR_FAULT,
}
_FIXES: Final = _TOKEN_FIXES | _OTHER_FIXES
# The same codes, for the tokens that Socket Mode takes
# (https://docs.slack.dev/reference/methods/apps.connections.open#errors).
_TAKE_ANOTHER_XAPP: Final = (
    "take an app-level token (xapp-…) with the scope connections:write from the app's page, "
    "Basic Information, and set it as slack.app_token"
)
_APP_FIXES: Final = {
    "not_authed": "set slack.app_token or SLACK_APP_TOKEN",
    "invalid_auth": "check that slack.app_token was copied whole; " + _TAKE_ANOTHER_XAPP,
    "account_inactive": "the app was removed; " + _TAKE_ANOTHER_XAPP,
    "token_revoked": "slack.app_token was revoked; " + _TAKE_ANOTHER_XAPP,
    "not_allowed_token_type": "slack.app_token is of another kind; " + _TAKE_ANOTHER_XAPP,
    "missing_scope": "slack.app_token lacks a scope; " + _TAKE_ANOTHER_XAPP,
    "forbidden_team": "Slack has no Socket Mode for this workspace; " + _ADMIN,
    "missing_args": _OUR_FAULT,
    "insecure_request": _OUR_FAULT,
}
_BOT_FIXES: Final = {
    "token_expired": "Socket Mode needs a bot token that does not expire: one without rotation",
    "not_allowed_token_type": "slack.token must be the app's bot token (xoxb-…)",
    "missing_scope": "add the scope to the app and install it again",
}
# What Slack says of the list of channels, beside all that it says of a token
# (https://docs.slack.dev/reference/methods/conversations.list#errors).
_BY_ID: Final = "until then give channels by their ids"
_LIST_FIXES: Final = {
    "missing_argument": "the token is of an organisation, and no workspace is known for it: take "
    "a token of the workspace; " + _BY_ID,
    "team_access_not_granted": "an admin of the organisation has to let the app into this "
    "workspace; " + _BY_ID,
    "missing_scope": "add the scope channels:read (and groups:read) to the app and install it "
    "again; " + _BY_ID,
    "method_not_supported_for_channel_type": _OUR_FAULT,
    "deprecated_endpoint": "Slack has retired this method; look for a newer rtmpump",
    "invalid_types": _OUR_FAULT,
    "invalid_limit": _OUR_FAULT,
}
_LIMITS: Final = ("ratelimited", "rate_limited")
_MIGRATIONS: Final = ("migration_in_progress", "team_added_to_org")
_TRANSIENT: Final = (
    *_MIGRATIONS,
    "request_timeout",
    "service_unavailable",
    "fatal_error",
    "internal_error",
)
# What answers so did nothing; 407 is that of a proxy.
_AWAY: Final = (*_MIGRATIONS, "service_unavailable")
_AWAY_STATUS: Final = (407, 503)
# Refusals of the app, its token or where it calls from: an admin, another token or time end them,
# and they say nothing of what was asked for.
_PASSING: Final = (
    *_TOKEN_FIXES,
    "ekm_access_denied",
    "org_login_required",
    "team_access_not_granted",
    "two_factor_setup_required",
    "enterprise_is_restricted",
    "accesslimited",
)
# "It's possible some aspect of the operation succeeded before the error was raised"
# (https://docs.slack.dev/reference/methods/chat.postMessage#errors, and each other method).
_HALF_DONE: Final = ("fatal_error", "internal_error")


class CallFailed(LinkError):
    """A call had no usable answer; another try may help.

    `certain`: Slack has surely not carried it out; else that is unknown. `trouble`: why it has not,
    though nothing is wrong with the call.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        certain: bool,
        trouble: Trouble | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__("slack", reason, detail, retry_after=retry_after)
        self.certain = certain
        self.trouble = trouble


class CallRefused(RtmpumpError):
    """Slack answered no, and would again: `code` is Slack's, `detail` what else it said."""

    fate = Fate.REJECTED

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


class ChannelsRefused(LinkError):
    """Slack will never list the channels; `reason` is its code."""

    fate = Fate.REJECTED


class ApiAnswer(NamedTuple):
    """An answer that is no success; `data` is {} if the body is no object."""

    status: int
    headers: dict[str, str]
    data: dict[str, Any]


class SlackErrors:
    """Makes errors of answers, with the secrets of the settings masked."""

    def __init__(self, slack: config.Slack, token: BotToken, app_token: AppToken) -> None:
        self._slack = slack
        self._token = token
        self._app_token = app_token
        self.host = urlsplit(slack.api_url).hostname or ""

    def declined(self, method: str, answer: ApiAnswer) -> CallRefused | CallFailed:
        """Make the error of a call of any method (`SlackApi.call`)."""
        code = self.code(answer)
        seconds = retry_after(answer.headers)
        if _is_limit(answer):
            return self._held(Trouble.LIMITED, _LIMITS[0], method, seconds)
        if self.token_fix(answer):
            return self._held(Trouble.TOKEN, code, self._fixes(method)[code], seconds)
        if code in _MIGRATIONS:
            seconds = max(seconds or 0.0, _MIGRATION_SECONDS)
        detail = f"{method}, HTTP {answer.status}"
        if code in _AWAY or (answer.status in _AWAY_STATUS and code not in _HALF_DONE):
            return self._held(Trouble.AWAY, code, detail, seconds)
        if _is_code(answer) and code not in _TRANSIENT and answer.status < 500:
            return CallRefused(code, self._said(method, answer))
        if _is_code(answer):
            certain = code in _TRANSIENT and code not in _HALF_DONE
        else:
            certain = 400 <= answer.status < 500
        return CallFailed(code, detail, certain=certain, retry_after=seconds)

    @staticmethod
    def _held(trouble: Trouble, code: str, detail: str, seconds: float | None) -> CallFailed:
        return CallFailed(code, detail, certain=True, trouble=trouble, retry_after=seconds)

    def token_fix(self, answer: ApiAnswer) -> str:
        """Return the fix where Slack refuses the token, whatever is called with it; else ""."""
        is_refused = _is_code(answer) and answer.status < 500
        return _TOKEN_FIXES.get(self.code(answer), "") if is_refused else ""

    def _said(self, method: str, answer: ApiAnswer) -> str:
        """Return what Slack said beside its code."""
        return self._masked("; ".join([f"Slack refused {method}", *_said_by_slack(answer)]))

    def refusal(self, method: str, answer: ApiAnswer) -> LinkError | TokenRefused:
        """Make the error of a method that we need to work."""
        code = self.code(answer)
        seconds = retry_after(answer.headers)
        if _is_limit(answer):
            seconds = RATE_LIMIT_SECONDS if seconds is None else seconds
            return LinkError("slack", _LIMITS[0], method, retry_after=seconds)
        fixes = self._fixes(method)
        if code in fixes and answer.status < 500:
            return TokenRefused(code, self._fix(fixes[code], answer))
        if code in _MIGRATIONS:
            seconds = max(seconds or 0.0, _MIGRATION_SECONDS)
        known = code in _TRANSIENT or not _is_code(answer)
        detail = f"{method}, HTTP {answer.status}" if known else f"{method}: not a known error"
        return LinkError("slack", code, detail, retry_after=seconds)

    def code(self, answer: ApiAnswer) -> str:
        """Return Slack's error code, or a word of ours if the body is not Slack's."""
        if not _is_code(answer):
            return "bad_answer" if answer.status == 200 else f"http_{answer.status}"
        return re.sub(r"[^a-z0-9_]", "_", self._masked(answer.data["error"]).lower())[:50]

    def _fixes(self, method: str) -> dict[str, str]:
        if method == "apps.connections.open":
            return _FIXES | _APP_FIXES
        fixes = _FIXES | _BOT_FIXES if self._slack.mode == "socket" else _FIXES
        return fixes | _LIST_FIXES if method == "conversations.list" else fixes

    def _fix(self, fix: str, answer: ApiAnswer) -> str:
        told = self._masked("; ".join(_said_by_slack(answer)))
        return f"{fix} ({told})" if told else fix

    def network(self, error: Exception) -> CallFailed:
        """Make the error of a call that the network broke."""
        # urllib wraps exceptions until the request is written, and only those: Slack ignores a
        # request that is incomplete.
        certain = isinstance(error, URLError)
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, Exception) and (detail := lack(cause)):
            return self._held(Trouble.UNREACHABLE, SCARCE, detail, None)
        text = getattr(cause, "verify_message", "") or getattr(cause, "strerror", "") or str(cause)
        detail = f"{self.host}: {self._masked(text) or type(cause).__name__}"
        reason = "unreachable"
        if isinstance(cause, TimeoutError):
            reason = "timeout"
        elif isinstance(cause, ssl.SSLError):
            reason = "tls"
        trouble = Trouble.UNREACHABLE if certain else None
        return CallFailed(reason, detail, certain=certain, trouble=trouble)

    def _masked(self, text: str) -> str:
        """Return foreign text as one short line without our secrets."""
        for secret in (self._token.secret, self._app_token.secret, self._slack.proxy):
            if secret:
                text = text.replace(secret.reveal(), str(secret))
        return " ".join(text.split())[:_DETAIL]


def _said_by_slack(answer: ApiAnswer) -> list[str]:
    """Return Slack's own words beside its code."""
    messages = object_member(answer.data, "response_metadata").get("messages")
    told = messages if isinstance(messages, list) else []
    needed = text_member(answer.data, "needed")
    return [one for one in told if isinstance(one, str)] + ([f"needed: {needed}"] if needed else [])


@contextmanager
def as_refused_list() -> Iterator[None]:
    """Turn a TokenRefused into what it means to a list of channels."""
    try:
        yield
    except TokenRefused as refused:
        _raise_refused_list(refused)


def _raise_refused_list(refused: TokenRefused) -> NoReturn:
    # A bad token ends the daemon at the next sign-in: until then commands wait for a better one.
    kind = LinkError if refused.code in _TOKEN_FIXES else ChannelsRefused
    raise kind("slack", refused.code, refused.fix) from None


def read_answer(response: object) -> ApiAnswer:
    """Read the `response` of a SlackApiError: a SlackResponse, by its type also a dict or str."""
    data = getattr(response, "data", response)
    headers = getattr(response, "headers", None) or {}
    lower = {str(name).lower(): str(value) for name, value in headers.items()}
    status = getattr(response, "status_code", 200)
    return ApiAnswer(int(status), lower, data if isinstance(data, dict) else {})


def _is_limit(answer: ApiAnswer) -> bool:
    """Tell whether Slack asks us to slow down."""
    return answer.status == 429 or answer.data.get("error") in _LIMITS


def _is_code(answer: ApiAnswer) -> bool:
    """Return whether there is a code of Slack, not slack_sdk's sentence about a bad body."""
    word = answer.data.get("error")
    return isinstance(word, str) and bool(word) and not re.search(r"\s", word)


def passes(code: str) -> bool:
    """Return whether a refusal says nothing of what was asked for, and ends one day."""
    return code in _PASSING


def retry_after(headers: dict[str, str]) -> float | None:
    """Return the seconds of `Retry-After`; None if it is missing, a date or over a day."""
    word = headers.get("retry-after", "").strip()
    if not re.fullmatch(r"[0-9]{1,6}", word) or int(word) > _DAY:
        return None
    return float(word)


def bad_answer(method: str, what: str) -> CallFailed:
    """Make the error of an answer that can't be read."""
    return CallFailed("bad_answer", f"{method}: {what}", certain=False)


def object_member(answer: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a member that is an object; {} where there is none."""
    value = answer.get(key)
    return value if isinstance(value, dict) else {}


def text_member(members: dict[str, Any], key: str) -> str:
    """Return a member that is printable text; "" where there is none."""
    value = members.get(key)
    # Half a surrogate pair, which JSON can write, could not be stored nor published.
    return value if isinstance(value, str) and value.isprintable() else ""
