"""Facts about calls of the Web API from worker threads, over real sockets."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rtmpump import config
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.pumps.web_api_workers import WebApiWorkers
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.faults import Hang, HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.pump import wait_until

ADD = "reactions.add"
FINE = {"ok": True, "x": 1}
JSON = {"Content-Type": "application/json"}


class Calls:
    """Running workers, and what they answered, by the name that each call was given."""

    def __init__(self, workspace: Workspace, **keys: Any) -> None:
        url = keys.pop("api_url", workspace.api_url)
        slack = config.Slack(token=config.Secret(workspace.token), api_url=url)
        self.stop = threading.Event()
        pace: dict[str, Any] = {"rate": 1000.0, "burst": 1000}
        timeout = keys.pop("timeout", 10)
        self.calls = WebApiWorkers(SlackApi(slack, timeout=timeout), stop=self.stop, **pace | keys)
        self.answers: dict[str, CallAnswer] = {}
        self.order: list[str] = []
        self.threads = [threading.Thread(target=one.run) for one in self.calls.workers]
        for thread in self.threads:
            thread.start()

    def submit(self, name: str, method: str = ADD, **arguments: str) -> float:
        """Asks for a call; the answer will be in `answers`."""

        def answered(answer: CallAnswer) -> None:
            self.order.append(name)
            self.answers[name] = answer

        return self.calls.submit(method, {"name": name, **arguments}, answered)

    def ask(self, name: str = "one", method: str = ADD) -> CallAnswer:
        """Makes one call and waits for its answer."""
        assert self.submit(name, method) == 0.0
        wait_until(lambda: name in self.answers)
        return self.answers[name]

    def close(self) -> None:
        """Ends the workers."""
        self.stop.set()
        self.calls.wake()
        for thread in self.threads:
            thread.join(100)
            assert not thread.is_alive()


Start = Callable[..., Calls]


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """One workspace."""
    with Workspace() as workspace:
        yield workspace


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Start]:
    """Starts workers for the workspace; keywords are those of WebApiWorkers."""
    running: list[Calls] = []

    def begin(**keys: Any) -> Calls:
        running.append(Calls(workspace, **keys))
        return running[-1]

    yield begin
    for calls in running:
        calls.close()


def answers(workspace: Workspace, *faults: Any, method: str = ADD) -> None:
    """What Slack answers to the next calls."""
    workspace.faults.api_errors[method] = deque(faults)


def test_the_answer_is_brought_back_whole(workspace: Workspace, start: Start) -> None:
    """Method and arguments arrive as they were given, and Slack's object comes back."""
    answers(workspace, FINE | {"message": {"text": "ö"}})
    answer = start().ask()
    assert answer == CallAnswer(FINE | {"message": {"text": "ö"}})
    assert [(call.method, call.args) for call in workspace.calls] == [(ADD, {"name": "one"})]


def test_slack_s_no_is_certain_and_final(workspace: Workspace, start: Start) -> None:
    """With its code, whatever it is, what it needs, and what it says of the arguments."""
    calls = start()
    refusal = {"ok": False, "error": "missing_scope", "needed": "reactions:write"}
    answers(workspace, "already_reacted", refusal, "invalid_auth")
    answer = calls.ask("a")
    assert (answer.response, answer.code) == (None, "already_reacted")
    assert (answer.again, answer.certain) == (False, True)
    assert calls.ask("b").detail == f"Slack refused {ADD}; needed: reactions:write"
    assert calls.ask("c").code == "invalid_auth"
    told = {"ok": False, "error": "invalid_arguments"}
    answers(workspace, told | {"response_metadata": {"messages": ["[ERROR] missing: channel"]}})
    assert "[ERROR] missing: channel" in calls.ask("d").detail


CERTAIN = [
    ("service_unavailable", "service_unavailable"),
    ("request_timeout", "request_timeout"),
    (HttpAnswer(403, {}, "<html>no</html>"), "http_403"),
]
UNCERTAIN = [
    (HttpAnswer(500, {}, "oops"), "http_500"),
    (HttpAnswer(502, JSON, '{"ok": false, "error": "x"}'), "x"),
    (HttpAnswer(200, {}, "<html>"), "bad_answer"),
    (HttpAnswer(200, {"Content-Type": "text/html; charset=utf-8"}, b"\xff"), "bad_answer"),
    ("internal_error", "internal_error"),
    ("fatal_error", "fatal_error"),
    (Reset(), "unreachable"),
]


