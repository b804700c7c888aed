"""Facts about Socket Mode with the real process: what Slack was told is received is never lost."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rtmpump.sandbox.slack.faults import HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from rtmpump.spool import Spool
from tests.conftest import StartPump
from tests.e2e import test_crash
from tests.support.broker import Broker, Message
from tests.support.pump import PumpProcess
from tests.support.socket_mode import StartSocketPump, wait_connections
from tests.support.waiting import SECONDS, wait_until

NO_BROKER = "amqp://guest:guest@127.0.0.1:1/%2F"
# The daemon, that kills itself at one point the first time that a message gets there.
DYING = """
import os, signal
from rtmpump import cli
from rtmpump.links.slack.socket_mode import SocketMode
from rtmpump.spool import Spool
kind, name = {point}
method = getattr(kind, name)
def dying(self, *given, **named):
    is_there = any(b'"n":' in body for _, body in given[0]) if given else self._fresh
    if is_there and os.path.exists("die"):
        os.unlink("die")
        os.kill(os.getpid(), signal.SIGKILL)
    return method(self, *given, **named)
setattr(kind, name, dying)
cli.main()
"""
# The daemon on a disk that takes bytes, but does not say that it has them.
ON_A_BAD_DISK = """
import errno, os, time
from rtmpump import cli
from rtmpump.spool import write_ahead_log
sync_file = write_ahead_log.sync_file
def bad(file):
    while os.path.exists("hangs"):
        time.sleep(0.01)
    if os.path.exists("fails"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    sync_file(file)
write_ahead_log.sync_file = bad
cli.main()
"""
BEFORE_COMMIT = '(Spool, "append")'
AFTER_COMMIT = '(SocketMode, "accepted")'


def all_events(broker: Broker) -> str:
    """A queue that gets all events from the very first, before a pump declares anything."""
    broker.channel.exchange_declare("rtm.events", "topic", durable=True)
    return broker.queue(("rtm.events", "#"))


def message(number: int) -> dict[str, Any]:
    """A message event; its ts makes it known again."""
    ts = f"17000000{number // 1_000_000:02d}.{number % 1_000_000:06d}"
    return {"type": "message", "channel": "C0GENERAL", "user": "U0ALICE", "n": number, "ts": ts}


def numbers(got: Sequence[Message]) -> list[int]:
    """The numbers of the messages, as they came."""
    return [one.json["n"] for one in got if one.key == "message"]


def kinds(got: Sequence[Message]) -> list[str]:
    """The keys of the pump's own events."""
    return [one.key for one in got if one.key.startswith("rtmpump")]


def stop(pump: PumpProcess) -> None:
    """SIGTERM, and all is well."""
    pump.terminate()
    assert pump.wait() == 0, pump.log_text()
    assert pump.logged("stopped")[0]["left_in_spool"] == 0


def acknowledged(workspace: Workspace) -> Callable[[], bool]:
    """Says when everything is."""
    return lambda: not workspace.unacknowledged()


def all_replaced(workspace: Workspace) -> Callable[[], bool]:
    """Whether two others are there instead of all connections of now, when it is called."""
    before = set(workspace.sockets)
    return lambda: len(set(workspace.sockets) - before) == 2 and not set(workspace.sockets) & before


class Flood(test_crash.Flood):
    """Numbered messages, one after the other, whoever is connected."""

    def __init__(self, workspace: Workspace, pause: float = 0.003) -> None:
        super().__init__(workspace, pause)

    @property
    def sent(self) -> int:
        """How many there were."""
        return len(self.at)

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            self._workspace.emit(message(self.sent))
            self.at.append(time.time_ns() // 1_000_000)


def test_events_come_as_over_rtm(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Key, bytes and id are those of the inner event; the envelope's facts are in the headers."""
    workspace = workspace_that_retries
    queue = all_events(broker)
    pump = start_socket()
    odd = b'{ "type":"message","channel":"C0GENERAL" ,"user":"U0ALICE","ts":"17.000001"}'
    joined = {"type": "message", "subtype": "channel_join", "channel": "C1", "ts": "18.000001"}
    reaction = {"type": "reaction_added", "user": "U2", "event_ts": "19.000001"}
    plain = {"type": "app_home_opened", "user": "U2", "tab": "home"}
    for event in (odd, joined, reaction, plain):
        workspace.emit(event)
    wait_until(acknowledged(workspace))
    stop(pump)
    got = {one.key: one for one in broker.drain(queue)}
    first = got["message"]
    assert first.body == odd
    assert first.properties.message_id == f"m:{workspace.team}:C0GENERAL:17.000001:"
    (envelope, *_) = workspace.envelopes
    assert first.headers["event_id"] == envelope.event_id
    assert first.headers["event_time"] == json.loads(envelope.payload)["event_time"]
    assert first.headers["team_id"] == first.headers["team"] == workspace.team
    around = json.loads(envelope.payload)
    del around["event"], around["token"]
    assert json.loads(first.headers["payload"]) == around
    assert first.headers["bot"] == workspace.bot
    assert (first.headers["channel"], first.headers["user"]) == ("C0GENERAL", "U0ALICE")
    assert got["message.channel_join"].json == joined
    assert str(got["reaction_added"].properties.message_id).startswith("e:")
    home = got["app_home_opened"]
    assert home.properties.message_id == f"v:{workspace.team}:{home.headers['event_id']}"
    assert {"hello", "rtmpump.connected"} <= got.keys()


def test_a_message_has_one_id_in_both_modes(
    start_socket: StartSocketPump,
    start_pump: StartPump,
    broker: Broker,
    workspace_that_retries: Workspace,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What a pump of RTM and one of Socket Mode publish of one message is equal for a consumer."""
    workspace = workspace_that_retries
    queue = all_events(broker)
    start_socket()
    start_pump(ready=False, spool={"path": str(tmp_path_factory.mktemp("rtm") / "spool.db")})
    wait_until(lambda: workspace.live == 3)
    workspace.emit(message(1))
    got: list[Message] = []

    def came_twice() -> bool:
        got.extend(broker.drain(queue))
        return len(numbers(got)) == 2

    wait_until(came_twice)
    first, second = (one for one in got if one.key == "message")
    assert first.properties.message_id == second.properties.message_id
    assert first.body == second.body


def test_commands_and_buttons_are_events(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Keys slash_command and interactive.<type>, with exchanges of their own; a person is told."""
    workspace = workspace_that_retries
    queue = all_events(broker)
    pump = start_socket(slack={"slash_answer": "Moment …"})
    slash = workspace.slash("/deploy", "now")
    pressed = {"type": "block_actions", "user": {"id": "U7"}, "channel": {"id": "C7"}}
    button = workspace.interact(pressed | {"team": {"id": workspace.team}})
    wait_until(acknowledged(workspace))
    stop(pump)
    got = {one.key: one for one in broker.drain(queue)}
    command = got["slash_command"]
    assert command.body == slash.payload
    assert command.headers["channel"] == "C0GENERAL"
    assert command.headers["user"] == "U0ALICE"
    assert command.headers["team_id"] == workspace.team
    action = got["interactive.block_actions"]
    assert action.body == button.payload
    assert (action.headers["user"], action.headers["channel"]) == ("U7", "C7")
    assert slash.answer == {"text": "Moment …"}
    assert button.answer is None
    assert broker.exists(exchange="rtm.slash_command")
    assert broker.exists(exchange="rtm.interactive")


def test_nothing_is_acknowledged_before_the_disk_has_it(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """While the spool refuses, Slack hears nothing, sends again, and each comes in the end."""
    workspace = workspace_that_retries
    workspace.faults.ack_seconds, workspace.faults.retry_after = 0.3, (0.3,) * 400
    queue = all_events(broker)
    pump = start_socket(spool={"max_bytes": "16MiB"}, broker={"url": NO_BROKER}, ready=False)
    pump.wait_ready("slack")
    filler = "x" * 200_000

    def emit_all() -> None:
        for number in range(100):
            workspace.emit(message(number) | {"text": filler})

    # A pump that doesn't read holds it up.
    emitting = threading.Thread(target=emit_all)
    emitting.start()
    pump.wait_log("spool.refuses")
    pump.terminate()
    pump.wait()
    # Only now all is read that it had said.
    wait_until(lambda: not workspace.sockets)
    taken = {one.event_id for one in workspace.envelopes if one.acknowledged}
    with closing(Spool.open_read_only(pump.spool, max_bytes=16 << 20)) as spool:
        frames = [json.loads(row.body) for row in spool.read(0, 1000, 16 << 20)]
    stored = {frame["payload"]["event_id"] for frame in frames if "payload" in frame}
    assert set() < taken <= stored
    assert workspace.unacknowledged()
    start_socket()
    emitting.join(SECONDS)
    wait_until(acknowledged(workspace), 100)
    got = broker.take_until(queue, lambda got: len(set(numbers(got))) == 100)
    assert len(set(ids(got))) == len({one.body for one in got if one.key == "message"}) == 100


def ids(got: Sequence[Message]) -> list[str]:
    """The message ids of the messages."""
    return [str(one.properties.message_id) for one in got if one.key == "message"]


def test_kill_between_receipt_and_commit(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """`kill -9` with events that were received and not committed: Slack sends them again."""
    workspace = workspace_that_retries
    workspace.faults.ack_seconds, workspace.faults.retry_after = 0.2, (0.3,) * 400
    queue = all_events(broker)
    pump = start_socket()
    # It has them in its socket, or in its hands, and can't commit.
    pump.signal(signal.SIGSTOP)
    stat = Path(f"/proc/{pump.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(") ")[2].startswith("T"))
    for number in range(50):
        workspace.emit(message(number))
    assert len(workspace.unacknowledged()) == 50
    pump.kill()
    pump.start()
    wait_until(acknowledged(workspace), 100)
    stop(pump)
    got = broker.drain(queue)
    assert set(numbers(got)) == set(range(50))


@pytest.mark.parametrize("point", [BEFORE_COMMIT, AFTER_COMMIT])
def test_kill_at_the_very_line(
    start_socket: StartSocketPump,
    broker: Broker,
    workspace_that_retries: Workspace,
    tmp_path: Path,
    point: str,
) -> None:
    """Read and not committed, or committed and not acknowledged: Slack sends it again."""
    workspace = workspace_that_retries
    workspace.faults.ack_seconds, workspace.faults.retry_after = 0.2, (0.3,) * 400
    queue = all_events(broker)
    pump = start_socket(program=("-c", DYING.format(point=point)))
    (tmp_path / "die").touch()
    workspace.emit(message(0))
    assert pump.wait() == -signal.SIGKILL
    (envelope,) = workspace.envelopes
    assert not envelope.acknowledged
    pump.start()
    wait_until(acknowledged(workspace))
    stop(pump)
    got = broker.drain(queue)
    assert set(numbers(got)) == {0}
    assert len(set(ids(got))) == 1


@pytest.mark.parametrize("trouble", ["hangs", "fails"])
def test_consumers_have_an_event_before_the_disk_and_slack_is_told_after_it(
    start_socket: StartSocketPump,
    broker: Broker,
    workspace_that_retries: Workspace,
    tmp_path: Path,
    trouble: str,
) -> None:
    """An event that no power cut can take is acknowledged, no other; and it is published once."""
    workspace = workspace_that_retries
    workspace.faults.ack_seconds = SECONDS
    queue = all_events(broker)
    pump = start_socket(program=("-c", ON_A_BAD_DISK))
    wait_until(lambda: broker.count(queue) >= 2, what="for hello and connected")
    before = broker.count(queue)
    (tmp_path / trouble).touch()
    workspace.emit(message(0))
    wait_until(lambda: broker.count(queue) > before)
    (envelope,) = workspace.envelopes
    assert not envelope.acknowledged
    (tmp_path / trouble).unlink()
    wait_until(acknowledged(workspace))
    stop(pump)
    got = broker.drain(queue)
    assert numbers(got) == [0]


def test_a_repeat_waits_for_the_disk_too(
    start_socket: StartSocketPump,
    broker: Broker,
    workspace_that_retries: Workspace,
    tmp_path: Path,
) -> None:
    """Killed while the disk had no answer, started on a disk that fails: Slack is told nothing."""
    workspace = workspace_that_retries
    workspace.faults.ack_seconds, workspace.faults.retry_after = 0.2, (0.3,) * 400
    queue = all_events(broker)
    pump = start_socket(program=("-c", ON_A_BAD_DISK))
    wait_until(lambda: broker.count(queue) >= 2, what="for hello and connected")
    before = broker.count(queue)
    (tmp_path / "hangs").touch()
    workspace.emit(message(0))
    wait_until(lambda: broker.count(queue) > before)
    pump.kill()
    (tmp_path / "fails").touch()
    (tmp_path / "hangs").unlink()
    pump.start()
    pump.wait_log("spool.refuses")
    (envelope,) = workspace.envelopes
    assert not envelope.acknowledged
    (tmp_path / "fails").unlink()
    wait_until(acknowledged(workspace))
    stop(pump)
    got = broker.drain(queue)
    assert set(numbers(got)) == {0}
    assert len(set(ids(got))) == 1


def test_twenty_kills_lose_nothing(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """`kill -9` at any moment: what Slack was told is there, what it wasn't told comes again."""
    workspace = workspace_that_retries
    workspace.faults.ack_seconds, workspace.faults.retry_after = 0.3, (0.2,) * 1000
    queue = all_events(broker)
    pump = start_socket()
    dice = random.Random(20)
    with Flood(workspace) as flood:
        for kill in range(20):
            if kill % 4 == 3:
                time.sleep(dice.uniform(0, 0.5))
            else:
                pump.wait_log("slack.connected")
                flood.wait_for(dice.randrange(1, 60))
            pump.kill()
            pump.start()
        pump.wait_ready()
        flood.wait_for(50)
    wait_until(acknowledged(workspace), 100)
    stop(pump)
    got = broker.take(queue, broker.count(queue))
    assert set(numbers(got)) == set(range(flood.sent))
    assert_repeats_are_equal(got)


def assert_repeats_are_equal(got: Sequence[Message]) -> None:
    """A consumer that drops by message id has each message once."""
    by_id: dict[str, bytes] = {}
    for one in got:
        known = by_id.setdefault(str(one.properties.message_id), one.body)
        assert known == one.body
    messages = [key for key in by_id if key.startswith("m:")]
    assert len(messages) == len(set(numbers(got)))


def test_a_refresh_opens_no_gap(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Connections that Slack renews, one or all at once, are replaced before they end."""
    workspace = workspace_that_retries
    queue = all_events(broker)
    pump = start_socket()
    with Flood(workspace) as flood:
        for reason in ("warning", "refresh_requested"):
            replaced = all_replaced(workspace)
            workspace.disconnect(reason, close_after=20.0)
            wait_until(replaced)
            flood.wait_for(20)
    wait_until(acknowledged(workspace))
    stop(pump)
    got = broker.take(queue, broker.count(queue))
    assert set(numbers(got)) == set(range(flood.sent))
    assert kinds(got) == ["rtmpump.connected", "rtmpump.disconnected"]
    assert not pump.logged("slack.disconnected")


def test_a_refresh_of_as_many_as_slack_allows_opens_no_gap(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Where no connection can be opened beside the old ones, they are replaced one by one."""
    workspace = workspace_that_retries
    workspace.faults.most_sockets = 2
    queue = all_events(broker)
    pump = start_socket()
    before = set(workspace.sockets)
    with Flood(workspace) as flood:
        workspace.disconnect("warning", close_after=20.0)
        wait_until(lambda: len(set(workspace.sockets) - before) == 2)
        flood.wait_for(20)
    wait_until(acknowledged(workspace))
    stop(pump)
    got = broker.take(queue, broker.count(queue))
    assert set(numbers(got)) == set(range(flood.sent))
    assert kinds(got) == ["rtmpump.connected", "rtmpump.disconnected"]


def test_a_connection_that_can_not_be_replaced_ends_no_other(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Slack refuses a while: told in the log, tried again as it asked, and no gap."""
    workspace = workspace_that_retries
    queue = all_events(broker)
    pump = start_socket()
    limited = HttpAnswer(429, {"Retry-After": "1"}, '{"ok":false,"error":"ratelimited"}')
    workspace.faults.api_errors["apps.connections.open"].extend(["internal_error", limited])
    first, second = workspace.sockets
    workspace.cut([first])
    pump.wait_log("connection.not_opened", reason="internal_error")
    workspace.emit(message(1))
    wait_until(acknowledged(workspace))
    wait_connections(workspace, 2)
    assert second in workspace.sockets
    assert pump.wait_log("connection.opened", 3)["connection"] == 3
    stop(pump)
    assert kinds(broker.drain(queue)) == ["rtmpump.connected", "rtmpump.disconnected"]


def test_an_app_token_that_is_refused_ends_nothing_while_a_connection_is_left(
    start_socket: StartSocketPump, workspace_that_retries: Workspace
) -> None:
    """It is asked again, and the log names the key; the end of the last connection is 78."""
    workspace = workspace_that_retries
    pump = start_socket()
    workspace.faults.api_errors["apps.connections.open"] = deque(["token_revoked"] * 1000)
    workspace.cut(workspace.sockets[:1])
    line = pump.wait_log("connection.not_opened", reason="token_revoked")
    assert "slack.app_token" in line["detail"]
    pump.wait_log("connection.not_opened", reason="token_revoked", attempt=2)
    workspace.emit(message(1))
    wait_until(acknowledged(workspace))
    assert len(workspace.sockets) == 1
    workspace.cut()
    assert pump.wait() == 78
    (line,) = pump.logged("token.refused", code="token_revoked")
    assert "slack.app_token" in line["fix"]


def sockets_up(workspace: Workspace) -> list[int]:
    """The connections of one moment in which there are some."""
    found: list[int] = []

    def some_are_up() -> bool:
        found[:] = workspace.sockets
        return bool(found)

    wait_until(some_are_up)
    return found


def test_a_storm_of_disconnects_loses_nothing(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Cuts, resets, refreshes and silences at random: all arrives, and nothing twice."""
    workspace = workspace_that_retries
    workspace.faults.ack_seconds, workspace.faults.retry_after = 0.3, (0.2,) * 1000
    queue = all_events(broker)
    # A busy machine answers a ping in that time, so only what strikes ends a connection.
    slack = {"connections": 3, "ping_interval": 0.3, "ping_timeout": 3}
    pump = start_socket(slack=slack, retry={"initial": 0.05, "max": 0.5})
    dice = random.Random(6)

    def strike(one: int) -> None:
        kind = dice.choice(("cut", "silence", "refresh", "warning", "all"))
        if kind == "cut":
            workspace.cut([one])
        elif kind == "silence":
            workspace.silence([one])
        elif kind == "all":
            workspace.reset()
        else:
            workspace.disconnect(kind, close_after=0.3, numbers=[one])

    with Flood(workspace) as flood:
        for _ in range(30):
            strike(dice.choice(sockets_up(workspace)))
            flood.wait_for(dice.randrange(1, 30))
        wait_connections(workspace, 3)
        flood.wait_for(20)
    wait_until(acknowledged(workspace), 100)
    stop(pump)
    got = broker.take(queue, broker.count(queue))
    assert set(numbers(got)) == set(range(flood.sent))
    # One process remembers what it accepted, so not even a repeat is published.
    assert Counter(numbers(got)).most_common(1)[0][1] == 1
    assert any(len(one.deliveries) > 1 for one in workspace.envelopes)


def test_repeats_are_dropped_and_acknowledged(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """An event on each connection at once, and again and again, is published once."""
    workspace = workspace_that_retries
    workspace.faults.copies = 2
    workspace.faults.deaf_to_acks = True
    queue = all_events(broker)
    pump = start_socket()
    for number in range(20):
        workspace.emit(message(number))
    wait_until(lambda: all(one.given_up for one in workspace.envelopes), 100)
    workspace.faults.deaf_to_acks = False
    workspace.emit(message(20))
    # One on each connection, or more: Slack sends it again to a pump that is slow.
    wait_until(lambda: workspace.envelopes[-1].acknowledgements >= 2)
    stop(pump)
    assert all(len(one.deliveries) == 8 for one in workspace.envelopes[:-1])
    got = broker.drain(queue)
    assert sorted(numbers(got)) == list(range(21))


def test_a_gap_is_told_only_when_no_connection_is_left(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """One of two may go without a word; when both go, a gap tells from when to when."""
    workspace = workspace_that_retries
    queue = all_events(broker)
    pump = start_socket()
    first, second = workspace.sockets
    workspace.cut([first])
    wait_until(lambda: first not in workspace.sockets and len(workspace.sockets) == 2)
    assert second in workspace.sockets
    workspace.emit(message(1))
    # What came before it, came before it here too.
    got = broker.take_until(queue, lambda got: 1 in numbers(got))
    assert kinds(got) == ["rtmpump.connected"]
    wait_until(acknowledged(workspace))
    at = time.time_ns() // 1_000_000
    # Where one could be opened, it may be there before the last of the old ones has gone.
    workspace.down()
    pump.wait_log("slack.disconnected")
    workspace.up()
    pump.wait_log("slack.connected", 2)
    wait_connections(workspace, 2)
    stop(pump)
    got = broker.drain(queue)
    assert kinds(got)[:3] == ["rtmpump.disconnected", "rtmpump.connected", "rtmpump.gap"]
    (gap,) = (one.json for one in got if one.key == "rtmpump.gap")
    assert milliseconds(gap["from"]) <= at + 1000
    assert milliseconds(gap["to"]) >= at


def milliseconds(moment: str) -> int:
    """An RFC 3339 time."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def test_a_silent_connection_is_found_and_replaced(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Of a connection that died without a word a ping tells; Slack's pings are answered."""
    workspace = workspace_that_retries
    queue = all_events(broker)
    # A busy machine answers the pings of the other connection in that time.
    pump = start_socket(slack={"ping_interval": 0.3, "ping_timeout": 5})
    workspace.ping(b"are you there")
    wait_until(lambda: workspace.pongs.count(b"are you there") == 2)
    first, second = workspace.sockets
    workspace.silence([first])
    pump.wait_log("connection.ended", reason="silent")
    wait_connections(workspace, 2)
    assert second in workspace.sockets
    workspace.emit(message(1))
    wait_until(acknowledged(workspace))
    stop(pump)
    assert kinds(broker.drain(queue)) == ["rtmpump.connected", "rtmpump.disconnected"]


def test_socket_mode_that_was_switched_off_is_fatal(
    start_socket: StartSocketPump, workspace_that_retries: Workspace
) -> None:
    """link_disabled ends the daemon with 78, and the log says what to do."""
    pump = start_socket()
    workspace_that_retries.disconnect("link_disabled")
    assert pump.wait() == 78
    assert "Socket Mode" in pump.logged("token.refused", code="link_disabled")[0]["fix"]


@pytest.mark.parametrize("key", ["app_token", "token"])
def test_a_token_of_the_wrong_kind_is_fatal(
    start_socket: StartSocketPump, workspace_that_retries: Workspace, key: str
) -> None:
    """Each token in the other's place: 78, before Slack is asked, and the error names the key."""
    other = workspace_that_retries.token if key == "app_token" else workspace_that_retries.app_token
    pump = start_socket(ready=False, slack={key: other})
    assert pump.wait() == 78
    assert f"slack.{key}: begins with {other[:3]}" in pump.output()
    assert "so it is the other token of the app" in pump.output()
    assert workspace_that_retries.calls == []


@pytest.mark.parametrize(
    ("key", "method"), [("app_token", "apps.connections.open"), ("token", "auth.test")]
)
def test_a_token_that_slack_finds_of_the_wrong_type_is_fatal(
    start_socket: StartSocketPump, workspace_that_retries: Workspace, key: str, method: str
) -> None:
    """78, and the log names the key."""
    workspace_that_retries.faults.api_errors[method].extend(["not_allowed_token_type"] * 10)
    pump = start_socket(ready=False)
    assert pump.wait() == 78
    (line,) = pump.logged("token.refused", code="not_allowed_token_type")
    assert f"slack.{key}" in line["fix"]


def test_too_many_connections_end_no_others(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Where Slack lets fewer connections live than we want, those that live go on."""
    workspace = workspace_that_retries
    workspace.faults.most_sockets = 2
    queue = all_events(broker)
    pump = start_socket(ready=False, slack={"connections": 4})
    pump.wait_ready()
    pump.wait_log("connection.leaves", reason="too_many_websockets")
    wait_connections(workspace, 2)
    for number in range(10):
        workspace.emit(message(number))
    wait_until(acknowledged(workspace))
    stop(pump)
    assert set(numbers(broker.drain(queue))) == set(range(10))
    opened = [call for call in workspace.calls if call.method == "apps.connections.open"]
    assert len(opened) <= 4


def test_ignored_events_are_acknowledged(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """What is not to be published is not sent again either."""
    workspace = workspace_that_retries
    queue = all_events(broker)
    pump = start_socket(events={"ignore": ["message"]})
    workspace.emit(message(1))
    workspace.emit({"type": "team_join", "user": "U1", "event_ts": "1.000001"})
    wait_until(acknowledged(workspace))
    stop(pump)
    keys = [one.key for one in broker.drain(queue)]
    assert "team_join" in keys
    assert "message" not in keys


def test_what_the_spool_holds_is_known_after_a_restart(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """Committed, acknowledged in vain, killed with the broker away: published once all the same."""
    workspace = workspace_that_retries
    workspace.faults.ack_seconds, workspace.faults.retry_after = 0.3, (0.3,) * 400
    workspace.faults.deaf_to_acks = True
    queue = all_events(broker)
    pump = start_socket(ready=False, broker={"url": NO_BROKER})
    pump.wait_ready("slack")
    workspace.emit(message(1))
    frames = workspace.frames
    wait_until(lambda: any("envelope_id" in frame for frame in frames))
    pump.kill()
    workspace.faults.deaf_to_acks = False
    second = start_socket()
    wait_until(acknowledged(workspace))
    stop(second)
    assert numbers(broker.drain(queue)) == [1]


def test_slack_drops_events(
    start_socket: StartSocketPump, broker: Broker, workspace_that_retries: Workspace
) -> None:
    """What says so is an event, and a gap from the minute that it names."""
    queue = all_events(broker)
    pump = start_socket()
    minute = int(time.time()) // 60 * 60 - 120
    workspace_that_retries.limit_events(minute)
    wait_until(acknowledged(workspace_that_retries))
    stop(pump)
    got = {one.key: one.json for one in broker.drain(queue)}
    assert got["app_rate_limited"]["minute_rate_limited"] == minute
    gap = got["rtmpump.gap"]
    assert gap["reason"] == "rate_limited"
    assert datetime.fromisoformat(gap["from"]).timestamp() == minute
    assert datetime.fromisoformat(gap["to"]).timestamp() >= minute + 120
