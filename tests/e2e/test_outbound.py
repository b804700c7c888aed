"""Facts about commands, from RabbitMQ through a real pump to a workspace, and back the results."""

from __future__ import annotations

import gzip
import json
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pika
import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.cli import rtmpump
from tests.support.programs import with_change
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

THREAD = "1355517523.000005"
FAST: dict[str, Any] = {"rate": 200.0, "burst": 50}
EMPTY: dict[str, Any] = {"ok": True, "attempts": 1, "uncertain": False}


@pytest.fixture
def pump(start_pump: StartPump) -> PumpProcess:
    """A pump that doesn't hold messages back."""
    return start_pump(outbound=FAST)


def texts(workspace: Workspace) -> list[str]:
    """What Slack accepted, in order."""
    return [sent.text for sent in workspace.sent]


def frames(workspace: Workspace, type: str) -> list[dict[str, Any]]:
    """What Slack was sent of this type, without the ids."""
    return [
        {key: value for key, value in frame.items() if key != "id"}
        for frame in workspace.frames
        if frame.get("type") == type
    ]


def failed(result: Any, code: str, attempts: int, uncertain: bool = False) -> bool:
    """Whether a result has exactly the shape of a failure, with these values."""
    message = result.get("error", {}).get("message")
    wanted = {"code": code, "message": message}
    assert isinstance(message, str)
    assert message
    return bool(
        result == {"ok": False, "error": wanted, "attempts": attempts, "uncertain": uncertain}
    )


@pytest.mark.usefixtures("pump")
def test_a_message_goes_to_a_channel_by_id_or_name(broker: Broker, workspace: Workspace) -> None:
    """Public, private and direct; the result has the id of the channel and Slack's ts."""
    wanted = {
        "C0GENERAL": "C0GENERAL",
        "general": "C0GENERAL",
        "#random": "C0RANDOM",
        "secret": "G0SECRET",
        "G0SECRET": "G0SECRET",
        "D0ALICE": "D0ALICE",
    }
    for channel, id in wanted.items():
        result = broker.ask({"channel": channel, "text": f"to {channel} ö"})
        sent = workspace.sent[-1]
        assert (sent.channel, sent.text) == (id, f"to {channel} ö")
        assert result == EMPTY | {"channel": id, "ts": sent.ts}


@pytest.mark.usefixtures("pump")
def test_sends_what_slackclient_s_rtm_send_message_sent(
    broker: Broker, workspace: Workspace
) -> None:
    """rtm_send_message(channel, message, thread, reply_broadcast) had these four, and no more.

    Source: slackclient 1.3.2, slackclient/server.py. It left thread_ts and reply_broadcast out
    where they were not given; so do we.
    """
    broker.ask({"channel": "C0GENERAL", "text": "plain"})
    broker.ask({"channel": "C0GENERAL", "text": "in a thread", "thread_ts": THREAD})
    broker.ask(
        {"channel": "C0GENERAL", "text": "shown", "thread_ts": THREAD, "reply_broadcast": True}
    )
    base = {"type": "message", "channel": "C0GENERAL"}
    in_thread = base | {"thread_ts": THREAD}
    assert frames(workspace, "message") == [
        base | {"text": "plain"},
        in_thread | {"text": "in a thread"},
        in_thread | {"text": "shown", "reply_broadcast": True},
    ]
    assert [(one.thread_ts, one.reply_broadcast) for one in workspace.sent] == [
        (None, False),
        (THREAD, False),
        (THREAD, True),
    ]


@pytest.mark.usefixtures("pump")
def test_typing_is_shown_in_its_channel(broker: Broker, workspace: Workspace) -> None:
    """With or without a thread; Slack answers nothing, the result says that it was written."""
    assert broker.ask({"type": "typing", "channel": "general"}) == EMPTY | {"channel": "C0GENERAL"}
    result = broker.ask({"type": "typing", "channel": "C0RANDOM", "thread_ts": THREAD})
    assert result == EMPTY | {"channel": "C0RANDOM"}
    wanted = [
        {"type": "typing", "channel": "C0GENERAL"},
        {"type": "typing", "channel": "C0RANDOM", "thread_ts": THREAD},
    ]
    assert workspace.wait(lambda: frames(workspace, "typing") == wanted)


