"""Slack's Web API: the methods that we need ourselves, any other, and Slack's errors in our words.

Laws: each method makes its calls once, trying again is for `retry.hold` or for who asked. No text
that leaves here quotes the token, a body or a URL: errors of slack_sdk quote the request and what
was answered, so they are cut off (`from None`) and never chained. slack_sdk is imported at the
first call, as it is slow.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn
from urllib.error import URLError
from urllib.parse import SplitResult, urlsplit

from rtmpump import config
from rtmpump.config import Secret
from rtmpump.errors import ConfigError, Fate, LinkError, RtmpumpError, TokenRefused
from rtmpump.links.tls import client_context

if TYPE_CHECKING:
    from slack_sdk import WebClient

_BOTH: Final = "public_channel,private_channel"
_PUBLIC: Final = "public_channel"
# Slack recommends no more (https://docs.slack.dev/reference/methods/conversations.list).
_PAGE: Final = "200"
_RATE_LIMIT_SECONDS: Final = 30.0
_MIGRATION_SECONDS: Final = 30.0
_DAY: Final = 86_400
_DETAIL: Final = 200

_TAKE_ANOTHER: Final = "take a new token from the app's page and set it as slack.token"
_ADMIN: Final = "ask an admin of the workspace to allow it"
_OUR_FAULT: Final = "check slack.api_url; if it is right, this is a fault of rtmpump"
# What Slack says of a token that can never work, and what to do about it
# (https://docs.slack.dev/reference/methods/rtm.connect#errors).
_TOKEN_FIXES: Final = {
    "not_authed": "set slack.token or SLACK_API_TOKEN",
    "invalid_auth": "check that the token was copied whole, and is of this workspace",
    "account_inactive": "the user or app of the token was removed; " + _TAKE_ANOTHER,
    "token_revoked": "somebody revoked it; " + _TAKE_ANOTHER,
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
# The same words, said of the tokens that Socket Mode takes
# (https://docs.slack.dev/reference/methods/apps.connections.open#errors).
_TAKE_ANOTHER_XAPP: Final = (
    "take an app-level token (xapp-…) with the scope connections:write from the app's page, "
    "Basic Information, and set it as slack.app_token"
)
_APP_FIXES: Final = {
    "not_authed": "set slack.app_token or SLACK_APP_TOKEN",
    "invalid_auth": "check that slack.app_token was copied whole; " + _TAKE_ANOTHER_XAPP,
    "account_inactive": "the app was removed; " + _TAKE_ANOTHER_XAPP,
    "token_revoked": "somebody revoked slack.app_token; " + _TAKE_ANOTHER_XAPP,
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
_MIGRATIONS: Final = ("migration_in_progress", "team_added_to_org")
_TRANSIENT: Final = (
    *_MIGRATIONS,
    "request_timeout",
    "service_unavailable",
    "fatal_error",
    "internal_error",
)
# "It's possible some aspect of the operation succeeded before the error was raised"
# (https://docs.slack.dev/reference/methods/chat.postMessage#errors, and each other method).
_HALF_DONE: Final = ("fatal_error", "internal_error")


class CallFailed(LinkError):
    """A call had no answer of worth; trying again may help.

    `certain`: Slack has surely not carried it out; else nobody knows. `reached`: it may have seen
    the call.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        certain: bool,
        reached: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__("slack", reason, detail, retry_after=retry_after)
        self.certain = certain
        self.reached = reached


class CallRefused(RtmpumpError):
    """Slack answered no, and would again: `code` is its word, `detail` what else it said."""

    fate = Fate.REJECTED

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


class ChannelsRefused(LinkError):
    """Slack will not list the channels, however often it is asked; `reason` is its code."""

    fate = Fate.REJECTED


class SignIn(NamedTuple):
    """A single-use `url` of a WebSocket (of rtm.connect: 30 s), ids and names."""

    url: Secret
    team: str
    bot: str
    team_name: str
    bot_name: str


class _Answer(NamedTuple):
    """What Slack answered when it was no success; `data` is {} where the body is no object."""

    status: int
    headers: dict[str, str]
    data: dict[str, Any]


