"""Facts about `rtmpump dead`, on the real queues of a real node."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rtmpump.cli.columns import width
from rtmpump.config import Outbound
from rtmpump.links.rabbitmq.topology import Queue, outbound
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.cli import Running, config_file, environment, rtmpump
from tests.support.terminal import Terminal
from tests.support.waiting import SECONDS, wait_until

DEAD, COMMANDS = "rtm.outbound.dead", "rtm.outbound"
WHY = {
    "rtmpump-error-code": "channel_not_found",
    "rtmpump-error-message": "there is no channel",
    "rtmpump-attempts": 1,
    "rtmpump-failed-at": "2026-01-02T03:04:05.678Z",
}


@pytest.fixture
def queues(broker: Broker) -> Broker:
    """Return a broker with the queues of commands, and no pump that consumes them."""
    for item in outbound(Outbound()):
        if isinstance(item, Queue):
            broker.channel.queue_declare(item.name, durable=True, arguments=dict(item.arguments))
    return broker


@pytest.fixture
def file(tmp_path: Path, broker_url: str) -> Path:
    """A configuration for the vhost of this test."""
    return config_file(tmp_path, broker_url)


def bury(broker: Broker, *texts: str, headers: dict[str, Any] = WHY, **properties: Any) -> None:
    """Puts dead letters with these texts into their queue."""
    for text in texts:
        command = {"channel": "nowhere", "text": text}
        broker.publish(command, queue=DEAD, headers=headers, **properties)


def dead(file: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Runs `rtmpump dead …`."""
    return rtmpump(file.parent, "dead", *args, "-c", str(file))