@pytest.mark.usefixtures("pump")
def test_presence_sub_subscribes(broker: Broker, workspace: Workspace) -> None:
    """The list replaces the one before, and presence changes of its users arrive."""
    queue = broker.queue(("rtm.presence_change", "#"))
    assert broker.ask({"type": "presence_sub", "ids": ["U0BOB"]}) == EMPTY
    assert broker.ask({"type": "presence_sub", "ids": ["U0ALICE"]}) == EMPTY
    assert workspace.wait(lambda: len(frames(workspace, "presence_sub")) == 2)
    broker.take(queue, 2)
    workspace.set_presence("U0BOB", "away")
    workspace.set_presence("U0ALICE", "away")
    assert broker.get(queue).json["users"] == ["U0ALICE"]


@pytest.mark.usefixtures("pump")
def test_presence_query_asks_once(broker: Broker, workspace: Workspace) -> None:
    """What Slack says is an event."""
    queue = broker.queue(("rtm.presence_change", "#"))
    assert broker.ask({"type": "presence_query", "ids": ["U0ALICE", "U0BOB"]}) == EMPTY
    assert broker.get(queue).json["users"] == ["U0ALICE", "U0BOB"]
    assert frames(workspace, "presence_query") == [
        {"type": "presence_query", "ids": ["U0ALICE", "U0BOB"]}
    ]


OK = {"channel": "C0GENERAL", "text": "x"}
REJECTS: list[tuple[object, str, str]] = [
    (b"garbage", "invalid_command", "JSON"),
    (b"", "invalid_command", "JSON"),
    (b"\xff\xfe", "invalid_command", "UTF-8"),
    (b"[]", "invalid_command", "object"),
    (b"[" * 30_000, "invalid_command", "nested"),
    ({"channel": "general"}, "invalid_command", '"text"'),
    ({"text": "x"}, "invalid_command", '"channel"'),
    (OK | {"text": ""}, "invalid_command", '"text"'),
    (OK | {"text": 5}, "invalid_command", '"text"'),
    (OK | {"text": None}, "invalid_command", '"text"'),
    (OK | {"text": "x" * 4001}, "too_long", '"text"'),
    (OK | {"channel": ["C1"]}, "invalid_command", '"channel"'),
    (OK | {"channel": ""}, "invalid_command", '"channel"'),
    (OK | {"chanel": "x"}, "invalid_command", '"chanel"'),
    (OK | {"attachments": []}, "invalid_command", '"attachments"'),
    (OK | {"thread_ts": 1.5}, "invalid_command", '"thread_ts"'),
    (OK | {"thread_ts": "soon"}, "invalid_command", '"thread_ts"'),
    (OK | {"reply_broadcast": True}, "invalid_command", '"reply_broadcast"'),
    (OK | {"reply_broadcast": 1, "thread_ts": THREAD}, "invalid_command", '"reply_broadcast"'),
    (OK | {"type": "mesage"}, "invalid_command", '"type"'),
    (OK | {"type": 7}, "invalid_command", '"type"'),
    ({"type": "typing"}, "invalid_command", '"channel"'),
    ({"type": "typing", "channel": "general", "text": "x"}, "invalid_command", '"text"'),
    ({"type": "presence_sub"}, "invalid_command", '"ids"'),
    ({"type": "presence_query", "ids": []}, "invalid_command", '"ids"'),
    ({"type": "presence_sub", "ids": "U1"}, "invalid_command", '"ids"'),
    ({"type": "presence_query", "ids": ["U1", 2]}, "invalid_command", '"ids"'),
    ({"type": "presence_query", "ids": ["U1"] * 501}, "invalid_command", '"ids"'),
    ({"type": "presence_sub", "ids": ["U" * 90] * 200}, "too_long", '"ids"'),
    (OK | {"channel": "nowhere"}, "channel_not_found", "nowhere"),
    (OK | {"channel": "U0ALICE1"}, "invalid_command", "open a conversation first"),
    (OK | {"channel": "@alice"}, "invalid_command", "open a conversation first"),
    (OK | {"channel": "General"}, "invalid_command", '"general"?'),
    (OK | {"channel": "GENERAL"}, "invalid_command", '"general"?'),
    (json.dumps(OK).encode("utf-16"), "invalid_command", "UTF-16"),
    (gzip.compress(json.dumps(OK).encode()), "invalid_command", "gzip"),
]


