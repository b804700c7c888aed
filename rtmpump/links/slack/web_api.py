"""Slack's Web API: the methods that we need ourselves, and any other.

Laws: each method makes its calls once; `links.retry` or the caller tries again. `api_errors` says
what an answer means, and the errors of slack_sdk are never chained to ours. slack_sdk is imported
at the first call, as it is slow.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from rtmpump import config
from rtmpump.config import Secret
from rtmpump.core.outbound.api_calls import Trouble
from rtmpump.core.outbound.commands import composed
from rtmpump.errors import ConfigError, LinkError, RtmpumpError, TokenRefused
from rtmpump.links.scarcity import SCARCE, scarce
from rtmpump.links.slack.api_errors import (
    ApiAnswer,
    CallFailed,
    SlackErrors,
    as_refused_list,
    bad_answer,
    object_member,
    read_answer,
    text_member,
)
from rtmpump.links.slack.bot_token import AppToken, BotToken, TokenInUse
from rtmpump.links.tls import client_context

if TYPE_CHECKING:
    from slack_sdk import WebClient

_BOTH: Final = "public_channel,private_channel"
_PUBLIC: Final = "public_channel"
# Slack recommends no more (https://docs.slack.dev/reference/methods/conversations.list).
_PAGE: Final = "200"
# The id of a workspace; that of an organisation, which has none of the channels, begins with E.
_WORKSPACE: Final = "T"
_WHO: Final = "auth.test"
_OPEN: Final = "apps.connections.open"


class SignIn(NamedTuple):
    """A single-use `url` of a WebSocket (RTM's is valid for 30 s), ids and names."""

    url: Secret
    team: str
    bot: str
    team_name: str
    bot_name: str


class _Listing:
    """The pages of a list of channels so far; the last of `cursors` is the next to ask for."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.cursors = [""]


class SlackApi:
    """Calls Slack; each call has `timeout` seconds for every wait on the network.

    Its methods may run in several threads at once, `channels` in one of them. Each raises LinkError
    if another try may help, and ConfigError if `slack.ca_file` has no certificate.
    """

    def __init__(
        self, slack: config.Slack, *, timeout: int = 10, token: BotToken | None = None
    ) -> None:
        """Take the `token` that all share who call; without it, that of the configuration."""
        self._slack = slack
        self._timeout = timeout
        self._token = BotToken(slack.token) if token is None else token
        self._app_token = AppToken(slack.app_token)
        self._errors = SlackErrors(slack, self._token, self._app_token)
        self._team = ""
        self._who: dict[str, Any] | None = None
        self._clients: dict[Secret, WebClient] = {}
        self._unfinished: dict[str, _Listing] = {}

    def sign_in(self) -> SignIn:
        """Ask for a WebSocket URL by rtm.connect; in Socket Mode by apps.connections.open.

        Raises:
            TokenRefused: no try can ever help.
        """
        is_socket_mode = self._slack.mode == "socket"
        signed_in = self._sign_in_socket_mode() if is_socket_mode else self._sign_in_rtm()
        self._team = self._token.team = signed_in.team
        return signed_in

    def read_tokens_again(self) -> None:
        """Read the files of the tokens, and use what they hold if Slack takes it."""
        ways: list[tuple[TokenInUse, Callable[[Secret], object]]] = [
            (self._token, self._renewed_as_bot)
        ]
        if self._slack.mode == "socket":
            ways.append((self._app_token, self._renewed_as_app))
        for token, renew in ways:
            token.report_anew()
            try:
                renew(token.secret)
            except CallFailed as failed:
                token.refuse(None, f"Slack can't be asked about the new one ({failed.reason})")

    def connection_url(self) -> Secret:
        """Ask for the URL of one more connection of Socket Mode."""
        url = self._call(_OPEN, {}, app_token=True).get("url")
        self._check_url(url, _OPEN)
        return Secret(str(url))

    def _sign_in_socket_mode(self) -> SignIn:
        """Ask who the bot is too, because apps.connections.open gives a URL and nothing else."""
        who = self._who_we_are()
        ids = text_member(who, "team_id"), text_member(who, "user_id")
        if not all(ids):
            raise LinkError("slack", "bad_answer", "auth.test gave no team or user id")
        return SignIn(
            self.connection_url(), *ids, text_member(who, "team"), text_member(who, "user")
        )

    def _who_we_are(self) -> dict[str, Any]:
        """Ask once: events must come also while the bot token is refused, which needs another."""
        try:
            self._who = self.auth_test()
        except TokenRefused:
            if self._who is None:
                raise
        return self._who

    def _sign_in_rtm(self) -> SignIn:
        arguments = {"batch_presence_aware": "1"} if self._slack.batch_presence_aware else {}
        answer = self._call("rtm.connect", arguments)
        team, bot = object_member(answer, "team"), object_member(answer, "self")
        url = answer.get("url")
        self._check_url(url, "rtm.connect")
        if not (text_member(team, "id") and text_member(bot, "id")):
            raise LinkError("slack", "bad_answer", "rtm.connect gave no team or user id")
        names = text_member(team, "name"), text_member(bot, "name")
        return SignIn(Secret(str(url)), text_member(team, "id"), text_member(bot, "id"), *names)

    def auth_test(self) -> dict[str, Any]:
        """Return what auth.test says of the token.

        Raises:
            TokenRefused: Slack refused the token.
        """
        return self._call(_WHO, {})

    def channels(self, stop: threading.Event | None = None) -> dict[str, str]:
        """Return the ids of all channels that are not archived, by name.

        Private ones are left out if the token has no scope for them. After `ratelimited` the next
        call goes on with the page that was refused; else a long list would never end. A set `stop`
        ends it between two pages, with a LinkError.

        Raises:
            ChannelsRefused: no try can help. TokenRefused is never raised: `sign_in` finds out
                about the token.
        """
        with as_refused_list():
            try:
                return self._all_pages(_BOTH, stop)
            except TokenRefused as refused:
                if refused.code == "missing_argument" and not self._team:
                    self._team = text_member(self.auth_test(), "team_id")
                    return self._all_pages(_BOTH, stop)
                if refused.code != "missing_scope":
                    raise
            return self._all_pages(_PUBLIC, stop)

    def call(self, method: str, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Call any method once with form arguments, and return the answer, whose `ok` is true.

        Raises:
            CallRefused: Slack said no for good.
            CallFailed: another try may help.
        """
        return self._call(method, arguments, self._errors.declined)

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
        """Ask for one page; return whether there is another."""
        arguments = {"types": types, "exclude_archived": "true", "limit": _PAGE}
        if self._team.startswith(_WORKSPACE):
            # The token of an organisation needs it, that of a workspace doesn't mind.
            arguments["team_id"] = self._team
        if cursor := listing.cursors[-1]:
            arguments["cursor"] = cursor
        answer = self._call("conversations.list", arguments)
        channels = answer.get("channels")
        following = text_member(object_member(answer, "response_metadata"), "next_cursor")
        if not isinstance(channels, list) or following in listing.cursors[1:]:
            raise LinkError("slack", "bad_answer", "conversations.list gave no list with an end")
        for channel in channels:
            if (
                isinstance(channel, dict)
                and text_member(channel, "name")
                and text_member(channel, "id")
            ):
                listing.names[composed(channel["name"])] = channel["id"]
        listing.cursors.append(following)
        return bool(following)

    def _client(self, token: Secret) -> WebClient:
        """Return the client that calls with this token."""
        client = self._clients.get(token)
        if client is None:
            client = self._make_client(token)
            # One of a token that was replaced is used no more.
            in_use = (self._app_token.secret, self._token.secret)
            kept = {one: its for one, its in self._clients.items() if one in in_use}
            self._clients = kept | {token: client}
        return client

    def _make_client(self, token: Secret) -> WebClient:
        from rtmpump.links.slack.http import SlackClient

        client = SlackClient(
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
            with scarce("slack"):
                return client_context(self._slack.ca_file)
        except OSError as error:
            problem = f"holds no certificates that can be read: {error.strerror or 'bad file'}"
            raise ConfigError(problem, key="slack.ca_file") from None

    def _call(
        self,
        method: str,
        arguments: Mapping[str, str],
        refusal: Callable[[str, ApiAnswer], RtmpumpError] | None = None,
        *,
        app_token: bool = False,
    ) -> dict[str, Any]:
        answer = self._ask_as_app(method) if app_token else self._ask_as_bot(method, arguments)
        if isinstance(answer, ApiAnswer):
            raise (refusal or self._errors.refusal)(method, answer)
        return answer

    def _ask_as_app(self, method: str) -> dict[str, Any] | ApiAnswer:
        """Call with the app-level token; with the one in its file, where Slack refuses it."""
        used = self._app_token.secret
        answer = self._ask(used, method, {})
        if self._token_fix(answer):
            return self._renewed_as_app(used) or answer
        return answer

    def _renewed_as_app(self, old: Secret) -> dict[str, Any] | None:
        """Use the app-level token of the file, if it is another and Slack takes it.

        Returns:
            What Slack answered to it; None if the old one stays.
        """
        token = self._app_token
        newest = token.newer_than(old)
        if newest is None:
            return None
        answer = self._asked_for_a_check(newest, _OPEN)
        if isinstance(answer, str):
            token.refuse(newest, answer)
            return None
        token.adopt(newest)
        return answer

    def _ask_as_bot(self, method: str, arguments: Mapping[str, str]) -> dict[str, Any] | ApiAnswer:
        """Call with the bot token; with a newer one, if there is one, where Slack refuses it."""
        token = self._token
        used = token.secret
        try:
            answer = self._ask(used, method, arguments)
            fix = self._token_fix(answer)
            if fix and (who := self._renewed_as_bot(used)):
                answer = who if method == _WHO else self._ask(token.secret, method, arguments)
                fix = self._token_fix(answer)
        except CallFailed as failed:
            if failed.trouble is not None:
                token.fails(failed.reason, failed.detail)
            raise
        if isinstance(answer, ApiAnswer) and fix:
            token.fails(self._errors.code(answer), f"Slack refuses the token; {fix}")
        else:
            token.works(self._errors.host)
        return answer

    def _renewed_as_bot(self, old: Secret) -> dict[str, Any] | None:
        """Use the bot token of the file, if it is another one of the same workspace.

        Returns:
            What Slack says of it (auth.test); None if the old one stays.
        """
        token = self._token
        newest = token.newer_than(old)
        if newest is None:
            return None
        answer = self._asked_for_a_check(newest, _WHO)
        if isinstance(answer, str):
            token.refuse(newest, answer)
            return None
        team = text_member(answer, "team_id")
        if token.team and team != token.team:
            token.refuse(newest, f"it is of another workspace ({team}, and not {token.team})")
            return None
        token.adopt(newest)
        return answer

    def _asked_for_a_check(self, token: Secret, method: str) -> dict[str, Any] | str:
        """Return Slack's answer to a token that is not in use, or what is wrong with it."""
        answer = self._ask(token, method, {})
        if not isinstance(answer, ApiAnswer):
            return answer
        error = self._errors.declined(method, answer)
        if isinstance(error, CallFailed) and not self._token_fix(answer):
            raise error
        return f"Slack does not take it ({self._errors.code(answer)})"

    def _token_fix(self, answer: dict[str, Any] | ApiAnswer) -> str:
        """Return what to do where Slack refuses the token; "" where it does not."""
        return self._errors.token_fix(answer) if isinstance(answer, ApiAnswer) else ""

    def _ask(
        self, token: Secret, method: str, arguments: Mapping[str, str]
    ) -> dict[str, Any] | ApiAnswer:
        """Make one call; return Slack's object if its `ok` is true, else what it answered."""
        try:
            with scarce("slack"):
                return self._ask_once(token, method, arguments)
        except LinkError as error:
            if error.reason != SCARCE:
                raise
            trouble = Trouble.UNREACHABLE
            raise CallFailed(SCARCE, error.detail, certain=True, trouble=trouble) from None

    def _ask_once(
        self, token: Secret, method: str, arguments: Mapping[str, str]
    ) -> dict[str, Any] | ApiAnswer:
        from slack_sdk.errors import SlackApiError, SlackClientError

        client = self._client(token)
        try:
            data = client.api_call(method, params=dict(arguments)).data
        except SlackApiError as error:
            return read_answer(error.response)
        except (OSError, HTTPException) as error:
            raise self._errors.network(error) from None
        except (SlackClientError, ValueError, LookupError, AttributeError, RecursionError) as error:
            # slack_sdk raises these for a body that is no UTF-8, no object or nested too deep.
            raise bad_answer(method, type(error).__name__) from None
        if not isinstance(data, dict):
            raise bad_answer(method, "no JSON")
        return data

    def _check_url(self, url: object, method: str) -> None:
        parts = _split(url)
        if parts is None or parts.scheme not in ("ws", "wss"):
            raise LinkError("slack", "bad_url", f"{method} gave no WebSocket URL")
        if parts.scheme == "ws" and not (_is_loopback(parts) or self._slack.insecure):
            raise LinkError("slack", "bad_url", f"{method} gave a URL without TLS")


def _split(url: object) -> SplitResult | None:
    """Split a URL; None if it is no text, or has no host or a bad port."""
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
