"""Facts about `rtmpump tail` and `rtmpump send`, against a real node and a real pump."""

from __future__ import annotations

import json
import os
import pty
import signal
from pathlib import Path

import pytest
from pika.exceptions import UnroutableError

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker_node import close_connections, memory_alarm
from tests.support.cli import Running, config_file, rtmpump
from tests.support.pump import Broker, wait_until

NOBODY = "amqp://guest:pass-word@127.0.0.1:1/%2F"
FAST = {"rate": 100.0, "burst": 10}


@pytest.fixture
def events(broker: Broker) -> Broker:
    """Return a broker with the events exchange, and no pump."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    return broker


def emit(broker: Broker, key: str, body: object, **headers: object) -> None:
    """Publish to the events exchange as a pump does; fail if no queue takes it."""
    broker.publish(body, exchange="rtm.events", queue=key, headers=headers, message_id=f"m:{key}")


def test_tail_prints_what_slack_sent_in_one_line(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace
) -> None:
    """Time, routing key, channel, user and text; Ctrl-C ends with 0."""
    pump = start_pump()
    with Running(tmp_path, "tail", "-c", str(pump.config)) as tail:
        tail.wait_line("listening to rtm.events for #")
        workspace.emit(
            {"type": "message", "channel": "C1", "user": "U1", "text": "h\ni ☃", "ts": "1.000001"}
        )
        line = tail.wait_line("message")
        tail.process.send_signal(signal.SIGINT)
        assert tail.wait() == 0
    time, rest = line.split(" ", 1)
    assert rest == r"message C1 U1 h\ni ☃"
    assert len(time) == len("12:34:56.789")
    assert [line for line in tail.errors if "listening" not in line] == []


def test_tail_prints_only_what_a_pattern_takes(
    tmp_path: Path, events: Broker, broker_url: str
) -> None:
    """Several patterns are an or; an event that fits two comes once."""
    file = config_file(tmp_path, broker_url)
    args = ("tail", "message.#", "*.in", "user_typing", "--count", "3", "-c", str(file))
    with Running(tmp_path, *args) as tail:
        tail.wait_line("listening")
        for key in ("hello", "message", "reaction_added", "message.in", "hello.x", "user_typing"):
            events.channel.basic_publish("rtm.events", key, b"{}")
        assert tail.wait() == 0
    assert [line.split(" ")[1] for line in tail.lines] == ["message", "message.in", "user_typing"]


def test_tail_json_is_one_object_a_line_with_the_body_as_it_came(
    tmp_path: Path, events: Broker, broker_url: str
) -> None:
    """Numbers keep each digit, line breaks between fields go, no JSON becomes a string."""
    file = config_file(tmp_path, broker_url)
    with Running(tmp_path, "tail", "--json", "--count", "3", "-c", str(file)) as tail:
        tail.wait_line("listening")
        emit(events, "a", '{\n "n": 1.00000000000000000001,\r\n "t": "\\n☃"}', seq=7)
        emit(events, "b", b"\xff\x00 no JSON")
        emit(events, "c", "[" * 100_000)
        assert tail.wait() == 0
    assert '"body":{"n":1.00000000000000000001,"t":"\\n☃"}' in tail.lines[0]
    first, second, third = map(json.loads, tail.lines)
    assert first["headers"] == {"seq": 7}
    assert (first["routing_key"], first["message_id"]) == ("a", "m:a")
    assert second["body"] == "\\xff\x00 no JSON"
    assert third["body"] == "[" * 100_000


def test_tail_json_steers_no_terminal(tmp_path: Path, events: Broker, broker_url: str) -> None:
    """Neither body, JSON or not, nor header: what JSON leaves raw is an escape too."""
    sly = "a\x7f\x9b2J\u202e\u2066b"
    file = config_file(tmp_path, broker_url)
    with Running(tmp_path, "tail", "--json", "--count", "2", "-c", str(file)) as tail:
        tail.wait_line("listening")
        emit(events, "a", f'{{"text": "{sly}"}}', user=sly)
        emit(events, "b", sly)
        assert tail.wait() == 0
    assert all(line.isprintable() for line in tail.lines)
    first, second = map(json.loads, tail.lines)
    assert (first["body"]["text"], first["headers"]["user"], second["body"]) == (sly, sly, sly)


def test_tail_lets_no_event_steer_the_terminal(
    tmp_path: Path, events: Broker, broker_url: str
) -> None:
    """Control characters in text, fields, headers and keys are escaped."""
    file = config_file(tmp_path, broker_url)
    with Running(tmp_path, "tail", "--count", "4", "-c", str(file)) as tail:
        tail.wait_line("listening")
        emit(events, "a", {"text": "\x1b[2J\r\u202e"}, channel="\x1b[31m", user="\x07")
        emit(events, "b.\x1b]0;x\x07", {"reason": "\x1b[2J"})
        emit(events, "c", b"\x1b[2J no JSON \xff")
        emit(events, "d", {"list": ["\u009b", 1e400]}, received_at=2**62)
        assert tail.wait() == 0
    assert len(tail.lines) == 4
    assert all(line.isprintable() for line in tail.lines)
    assert r"\x1b[2J\r\u202e" in tail.lines[0]


def test_tail_has_colours_on_a_terminal_only(
    tmp_path: Path, events: Broker, broker_url: str
) -> None:
    """A pipe gets plain text, as other tests see."""
    file = config_file(tmp_path, broker_url)
    ours, theirs = pty.openpty()
    with Running(tmp_path, "tail", "--count", "1", "-c", str(file), stdout=theirs) as tail:
        tail.wait_line("listening")
        emit(events, "message", {"text": "hi"})
        assert tail.wait() == 0
    printed = os.read(ours, 1000).decode()
    os.close(ours)
    os.close(theirs)
    assert "\x1b[36mmessage\x1b[0m hi" in printed


def test_tail_shows_what_an_event_without_text_tells(
    tmp_path: Path, events: Broker, broker_url: str
) -> None:
    """The fields beside the usual ones; what is nested too deep to be written ends nothing."""
    file = config_file(tmp_path, broker_url)
    with Running(tmp_path, "tail", "--count", "201", "-c", str(file)) as tail:
        tail.wait_line("listening")
        for depth in range(800, 1000):
            deep = b'{"type": "x", "a": ' + b"[" * depth + b"]" * depth + b"}"
            events.channel.basic_publish("rtm.events", "x", deep)
        body = {"type": "presence_change", "user": "U1", "presence": "away", "n": 1}
        emit(events, "presence_change", body, user="U1")
        assert tail.wait() == 0
    assert tail.lines[-1].endswith(" presence_change U1 presence=away n=1")


def test_tail_prints_more_than_the_prefetch_in_order(
    tmp_path: Path, events: Broker, broker_url: str
) -> None:
    """It acknowledges as it goes."""
    file = config_file(tmp_path, broker_url)
    with Running(tmp_path, "tail", "--json", "--count", "1000", "-c", str(file)) as tail:
        tail.wait_line("listening")
        for number in range(1000):
            emit(events, "a", {"n": number})
        assert tail.wait() == 0
    assert [json.loads(line)["body"]["n"] for line in tail.lines] == list(range(1000))


def test_tail_leaves_no_queue_behind(tmp_path: Path, events: Broker, broker_url: str) -> None:
    """Even if it is killed: then no queue takes the event any more."""
    file = config_file(tmp_path, broker_url)
    with Running(tmp_path, "tail", "-c", str(file)) as tail:
        tail.wait_line("listening")
        emit(events, "a", {})
        tail.process.kill()

    def nobody() -> bool:
        try:
            emit(events, "a", {})
        except UnroutableError:
            return True
        return False

    wait_until(nobody)


def test_tail_whose_reader_went_away_is_quiet(
    tmp_path: Path, events: Broker, broker_url: str
) -> None:
    """`rtmpump tail | head -1` ends with the next event and prints no traceback."""
    file = config_file(tmp_path, broker_url)
    read_end, write_end = os.pipe()
    with Running(tmp_path, "tail", "-c", str(file), stdout=write_end) as tail:
        os.close(write_end)
        tail.wait_line("listening")
        os.close(read_end)
        emit(events, "a", {})
        tail.wait()
    assert [line for line in tail.errors if "listening" not in line] == []


def test_tail_names_the_missing_exchange(tmp_path: Path, broker_url: str) -> None:
    """And says how it is made."""
    done = rtmpump(tmp_path, "tail", "-c", str(config_file(tmp_path, broker_url)))
    assert done.returncode == 1
    assert done.stderr.startswith("rtmpump: there is no exchange rtm.events in RabbitMQ; start")
    assert done.stderr.count("\n") == 1


def test_tail_is_69_when_the_broker_ends_it(
    tmp_path: Path, node: RabbitNode, broker_url: str
) -> None:
    """A connection that an operator closes is reported in one line."""
    with Broker(broker_url) as broker:
        broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    file = config_file(tmp_path, broker_url)
    vhost = broker_url.rpartition("/")[2]
    with Running(tmp_path, "tail", "-c", str(file)) as tail:
        tail.wait_line("listening")
        close_connections(node, vhost, "maintenance")
        assert tail.wait() == 69
    assert tail.errors[-1].startswith("rtmpump: RabbitMQ is not reachable: ")
    assert "maintenance" in tail.errors[-1]


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
    assert json.loads(queued.stdout) == {"queued": "rtm.outbound"}


def test_send_into_a_thread_and_to_the_channel(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace
) -> None:
    """--thread and --broadcast become thread_ts and reply_broadcast."""
    pump = start_pump(outbound=FAST)
    thread = ("--thread", "1355517523.000005", "--broadcast")
    done = rtmpump(tmp_path, "send", "C0GENERAL", "hi", *thread, "-c", str(pump.config))
    assert done.returncode == 0, done.stderr
    frame = next(frame for frame in workspace.frames if frame.get("type") == "message")
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


def test_send_no_wait_ends_when_rabbitmq_has_it(
    tmp_path: Path, broker: Broker, broker_url: str
) -> None:
    """The command is persistent and asks for no result."""
    broker.queue(name="rtm.outbound")
    args = ("general", "hi", "--no-wait", "-c", str(config_file(tmp_path, broker_url)))
    done = rtmpump(tmp_path, "send", *args)
    assert (done.returncode, done.stdout) == (0, "queued in rtm.outbound\n")
    message = broker.get("rtm.outbound")
    assert message.json == {"type": "message", "channel": "general", "text": "hi"}
    assert message.properties.delivery_mode == 2
    assert message.properties.reply_to is None


def test_send_names_the_missing_queue(tmp_path: Path, broker_url: str) -> None:
    """The broker gives back what no queue takes."""
    done = rtmpump(tmp_path, "send", "general", "hi", "-c", str(config_file(tmp_path, broker_url)))
    assert done.returncode == 1
    assert done.stderr.startswith("rtmpump: there is no queue rtm.outbound in RabbitMQ; start")


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