class _Listing:
    """The pages of a list of channels so far; the last of `cursors` is the one to ask for."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.cursors = [""]


class SlackApi:
    """Calls Slack; each call has `timeout` seconds for every wait on the network.

    Its methods may run in several threads at once, `channels` in one of them. Each raises LinkError
    where trying again may help, and ConfigError where `slack.ca_file` holds no certificate.
    """

    def __init__(self, slack: config.Slack, *, timeout: int = 10) -> None:
        self._slack = slack
        self._timeout = timeout
        self._api = urlsplit(slack.api_url)
        self._unfinished: dict[str, _Listing] = {}

    def sign_in(self) -> SignIn:
        """Ask for a WebSocket URL by rtm.connect; in Socket Mode by apps.connections.open.

        Raises TokenRefused where no try can ever help.
        """
        return self._sign_in_socket_mode() if self._slack.mode == "socket" else self._sign_in_rtm()

    def connection_url(self) -> Secret:
        """Ask for the URL of one more connection of Socket Mode."""
        method = "apps.connections.open"
        url = self._call(method, {}, app_token=True).get("url")
        self._check_url(url, method)
        return Secret(str(url))

    def _sign_in_socket_mode(self) -> SignIn:
        """Ask who the bot is, for apps.connections.open tells nothing but a URL."""
        who = self.auth_test()
        ids = _text(who, "team_id"), _text(who, "user_id")
        if not all(ids):
            raise LinkError("slack", "bad_answer", "auth.test told no team or user id")
        return SignIn(self.connection_url(), *ids, _text(who, "team"), _text(who, "user"))

    def _sign_in_rtm(self) -> SignIn:
        arguments = {"batch_presence_aware": "1"} if self._slack.batch_presence_aware else {}
        answer = self._call("rtm.connect", arguments)
        team, bot = _member(answer, "team"), _member(answer, "self")
        url = answer.get("url")
        self._check_url(url, "rtm.connect")
        if not (_text(team, "id") and _text(bot, "id")):
            raise LinkError("slack", "bad_answer", "rtm.connect told no team or user id")
        names = _text(team, "name"), _text(bot, "name")
        return SignIn(Secret(str(url)), _text(team, "id"), _text(bot, "id"), *names)

    def auth_test(self) -> dict[str, Any]:
        """Return what auth.test says of the token; raises TokenRefused."""
        return self._call("auth.test", {})

    def channels(self, stop: threading.Event | None = None) -> dict[str, str]:
        """Return the ids of all channels that are not archived, by name.

        Private ones are left out where the token has no scope for them. After `ratelimited` the
        next call goes on with the page that was refused, else a long list would never end. A set
        `stop` ends it between two pages, with a LinkError. Raises ChannelsRefused where no try can
        help, and never TokenRefused: `sign_in` finds out about the token.
        """
        with _as_refused_list():
            try:
                return self._all_pages(_BOTH, stop)
            except TokenRefused as refused:
                if refused.code != "missing_scope":
                    raise
            return self._all_pages(_PUBLIC, stop)

    def call(self, method: str, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Call any method once with form arguments, and return the answer, whose `ok` is true.

        Raises CallRefused where Slack said no for good, CallFailed where trying again may help.
        """
        return self._call(method, arguments, self._declined)

    def _all_pages(self, types: str, stop: threading.Event | None) -> dict[str, str]:
        listing = self._unfinished.pop(types, None) or _Listing()
        try:
            while self._add_page(listing, types):
                if stop is not None and stop.is_set():
                    raise LinkError("slack", "stopped")
        except LinkError as error:
            if error.reason == "ratelimited":
                self._unfinished[types] = listing
            raise
        return listing.names

    def _add_page(self, listing: _Listing, types: str) -> bool:
        """Ask for one page; True where there is another."""
        arguments = {"types": types, "exclude_archived": "true", "limit": _PAGE}
        if cursor := listing.cursors[-1]:
            arguments["cursor"] = cursor
        answer = self._call("conversations.list", arguments)
        channels = answer.get("channels")
        following = _text(_member(answer, "response_metadata"), "next_cursor")
        if not isinstance(channels, list) or following in listing.cursors[1:]:
            raise LinkError("slack", "bad_answer", "conversations.list gave no list with an end")
        for channel in channels:
            if isinstance(channel, dict) and _text(channel, "name") and _text(channel, "id"):
                listing.names[channel["name"]] = channel["id"]
        listing.cursors.append(following)
        return bool(following)

    @cached_property
    def _client(self) -> WebClient:
        return self._make_client(self._slack.token)

    @cached_property
    def _app_client(self) -> WebClient:
        return self._make_client(self._slack.app_token)

    def _make_client(self, token: Secret) -> WebClient:
        from rtmpump.links.slack.http import Client

        client = Client(
            token=token.reveal(),
            base_url=self._slack.api_url,
            timeout=self._timeout,
            ssl=self._tls(),
            # No logger: slack_sdk's lines quote errors and bodies.
            logger=logging.Logger("rtmpump.quiet", logging.CRITICAL + 1),
            retry_handlers=[],
        )
        # slack_sdk would take any proxy of the environment for any URL; without one of its own,
        # urllib follows http_proxy, https_proxy and no_proxy by their usual rules.
        client.proxy = self._slack.proxy.reveal() or None
        return client

    def _tls(self) -> ssl.SSLContext:
        try:
            return client_context(self._slack.ca_file)
        except OSError as error:
            problem = f"holds no certificates that can be read: {error.strerror or 'bad file'}"
            raise ConfigError(problem, key="slack.ca_file") from None

    def _call(
        self,
        method: str,
        arguments: Mapping[str, str],
        refusal: Callable[[str, _Answer], RtmpumpError] | None = None,
        *,
        app_token: bool = False,
    ) -> dict[str, Any]:
        from slack_sdk.errors import SlackApiError, SlackClientError

        client = self._app_client if app_token else self._client
        try:
            data = client.api_call(method, params=dict(arguments)).data
        except SlackApiError as error:
            raise (refusal or self._refusal)(method, _answer(error.response)) from None
        except (OSError, HTTPException) as error:
            raise self._network(error) from None
        except (SlackClientError, ValueError, LookupError, AttributeError, RecursionError) as error:
            # What slack_sdk raises for a body that is no UTF-8, no object or nested too deep.
            raise _bad_answer(method, type(error).__name__) from None
        if not isinstance(data, dict):
            raise _bad_answer(method, "no JSON")
        return data

    def _declined(self, method: str, answer: _Answer) -> CallRefused | CallFailed:
        """Say what an answer that is no success means to a call of any method."""
        code = self._code(answer)
        seconds = _retry_after(answer.headers)
        if answer.status == 429 or code == "ratelimited":
            seconds = _RATE_LIMIT_SECONDS if seconds is None else seconds
            return CallFailed("ratelimited", method, certain=True, retry_after=seconds)
        if code in _MIGRATIONS:
            seconds = max(seconds or 0.0, _MIGRATION_SECONDS)
        if _is_code(answer) and code not in _TRANSIENT and answer.status < 500:
            return CallRefused(code, self._said(method, answer))
        if _is_code(answer):
            certain = code in _TRANSIENT and code not in _HALF_DONE
        else:
            certain = 400 <= answer.status < 500
        detail = f"{method}, HTTP {answer.status}"
        return CallFailed(code, detail, certain=certain, retry_after=seconds)

    def _said(self, method: str, answer: _Answer) -> str:
        """Return what Slack told beside its code."""
        messages = _member(answer.data, "response_metadata").get("messages")
        told = messages if isinstance(messages, list) else []
        told = [one for one in told if isinstance(one, str)]
        needed = _text(answer.data, "needed")
        told += [f"needed: {needed}"] if needed else []
        return self._masked("; ".join([f"Slack refused {method}", *told]))

    def _refusal(self, method: str, answer: _Answer) -> LinkError | TokenRefused:
        code = self._code(answer)
        seconds = _retry_after(answer.headers)
        if answer.status == 429 or code == "ratelimited":
            seconds = _RATE_LIMIT_SECONDS if seconds is None else seconds
            return LinkError("slack", "ratelimited", method, retry_after=seconds)
        fixes = self._fixes(method)
        if code in fixes and answer.status < 500:
            return TokenRefused(code, self._fix(fixes[code], answer))
        if code in _MIGRATIONS:
            seconds = max(seconds or 0.0, _MIGRATION_SECONDS)
        known = code in _TRANSIENT or not _is_code(answer)
        detail = f"{method}, HTTP {answer.status}" if known else f"{method}: not a known error"
        return LinkError("slack", code, detail, retry_after=seconds)

    def _code(self, answer: _Answer) -> str:
        """Return Slack's error code, or a word of ours where the body was not Slack's."""
        if not _is_code(answer):
            return "bad_answer" if answer.status == 200 else f"http_{answer.status}"
        return re.sub(r"[^a-z0-9_]", "_", self._masked(answer.data["error"]).lower())[:50]

    def _fixes(self, method: str) -> dict[str, str]:
        if method == "apps.connections.open":
            return _FIXES | _APP_FIXES
        return _FIXES | _BOT_FIXES if self._slack.mode == "socket" else _FIXES

    def _fix(self, fix: str, answer: _Answer) -> str:
        needed = self._masked(_text(answer.data, "needed"))
        return f"{fix} (needed: {needed})" if needed else fix

    def _network(self, error: Exception) -> CallFailed:
        # urllib wraps what breaks until the request is written, and only that: an incomplete
        # request is none to Slack.
        certain = isinstance(error, URLError)
        cause = error.reason if isinstance(error, URLError) else error
        text = getattr(cause, "verify_message", "") or getattr(cause, "strerror", "") or str(cause)
        detail = f"{self._api.hostname}: {self._masked(text) or type(cause).__name__}"
        reason = "unreachable"
        if isinstance(cause, TimeoutError):
            reason = "timeout"
        elif isinstance(cause, ssl.SSLError):
            reason = "tls"
        return CallFailed(reason, detail, certain=certain, reached=not certain)

    def _masked(self, text: str) -> str:
        """Return foreign text as one short line without our secrets."""
        for secret in (self._slack.token, self._slack.app_token, self._slack.proxy):
            if secret:
                text = text.replace(secret.reveal(), str(secret))
        return " ".join(text.split())[:_DETAIL]

    def _check_url(self, url: object, method: str) -> None:
        parts = _split(url)
        if parts is None or parts.scheme not in ("ws", "wss"):
            raise LinkError("slack", "bad_url", f"{method} gave no WebSocket URL")
        if parts.scheme == "ws" and not (_is_loopback(parts) or self._slack.insecure):
            raise LinkError("slack", "bad_url", f"{method} gave a URL without TLS")


