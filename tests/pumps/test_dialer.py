"""Facts about the opener of Socket Mode's connections, against a real workspace.

Laws:

- Each order is answered by one connection, however long that takes, also one that comes while
  nothing can be opened; no connection comes without an order.
- After the stop none comes, and no wait outlives it.
- Never more calls than the budget allows, also while Slack refuses the token.
- It always says when its next progress is due.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from rtmpump import config
from rtmpump.links import retry
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.slack.connection_orders import ConnectionOrders
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.links.slack.websocket import SlackConnection
from rtmpump.pumps import dialer
from rtmpump.pumps.dialer import Dialer
from rtmpump.sandbox.slack.faults import ApiFault, Hang, HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.waiting import SECONDS, wait_until

OPEN = "apps.connections.open"
LIMITED = HttpAnswer(429, {"Retry-After": "600"}, '{"ok":false,"error":"ratelimited"}')
HOUR = 3600.0


class Dialing:
    """A dialer that runs, and what it handed over."""

    def __init__(self, workspace: Workspace, *, connections: int = 10, **retry: Any) -> None:
        slack = config.Slack(
            mode="socket",
            token=config.Secret(workspace.token),
            app_token=config.Secret(workspace.app_token),
            api_url=workspace.api_url,
            connections=connections,
        )
        self.orders = ConnectionOrders()
        self.orders.open()
        self._taken: list[SlackConnection] = []
        self.dialer = Dialer(
            slack,
            SlackApi(slack),
            policy=config.Retry(**{"initial": 0.01, "max": 0.05} | retry),
            lifecycle=Lifecycle(),
            orders=self.orders,
        )
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="dialer under test")
        self.thread.start()

    def order(self, count: int) -> None:
        """So many more."""
        self.orders.order(count)

    @property
    def delivered(self) -> list[SlackConnection]:
        """What was handed over so far."""
        self._taken += self.orders.take()
        return self._taken

    def has(self, count: int) -> bool:
        """Whether so many were handed over, or more."""
        return len(self.delivered) >= count

    def wait_delivered(self, count: int) -> None:
        """Until so many were handed over in all."""
        wait_until(lambda: self.error or self.has(count), what="for a connection")
        assert self.error is None
        assert len(self.delivered) == count

    def wait_waiting(self) -> None:
        """Until every order is done: it goes round with nothing to do, and says so."""
        began = time.monotonic()
        wait_until(
            lambda: began < self.dialer.lifecycle.last_progress <= time.monotonic(),
            what="until it waits",
        )

    def end(self) -> None:
        """Stop it, and wait for the end of its thread."""
        self.dialer.stop()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()

    def close(self) -> None:
        """End all."""
        self.end()
        for connection in self.delivered:
            connection.close()

    def _run(self) -> None:
        try:
            self.dialer.run()
        except BaseException as error:
            self.error = error


Dial = Callable[..., Dialing]


@pytest.fixture
def dial(workspace: Workspace) -> Iterator[Dial]:
    """Starts a dialer; keywords are of [retry], and `connections`."""
    with ExitStack() as stack:

        def start(**keys: Any) -> Dialing:
            dialing = Dialing(workspace, **keys)
            stack.callback(dialing.close)
            return dialing

        yield start


def calls(workspace: Workspace) -> list[float]:
    """When connections were asked for, in seconds."""
    return [call.time for call in list(workspace.calls) if call.method == OPEN]


def called_more_than(workspace: Workspace, count: int) -> bool:
    """Whether more connections than that were asked for."""
    return len(calls(workspace)) > count


def test_each_order_is_answered_by_one_connection(workspace: Workspace, dial: Dial) -> None:
    """Open, of Socket Mode, and each another; nothing comes that was not ordered."""
    dialing = dial()
    dialing.wait_waiting()
    assert calls(workspace) == []
    for count in (1, 3):
        dialing.order(count)
        wait_until(partial(dialing.has, count))
    dialing.wait_delivered(4)
    dialing.wait_waiting()
    assert workspace.wait(lambda: len(workspace.sockets) == 4)
    assert len(dialing.delivered) == len(calls(workspace)) == 4
    for connection in dialing.delivered:
        (hello,) = connection.read(SECONDS)
        assert json.loads(hello)["type"] == "hello"


def test_an_order_is_done_at_once(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when the dialer looks up for another reason."""
    monkeypatch.setattr(dialer, "_STOP_NOTICED", HOUR)
    dialing = dial()
    for count in range(1, 11):
        dialing.order(1)
        dialing.wait_delivered(count)


def test_however_long_it_takes(workspace: Workspace, dial: Dial) -> None:
    """Whatever fails on the way, the order stands, and is done once."""
    workspace.faults.api_errors[OPEN] = deque(
        ["internal_error", Reset(), HttpAnswer(500), {"ok": True, "url": "http://no"}, "what"]
    )
    workspace.faults.handshakes = deque([HttpAnswer(503), Reset(), HttpAnswer(404)])
    dialing = dial()
    dialing.order(1)
    dialing.wait_delivered(1)
    dialing.wait_waiting()
    assert len(calls(workspace)) == 5 + 3 + 1
    assert workspace.wait(lambda: len(workspace.sockets) == 1)
    assert len(dialing.delivered) == 1


