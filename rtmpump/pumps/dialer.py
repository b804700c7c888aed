"""Opens the further connections of Socket Mode, so that the reader never waits for one.

Laws:

- Each order leads to one connection, however long that takes; after a stop none is delivered.
- While Slack refuses the app-level token it is asked again: the connections that are there go on,
  and the token's file may get another one. When none is left the reader signs in itself, and that
  ends the daemon.
"""

from __future__ import annotations

import math
from typing import Final

from rtmpump import config, log
from rtmpump.config import Secret
from rtmpump.errors import LinkError, TokenRefused
from rtmpump.links import retry
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.retry import CallBudget, keep_trying
from rtmpump.links.slack.connection_orders import ConnectionOrders
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.links.slack.websocket import SlackConnection

# Slack's pages disagree whether apps.connections.open is of Tier 1 or 3; a refresh of all
# connections at once must go through, and a storm must not.
_CALLS_A_CONNECTION: Final = 4
_STOP_NOTICED: Final = 1.0
# A call and an upgrade have a few waits of ten seconds each.
_DIALLING: Final = 120.0
_log = log.get("dialer")


class Dialer:
    """`run` is the body of a thread; `stop` may be called from any other."""

    def __init__(
        self,
        slack: config.Slack,
        api: SlackApi,
        *,
        policy: config.Retry,
        lifecycle: Lifecycle,
        orders: ConnectionOrders,
    ) -> None:
        self._slack = slack
        self._api = api
        self._policy = policy
        self.lifecycle = lifecycle
        self._stop = lifecycle.stop
        self._orders = orders
        calls = _CALLS_A_CONNECTION * slack.connections
        self._budget = CallBudget(calls, retry.CALLS_SPAN)
        self._longest_rest = retry.CALLS_SPAN / calls + _DIALLING
        self._failing = False

    def run(self) -> None:
        """Open what is ordered until a stop."""
        keep_trying(
            self._dial_all, policy=self._policy, lifecycle=self.lifecycle, report=self._failed
        )

    def stop(self) -> None:
        """End the run. From any thread."""
        self._stop.set()
        self._orders.wake_dialer()

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
            self._failing = False
            self._orders.deliver(connection)

    def _wait_for_an_order(self) -> bool:
        self.lifecycle.progress()
        while not self._stop.is_set() and not self._orders.wait(_STOP_NOTICED):
            self.lifecycle.progress()
        return not self._stop.is_set()

    def _dial(self) -> SlackConnection:
        self.lifecycle.rest(_DIALLING)
        try:
            return SlackConnection.open(self._url().reveal(), self._slack)
        except LinkError as error:
            if not self._failing:
                # A failure of long ago is no reason to wait longer now.
                error.held = math.inf
            self._failing = True
            raise

    def _url(self) -> Secret:
        try:
            return self._api.connection_url()
        except TokenRefused as refused:
            raise LinkError("slack", refused.code, refused.fix) from None

    def _failed(self, details: RetryDetails) -> None:
        self.lifecycle.rest(details.wait + _DIALLING)
        write = _log.warning if details.attempt == 1 else _log.debug
        write(
            "connection.not_opened",
            reason=details.reason,
            detail=details.detail,
            attempt=details.attempt,
            next_try_in=round(details.wait, 2),
        )