@contextmanager
def _as_refused_list() -> Iterator[None]:
    """Make of a TokenRefused what it means to a list of channels."""
    try:
        yield
    except TokenRefused as refused:
        _raise_refused_list(refused)


def _raise_refused_list(refused: TokenRefused) -> NoReturn:
    # A bad token ends the daemon at the next connect: until then commands wait, for a better one.
    kind = LinkError if refused.code in _TOKEN_FIXES else ChannelsRefused
    raise kind("slack", refused.code, refused.fix) from None


def _answer(response: object) -> _Answer:
    """Read the `response` of a SlackApiError: a SlackResponse, by its type also a dict or str."""
    data = getattr(response, "data", response)
    headers = getattr(response, "headers", None) or {}
    lower = {str(name).lower(): str(value) for name, value in headers.items()}
    status = getattr(response, "status_code", 200)
    return _Answer(int(status), lower, data if isinstance(data, dict) else {})


def _is_code(answer: _Answer) -> bool:
    """Tell a code of Slack from slack_sdk's sentence about a body that was no JSON."""
    word = answer.data.get("error")
    return isinstance(word, str) and bool(word) and not re.search(r"\s", word)


def _retry_after(headers: dict[str, str]) -> float | None:
    """Return the seconds of `Retry-After`; None where it is missing, a date or over a day."""
    word = headers.get("retry-after", "").strip()
    if not re.fullmatch(r"[0-9]{1,6}", word) or int(word) > _DAY:
        return None
    return float(word)


def _bad_answer(method: str, what: str) -> CallFailed:
    return CallFailed("bad_answer", f"{method}: {what}", certain=False)


def _member(answer: dict[str, Any], key: str) -> dict[str, Any]:
    value = answer.get(key)
    return value if isinstance(value, dict) else {}


def _text(members: dict[str, Any], key: str) -> str:
    value = members.get(key)
    # Half a surrogate pair, which JSON can write, could not be stored nor published.
    return value if isinstance(value, str) and value.isprintable() else ""


def _split(url: object) -> SplitResult | None:
    """Split a URL; None where it is no text, has no host or a bad port."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        return parts if parts and parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