@pytest.mark.usefixtures("pump")
def test_what_can_never_be_sent_is_answered_and_dead_lettered(
    broker: Broker, workspace: Workspace
) -> None:
    """At once, with the field by name; what comes after it is sent."""
    for body, code, word in REJECTS:
        given = body if isinstance(body, bytes) else json.dumps(body).encode()
        result = broker.ask(given)
        assert failed(result, code, attempts=0), (body, result)
        assert word in result["error"]["message"], (body, result)
        dead = broker.dead()
        assert dead.body == given
        assert dead.headers["rtmpump-error-code"] == code
        assert dead.headers["rtmpump-error-message"] == result["error"]["message"]
    assert broker.ask(OK | {"text": "x" * 4000})["ok"]
    assert frames(workspace, "message") == [OK | {"type": "message", "text": "x" * 4000}]


@pytest.mark.usefixtures("pump")
def test_what_is_meant_is_sent(broker: Broker, workspace: Workspace) -> None:
    """A channel as Slack writes it, decomposed accents, a BOM, null for what is left out."""
    workspace.channels["caf\u00e9"] = "C0CAFE"
    null = {"thread_ts": None, "reply_broadcast": None, "type": None, "blocks": None}
    for body in (
        OK | {"channel": "<#C0CAFE|caf\u00e9>"},
        OK | {"channel": "#cafe\u0301"},
        b"\xef\xbb\xbf" + json.dumps(OK | {"channel": "C0CAFE"}).encode(),
        OK | {"channel": "C0CAFE"} | null,
    ):
        assert broker.ask(body, content_encoding="utf-8")["ok"], body
    assert frames(workspace, "message") == [OK | {"type": "message", "channel": "C0CAFE"}] * 4


@pytest.mark.usefixtures("pump")
def test_the_content_encoding_of_a_body_that_is_no_json_is_named(broker: Broker) -> None:
    """Its producer's library has compressed it, or written it in another way."""
    result = broker.ask(b"eyJjaGFubmVsIjogIkMxIn0=", content_encoding="base64")
    assert failed(result, "invalid_command", attempts=0)
    assert 'content_encoding is "base64"' in result["error"]["message"]


@pytest.mark.usefixtures("pump")
def test_what_slack_cannot_process_comes_with_what_to_try(
    broker: Broker, workspace: Workspace
) -> None:
    """Slack's own words tell nothing to do."""
    workspace.faults.reply_policy = faults.error(4, "cannot process message")
    result = broker.ask(OK)
    assert failed(result, "slack_4", attempts=1)
    assert result["error"]["message"].startswith("cannot process message; check that the channel")


LIST = "conversations.list"


@pytest.mark.usefixtures("pump")
@pytest.mark.parametrize("code", ["missing_argument", "team_access_not_granted"])
def test_a_list_that_slack_refuses_for_good(
    broker: Broker, workspace: Workspace, code: str
) -> None:
    """The command ends at once and says why; what gives the id needs no list."""
    refusal = {"ok": False, "error": code, "response_metadata": {"messages": ["[ERROR] a b c"]}}
    workspace.faults.api_errors[LIST] = deque([refusal] * 100)
    result = broker.ask({"channel": "general", "text": "x"})
    assert failed(result, "channel_not_found", attempts=0)
    assert code in result["error"]["message"]
    assert "[ERROR] a b c" in result["error"]["message"]
    assert broker.ask(OK)["ok"]


@pytest.mark.usefixtures("pump")
def test_a_name_that_moved_to_another_channel_in_silence(
    broker: Broker, workspace: Workspace
) -> None:
    """Slack refuses the old channel, so nothing was sent, and the new one gets it."""
    assert broker.ask({"channel": "general", "text": "old"})["channel"] == "C0GENERAL"
    workspace.channels["general-old"] = workspace.channels["general"]
    workspace.archived.add("C0GENERAL")
    workspace.channels["general"] = "C0NEW"
    commands = [broker.command({"channel": "general", "text": f"n{n}"}) for n in range(4)]
    results = [broker.result(command).json for command in commands]
    assert [(result["ok"], result["channel"]) for result in results] == [(True, "C0NEW")] * 4
    assert texts(workspace) == ["old", "n0", "n1", "n2", "n3"]
    assert [sent.channel for sent in workspace.sent[1:]] == ["C0NEW"] * 4


