"""Facts about `rtmpump tail`, against a real node and a real pump."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
import time
from pathlib import Path

import pytest
from pika.exceptions import UnroutableError

from rtmpump.cli.columns import width
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.broker_node import close_connections
from tests.support.cli import Running, config_file, environment, rtmpump
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until

STREAM = {"RTMPUMP_EVENTS_STREAM": "rtm.stream"}


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
        tail.wait_line("listening to rtm.events of 127.0.0.1:")
        workspace.emit(
            {"type": "message", "channel": "C1", "user": "U1", "text": "h\ni ☃", "ts": "1.000001"}
        )
        line = tail.wait_line("message")
        tail.process.send_signal(signal.SIGINT)
        assert tail.wait() == 0
    time, *words = line.split(maxsplit=4)
    assert words == ["message", "C1", "U1", r"h\ni ☃"]
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
    assert [line.split()[1] for line in tail.lines] == ["message", "message.in", "user_typing"]


def test_tail_json_is_one_object_a_line_with_the_body_as_it_came(
    tmp_path: Path, events: Broker, broker_url: str
) -> None:
    """Numbers keep each digit, line breaks between fields go, no JSON becomes a string."""
    file = config_file(tmp_path, broker_url)
    with Running(tmp_path, "tail", "--json", "--count", "3", "-c", str(file)) as tail:
        tail.wait_line("listening")
        emit(events, "a", '{\n "n": 1.00000000000000000001,\r\n "t": "\\n☃"}', seq=7, at=2**40)
        emit(events, "b", b"\xff\x00 no JSON")
        emit(events, "c", "[" * 100_000)
        assert tail.wait() == 0
    assert '"body":{"n":1.00000000000000000001,"t":"\\n☃"}' in tail.lines[0]
    first, second, third = map(json.loads, tail.lines)
    assert first["headers"] == {"seq": 7, "at": 2**40}
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
    assert "\x1b[36mmessage\x1b[0m " in printed


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
    assert tail.lines[-1].split()[1:] == ["presence_change", "-", "U1", "presence=away", "n=1"]


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


def test_tail_names_the_missing_exchange(tmp_path: Path, node: RabbitNode, broker_url: str) -> None:
    """And in which virtual host of which node it looked, and how the exchange is made."""
    done = rtmpump(tmp_path, "tail", "-c", str(config_file(tmp_path, broker_url)))
    assert done.returncode == 1
    place = f"127.0.0.1:{node.port}, vhost {broker_url.rpartition('/')[2]}"
    told = f"rtmpump: there is no exchange rtm.events in RabbitMQ ({place}); start"
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1


def test_tail_stays_when_the_broker_ends_the_connection(
    tmp_path: Path, node: RabbitNode, broker_url: str
) -> None:
    """It says once why, once that it is back, and what it can't show."""
    with Broker(broker_url) as broker:
        broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    file = config_file(tmp_path, broker_url)
    vhost = broker_url.rpartition("/")[2]
    with Running(tmp_path, "tail", "-c", str(file)) as tail:
        tail.wait_line("listening")
        close_connections(node, vhost, "maintenance")
        back = tail.wait_line("is back after")
        with Broker(broker_url) as broker:
            emit(broker, "message", {"text": "later"})
        tail.wait_line("later")
        tail.process.send_signal(signal.SIGINT)
        assert tail.wait() == 0
    _, lost, _ = tail.errors
    assert lost.startswith("rtmpump: lost RabbitMQ: CONNECTION_FORCED - maintenance; trying again")
    assert back.endswith("not shown; no stream keeps them (events.stream)")


def test_tail_stays_through_a_restart_and_reads_the_stream_on(
    tmp_path: Path, node: RabbitNode, broker_url: str
) -> None:
    """From the stream nothing is missed or comes twice; Ctrl-C ends it also while it waits."""
    with Broker(broker_url) as broker:
        stream_of(broker)
        emit(broker, "a", {"n": 1})
    args = ("--since", "1h", "--json", "-c", str(config_file(tmp_path, broker_url)))
    with (
        Running(tmp_path, "tail", *args, env=STREAM) as tail,
        Running(tmp_path, "tail", *args, env=STREAM) as other,
    ):
        tail.wait_line('"n":1')
        other.wait_line('"n":1')
        node.stop()
        other.wait_line("lost RabbitMQ")
        other.process.send_signal(signal.SIGINT)
        assert other.wait() == 0
        node.start()
        tail.wait_line("is back after")
        with Broker(broker_url) as broker:
            emit(broker, "a", {"n": 2})
        tail.wait_line('"n":2')
        tail.process.send_signal(signal.SIGINT)
        assert tail.wait() == 0
    assert [json.loads(line)["body"]["n"] for line in tail.lines] == [1, 2]
    assert len(tail.errors) == 3, tail.errors
    _, lost, back = tail.errors
    assert lost.startswith("rtmpump: lost RabbitMQ: ")
    assert back.endswith("; it goes on where it stopped")


