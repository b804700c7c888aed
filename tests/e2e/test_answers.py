"""Facts about events that are answered: a consumer's answer stands in Slack's acknowledgement."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pika
import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.envelopes import SentEnvelope
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker, Message
from tests.support.broker_node import add_user, delete_user, memory_alarm, set_permissions
from tests.support.http import ask
from tests.support.programs import LONG_ANSWERS, OFTEN
from tests.support.pump import PumpProcess
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import wait_until

KEYS = ["slash_command", "interactive.view_submission"]
ANSWERED = {"answered": KEYS, "answer_within": 3}


@pytest.fixture
def workspace(workspace_that_retries: Workspace) -> Workspace:
    """Give the Slack of these tests."""
    return workspace_that_retries


@pytest.fixture
def questions(broker: Broker) -> str:
    """Give a consumer's queue that gets what can be answered."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    return broker.queue(("rtm.events", "slash_command"), ("rtm.events", "interactive.#"))


def submit(workspace: Workspace, text: str = "x") -> SentEnvelope:
    """Submit a modal, as a user does."""
    return workspace.interact({"type": "view_submission", "user": {"id": "U1"}, "view": text})


def answer(broker: Broker, question: Message, body: bytes) -> None:
    """Answer as a consumer of any language does."""
    reply_to = question.properties.reply_to
    assert reply_to
    properties = pika.BasicProperties(correlation_id=question.properties.correlation_id)
    broker.channel.basic_publish("", reply_to, body, properties)


class Asked(NamedTuple):
    """A pump, and its HTTP port."""

    pump: PumpProcess
    port: int

    def counts(self) -> dict[str, int]:
        """Return what became of the questions, and of the answers that could not be used."""
        counts: dict[str, int] = json.loads(ask(self.port, "/status")[1])["metrics"]["answers"]
        return counts

    def wait_counts(self, **counts: int) -> None:
        """Wait until these are all: a count comes after the acknowledgement."""
        wait_until(lambda: self.counts() == counts, what=lambda: f"for {counts}: {self.counts()}")


@pytest.fixture
def start(start_socket: StartSocketPump) -> Callable[..., Asked]:
    """Give what starts a pump with these settings of `[slack]`; it waits a minute for answers."""

    def start(program: tuple[str, ...] = LONG_ANSWERS, **slack: Any) -> Asked:
        port = free_port()
        http = {"listen": f"127.0.0.1:{port}"}
        pump = start_socket(slack=ANSWERED | slack, http=http, program=program)
        pump.wait_log("answers.on")
        return Asked(pump, port)

    return start


Start = Callable[..., Asked]


