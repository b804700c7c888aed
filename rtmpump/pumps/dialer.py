"""Opens the further connections of Socket Mode, so that the one who reads never waits for a dial.

Laws: each `order` is answered by one connection that was handed over, however long that takes; but
none after the stop. Slack's answer to a token that can never work goes through and ends the daemon.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final

from rtmpump import config, log
from rtmpump.errors import LinkError
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.retry import CallBudget, keep_trying
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.links.slack.websocket import RtmSocket

# Slack's pages disagree whether apps.connections.open is of Tier 1 or 3; a refresh of all
# connections at once must go through, and a storm must not.
_CALLS_A_CONNECTION: Final = 4
_STOP_NOTICED: Final = 1.0
# A call and an upgrade have some waits of ten seconds each.
_DIALLING: Final = 120.0
_log = log.get("dialer")


class Dialer:
    """`run` is the thread; `order` and `wake` may be called from any other."""

    def __init__(
        self,
        slack: config.Slack,
        api: SlackApi,
        *,
        policy: config.Retry,
        lifecycle: Lifecycle,
        deliver: Callable[[RtmSocket], None],
    ) -> None:
        self._slack = slack
        self._api = api
        self._policy = policy
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._deliver = deliver
        calls = _CALLS_A_CONNECTION * slack.connections
        self._budget = CallBudget(calls, policy.max)
        self._longest_rest = policy.max / calls + _DIALLING
        self._changed = threading.Condition()
        self._ordered = 0
        self._failing = False

    def run(self) -> None:
        """Open what is ordered until `stop` is set; TokenRefused if there is no point."""
        keep_trying(
            self._dial_all, policy=self._policy, lifecycle=self.lifecycle, report=self._failed
        )

    def order(self) -> None:
        """One more connection is wanted. From any thread."""
        with self._changed:
            self._ordered += 1
            self._changed.notify()

    def wake(self) -> None:
        """Notice the stop now. From any thread."""
        with self._changed:
            self._changed.notify_all()

    def _dial_all(self) -> None:
        while self._wait_for_an_order():
            self.lifecycle.rest(self._longest_rest)
            self._budget.wait(self._stop)
            if self._stop.is_set():
                return
            connection = self._dial()
            if self._stop.is_set():
                connection.close()
                return
            self._deliver(connection)
            self._failing = False
            with self._changed:
                self._ordered -= 1

    def _wait_for_an_order(self) -> bool:
        with self._changed:
            while not self._ordered and not self._stop.is_set():
                self.lifecycle.progress()
                self._changed.wait(_STOP_NOTICED)
        return not self._stop.is_set()

    def _dial(self) -> RtmSocket:
        self.lifecycle.rest(_DIALLING)
        connection = RtmSocket(self._slack)
        try:
            connection.open(self._api.connection_url().reveal())
        except LinkError as error:
            if not self._failing:
                # What failed long ago is no reason to wait longer now.
                error.held = math.inf
            self._failing = True
            raise
        return connection

    def _failed(self, retry: RetryDetails) -> None:
        self.lifecycle.rest(retry.wait + _DIALLING)
        tell = _log.warning if retry.attempt == 1 else _log.debug
        tell(
            "connection.not_opened",
            reason=retry.reason,
            detail=retry.detail,
            attempt=retry.attempt,
            next_try_in=round(retry.wait, 2),
        )