def listed(file: Path) -> list[dict[str, Any]]:
    """What `dead list --json` prints."""
    done = dead(file, "list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def texts(file: Path) -> list[str]:
    """The texts of the dead letters, in the order of their queue."""
    return [letter["text"] for letter in listed(file)]


@pytest.fixture
def place(node: RabbitNode, broker_url: str) -> str:
    """The node and the virtual host of this test, in words."""
    return f"127.0.0.1:{node.port}, vhost {broker_url.rpartition('/')[2]}"


def test_list_shows_who_when_and_why(file: Path, queues: Broker, place: str) -> None:
    """For people a line each, that lets nothing steer the terminal; whole in a pipe."""
    bury(queues, "hi \x1b[2J" + "x" * 100, message_id="mine")
    queues.publish(b"\xff no JSON", queue=DEAD)
    done = dead(file, "list")
    first, second = done.stdout.splitlines()
    assert first.split()[:2] == ["mine", "2026-01-02"]
    assert r" channel_not_found nowhere hi \x1b[2Jxxx" in first
    assert first.endswith("x" * 100 + " (there is no channel)")
    assert second.split(maxsplit=4)[1:] == ["?", "?", "?", r"\xff no JSON"]
    assert first.index("nowhere") == second.index(r"\xff") - len("nowhere ")
    assert done.stderr == f"2 dead letters in {DEAD} of {place}\n"
    (letter, _) = listed(file)
    assert (letter["id"], letter["at"]) == ("mine", WHY["rtmpump-failed-at"])
    assert (letter["code"], letter["attempts"]) == ("channel_not_found", 1)


def test_list_shows_whether_slack_may_have_taken_it(file: Path, queues: Broker) -> None:
    """Whoever retries it must know that it may be there twice."""
    bury(queues, "twice?", headers=WHY | {"rtmpump-uncertain": True})
    bury(queues, "surely not")
    first, second = dead(file, "list").stdout.splitlines()
    assert first.endswith("twice? (there is no channel) [Slack may have taken it]")
    assert "may have taken" not in second
    assert [letter["uncertain"] for letter in listed(file)] == [True, False]


@pytest.mark.parametrize(("columns", "doubt"), [(60, "[?]"), (80, "[uncertain]"), (200, "it]")])
def test_list_fits_the_terminal(file: Path, queues: Broker, columns: int, doubt: str) -> None:
    """A line each, in columns; the doubt is never cut off, nor that there is more of an id."""
    long = "9f1c2d34-aaaa-bbbb-cccc-1234567890ab-and-more-of-it"
    bury(queues, "wide 日本🎉 " * 30, message_id=long, headers=WHY | {"rtmpump-uncertain": True})
    bury(queues, "short", message_id="b")
    command = [sys.executable, "-m", "rtmpump", "dead", "list", "-c", str(file)]
    with Terminal(command, file.parent, environment(), columns) as terminal:
        assert terminal.end() == 0
    first, second, _ = terminal.lines()
    assert columns - 1 <= width(first) <= columns
    assert first.endswith(doubt)
    assert first.index("nowhere") == second.index("nowhere")
    begun = first.split()[0].removesuffix("…")
    assert long.startswith(begun)
    assert f"--id={long} -c {file}" in dead(file, "show", begun).stdout


def test_show_prints_all_of_a_dead_letter(file: Path, queues: Broker) -> None:
    """Why, properties, headers of any kind, the body, and what can be done."""
    own = {"own": [1, {"raw": b"\xff"}], "big": 2**40, "at": datetime(2026, 1, 2, tzinfo=UTC)}
    bury(queues, "a\x1b[2J\nb", headers=WHY | own, message_id="-x", correlation_id="c")
    bury(queues, "another", message_id="y")
    whole = ("dead", "show", "-c", str(file))
    words = rtmpump(file.parent, *whole, "--", "-x").stdout
    assert all(line.isprintable() for line in words.splitlines())
    lines = [" ".join(line.split()) for line in words.splitlines()]
    for line in (
        "why channel_not_found: there is no channel",
        "correlation_id c",
        r'own [1, {"raw": "\\xff"}]',
        "rtmpump-failed-at 2026-01-02T03:04:05.678Z",
        '"channel": "nowhere",',
        f"retry it rtmpump dead retry --id=-x -c {file}",
    ):
        assert line in lines
    letter = json.loads(rtmpump(file.parent, *whole, "--json", "--", "-x").stdout)
    assert (letter["text"], letter["properties"]["message_id"]) == ("a\x1b[2J\nb", "-x")
    assert letter["headers"]["big"] == 2**40
    assert letter["headers"]["at"] == "2026-01-02T00:00:00+00:00"
    assert letter["drop"] == f"rtmpump dead drop --id=-x -c {file}"
    assert texts(file) == ["a\x1b[2J\nb", "another"]


def test_show_needs_an_id_that_means_one(file: Path, queues: Broker) -> None:
    """A beginning is enough if it is that of one; the error says what to do."""
    for name in ("job-1234", "job-1235"):
        bury(queues, "x", message_id=name)
    done = dead(file, "show", "job-123")
    assert (done.returncode, done.stdout) == (1, "")
    assert "2 ids begin with job-123; give more of it" in done.stderr
    assert "there is no dead letter with the id job in" in dead(file, "show", "job").stderr
    assert "as in `rtmpump dead show -- ID`" in dead(file, "show", "-x").stderr


def test_list_json_steers_no_terminal(file: Path, queues: Broker) -> None:
    """JSON does not escape all that a terminal obeys; ours does, and says the same."""
    sly = "a\x1b\x7f\x9b2J\u202e\u2066b"
    bury(queues, sly, message_id=sly)
    done = dead(file, "list", "--json")
    assert done.stdout.rstrip("\n").isprintable()
    assert json.loads(done.stdout)["text"] == sly
    assert dead(file, "list").stdout.rstrip("\n").isprintable()


def test_list_changes_nothing_not_even_the_order(file: Path, queues: Broker) -> None:
    """However many pages it takes, however often; ids stay the same."""
    names = [f"n{number}" for number in range(700)]
    bury(queues, *names)
    first = listed(file)
    assert [letter["text"] for letter in first] == names
    assert listed(file) == first
    assert len({letter["id"] for letter in first}) == 700
    wait_until(lambda: queues.count(DEAD) == 700)


def test_list_that_is_killed_or_cut_off_loses_nothing(file: Path, queues: Broker) -> None:
    """What it held comes back to the queue."""
    bury(queues, *(f"n{number}" for number in range(300)))
    read_end, write_end = os.pipe()
    args = ("dead", "list", "--json", "-c", str(file))
    with Running(file.parent, *args, stdout=write_end) as running:
        # Nobody reads, so it stands still with what it has.
        wait_until(lambda: queues.count(DEAD) < 300)
        running.process.kill()
    os.close(read_end)
    os.close(write_end)
    wait_until(lambda: queues.count(DEAD) == 300)
    assert sorted(texts(file)) == sorted(f"n{number}" for number in range(300))


def test_retry_sends_the_command_as_it_was_but_for_its_death(
    file: Path, queues: Broker, place: str
) -> None:
    """No header of its death, no second result for who asked; the rest keeps its place."""
    bury(queues, "a")
    own = WHY | {"own": "kept", "rtmpump-expiration": "5000"}
    bury(queues, "b", headers=own, message_id="b", reply_to="them", correlation_id="c", priority=1)
    bury(queues, "c")
    done = dead(file, "retry", "--id", "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"retried 1 dead letter: sent to rtm.outbound of {place}\n"
    assert texts(file) == ["a", "c"]
    (message,) = queues.take(COMMANDS, 1)
    properties = message.properties
    assert message.json == {"channel": "nowhere", "text": "b"}
    # A quorum queue counts deliveries in a header of its own.
    assert {**message.headers, "x-delivery-count": 0} == {"own": "kept", "x-delivery-count": 0}
    assert (properties.message_id, properties.correlation_id) == ("b", "c")
    assert (properties.reply_to, properties.expiration) == (None, None)
    assert properties.delivery_mode == 2


def test_what_expired_in_rabbitmq_is_told_and_its_asker_gets_the_result(
    file: Path, start_pump: StartPump, queues: Broker, workspace: Workspace
) -> None:
    """There was no result then, so that of the retry is the one."""
    correlation = queues.command({"channel": "general", "text": "late"}, expiration="1")
    wait_until(lambda: queues.count(DEAD) == 1)
    (letter,) = listed(file)
    assert (letter["code"], letter["attempts"]) == ("expired", None)
    assert letter["message"] == "it expired in RabbitMQ before the pump took it"
    assert letter["at"].startswith("20")
    assert dead(file, "retry", "--id", letter["id"]).returncode == 0
    start_pump()
    assert queues.result(correlation).json["ok"] is True
    assert [sent.text for sent in workspace.sent] == ["late"]


def test_retry_all_takes_only_what_was_there(
    file: Path, start_pump: StartPump, queues: Broker
) -> None:
    """A command that dies again at once is retried once; each dies again, none is lost."""
    queues.publish({"channel": "x", "tex": "wrong"}, queue=DEAD, headers=WHY)
    bury(queues, *(f"n{number}" for number in range(300)))
    start_pump()
    done = dead(file, "retry", "--all", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"retried": 301})
    wait_until(lambda: queues.count(DEAD) == 301)
    assert queues.count(COMMANDS) == 0


def test_two_of_one_id_are_both_meant_and_that_is_told(
    file: Path, queues: Broker, place: str
) -> None:
    """Whether the producer gave it twice or they are equal in all."""
    bury(queues, "a", "b", message_id="twice")
    bury(queues, "c", "c", "d")
    done = dead(file, "drop", "--id", "twice", "--yes")
    gone = f"gone for good from {DEAD} of {place}"
    assert done.stdout == f"dropped 2 dead letters: {gone}; all 2 had this id\n"
    equal = {letter["id"] for letter in listed(file) if letter["text"] == "c"}
    assert len(equal) == 1
    assert dead(file, "drop", "--id", equal.pop(), "--yes", "--json").stdout == '{"dropped": 2}\n'
    assert texts(file) == ["d"]


def test_an_id_that_is_not_there_is_told(file: Path, queues: Broker) -> None:
    """And all stays."""
    bury(queues, "a")
    done = dead(file, "retry", "--id", "other")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no dead letter with the id other" in done.stderr
    assert texts(file) == ["a"]


@pytest.mark.parametrize("what", ["retry", "drop"])
@pytest.mark.parametrize("args", [(), ("--all", "--id", "x")])
def test_which_must_be_said(tmp_path: Path, what: str, args: tuple[str, ...]) -> None:
    """Neither or both is wrong usage, before anybody is asked."""
    done = rtmpump(tmp_path, "dead", what, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Say which: either --id ID or --all." in done.stderr


def test_drop_without_a_terminal_wants_yes(file: Path, queues: Broker) -> None:
    """A script that forgot it drops nothing."""
    bury(queues, "a")
    done = dead(file, "drop", "--all")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert dead(file, "drop", "--all", "--yes").returncode == 0
    assert queues.count(DEAD) == 0


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 2), (b"y\n", 0)])
def test_drop_asks_on_a_terminal(
    file: Path, queues: Broker, place: str, answer: bytes, left: int
) -> None:
    """And names how many and where."""
    bury(queues, "a", "b")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rtmpump", "dead", "drop", "--all", "-c", str(file)],
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.write(ours, answer)
    told, _ = process.communicate(timeout=SECONDS)
    os.close(ours)
    os.close(theirs)
    assert f"Drop 2 dead letters in {DEAD} of {place} for good? [y/N]".encode() in told
    assert process.returncode == (1 if left else 0)
    wait_until(lambda: queues.count(DEAD) == left)


