"""The bot token: what it is now, and whether Slack takes it. That is the link `web_api`.

Laws:

- Slack's refusal of the token, whichever method meets it, is reported once for each reason, and so
  is its end. A call that does not reach Slack is reported in the same way.
- At a refusal the token's file is read again, so a token that was replaced there is used by the
  next call, and nothing has to be restarted.

Any thread may call any method.
"""

from __future__ import annotations

import threading
from typing import Final

from rtmpump.config import Secret
from rtmpump.errors import ConfigError
from rtmpump.links.lifecycle import LinkListener, NoListener, RetryDetails
from rtmpump.metrics import API

LINK: Final = API


class BotToken:
    """The token that all calls share."""

    def __init__(self, secret: Secret, listener: LinkListener | None = None) -> None:
        self.secret = secret
        self._listener = NoListener() if listener is None else listener
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._failures = 0
        self._is_new = True

    def newer_than(self, refused: Secret) -> Secret | None:
        """Return the token that replaced one that Slack refused; None if there is no other."""
        with self._lock:
            try:
                newest = self.secret.read_again()
            except ConfigError:
                # It is being written, perhaps. It is read again at the next refusal.
                return None
            self.secret = newest
            return None if newest == refused else newest

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