def test_an_answer_stands_in_the_acknowledgement(
    start: Start, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """And no other envelope waits for it, also one of a key that is not answered."""
    pump = start()
    before = time.time() * 1000
    modal = submit(workspace)
    question = broker.get(questions)
    assert question.key == "interactive.view_submission"
    given = question.headers["answer_by"] - question.headers["received_at"]
    assert given == pytest.approx(60_000, abs=500)
    assert question.headers["answer_by"] > before
    assert len(question.properties.correlation_id or "") == 32
    assert (question.properties.reply_to or "").startswith("rtm.answers.")
    pressed = workspace.interact({"type": "block_actions", "user": {"id": "U1"}})
    wait_until(lambda: pressed.acknowledged)
    assert broker.get(questions).properties.reply_to is None
    assert not modal.acknowledged
    answer(broker, question, b' {"response_action": "errors",\n "errors": {"b": "no"}} ')
    wait_until(lambda: modal.acknowledged)
    assert modal.answer == {"response_action": "errors", "errors": {"b": "no"}}
    pump.wait_counts(answered=1)


def test_an_empty_answer_acknowledges_before_the_deadline(
    start: Start, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """And without the words of `slash_answer`."""
    pump = start(slash_answer="Moment …")
    empty = workspace.slash("/empty")
    answer(broker, broker.get(questions), b"")
    wait_until(lambda: empty.acknowledged)
    assert empty.answer is None
    pump.wait_counts(empty=1)


def test_nobody_is_awaited_to_the_end_only(
    start: Start, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """Without an answer the deadline of the config brings what `slash_answer` says."""
    pump = start(program=OFTEN, answer_within=3, slash_answer="Moment …")
    silent = workspace.slash("/late")
    headers = broker.get(questions).headers
    assert headers["answer_by"] - headers["received_at"] == pytest.approx(3000, abs=500)
    wait_until(lambda: silent.acknowledged)
    assert silent.answer == {"text": "Moment …"}
    assert silent.acknowledged_at - silent.deliveries[0].at > 2.9
    pump.wait_counts(unanswered=1)


def test_what_nobody_can_answer_is_acknowledged_at_once(
    start: Start, workspace: Workspace, broker: Broker
) -> None:
    """No queue takes it: it comes back, and its deadline plays no part; the event is kept."""
    pump = start()
    modal = submit(workspace)
    wait_until(lambda: modal.acknowledged)
    pump.wait_counts(nobody=1)
    wait_until(lambda: broker.count("rtm.unrouted") >= 3)


def test_a_broker_that_goes_away_frees_all_that_wait(
    node: RabbitNode, start: Start, broker_url: str, workspace: Workspace
) -> None:
    """Those under way and those that come meanwhile; the events come when it is back."""
    pump = start()
    with Broker(broker_url) as broker:
        queue = broker.queue(("rtm.events", "interactive.#"))
        waits = submit(workspace, "first")
        broker.get(queue)
    node.stop()
    wait_until(lambda: waits.acknowledged)
    later = submit(workspace, "second")
    wait_until(lambda: later.acknowledged)
    pump.wait_counts(nobody=2)
    node.start()
    pump.pump.wait_log("answers.on", 2)
    with Broker(broker_url) as broker:
        found = broker.take_until(queue, lambda got: got[-1].json["view"] == "second")
        assert found[-1].properties.reply_to is None
        third = submit(workspace, "third")
        answer(broker, broker.get(queue), b"{}")
        wait_until(lambda: third.acknowledged)
    assert third.answer == {}


def test_what_is_no_answer_changes_nothing(
    start: Start, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """No object, too large, from a stranger, late and twice: counted, and the good one counts."""
    pump = start()
    first, second = submit(workspace, "first"), submit(workspace, "second")
    asked = [broker.get(questions), broker.get(questions)]
    one, two = sorted(asked, key=lambda question: str(question.json["view"]))
    for body in (b"[1]", b"no json", b'{"a": 1} {"b": 2}', b"{" + b" " * 70_000 + b"}"):
        answer(broker, one, body)
    broker.channel.basic_publish("", one.properties.reply_to or "", b'{"from": "nobody"}')
    stranger = pika.BasicProperties(correlation_id="0" * 32)
    broker.channel.basic_publish("", one.properties.reply_to or "", b"{}", stranger)
    answer(broker, one, b'{"n": 1}')
    answer(broker, one, b'{"n": "twice"}')
    answer(broker, two, b'{"n": 2}')
    wait_until(lambda: first.acknowledged and second.acknowledged)
    assert [first.answer, second.answer] == [{"n": 1}, {"n": 2}]
    pump.wait_counts(no_object=3, too_large=1, stranger=2, late=1, answered=2)
    assert len(pump.pump.logged("answers.unusable")) == 1
    assert len(pump.pump.logged("broker_events.connected")) == 1


def test_a_thousand_that_wait_get_each_its_own(
    start: Start, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """In whatever order the answers come; meanwhile messages go on as ever."""
    pump = start(connections=3)
    modals = [submit(workspace, str(number)) for number in range(1000)]
    asked = broker.take_until(questions, lambda got: len(got) == 1000)
    message = {"type": "message", "channel": "C0GENERAL", "text": "hi", "ts": "1.000001"}
    workspace.emit(message)
    for question in reversed(asked):
        answer(broker, question, json.dumps({"view": question.json["view"]}).encode())
    wait_until(lambda: all(modal.acknowledged for modal in modals))
    assert [modal.answer for modal in modals] == [{"view": str(number)} for number in range(1000)]
    pump.wait_counts(answered=1000)


def test_after_a_kill_the_event_is_safe_and_nobody_is_asked_again(
    start: Start, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """Slack shows an error for this one, as for any app that dies; the next one works."""
    pump = start()
    lost = submit(workspace, "lost")
    question = broker.get(questions)
    pump.pump.signal(signal.SIGKILL)
    pump.pump.wait()
    answer(broker, question, b'{"n": 1}')
    start()
    found = submit(workspace, "found")
    wait_until(lambda: broker.count(questions) > 0)
    got = broker.take_until(questions, lambda got: got[-1].json["view"] == "found")
    answer(broker, got[-1], b'{"n": 2}')
    wait_until(lambda: found.acknowledged)
    assert found.answer == {"n": 2}
    assert not lost.acknowledged


def test_a_refreshed_connection_stays_until_its_questions_are_answered(
    start: Start, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """Slack announces its end some seconds before; the answer goes on the connection it came on."""
    pump = start()
    modals = [submit(workspace, str(number)) for number in range(4)]
    asked = broker.take_until(questions, lambda got: len(got) == 4)
    workspace.disconnect("refresh_requested", close_after=None)
    pump.pump.wait_log("connection.leaves", 2)
    wait_until(lambda: len(workspace.sockets) == 4)
    for question in asked:
        answer(broker, question, b'{"view": ' + json.dumps(question.json["view"]).encode() + b"}")
    wait_until(lambda: all(modal.acknowledged for modal in modals))
    assert [modal.answer for modal in modals] == [{"view": str(number)} for number in range(4)]
    wait_until(lambda: len(workspace.sockets) == 2)
    pump.wait_counts(answered=4)


def test_a_planned_stop_leaves_no_stored_envelope_unacknowledged(
    start: Start, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """A person sees no error because a pump is restarted."""
    pump = start()
    modal = submit(workspace)
    broker.get(questions)
    pump.pump.terminate()
    assert pump.pump.wait() == 0
    # It was written; Slack's side may not have read it yet.
    wait_until(lambda: modal.acknowledged)


def test_answers_are_given_while_the_spool_refuses_others(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """Nothing more is read then, but what was asked is answered."""
    full = broker.queue(("rtm.events", "message"), x_max_length=1, x_overflow="reject-publish")
    pump = start_socket(slack=ANSWERED, spool={"max_bytes": "16MiB"}, program=LONG_ANSWERS)
    pump.wait_log("answers.on")

    def flood() -> None:
        # It ends when the pump reads no more.
        for number in range(400):
            ts = f"1.{number:06d}"
            event = {"type": "message", "channel": "C0GENERAL", "text": "x" * 100_000, "ts": ts}
            workspace.emit(event)

    modal = submit(workspace)
    question = broker.get(questions)
    threading.Thread(target=flood, daemon=True).start()
    pump.wait_log("spool.refuses")
    answer(broker, question, b"{}")
    wait_until(lambda: modal.acknowledged)
    assert modal.answer == {}
    pump.kill()
    broker.channel.queue_delete(full)


def test_what_is_ignored_is_not_asked(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace, questions: str
) -> None:
    """Its envelope is acknowledged at once."""
    port = free_port()
    pump = start_socket(
        slack=ANSWERED | {"answered": ["interactive"]},
        events={"ignore": ["interactive.view_submission"]},
        http={"listen": f"127.0.0.1:{port}"},
    )
    pump.wait_log("answers.on")
    modal = submit(workspace)
    wait_until(lambda: modal.acknowledged)
    assert Asked(pump, port).counts() == {}
    assert broker.count(questions) == 0


def test_a_pump_that_may_not_read_answers_pumps_on(
    node: RabbitNode,
    tmp_path: Path,
    broker: Broker,
    broker_url: str,
    workspace: Workspace,
    questions: str,
) -> None:
    """It says what is missing, acknowledges at once, also after an alarm; its connection lives."""
    add_user(node, "no-answers", "secret")
    vhost = broker_url.rpartition("/")[2]
    set_permissions(node, vhost, "no-answers", ".*", ".*", r"^rtm\.(?!answers).*$")
    url = broker_url.replace("guest:guest", "no-answers:secret")
    slack = {"mode": "socket", "app_token": workspace.app_token} | ANSWERED
    try:
        with PumpProcess(tmp_path, workspace, url, slack=slack) as pump:
            pump.wait_log("answers.off")
            wait_until(lambda: len(workspace.sockets) == 2)
            with memory_alarm(node):
                submit(workspace)
                pump.wait_log("broker.blocked")
            pump.wait_log("broker.unblocked")
            modal = submit(workspace)
            wait_until(lambda: modal.acknowledged)
            assert broker.get(questions).properties.reply_to is None
            assert len(pump.logged("broker_events.connected")) == 1
            assert len(pump.logged("answers.off")) == 1
    finally:
        delete_user(node, "no-answers")