def test_orders_that_come_while_nothing_can_be_opened_stand_too(
    workspace: Workspace, dial: Dial
) -> None:
    """As many connections as were ordered by then."""
    failing: deque[ApiFault] = deque(["internal_error"] * 1000)
    workspace.faults.api_errors[OPEN] = failing
    dialing = dial()
    dialing.order(1)
    for count in (2, 5):
        wait_until(partial(called_more_than, workspace, count))
        dialing.order(1)
    assert dialing.delivered == []
    failing.clear()
    dialing.wait_delivered(3)
    dialing.wait_waiting()
    assert len(dialing.delivered) == 3


def test_a_failure_long_ago_makes_no_wait_longer(workspace: Workspace, dial: Dial) -> None:
    """What went well between makes the next failure a first one, whose wait is short."""
    dialing = dial(initial=0.1, max=HOUR, jitter="none")
    # In one row the ninth wait alone would take 25 s, and all of them 51 s.
    for count in (1, 2, 3):
        workspace.faults.api_errors[OPEN] = deque(["internal_error"] * 3)
        dialing.order(1)
        dialing.wait_delivered(count)


def test_none_comes_after_the_stop(workspace: Workspace, dial: Dial) -> None:
    """What is under way when it comes is closed, and open orders are dropped."""
    workspace.faults.api_errors[OPEN].append(Hang(3.0))
    dialing = dial()
    dialing.order(3)
    wait_until(lambda: calls(workspace))
    dialing.end()
    assert dialing.error is None
    assert dialing.delivered == []
    dialing.order(1)
    assert len(calls(workspace)) == 1
    assert workspace.wait(lambda: not workspace.sockets)


@pytest.mark.parametrize("wait", ["order", "backoff", "limit", "budget"])
def test_no_wait_outlives_the_stop(
    workspace: Workspace, dial: Dial, wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it would have been."""
    monkeypatch.setattr(retry, "CALLS_SPAN", HOUR)
    keys: dict[str, Any] = {"initial": HOUR, "max": HOUR, "jitter": "none", "connections": 1}
    dialing = dial(**keys)
    if wait == "budget":
        dialing.order(5)
        dialing.wait_delivered(4)
    elif wait != "order":
        workspace.faults.api_errors[OPEN].append(LIMITED if wait == "limit" else "internal_error")
        dialing.order(1)
        wait_until(lambda: calls(workspace))
    began = time.monotonic()
    dialing.end()
    assert time.monotonic() - began < SECONDS / 2
    assert dialing.error is None


def test_never_more_calls_than_the_budget_allows(
    workspace: Workspace, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four for each connection at once, then as many in each span, whatever `retry.max` is."""
    monkeypatch.setattr(retry, "CALLS_SPAN", 0.4)
    dialing = dial(connections=1, max=0.01)
    dialing.order(12)
    dialing.wait_delivered(12)
    times = calls(workspace)
    # Eight had to wait a tenth of a second each; our calls need some time too.
    assert times[-1] - times[0] > 0.6


@pytest.mark.parametrize("code", ["invalid_auth", "token_revoked", "not_allowed_token_type"])
def test_a_refused_token_is_tried_again(workspace: Workspace, dial: Dial, code: str) -> None:
    """At the pace of all failures: other connections are there, and the order stands."""
    workspace.faults.api_errors[OPEN] = deque([code] * 3)
    dialing = dial()
    dialing.order(1)
    dialing.wait_delivered(1)
    assert len(calls(workspace)) == 4


def test_it_tells_when_it_will_be_heard_of_again(workspace: Workspace, dial: Dial) -> None:
    """Now and again while it waits; until its end, where a call or a rest takes long."""
    dialing = dial(connections=1, max=HOUR)
    for _ in range(2):
        dialing.wait_waiting()
    workspace.faults.api_errors[OPEN].append(Hang(3.0))
    dialing.order(1)
    wait_until(lambda: calls(workspace))
    assert dialing.dialer.lifecycle.last_progress > time.monotonic() + 60
    dialing.wait_delivered(1)
    dialing.wait_waiting()
    workspace.faults.api_errors[OPEN].append(LIMITED)
    dialing.order(1)
    wait_until(lambda: dialing.dialer.lifecycle.last_progress > time.monotonic() + 600)


def test_a_wait_for_the_budget_is_no_standstill(
    workspace: Workspace, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer than any call does."""
    monkeypatch.setattr(retry, "CALLS_SPAN", HOUR)
    dialing = dial(connections=1)
    dialing.order(5)
    dialing.wait_delivered(4)
    wait_until(lambda: dialing.dialer.lifecycle.last_progress > time.monotonic() + HOUR / 4)