def stream_of(broker: Broker) -> None:
    """Declare the events exchange with the stream of STREAM."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    broker.queue(("rtm.events", "#"), name="rtm.stream", x_queue_type="stream")


def test_since_shows_what_the_stream_kept_by_time_topic_channel_and_user(
    tmp_path: Path, broker: Broker, broker_url: str
) -> None:
    """Also where an event has its channel or its user further inside."""
    stream_of(broker)
    now = int(time.time() * 1000)
    about: dict[str, object] = {"channel": "C0A", "user": "U0A"}
    emit(broker, "message", {"text": "too old"}, received_at=now - 7_200_000, **about)
    emit(broker, "message", {"text": "yes"}, received_at=now, **about)
    emit(broker, "message", {"text": "elsewhere"}, received_at=now, channel="C0B", user="U0A")
    emit(broker, "message", {"text": "another"}, received_at=now, channel="C0A", user="U0B")
    emit(broker, "reaction_added", {"user": "U0A", "item": {"channel": "C0A"}}, received_at=now)
    emit(broker, "message.changed", {"message": {"user": "U0A"}}, received_at=now, channel="C0A")
    emit(broker, "hello", {}, received_at=now, **about)
    args = ("--since", "1h", "--channel", "C0A", "--user", "<@U0A>", "--count", "3")
    file = str(config_file(tmp_path, broker_url))
    topics = ("message.#", "reaction_added")
    done = rtmpump(tmp_path, "tail", *topics, *args, "-c", file, env=STREAM)
    assert done.returncode == 0
    keys = [line.split()[1] for line in done.stdout.splitlines()]
    assert keys == ["message", "reaction_added", "message.changed"]
    assert "yes" in done.stdout


def test_since_without_a_stream_says_what_to_set(
    tmp_path: Path, broker: Broker, broker_url: str
) -> None:
    """And a queue that is no stream keeps its messages."""
    ask = ("tail", "--since", "1h", "-c", str(config_file(tmp_path, broker_url)))
    assert "events.stream is not set; set it" in rtmpump(tmp_path, *ask).stderr
    assert "there is no stream rtm.stream in" in rtmpump(tmp_path, *ask, env=STREAM).stderr
    broker.publish(b"kept", queue=broker.queue(name="rtm.stream", x_queue_type="quorum"))
    done = rtmpump(tmp_path, *ask, env=STREAM)
    assert done.returncode == 1
    wait_until(lambda: broker.count("rtm.stream") == 1)
    assert "the queue rtm.stream in RabbitMQ (" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("--channel", "general"),
        ("--channel", "GENERAL"),
        ("--channel", "U0A"),
        ("--user", "@alice"),
        ("--since", "yesterday"),
        ("--since", "0s"),
        ("--since", "800d"),
    ],
)
def test_a_filter_that_would_match_nothing_is_refused(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    """Only Slack knows names, so an id is asked for, and a time must be one."""
    done = rtmpump(tmp_path, "tail", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "give an id such as" in done.stderr or "write 90s, 10m, 1h or 2d" in done.stderr


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_line_fits_the_terminal_in_columns(
    tmp_path: Path, events: Broker, broker_url: str, columns: int
) -> None:
    """Whatever is wide or long; where an event has names, they are shown."""
    file = str(config_file(tmp_path, broker_url))
    command = [sys.executable, "-m", "rtmpump", "tail", "--count", "3", "-c", file]
    slash = {"channel_name": "general", "user_name": "alice", "command": "/x", "text": "now"}
    with Terminal(command, tmp_path, environment(), columns) as terminal:
        terminal.wait("Ctrl-C ends")
        emit(events, "message", {"text": "long " * 99}, channel="C024BE91L", user="U024BE7LH")
        emit(events, "a.key.that.is.longer.than.its.column", {"text": "日本🎉" * 99})
        emit(events, "slash_command", slash)
        assert terminal.end() == 0
    first, second, third = terminal.lines()[-3:]
    assert width(first) == columns
    # A wide character may not fit into the last column.
    assert columns - 1 <= width(second) <= columns
    assert {line.index(word) for line, word in ((first, "C02"), (third, "#general"))} == {
        second.index(" - ") + 1
    }
    assert third.split()[1:] == ["slash_command", "#general", "@alice", "/x", "now"]


def test_tail_leaves_no_event_unacknowledged(
    tmp_path: Path, node: RabbitNode, events: Broker, broker_url: str
) -> None:
    """RabbitMQ ends a channel that leaves one for half an hour, however few there are."""
    vhost = broker_url.rpartition("/")[2]
    count = (
        '[Count || Q <- rabbit_amqqueue:list(<<"' + vhost + '">>), {_, Count} <- '
        "rabbit_amqqueue:info(Q, [messages])]"
    )
    with Running(tmp_path, "tail", "-c", str(config_file(tmp_path, broker_url))) as tail:
        tail.wait_line("listening")
        emit(events, "message", {"text": "one"})
        tail.wait_line("one")
        wait_until(lambda: node.evaluate(count).strip() == "[0]")
