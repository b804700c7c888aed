"""Facts about `rtmpump send`, against a real node and a real pump."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pika
import pytest

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.broker_node import close_connections, memory_alarm
from tests.support.cli import Running, config_file, environment, rtmpump
from tests.support.sandbox_clients import last_message
from tests.support.waiting import SECONDS, wait_until

NOBODY = "amqp://guest:pass-word@127.0.0.1:1/%2F"
FAST = {"rate": 100.0, "burst": 10}
# How many messages queues have not confirmed to their publishers.
UNCONFIRMED = (
    "lists:sum([Count || Channel <- rabbit_channel:list_local(),"
    " {_, Count} <- rabbit_channel:info(Channel, [messages_unconfirmed])])"
)


@pytest.mark.parametrize("args", [("tail",), ("send", "general", "hi")])
def test_a_broker_that_is_away_is_69(tmp_path: Path, args: tuple[str, ...]) -> None:
    """One line that names the node and not the password."""
    done = rtmpump(tmp_path, *args, "-c", str(config_file(tmp_path, NOBODY)))
    assert (done.returncode, done.stdout) == (69, "")
    told = "rtmpump: RabbitMQ is not reachable: 127.0.0.1:1: connection refused\n"
    assert done.stderr == told


def test_send_prints_the_ts_that_slack_gave(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace
) -> None:
    """The message is in the workspace when the command is done."""
    pump = start_pump(outbound=FAST)
    done = rtmpump(tmp_path, "send", "#general", "héllo ☃", "-c", str(pump.config))
    assert (done.returncode, done.stderr) == (0, "")
    sent = workspace.sent[-1]
    assert (sent.channel, sent.text) == ("C0GENERAL", "héllo ☃")
    assert done.stdout == f"sent to C0GENERAL, ts {sent.ts}\n"


def test_send_json_prints_the_result_as_it_came(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace
) -> None:
    """One object, good or bad; a refusal still ends with 1 and its line."""
    args = ("--json", "-c", str(start_pump(outbound=FAST).config))
    good = rtmpump(tmp_path, "send", "general", "hi", *args)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout) == {
        "ok": True,
        "channel": "C0GENERAL",
        "ts": workspace.sent[-1].ts,
        "attempts": 1,
        "uncertain": False,
    }
    bad = rtmpump(tmp_path, "send", "nowhere", "hi", *args)
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["error"]["code"] == "channel_not_found"
    assert bad.stderr.startswith("rtmpump: not sent: channel_not_found: ")
    queued = rtmpump(tmp_path, "send", "general", "hi", "--no-wait", *args)
    told = json.loads(queued.stdout)
    assert (told["queued"], told["consumers"]) == ("rtm.outbound", 1)


def test_send_into_a_thread_and_to_the_channel(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace
) -> None:
    """--thread and --broadcast become thread_ts and reply_broadcast."""
    pump = start_pump(outbound=FAST)
    thread = ("--thread", "1355517523.000005", "--broadcast")
    done = rtmpump(tmp_path, "send", "C0GENERAL", "hi", *thread, "-c", str(pump.config))
    assert done.returncode == 0, done.stderr
    frame = last_message(workspace)
    assert (frame["thread_ts"], frame["reply_broadcast"]) == ("1355517523.000005", True)


def test_send_escape_sends_the_characters_that_slack_reads_as_markup(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace
) -> None:
    """So nobody is called by a text that was only quoted; without it they are sent as they are."""
    pump = start_pump(outbound=FAST)
    text = "<!channel> a & b > c &amp;"
    for more in ((), ("--escape",)):
        done = rtmpump(tmp_path, "send", "general", text, *more, "-c", str(pump.config))
        assert done.returncode == 0, done.stderr
    escaped = "&lt;!channel&gt; a &amp; b &gt; c &amp;amp;"
    assert [sent.text for sent in workspace.sent] == [text, escaped]


@pytest.mark.parametrize(
    ("channel", "told"),
    [("nowhere", "not sent: channel_not_found: "), ("general", "not sent: slack_")],
)
def test_send_prints_the_error_and_ends_with_1(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace, channel: str, told: str
) -> None:
    """Our own errors and those of Slack come back to who sent."""
    workspace.faults.reply_policy = faults.error(4, "cannot process message")
    pump = start_pump(outbound=FAST | {"max_attempts": 1})
    done = rtmpump(tmp_path, "send", channel, "hi", "-c", str(pump.config))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"rtmpump: {told}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "text"), [("- a\nb\n", "- a\nb"), ("\ufeffhé ☃\r\n", "hé ☃"), ("\n\n", "\n")]
)
def test_send_reads_the_text_from_standard_input(
    tmp_path: Path, broker: Broker, broker_url: str, given: str, text: str
) -> None:
    """Without its last line break."""
    broker.queue(name="rtm.outbound")
    done = piped(
        tmp_path, given.encode(), "--no-wait", "-c", str(config_file(tmp_path, broker_url))
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert broker.get("rtm.outbound").json["text"] == text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"", b"Standard input is empty"),
        (b"\n", b"Standard input is empty"),
        (b"ab\xff", b"Standard input is no UTF-8, at byte 3"),
        (b"x" * 70_000, b"Standard input has more than 65,536 bytes"),
    ],
)
def test_send_refuses_what_can_be_no_text(tmp_path: Path, given: bytes, told: bytes) -> None:
    """As wrong usage, before anything is connected."""
    done = piped(tmp_path, given, "-c", str(config_file(tmp_path, NOBODY)))
    assert done.returncode == 2
    assert told in done.stderr


def piped(folder: Path, given: bytes, *args: str) -> subprocess.CompletedProcess[bytes]:
    """Run `… | rtmpump send general -`."""
    command = [sys.executable, "-m", "rtmpump", "send", "general", "-", *args]
    return subprocess.run(
        command,
        input=given,
        cwd=folder,
        env=environment(),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("text", ["- item", "-5 degrees", "--", "-care", "--thread-like"])
def test_a_text_that_begins_with_a_dash_goes_after_two(
    tmp_path: Path, broker: Broker, broker_url: str, text: str
) -> None:
    """The error says so, and then it works."""
    broker.queue(name="rtm.outbound")
    options = ("--no-wait", "-c", str(config_file(tmp_path, broker_url)))
    wrong = rtmpump(tmp_path, "send", *options, "general", text)
    assert wrong.returncode == 2
    assert text == "--" or "as in `rtmpump send CHANNEL -- TEXT`" in wrong.stderr
    assert rtmpump(tmp_path, "send", *options, "general", "--", text).returncode == 0
    assert broker.get("rtm.outbound").json["text"] == text


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("", "hi"), 'field "channel" must be'),
        (("General", "hi"), 'names are lower case; "general"?'),
        (("@alice", "hi"), "open a conversation first"),
        (("general", ""), 'field "text" must be a string'),
        (("general", "x" * 4001), "found 4,001"),
        (("general", "hi", "--thread", "yesterday"), 'field "thread_ts" must be'),
        (("general", "hi", "--broadcast"), "--broadcast needs --thread TS"),
        (("general", "hi", "--timeout", "0"), "--timeout"),
    ],
)
def test_send_refuses_a_command_that_the_pump_would_reject(
    tmp_path: Path, args: tuple[str, ...], told: str
) -> None:
    """Wrong usage is reported before anything is connected."""
    done = rtmpump(tmp_path, "send", *args, "-c", str(config_file(tmp_path, NOBODY)))
    assert done.returncode == 2
    assert told in done.stderr


def test_send_without_a_pump_is_69_and_the_command_stays(
    tmp_path: Path, broker: Broker, broker_url: str
) -> None:
    """It is carried out by the pump that starts later."""
    broker.queue(name="rtm.outbound")
    args = ("general", "hi", "--timeout", "0.5", "-c", str(config_file(tmp_path, broker_url)))
    done = rtmpump(tmp_path, "send", *args)
    assert done.returncode == 69
    assert "no answer within 0.5 s; the command stays in rtm.outbound" in done.stderr
    assert broker.get("rtm.outbound").json["text"] == "hi"


def test_send_says_that_another_program_answered(
    tmp_path: Path, broker: Broker, broker_url: str
) -> None:
    """What it said is no result, so nobody knows what became of the command."""
    broker.queue(name="rtm.outbound")
    with Running(
        tmp_path, "send", "general", "hi", "-c", str(config_file(tmp_path, broker_url))
    ) as send:
        asked = broker.get("rtm.outbound").properties
        same = pika.BasicProperties(correlation_id=asked.correlation_id)
        broker.channel.basic_publish("", str(asked.reply_to), b"[]", same)
        assert send.wait() == 1
    told = "rtmpump: the answer is no result of rtmpump; check which programs consume rtm.outbound"
    assert [line.startswith(told) for line in send.errors] == [True]


def test_send_whose_connection_ends_is_69(
    tmp_path: Path, node: RabbitNode, broker: Broker, broker_url: str
) -> None:
    """It says why; the command is not sent a second time."""
    broker.queue(name="rtm.outbound")
    with Running(
        tmp_path, "send", "general", "hi", "-c", str(config_file(tmp_path, broker_url))
    ) as send:
        wait_until(lambda: broker.count("rtm.outbound") == 1)
        # A queue may count a message that it has not confirmed.
        wait_until(lambda: node.evaluate(UNCONFIRMED) == "0")
        close_connections(node, broker_url.rpartition("/")[2], "maintenance", product="rtmpump")
        assert send.wait() == 69
    assert "RabbitMQ is not reachable: CONNECTION_FORCED - maintenance" in send.errors[0]
    assert "; RabbitMQ has the command; `rtmpump run` sends it, or has sent it" in send.errors[0]
    assert broker.count("rtm.outbound") == 1


def test_send_whose_connection_ends_before_the_confirm_says_so(
    tmp_path: Path, node: RabbitNode, broker: Broker, broker_url: str
) -> None:
    """Under an alarm RabbitMQ has the bytes, and has not read them."""
    broker.queue(name="rtm.outbound")
    vhost = broker_url.rpartition("/")[2]
    states = "[State || [{state, State}] <- rabbit_networking:connection_info_all([state])]"
    file = str(config_file(tmp_path, broker_url))
    with memory_alarm(node), Running(tmp_path, "send", "general", "hi", "-c", file) as send:
        wait_until(lambda: "blocked" in node.evaluate(states))
        close_connections(node, vhost, "maintenance", product="rtmpump")
        assert send.wait() == 69
    assert "CONNECTION_FORCED - maintenance; whether it took the command is" in send.errors[0]


def test_send_no_wait_ends_when_rabbitmq_has_it(
    tmp_path: Path, node: RabbitNode, broker: Broker, broker_url: str
) -> None:
    """The command is persistent and asks for no result; it says in which queue of which node."""
    broker.queue(name="rtm.outbound")
    args = ("general", "hi", "--no-wait", "-c", str(config_file(tmp_path, broker_url)))
    done = rtmpump(tmp_path, "send", *args)
    place = f"127.0.0.1:{node.port}, vhost {broker_url.rpartition('/')[2]}"
    assert (done.returncode, done.stdout) == (
        0,
        f"queued in rtm.outbound of {place}; no pump takes it now, so it waits\n",
    )
    message = broker.get("rtm.outbound")
    assert message.json == {"type": "message", "channel": "general", "text": "hi"}
    assert message.properties.delivery_mode == 2
    assert message.properties.reply_to is None


def test_send_names_the_missing_queue(tmp_path: Path, broker_url: str) -> None:
    """The broker gives back what no queue takes."""
    done = rtmpump(tmp_path, "send", "general", "hi", "-c", str(config_file(tmp_path, broker_url)))
    assert done.returncode == 1
    assert done.stderr.startswith("rtmpump: there is no queue rtm.outbound in RabbitMQ (127.0.0.1:")


def test_send_to_a_full_queue_is_refused(tmp_path: Path, broker: Broker, broker_url: str) -> None:
    """The broker's nack is reported as a failure."""
    queue = broker.queue(name="rtm.outbound", x_max_length=1, x_overflow="reject-publish")
    broker.publish({}, queue=queue)
    done = rtmpump(tmp_path, "send", "general", "hi", "-c", str(config_file(tmp_path, broker_url)))
    assert done.returncode == 1
    assert "rtmpump: RabbitMQ refused the command" in done.stderr


def test_send_is_69_while_the_broker_has_an_alarm(
    tmp_path: Path, node: RabbitNode, broker: Broker, broker_url: str
) -> None:
    """It says that it is not known whether the command was taken."""
    broker.queue(name="rtm.outbound")
    file = config_file(tmp_path, broker_url)
    with memory_alarm(node):
        done = rtmpump(tmp_path, "send", "general", "hi", "--timeout", "1", "-c", str(file))
    assert done.returncode == 69
    assert "it has a memory or disk alarm; whether it took the command" in done.stderr


def test_send_that_is_interrupted_ends_with_130(
    tmp_path: Path, broker: Broker, broker_url: str
) -> None:
    """The command stays in the queue."""
    broker.queue(name="rtm.outbound")
    file = config_file(tmp_path, broker_url)
    with Running(tmp_path, "send", "general", "hi", "-c", str(file)) as send:
        wait_until(lambda: broker.count("rtm.outbound") == 1)
        send.process.send_signal(signal.SIGINT)
        assert send.wait() == 130
    assert not any("Traceback" in line for line in send.errors)
    assert broker.count("rtm.outbound") == 1