def test_a_queue_that_is_not_there_is_told(file: Path) -> None:
    """One line, exit 1."""
    done = dead(file, "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"rtmpump: there is no queue {DEAD} in RabbitMQ (127.0.0.1:")
    assert done.stderr.count("\n") == 1


def test_a_broker_that_is_away_is_69(tmp_path: Path) -> None:
    """As for all commands that need it."""
    file = config_file(tmp_path, "amqp://guest:pass-word@127.0.0.1:1/%2F")
    done = dead(file, "list")
    assert done.returncode == 69
    assert "pass-word" not in done.stderr


def test_retry_leaves_dead_what_the_queue_does_not_take(file: Path, broker: Broker) -> None:
    """A full queue: what it took is gone from the dead letters, the rest stays in order."""
    broker.queue(name=DEAD, x_queue_type="quorum")
    broker.queue(name=COMMANDS, x_max_length=2, x_overflow="reject-publish")
    bury(broker, "a", "b", "c", "d")
    done = dead(file, "retry", "--all")
    assert done.returncode == 1
    assert f"RabbitMQ refused a command: {COMMANDS} (127.0.0.1:" in done.stderr
    taken = broker.count(COMMANDS)
    assert 2 <= taken < 4
    assert texts(file) == ["a", "b", "c", "d"][taken:]


def test_retry_without_a_queue_of_commands_loses_nothing(file: Path, broker: Broker) -> None:
    """What comes back unroutable was not taken."""
    broker.queue(name=DEAD, x_queue_type="quorum")
    bury(broker, "a", "b")
    done = dead(file, "retry", "--all")
    assert done.returncode == 1
    assert f"there is no queue {COMMANDS} in RabbitMQ" in done.stderr
    assert texts(file) == ["a", "b"]


def test_retry_that_is_killed_repeats_and_never_loses(file: Path, queues: Broker) -> None:
    """`kill -9` at any moment: each command is in one of the queues, in both at most a few."""
    names = {f"n{number}" for number in range(2000)}
    bury(queues, *names)
    args = ("dead", "retry", "--all", "-c", str(file))
    with Running(file.parent, *args) as running:
        wait_until(lambda: queues.count(COMMANDS) > 100 or running.process.poll() is not None)
        running.process.send_signal(signal.SIGKILL)
        running.wait()
    wait_until(lambda: queues.count(DEAD) + queues.count(COMMANDS) >= len(names))
    # A queue whose node stands still seems to be empty.
    wait_until(lambda: queues.count(COMMANDS) > 0)
    sent = [message.json["text"] for message in queues.take(COMMANDS, queues.count(COMMANDS))]
    left = [message.json["text"] for message in queues.drain(DEAD)]
    assert set(sent) | set(left) == names
    assert len(set(sent)) == len(sent)
    assert len(set(sent) & set(left)) <= 32