@pytest.mark.usefixtures("pump")
def test_an_event_about_one_channel_holds_up_no_other(broker: Broker, workspace: Workspace) -> None:
    """While Slack does not answer for the list, only the names of that channel wait."""
    assert broker.ask({"channel": "general", "text": "1"})["ok"]
    workspace.faults.api_errors[LIST] = deque([faults.HttpAnswer(500)] * 10_000)
    queue = broker.queue(("rtm.channel_rename", "#"))
    id = workspace.channels["main"] = workspace.channels.pop("random")
    workspace.emit({"type": "channel_rename", "channel": {"id": id, "name": "main"}})
    broker.get(queue)
    renamed = broker.command({"channel": "main", "text": "2"})
    assert broker.ask({"channel": "#general", "text": "3"})["ok"]
    assert texts(workspace) == ["1", "3"]
    workspace.faults.api_errors[LIST].clear()
    assert broker.result(renamed).json["channel"] == "C0RANDOM"


def test_a_list_that_cannot_be_had_for_now(
    start_pump: StartPump, broker: Broker, workspace: Workspace, tmp_path: Path
) -> None:
    """A command waits as long as its expiration allows; one warning, and the status says why."""
    pump = start_pump(outbound=FAST, http={"listen": f"127.0.0.1:{free_port()}"})
    workspace.faults.api_errors[LIST] = deque([faults.HttpAnswer(500)] * 10_000)
    late = broker.command({"channel": "general", "text": "late"}, expiration="1500")
    patient = broker.command({"channel": "general", "text": "patient"})
    assert failed(broker.result(late).json, "timeout", attempts=0)
    assert broker.ask(OK)["ok"]
    pump.wait_log("channel_list.unreachable")
    status = rtmpump(tmp_path, "status", "--json", "-c", str(pump.config))
    link = json.loads(status.stdout)["links"]["channel_list"]
    assert (link["up"], link["last_error"].split(":")[0]) == (False, "http_500")
    workspace.faults.api_errors[LIST].clear()
    assert broker.result(patient).json["ok"]
    assert pump.wait_log("channel_list.connected")
    assert len(pump.logged("channel_list.unreachable", level="warning")) == 1
    assert texts(workspace) == ["x", "patient"]


@pytest.mark.usefixtures("pump")
def test_a_dead_letter_keeps_body_and_properties(broker: Broker, workspace: Workspace) -> None:
    """And gains four headers: code, message, attempts, and when."""
    workspace.faults.reply_policy = faults.error(2, "message text is missing")
    began = datetime.now(UTC) - timedelta(seconds=1)
    result = broker.ask(
        OK,
        message_id="m-1",
        content_type="application/json",
        headers={"trace": "abc"},
        app_id="shop",
        type="greeting",
        priority=3,
        timestamp=1_700_000_000,
    )
    assert failed(result, "slack_2", attempts=1)
    dead = broker.dead()
    assert dead.json == OK
    kept = dead.properties
    assert (kept.message_id, kept.content_type) == ("m-1", "application/json")
    assert (kept.app_id, kept.type, kept.priority) == ("shop", "greeting", 3)
    assert (kept.timestamp, kept.delivery_mode) == (1_700_000_000, 2)
    assert kept.correlation_id
    assert kept.reply_to
    headers = {k: v for k, v in dead.headers.items() if k != "x-delivery-count"}
    at = datetime.fromisoformat(headers.pop("rtmpump-failed-at"))
    assert began <= at <= datetime.now(UTC)
    assert headers == {
        "trace": "abc",
        "rtmpump-error-code": "slack_2",
        "rtmpump-error-message": "message text is missing",
        "rtmpump-attempts": 1,
    }


@pytest.mark.usefixtures("pump")
def test_answers_direct_reply_to(broker: Broker) -> None:
    """RabbitMQ's amq.rabbitmq.reply-to, with the correlation id."""
    channel = broker.connection.channel()
    got: list[tuple[Any, bytes]] = []
    channel.basic_consume(
        "amq.rabbitmq.reply-to", lambda _c, _m, given, body: got.append((given, body)), True
    )
    properties = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="c-7")
    channel.basic_publish("", "rtm.outbound", json.dumps(OK).encode(), properties)

    def came() -> bool:
        broker.connection.process_data_events(0.05)
        return bool(got)

    wait_until(came)
    ((given, body),) = got
    assert given.correlation_id == "c-7"
    assert json.loads(body)["ok"]


@pytest.mark.usefixtures("pump")
def test_a_command_without_reply_to_is_sent_and_acked(broker: Broker, workspace: Workspace) -> None:
    """No result has to be awaited."""
    broker.publish(OK)
    assert workspace.wait(lambda: workspace.sent)
    wait_until(lambda: broker.count("rtm.outbound") == 0)
    assert broker.ask(OK)["ok"]


