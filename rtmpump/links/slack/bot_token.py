"""The tokens in use: read again from their files where Slack refuses them, and on SIGHUP.

Laws:

- Slack's refusal of the bot token, whichever method meets it, is reported once for each reason, and
  so is its end: that is the link `web_api`. A call that does not reach Slack is reported likewise.
- A token that was replaced in its file is used by the next call, and nothing has to be restarted.
  One that can't be read, is malformed, that Slack refuses too or that is of another workspace is
  refused and logged; the old one stays.

Any thread may call any method.
"""

from __future__ import annotations

import re
import threading
from typing import Final

from rtmpump import log
from rtmpump.config import Secret
from rtmpump.errors import ConfigError
from rtmpump.links.lifecycle import LinkListener, NoListener, RetryDetails
from rtmpump.metrics import API

LINK: Final = API
# The second part of an app-level token is the id of its app.
_APP: Final = re.compile(r"xapp-\d+-(A[A-Z0-9]+)-")

_log = log.get("secrets")


class TokenInUse:
    """A token, and what its file holds; `key` names it for people."""

    def __init__(self, secret: Secret, key: str) -> None:
        self.secret = secret
        self._key = key
        self._reported: tuple[Secret | None, str] = (None, "")

    def newer_than(self, old: Secret) -> Secret | None:
        """Return what is in the file in place of `old`; None if there is no other, or no good one.

        It is not used before `adopt`.
        """
        if self.secret != old:
            return self.secret
        try:
            newest = old.read_again()
        except ConfigError as error:
            # It is being written, perhaps. It is read again at the next refusal.
            self.refuse(None, error.problem)
            return None
        return None if newest == old else newest

    def adopt(self, newest: Secret) -> None:
        """Use this one from now on."""
        is_news, self.secret = newest != self.secret, newest
        if is_news:
            self._reported = (None, "")
            _log.info("secret.replaced", key=self._key)

    def report_anew(self) -> None:
        """Log the next problem even if it was logged before: an operator asked."""
        self._reported = (None, "")

    def refuse(self, newest: Secret | None, problem: str) -> None:
        """Log, once for each problem, why the one in the file is not used."""
        if self._reported != (newest, problem):
            self._reported = (newest, problem)
            _log.warning("secret.refused", key=self._key, problem=problem, fix="the old one stays")


class AppToken(TokenInUse):
    """The app-level token of Socket Mode."""

    def __init__(self, secret: Secret) -> None:
        super().__init__(secret, "slack.app_token_file")

    def newer_than(self, old: Secret) -> Secret | None:
        """Return what `TokenInUse` returns, but no token of another app."""
        newest = super().newer_than(old)
        apps = [_APP.match(one.reveal()) for one in (old, newest) if one is not None]
        known = {app[1] for app in apps if app}
        if len(known) > 1:
            self.refuse(newest, "it is of another app")
            return None
        return newest


class BotToken(TokenInUse):
    """The bot token that all calls share; `team` is the workspace that it is known to be of."""

    def __init__(self, secret: Secret, listener: LinkListener | None = None) -> None:
        super().__init__(secret, "slack.token_file")
        self.team = ""
        self._listener = NoListener() if listener is None else listener
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._failures = 0
        self._is_new = True

    def works(self, where: str) -> None:
        """Note that Slack, which is at `where`, answered a call and did not refuse the token."""
        with self._lock:
            is_news = self._is_new or self._failure is not None
            self._failure, self._failures, self._is_new = None, 0, False
        if is_news:
            self._listener.link_up(LINK, where)

    def fails(self, reason: str, detail: str) -> None:
        """Note that Slack refused the token, or could not be reached."""
        with self._lock:
            is_news = self._failure != reason
            self._failure = reason
            self._failures += 1
            attempt = self._failures
        if is_news:
            self._listener.link_down(RetryDetails(LINK, reason, detail, attempt, 0.0))
