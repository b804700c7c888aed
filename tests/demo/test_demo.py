"""Facts about `rtmpump demo`: what it counts, what it shows, and that nothing stays behind."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rtmpump import config
from rtmpump.core.frames import Event, parse
from rtmpump.demo.chatter import CHANNELS, UNKNOWN_TYPE, Chatter
from rtmpump.demo.screen import Screen
from rtmpump.demo.stage import Names, PumpEnded, PumpProcess, environment
from rtmpump.demo.strikes import plan
from rtmpump.demo.summary import Played, Summary
from rtmpump.demo.tally import TOLERANCE_MS, Tally
from rtmpump.errors import TokenRefused
from rtmpump.links.rabbitmq import topology
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.hub import Sent
from rtmpump.sandbox.slack.rtm import as_bytes
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker_node import names_in
from tests.support.paths import PYTHONPATH
from tests.support.waiting import wait_until

FAR = 10_000.0 + TOLERANCE_MS


class Demo:
    """`rtmpump demo` as a process; its temporary folders are in `folder`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        env = {name: value for name, value in os.environ.items() if "SLACK" not in name}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtmpump", "demo", *arguments],
            env=env | {"TMPDIR": str(folder), "PYTHONPATH": PYTHONPATH, "PYTHONUTF8": "1"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.lines: list[str] = []

    def read_until(self, word: str) -> None:
        """Read on until a line holds `word`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if word in line:
                return
        raise AssertionError(f"no {word!r} in:\n{self.output}")

    def end(self) -> int:
        """Read the rest; return the exit code."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout
        return self.process.wait(100)

    @property
    def output(self) -> str:
        """All that was read."""
        return "".join(self.lines)

    def count(self, name: str) -> int:
        """Return a number of the tables at the end."""
        found = re.search(rf"^  {re.escape(name)} +([\d,]+)", self.output, re.MULTILINE)
        assert found, self.output
        return int(found[1].replace(",", ""))

    def left(self) -> list[str]:
        """Folders that the demo made and that are still there."""
        return [entry.name for entry in self.folder.iterdir()]

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate(timeout=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo may put its temporary folders; a socket's path there must stay short."""
    place = tmp_path / "t"
    place.mkdir()
    return place


def emit(tally: Tally, body: bytes, now_ms: float, key: str = "") -> None:
    """Count an event that is written in one millisecond."""
    tally.emits(body, now_ms, key)
    tally.emitted(body, now_ms + 1)


def test_received_event_is_neither_missed_nor_lost() -> None:
    """What came is counted once, and a second copy with the same id as a repeat."""
    tally = Tally()
    emit(tally, b"one", 0)
    assert tally.received("id-1", b"one", 5)
    assert not tally.received("id-1", b"one", 6)
    events = tally.events()
    assert (events.received, events.lost, events.missed, events.repeated) == (1, 0, 0, 1)


def test_event_that_never_came_is_lost() -> None:
    """Nothing but a gap excuses it."""
    tally = Tally()
    emit(tally, b"one", FAR)
    tally.gap(0, 10)
    assert (tally.events().lost, tally.open()) == (1, 1)


def test_event_within_a_gap_is_missed_not_lost() -> None:
    """The consumer knows from the gap that something may be missing."""
    tally = Tally()
    emit(tally, b"typing", FAR)
    emit(tally, b"message", FAR, "C1 1.0")
    tally.gap(FAR - 1, FAR + 5)
    events = tally.events()
    assert (events.lost, events.missed, events.fetchable) == (0, 2, 1)


def test_with_backfill_a_message_in_a_gap_must_be_fetched() -> None:
    """A gap excuses only what the history does not have; a copy in either form is a repeat."""
    tally = Tally(backfill=True)
    for number in (1, 2, 3):
        emit(tally, b"message %d" % number, FAR, f"C1 {number}.0")
    emit(tally, b"typing", FAR)
    tally.gap(FAR - 1, FAR + 5)
    tally.received("id-1", b"message 1", 1)
    assert not tally.fetched("id-1", "C1 1.0")
    assert tally.fetched("id-2", "C1 2.0")
    assert not tally.fetched("id-2", "C1 2.0")
    assert not tally.received("id-2", b"message 2", 2)
    events = tally.events()
    assert (events.received, events.fetched, events.missed, events.lost) == (1, 1, 1, 1)
    assert (events.repeated, events.clashes, events.others) == (3, 0, 0)


def test_a_fetched_message_of_the_pump_itself_is_neither_ours_nor_a_clash() -> None:
    """Commands are in the history too, in a form that is not that of their live event."""
    tally = Tally(backfill=True)
    tally.received("id-1", b"its own", 1)
    assert not tally.fetched("id-1", "C1 1.0")
    assert tally.fetched("id-2", "C1 2.0")
    assert not tally.received("id-2", b"its own, too", 2)
    events = tally.events()
    assert (events.others, events.repeated, events.clashes) == (2, 2, 0)


def test_equal_events_are_counted_one_by_one() -> None:
    """Of three equal events two came; the third is lost, though its bytes were seen."""
    tally = Tally()
    for _ in range(3):
        emit(tally, b"same", 0)
    tally.received("id-1", b"same", 1)
    tally.received("id-2", b"same", 1)
    assert (tally.events().received, tally.events().lost) == (2, 1)


def test_two_events_with_one_id_clash() -> None:
    """A consumer that drops repeats by id would have lost the second."""
    tally = Tally()
    emit(tally, b"one", 0)
    emit(tally, b"two", 0)
    tally.received("id-1", b"one", 1)
    tally.received("id-1", b"two", 1)
    events = tally.events()
    assert (events.clashes, events.repeated, events.lost) == (1, 0, 1)


def test_more_copies_than_emitted_do_not_hide_a_loss() -> None:
    """One event that came under two ids doesn't make up for another one."""
    tally = Tally()
    emit(tally, b"one", 0)
    emit(tally, b"two", 0)
    tally.received("id-1", b"one", 1)
    tally.received("id-2", b"one", 1)
    assert (tally.events().received, tally.events().lost) == (1, 1)


def test_commands_are_counted_by_how_they_ended() -> None:
    """A bad command must be refused: if it was sent it failed; only the first answer counts."""
    tally = Tally()
    for number, bad in enumerate((False, False, False, True, True)):
        tally.asked(str(number), bad=bad)
    for number, ok in enumerate((True, False)):
        assert tally.answered(str(number), ok=ok)
    assert not tally.answered("0", ok=False)
    tally.answered("3", ok=False)
    tally.answered("4", ok=True)
    count = tally.commands()
    assert (count.ok, count.failed, count.rejected, count.unanswered) == (1, 2, 1, 1)


def test_command_that_slack_never_got_is_no_success() -> None:
    """An answer with a ts and no message in the workspace: the demo fails."""
    tally = Tally()
    tally.asked("1", bad=False)
    tally.answered("1", ok=True)
    assert not Summary(tally, [], Played()).ok
    assert Summary(tally, [Sent("C1", "text", None, False, "1.2", 1, 1, 0.0)], Played()).ok


def test_what_was_not_waited_for_is_not_called_lost() -> None:
    """Who ends the wait with a second Ctrl-C learns no more than that; what is wrong stays so."""
    tally = Tally()
    emit(tally, b"one", 0)
    hurried = Played(hurried=True)
    summary = Summary(tally, [], hurried)
    assert (summary.ok, summary.is_cut_short) == (False, True)
    assert not Summary(tally, [], Played()).is_cut_short
    assert not Summary(tally, [], hurried, ["a problem"]).is_cut_short
    out = io.StringIO()
    summary.show(Screen(out, {}))
    assert re.search(r"not awaited +1 ", out.getvalue())
    assert "it can't be said whether anything was lost" in out.getvalue()


def test_chatter_is_lively_and_repeatable() -> None:
    """The same seed says the same kinds of things, of many types, one of them unheard of."""
    first, second = Chatter(7, "T1"), Chatter(7, "T1")
    said = [first.event() for _ in range(400)]
    assert [event["type"] for event in said] == [second.event()["type"] for _ in said]
    frames = [parse(as_bytes(event)) for event in said]
    assert all(isinstance(frame, Event) for frame in frames)
    types = {event["type"] for event in said}
    assert {"message", "reaction_added", "user_typing", "presence_change", UNKNOWN_TYPE} <= types
    assert any(event.get("subtype") == "message_changed" for event in said)
    assert any(event.get("thread_ts") for event in said)


def test_chatter_asks_for_one_bad_command() -> None:
    """Names and ids, a thread, a broadcast, and one that has to be refused."""
    chatter = Chatter(7, "T1")
    for _ in range(20):
        chatter.event()
    commands = [chatter.command() for _ in range(15)]
    assert [command.bad for command in commands].count(True) == 1
    channels = {command.body["channel"] for command in commands}
    assert {c[:1] for c in channels} >= {"#", "C"}
    assert channels & set(CHANNELS)
    assert any(command.body.get("reply_broadcast") for command in commands)


@pytest.mark.parametrize("seed", range(5))
def test_each_kind_of_strike_comes_and_leaves_time_to_recover(seed: int) -> None:
    """Short or long, all that can be broken is, in the order of time."""
    for seconds in (10.0, 100.0):
        strikes = plan(seed, seconds, ("cut", "kill", "restart"))
        assert {strike.name for strike in strikes} == {"cut", "kill", "restart"}
        times = [strike.at for strike in strikes]
        assert times == sorted(times)
        assert 0 < times[0] <= times[-1] < 0.8 * seconds


def test_names_on_a_users_broker_are_all_our_own() -> None:
    """The demo declares no name that others may have, so it deletes nothing of theirs."""
    names = Names(own=True)
    keys: Mapping[str, Any] = names.settings()
    settings = config.Config(
        events=config.Events(**keys["events"]), outbound=config.Outbound(**keys["outbound"])
    )
    items = names.all_items(settings)
    made = [item for item in items if not isinstance(item, topology.Binding)]
    assert len(made) > 50
    assert all(item.name.startswith(names.stem) for item in made)
    assert Names(own=True).stem != names.stem


def test_pumps_environment_has_no_settings_of_the_user() -> None:
    """Only its file configures the pump; the token goes to it in a live demo alone."""
    ours = {"RTMPUMP_LOG_LEVEL": "x", "SLACK_API_TOKEN": "xoxb-1", "HTTPS_PROXY": "p", "PATH": "/"}
    played, live = environment(ours, live=False), environment(ours, live=True)
    assert set(played) == {"PATH", "PYTHONPATH"}
    assert set(live) == {"PATH", "PYTHONPATH", "SLACK_API_TOKEN", "HTTPS_PROXY"}
    live = environment(ours | {"SLACK_APP_TOKEN": "xapp-1"}, live=True)
    assert live["SLACK_APP_TOKEN"] == "xapp-1"


def test_demo_loses_nothing_and_leaves_nothing(folder: Path) -> None:
    """All of it for real: what the workspace emitted is what the consumer received."""
    with Demo(folder, "--seconds", "4", "--rate", "50", "--seed", "5") as demo:
        assert demo.end() == 0, demo.output
        assert demo.count("emitted") == demo.count("received") > 0
        assert demo.count("lost") == demo.count("not delivered") == demo.count("unanswered") == 0
        assert demo.count("sent") == demo.count("at Slack") > 0
        assert "Nothing was lost: all" in demo.output
        assert "\x1b" not in demo.output
        assert demo.left() == []


@pytest.mark.timeout(900)
def test_chaos_loses_nothing(folder: Path) -> None:
    """A cut, a reset, a killed pump and a restarted broker: gaps announced what is missing.

    With backfill all messages come, and what stays missing is in no history.
    """
    options = ("--seconds", "12", "--rate", "50", "--seed", "11", "--chaos", "--backfill")
    with Demo(folder, *options) as demo:
        assert demo.end() == 0, demo.output
        assert demo.output.count("⚡") >= 4
        assert demo.count("lost") == demo.count("unanswered") == demo.count("failed") == 0
        came = demo.count("received") + demo.count("fetched")
        assert demo.count("emitted") == came + demo.count("not delivered")
        assert demo.count("fetched") > 0
        assert f"{demo.count('not delivered')} not delivered: RTM was disconnected" in demo.output
        assert "rtmpump.backfilled" in demo.output
        assert "RabbitMQ is away" in demo.output
        assert demo.left() == []


@pytest.mark.timeout(900)
def test_socket_mode_loses_nothing(folder: Path) -> None:
    """The same over Socket Mode, with refreshes: Slack sends unacknowledged events again."""
    options = ("--mode", "socket", "--seconds", "14", "--rate", "50", "--seed", "3", "--chaos")
    with Demo(folder, *options) as demo:
        assert demo.end() == 0, demo.output
        assert "refresh_requested" in demo.output
        assert demo.count("lost") == demo.count("unanswered") == demo.count("failed") == 0
        assert demo.count("emitted") == demo.count("received") + demo.count("not delivered")
        assert demo.count("sent") > 0
        assert demo.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_play_with_the_count(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C is the ordinary way to leave early."""
    with Demo(folder, "--seconds", "600") as demo:
        demo.read_until("user_typing")
        demo.process.send_signal(number)
        assert demo.end() == 0, demo.output
        assert demo.count("lost") == 0
        assert demo.left() == []


def test_signal_while_the_stage_is_set_leaves_nothing(folder: Path) -> None:
    """What was started is ended, and one line says so."""
    with Demo(folder) as demo:
        demo.read_until("starting RabbitMQ")
        demo.process.send_signal(signal.SIGTERM)
        assert demo.end() == 128 + signal.SIGTERM
        assert "interrupted" in demo.output
        assert "Traceback" not in demo.output
        assert demo.left() == []


def test_given_broker_is_left_as_it_was(folder: Path, node: RabbitNode, broker_url: str) -> None:
    """Every exchange and queue that the demo made there is deleted."""
    vhost = broker_url.rsplit("/", 1)[1]
    before = names_in(node, vhost)
    with Demo(folder, "--seconds", "2", "--broker-url", broker_url) as demo:
        assert demo.end() == 0, demo.output
        assert "guest:guest" not in demo.output
        assert demo.left() == []
    assert names_in(node, vhost) == before


def test_broker_that_is_not_there_ends_it_with_69(folder: Path) -> None:
    """One sentence, no password in it."""
    with Demo(folder, "--broker-url", "amqp://me:hush@127.0.0.1:1/") as demo:
        assert demo.end() == 69
        assert "RabbitMQ is not reachable" in demo.output
        assert "deleted" not in demo.output
        assert "hush" not in demo.output
        assert "Traceback" not in demo.output
        assert demo.left() == []


def test_wrong_wishes_are_told_by_their_option(folder: Path) -> None:
    """A bad URL names --broker-url; --live needs a token and can't be broken on purpose."""
    for arguments, code, word in (
        (("--broker-url", "http://x:hush@y/"), 78, "--broker-url"),
        (("--live",), 78, "SLACK_API_TOKEN"),
        (("--live", "--chaos"), 2, "--chaos"),
    ):
        with Demo(folder, *arguments) as demo:
            assert demo.end() == code, demo.output
            assert word in demo.output
            assert "hush" not in demo.output
            assert demo.left() == []


def test_refused_token_is_told_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pump that ended because of the token ends the demo with the same sentence, and 78."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with Workspace() as workspace, closing(_pump(workspace)) as pump:
        workspace.token = "another"
        pump.start()
        with pytest.raises(TokenRefused, match="invalid_auth") as refused:
            wait_until(pump.check)
    assert refused.value.exit_code == 78
    assert list(folder.iterdir()) == []


def test_pump_that_ended_by_itself_is_told_with_its_last_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill by another process is no strike of ours; a strike does not end the demo."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with Workspace() as workspace, closing(_pump(workspace)) as pump:
        pump.start()
        assert workspace.wait_live(60)
        pump.kill()
        pump.check()
        pump.start()
        assert workspace.wait(lambda: workspace.connections == 2, 100)
        os.kill(pump.pid, signal.SIGKILL)
        with pytest.raises(PumpEnded) as ended:
            wait_until(pump.check)
    assert any(str(pump.pid) in line for line in ended.value.words)


def _pump(workspace: Workspace) -> PumpProcess:
    """Make a pump whose broker does not exist."""
    return PumpProcess(workspace, "amqp://guest:guest@127.0.0.1:1/%2F", Names(own=False), "")