def test_an_expired_command_is_not_sent(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Its `expiration` passes while it waits for its turn: a dead letter that does not expire."""
    start_pump(outbound={"rate": 0.01, "burst": 1})
    assert broker.ask(OK)["ok"]
    result = broker.ask(OK | {"text": "late"}, expiration="200")
    assert failed(result, "timeout", attempts=0)
    assert broker.dead().json["text"] == "late"
    assert texts(workspace) == ["x"]


@pytest.mark.usefixtures("pump")
def test_an_expiration_counts_from_the_timestamp(broker: Broker, workspace: Workspace) -> None:
    """Also the time that it lay in RabbitMQ; what is younger is sent."""
    now = int(time.time())
    assert failed(broker.ask(OK, expiration="60000", timestamp=now - 100), "timeout", attempts=0)
    assert broker.ask(OK, expiration="60000", timestamp=now - 1)["ok"]
    assert len(workspace.sent) == 1


def test_a_command_that_expires_while_no_pump_runs_is_a_dead_letter(
    pump: PumpProcess, broker: Broker
) -> None:
    """RabbitMQ sees to it."""
    pump.terminate()
    assert pump.wait() == 0
    broker.publish(OK, expiration="50")
    assert broker.dead().json == OK


@pytest.mark.usefixtures("pump")
def test_order_is_kept_within_a_channel(broker: Broker, workspace: Workspace) -> None:
    """Also where channels are mixed, and named by id and by names that must be looked up first."""
    names = {"C0GENERAL": ["general", "#general", "C0GENERAL"], "C0RANDOM": ["random", "C0RANDOM"]}
    for n in range(60):
        id = "C0GENERAL" if n % 2 else "C0RANDOM"
        broker.publish({"channel": names[id][n % len(names[id])], "text": str(n)})
    assert workspace.wait(lambda: len(workspace.sent) == 60, 100)
    for id, odd in (("C0GENERAL", 1), ("C0RANDOM", 0)):
        sent = [one.text for one in workspace.sent if one.channel == id]
        assert sent == [str(n) for n in range(odd, 60, 2)]


def test_channels_do_not_wait_for_each_other(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """A channel whose turn comes once in a hundred seconds leaves the others alone."""
    start_pump(outbound={"rate": 0.01, "burst": 1})
    for n in range(5):
        broker.publish({"channel": "general", "text": f"slow {n}"})
    assert broker.ask({"channel": "random", "text": "other"})["ok"]
    assert sorted(texts(workspace)) == ["other", "slow 0"]


def test_the_rate_of_a_channel_is_kept(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Two at once, then five a second: seven need at least a second."""
    start_pump(outbound={"rate": 5.0, "burst": 2})
    # Not since the first arrived: Slack may have been slow to take it.
    began = time.time()
    for n in range(7):
        broker.publish(OK | {"text": str(n)})
    assert workspace.wait(lambda: len(workspace.sent) == 7, 100)
    assert workspace.sent[-1].received_at - began > 0.9
    assert texts(workspace) == [str(n) for n in range(7)]


@pytest.mark.usefixtures("pump")
def test_slow_down_is_obeyed_and_tried_again(broker: Broker, workspace: Workspace) -> None:
    """Slack refused it for certain: it is no attempt, and nothing is uncertain; order is kept."""
    slow = faults.error(-1, "slow down, too many messages...")
    workspace.faults.reply_policy = deque([slow, slow])
    first = broker.command(OK | {"text": "first"})
    second = broker.command(OK | {"text": "second"})
    sent = broker.result(first).json
    assert sent == {
        "ok": True,
        "channel": "C0GENERAL",
        "ts": workspace.sent[0].ts,
        "attempts": 1,
        "uncertain": False,
    }
    assert broker.result(second).json["attempts"] == 1
    assert texts(workspace) == ["first", "second"]


def test_slow_down_for_ever_is_waited_for_as_long_as_the_expiration_allows(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Far more often than max_attempts."""
    start_pump(outbound=FAST | {"max_attempts": 1}, retry={"initial": 0.05, "max": 0.1})
    workspace.faults.reply_policy = faults.error(-1, "slow down, too many messages...")
    assert failed(broker.ask(OK, expiration="10000"), "timeout", attempts=0)
    assert len([frame for frame in workspace.frames if frame["type"] == "message"]) > 5
    assert workspace.sent == []


def test_one_lost_reply_holds_up_no_other_channel(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """While the first waits for its reply, another channel is served."""
    start_pump(outbound=FAST | {"reply_timeout": 600})
    workspace.faults.reply_policy = deque([faults.NEVER])
    broker.publish(OK | {"text": "lost"})
    assert workspace.wait(lambda: texts(workspace) == ["lost"])
    assert broker.ask({"channel": "random", "text": "other"})["ok"]


def test_a_reply_that_never_comes_is_sent_again(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """With "resend" it may be there twice, and the result says so."""
    # A busy machine answers the second time in that time.
    start_pump(outbound=FAST | {"reply_timeout": 6})
    workspace.faults.reply_policy = deque([faults.NEVER])
    result = broker.ask(OK)
    assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 2, True)
    assert result["ts"] == workspace.sent[1].ts
    assert len(workspace.sent) == 2


def test_no_reply_at_all_ends_after_max_attempts(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """With "timeout": the last word is that no answer came."""
    start_pump(outbound=FAST | {"reply_timeout": 0.2, "max_attempts": 2})
    workspace.faults.reply_policy = faults.NEVER
    assert failed(broker.ask(OK), "timeout", attempts=2, uncertain=True)
    dead = broker.dead().headers
    assert (dead["rtmpump-attempts"], dead["rtmpump-uncertain"]) == (2, True)
    # Slack may read the last one later than the pump gives up.
    assert workspace.wait(lambda: len(workspace.sent) >= 2)
    assert len(workspace.sent) == 2


def test_a_reply_that_never_comes_is_a_dead_letter_if_so_wished(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """With "dead-letter" it is never sent twice."""
    start_pump(outbound=FAST | {"reply_timeout": 0.2, "on_uncertain": "dead-letter"})
    workspace.faults.reply_policy = faults.NEVER
    assert failed(broker.ask(OK), "timeout", attempts=1, uncertain=True)
    assert broker.dead().json == OK
    assert workspace.wait(lambda: workspace.sent)
    assert len(workspace.sent) == 1


@pytest.mark.usefixtures("pump")
def test_a_cut_before_the_reply_is_uncertain_and_sent_again(
    broker: Broker, workspace: Workspace
) -> None:
    """Slack had taken the first, so it is there twice, on two connections."""
    workspace.faults.reply_policy = deque([faults.CUT_BEFORE_REPLY])
    result = broker.ask(OK)
    assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 2, True)
    assert [one.connection for one in workspace.sent] == [1, 2]


@pytest.mark.usefixtures("pump")
def test_a_cut_before_slack_took_it_loses_nothing(broker: Broker, workspace: Workspace) -> None:
    """Sent again, it is there once."""
    workspace.faults.reply_policy = deque([faults.CUT_BEFORE_ACCEPT])
    result = broker.ask(OK)
    assert (result["ok"], result["attempts"], result["uncertain"]) == (True, 2, True)
    assert len(workspace.sent) == 1


def test_a_cut_before_the_reply_is_a_dead_letter_if_so_wished(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """With "dead-letter": code "uncertain", and not sent twice."""
    start_pump(outbound=FAST | {"on_uncertain": "dead-letter"})
    workspace.faults.reply_policy = deque([faults.CUT_BEFORE_REPLY])
    assert failed(broker.ask(OK), "uncertain", attempts=1, uncertain=True)
    assert broker.dead().headers["rtmpump-error-code"] == "uncertain"
    assert len(workspace.sent) == 1


@pytest.mark.parametrize("how", ["reply", "echo"])
def test_a_late_reply_on_the_next_connection_settles_it(
    start_pump: StartPump, broker: Broker, workspace: Workspace, how: str
) -> None:
    """It is sent once, and nothing is uncertain any more."""
    start_pump(outbound=FAST, program=with_change("outbound.dispatcher", "_LATE_REPLY", 30.0))
    workspace.faults.reply_policy = deque([faults.CUT_BEFORE_REPLY])
    workspace.faults.repeat_last_reply = how
    result = broker.ask(OK)
    assert result == EMPTY | {"channel": "C0GENERAL", "ts": workspace.sent[0].ts}
    assert len(workspace.sent) == 1


@pytest.mark.usefixtures("pump")
@pytest.mark.parametrize(
    ("answer", "echoes"),
    [(faults.TWICE, 0), (faults.ECHO_BEFORE, 1), (faults.ECHO_AFTER, 1), (faults.ECHO_ONLY, 1)],
    ids=lambda value: getattr(getattr(value, "kind", None), "value", ""),
)
def test_replies_and_echoes_settle_a_command_once(
    broker: Broker, workspace: Workspace, answer: faults.Answer, echoes: int
) -> None:
    """One result; an echo is an event as well."""
    queue = broker.queue(("rtm.message", "#"))
    workspace.faults.reply_policy = answer
    asked = broker.command(OK)
    result = broker.result(asked).json
    assert result == EMPTY | {"channel": "C0GENERAL", "ts": workspace.sent[0].ts}
    workspace.faults.reply_policy = faults.NORMAL
    assert broker.ask(OK)["ts"] == workspace.sent[1].ts
    assert broker.more_results(asked) == []
    workspace.say("general", "end")
    assert [one.json["text"] for one in broker.take(queue, echoes + 1)] == ["x"] * echoes + ["end"]


@pytest.mark.usefixtures("pump")
def test_replies_in_another_order_find_their_commands(broker: Broker, workspace: Workspace) -> None:
    """The first reply belongs to the second message."""
    workspace.faults.reply_policy = deque([faults.late(0.5)])
    slow = broker.command({"channel": "general", "text": "slow"})
    assert workspace.wait(lambda: texts(workspace) == ["slow"])
    assert broker.ask({"channel": "random", "text": "quick"})["ts"] == workspace.sent[1].ts
    assert broker.result(slow).json["ts"] == workspace.sent[0].ts


def test_commands_wait_while_slack_is_away(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """They are sent when it is back, in order, and were never uncertain."""
    pump = start_pump(outbound=FAST)
    workspace.down()
    pump.wait_log("slack.unreachable")
    asked = [broker.command({"channel": "C0GENERAL", "text": str(n)}) for n in range(5)]
    workspace.up()
    results = [broker.result(one).json for one in asked]
    assert all(
        (one["ok"], one["attempts"], one["uncertain"]) == (True, 1, False) for one in results
    )
    assert texts(workspace) == [str(n) for n in range(5)]


def test_commands_wait_while_no_pump_runs(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """What comes while it is stopped is sent after the next start."""
    pump.terminate()
    assert pump.wait() == 0
    asked = [broker.command(OK | {"text": str(n)}) for n in range(5)]
    pump.start()
    assert all(broker.result(one).json["ok"] for one in asked)
    assert texts(workspace) == [str(n) for n in range(5)]


def test_a_killed_pump_loses_no_command(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Killed while Slack owes a reply, the next pump settles it; each has one result."""
    pump = start_pump(outbound=FAST | {"reply_timeout": 300})
    workspace.faults.reply_policy = deque([faults.NEVER, faults.NEVER])
    asked = [broker.command({"channel": c, "text": c}) for c in ("C0GENERAL", "C0RANDOM")]
    asked.append(broker.command({"channel": "C0GENERAL", "text": "behind"}))
    assert workspace.wait(lambda: len(workspace.sent) == 2)
    pump.kill()
    pump.start()
    assert all(broker.result(one).json["ok"] for one in asked)
    in_general = [one.text for one in workspace.sent if one.channel == "C0GENERAL"]
    assert in_general == ["C0GENERAL", "C0GENERAL", "behind"]
    assert not any(broker.more_results(one) for one in asked)


def test_a_stop_waits_for_the_reply_under_way(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """SIGTERM between write and reply: the command is settled, not sent again."""
    pump = start_pump(outbound=FAST)
    workspace.faults.reply_policy = deque([faults.late(1.0)])
    asked = broker.command(OK)
    assert workspace.wait(lambda: workspace.sent)
    pump.terminate()
    assert pump.wait() == 0
    assert broker.result(asked).json == EMPTY | {"channel": "C0GENERAL", "ts": workspace.sent[0].ts}
    assert broker.count("rtm.outbound") == 0


def test_a_result_nobody_takes_hurts_nobody(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """A `reply_to` that is not there: the command is sent and acked."""
    broker.publish(OK, reply_to="not-there", correlation_id="c")
    assert broker.ask(OK)["ok"]
    assert len(workspace.sent) == 2
    pump.terminate()
    assert pump.wait() == 0
    assert broker.count("rtm.outbound") == 0