def test_what_may_help_again_says_whether_it_may_be_done_twice(
    workspace: Workspace, start: Start
) -> None:
    """What Slack did not begin is certain; what it may have begun is not."""
    calls = start()
    for certain, rows in ((True, CERTAIN), (False, UNCERTAIN)):
        for fault, code in rows:
            answers(workspace, fault)
            answer = calls.ask()
            assert (answer.code, answer.again, answer.certain) == (code, True, certain), fault
            del calls.answers["one"]


def test_nobody_there_is_certain_and_a_timeout_after_the_write_is_not(
    workspace: Workspace, start: Start
) -> None:
    """No connection, no call; but who read the call and says nothing may have done it."""
    refused = start(api_url=f"http://127.0.0.1:{free_port('127.0.0.1')}/api/").ask()
    assert (refused.code, refused.again, refused.certain) == ("unreachable", True, True)
    assert not refused.made
    answers(workspace, Hang(60))
    silent = start(timeout=1).ask()
    assert (silent.code, silent.again, silent.certain) == ("timeout", True, False)


def test_a_limited_method_rests_and_others_go_on(workspace: Workspace, start: Start) -> None:
    """`Retry-After` holds for all who ask for that method."""
    calls = start()
    answers(workspace, HttpAnswer(429, {"Retry-After": "60"}))
    answer = calls.ask("limited")
    assert (answer.code, answer.again, answer.certain) == ("ratelimited", True, True)
    assert answer.retry_after == 60
    assert 50 < calls.submit("again") <= 60
    answers(workspace, FINE, method="pins.add")
    assert calls.ask("other", "pins.add").response == FINE


def test_what_stood_in_line_when_slack_limited_the_method_is_not_called(
    workspace: Workspace, start: Start
) -> None:
    """It is given back, and says that Slack was not asked."""
    calls = start(workers=1)
    answers(workspace, HttpAnswer(429, {"Retry-After": "60"}))
    with calls.calls._changed:
        assert calls.submit("first") == calls.submit("second") == 0.0
    wait_until(lambda: len(calls.answers) == 2)
    assert (calls.answers["first"].made, calls.answers["second"].made) == (True, False)
    assert 50 < (calls.answers["second"].retry_after or 0) <= 60
    assert len(workspace.calls) == 1


def test_a_method_has_its_pace(workspace: Workspace, start: Start) -> None:
    """Two at once, then one in a hundred seconds; chat.postMessage is paced by its caller."""
    calls = start(rate=0.01, burst=2)
    answers(workspace, FINE, FINE, FINE)
    waits = [calls.submit(str(n)) for n in range(3)]
    assert waits[:2] == [0.0, 0.0]
    assert 90 < waits[2] <= 100
    assert calls.submit("pin", "pins.add") == 0.0
    assert [calls.submit(f"m{n}", "chat.postMessage") for n in range(5)] == [0.0] * 5


def test_a_slow_method_leaves_a_worker_to_the_others(workspace: Workspace, start: Start) -> None:
    """Though more of its calls wait than there are workers; and its line has an end."""
    calls = start(timeout=600)
    answers(workspace, *[Hang(600)] * 20)
    taken = [calls.submit(f"slow {n}") for n in range(20)]
    assert taken[0] == 0.0
    assert taken[-1] > 0.0
    answers(workspace, FINE, method="pins.add")
    assert calls.ask("other", "pins.add").response == FINE
    assert calls.order == ["other"]
    workspace.stop()


def test_a_stop_leaves_what_was_not_begun(workspace: Workspace, start: Start) -> None:
    """It is neither made nor answered; what is under way is."""
    calls = start(workers=1)
    answers(workspace, Hang(3.0))
    calls.submit("under way")
    assert workspace.wait(lambda: len(workspace.calls) == 1)
    calls.submit("waits")
    began = time.monotonic()
    calls.close()
    assert time.monotonic() - began < 10
    assert calls.order == ["under way"]
    assert len(workspace.calls) == 1
