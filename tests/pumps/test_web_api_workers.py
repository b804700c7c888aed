"""Facts about calls of the Web API from worker threads, over real sockets."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rtmpump import config
from rtmpump.core.outbound.api_calls import POSTS_AT_ONCE, SPARE_CALLS, CallAnswer, Trouble
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.pumps.web_api_workers import Crew, WebApiWorkers, crew
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.faults import Hang, HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.waiting import wait_until

ADD = "reactions.add"
FINE = {"ok": True, "x": 1}
JSON = {"Content-Type": "application/json"}


class Calls:
    """Running workers, and what they answered, by the name that each call was given."""

    def __init__(self, workspace: Workspace, **keys: Any) -> None:
        url = keys.pop("api_url", workspace.api_url)
        slack = config.Slack(token=config.Secret(workspace.token), api_url=url)
        self.stop = threading.Event()
        timeout = keys.pop("timeout", 10)
        workers = keys.pop("crew", crew(posts=True, methods=1))
        self.calls = WebApiWorkers(SlackApi(slack, timeout=timeout), workers, stop=self.stop)
        self.answers: dict[str, CallAnswer] = {}
        self.order: list[str] = []
        self.threads = [threading.Thread(target=one.run) for one in self.calls.workers]
        for thread in self.threads:
            thread.start()

    def submit(
        self,
        name: str,
        method: str = ADD,
        may_begin: Callable[[], bool] = lambda: True,
        **arguments: str,
    ) -> None:
        """Asks for a call; the answer will be in `answers`."""

        def answered(answer: CallAnswer) -> None:
            self.order.append(name)
            self.answers[name] = answer

        self.calls.submit(method, {"name": name, **arguments}, answered, may_begin)

    def ask(self, name: str = "one", method: str = ADD) -> CallAnswer:
        """Makes one call and waits for its answer."""
        self.submit(name, method)
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
    """Starts workers for the workspace."""
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


def test_a_call_that_may_not_be_made_any_more_is_not_made(
    workspace: Workspace, start: Start
) -> None:
    """The lock was lost while it stood in line, or while it connected; it costs no attempt."""
    calls = start()
    asked: list[bool] = []

    def until_it_connects() -> bool:
        asked.append(not asked)
        return asked[-1]

    calls.submit("waited", may_begin=lambda: False)
    calls.submit("connected", may_begin=until_it_connects)
    wait_until(lambda: len(calls.answers) == 2)
    assert workspace.calls == []
    assert asked == [True, False]
    for answer in calls.answers.values():
        assert (answer.response, answer.again, answer.certain) == (None, True, True)
        assert answer.trouble is not None
    answers(workspace, FINE)
    assert calls.ask("next").response == FINE


def test_slack_s_no_is_certain_and_final(workspace: Workspace, start: Start) -> None:
    """With its code, whatever it is, what it needs, and what it says of the arguments."""
    calls = start()
    refusal = {"ok": False, "error": "missing_scope", "needed": "reactions:write"}
    answers(workspace, "already_reacted", refusal, "not_allowed_token_type")
    answer = calls.ask("a")
    assert (answer.response, answer.code) == (None, "already_reacted")
    assert (answer.again, answer.certain) == (False, True)
    assert calls.ask("b").detail == f"Slack refused {ADD}; needed: reactions:write"
    assert calls.ask("c").code == "not_allowed_token_type"
    told = {"ok": False, "error": "invalid_arguments"}
    answers(workspace, told | {"response_metadata": {"messages": ["[ERROR] missing: channel"]}})
    assert "[ERROR] missing: channel" in calls.ask("d").detail


LIMIT = {"Retry-After": "60"}
TROUBLES = [
    (HttpAnswer(429), Trouble.LIMITED, "ratelimited", None),
    (HttpAnswer(429, LIMIT), Trouble.LIMITED, "ratelimited", 60.0),
    ("ratelimited", Trouble.LIMITED, "ratelimited", None),
    ("rate_limited", Trouble.LIMITED, "ratelimited", None),
    (HttpAnswer(503), Trouble.AWAY, "http_503", None),
    (HttpAnswer(503, LIMIT, "<html>"), Trouble.AWAY, "http_503", 60.0),
    (HttpAnswer(407), Trouble.AWAY, "http_407", None),
    ("service_unavailable", Trouble.AWAY, "service_unavailable", None),
    ("migration_in_progress", Trouble.AWAY, "migration_in_progress", 30.0),
    ("team_added_to_org", Trouble.AWAY, "team_added_to_org", 30.0),
    ("not_authed", Trouble.TOKEN, "not_authed", None),
    ("invalid_auth", Trouble.TOKEN, "invalid_auth", None),
    ("account_inactive", Trouble.TOKEN, "account_inactive", None),
    ("token_revoked", Trouble.TOKEN, "token_revoked", None),
    ("token_expired", Trouble.TOKEN, "token_expired", None),
]
CERTAIN = [
    ("request_timeout", "request_timeout"),
    (HttpAnswer(403, {}, "<html>no</html>"), "http_403"),
]
UNCERTAIN = [
    (HttpAnswer(500, {}, "oops"), "http_500"),
    (HttpAnswer(502, JSON, '{"ok": false, "error": "x"}'), "x"),
    (HttpAnswer(503, JSON, '{"ok": false, "error": "internal_error"}'), "internal_error"),
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
            assert answer.trouble is None
            del calls.answers["one"]


def test_trouble_is_no_fault_of_the_call(workspace: Workspace, start: Start) -> None:
    """Slack surely did nothing; a time counts only if Slack named it."""
    calls = start()
    for fault, trouble, code, seconds in TROUBLES:
        answers(workspace, fault)
        answer = calls.ask()
        assert (answer.trouble, answer.code, answer.retry_after) == (trouble, code, seconds)
        assert (answer.again, answer.certain) == (True, True), fault
        del calls.answers["one"]


def test_nobody_there_is_certain_and_a_timeout_after_the_write_is_not(
    workspace: Workspace, start: Start
) -> None:
    """No connection, no call; but who read the call and says nothing may have done it."""
    refused = start(api_url=f"http://127.0.0.1:{free_port('127.0.0.1')}/api/").ask()
    assert (refused.code, refused.again, refused.certain) == ("unreachable", True, True)
    assert refused.trouble is Trouble.UNREACHABLE
    answers(workspace, Hang(60))
    silent = start(timeout=1).ask()
    assert (silent.code, silent.again, silent.certain) == ("timeout", True, False)


def test_messages_do_not_wait_for_slow_methods(workspace: Workspace, start: Start) -> None:
    """Though more calls wait than there are workers."""
    calls = start(timeout=60)
    answers(workspace, *[Hang(60)] * 20)
    for number in range(20):
        calls.submit(f"slow {number}")
    answers(workspace, *[FINE] * 9, method="chat.postMessage")
    for number in range(9):
        assert calls.ask(f"message {number}", "chat.postMessage").response == FINE
    assert len(calls.order) == 9
    workspace.stop()


def test_each_method_has_a_worker_and_messages_have_theirs() -> None:
    """And one is for auth.test: it is the trial of the token, and any command may ask for it."""
    assert crew(posts=False, methods=0) == Crew(0, 1)
    assert crew(posts=True, methods=0) == Crew(POSTS_AT_ONCE, 1)
    assert crew(posts=False, methods=3) == Crew(0, 3 + SPARE_CALLS + 1)
    assert crew(posts=True, methods=500) == Crew(POSTS_AT_ONCE, 16 + SPARE_CALLS + 1)


def test_a_stop_leaves_what_was_not_begun(workspace: Workspace, start: Start) -> None:
    """It is neither made nor answered; what is under way is."""
    calls = start(crew=Crew(0, 1))
    answers(workspace, Hang(3.0))
    calls.submit("under way")
    assert workspace.wait(lambda: len(workspace.calls) == 1)
    calls.submit("waits")
    began = time.monotonic()
    calls.close()
    assert time.monotonic() - began < 10
    assert calls.order == ["under way"]
    assert len(workspace.calls) == 1
