"""Facts about gaps that are filled: what was said while nobody listened comes after all."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from rtmpump.core.routes import route
from rtmpump.sandbox.slack import rtm
from rtmpump.sandbox.slack.faults import ApiFault, Hang, HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.gaps import all_events, away, closing, filled, once, texts, until_closed
from tests.support.pump import PumpProcess
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import wait_until

FILL: dict[str, Any] = {"backfill": True}
HISTORY = "conversations.history"
GENERAL, RANDOM, SECRET, ALICE = "C0GENERAL", "C0RANDOM", "G0SECRET", "D0ALICE"


def id_of_the_live_event(workspace: Workspace, channel: str, text: str, ts: str) -> str:
    """The message id that another pump's live copy of this message has."""
    author = rtm.Author("U0ALICE", workspace.team)
    event = rtm.message_event({"channel": channel, "text": text}, ts, author)
    name = route(
        rtm.as_bytes(event),
        seq=77,
        received_ms=5,
        team=workspace.team,
        bot=workspace.bot,
        epoch="another",
    )
    return name.message_id


@pytest.fixture
def pump(start_pump: StartPump, broker: Broker) -> PumpProcess:
    """A pump that fills gaps; its events are in the queue "all"."""
    all_events(broker)
    return start_pump(events=FILL)


def test_what_was_said_while_the_pump_was_away_comes_once_and_in_order(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """Of every channel of the bot, with the header, and with the id of the live event."""
    said: list[tuple[str, str, str]] = []

    def say() -> None:
        for n in range(250):
            for name, channel in (("general", GENERAL), ("secret", SECRET), ("U0ALICE", ALICE)):
                text = f"{channel} {n} ö"
                said.append((channel, text, workspace.say(name, text)))

    workspace.say("general", "seen live")
    away(pump, workspace, say)
    got = until_closed(broker)
    for channel in (GENERAL, SECRET, ALICE):
        came = [one for one in texts(once(filled(got, channel))) if one != "seen live"]
        assert came == [text for of, text, _ in said if of == channel]
    ids = {one.properties.message_id for one in got}
    assert ids >= {id_of_the_live_event(workspace, *one) for one in said}
    seen_live = [one for one in got if one.key == "message" and one.json["text"] == "seen live"]
    assert len({one.properties.message_id for one in seen_live}) == 1
    (gap,) = (one.json for one in got if one.key == "rtmpump.gap")
    (closed,) = closing(got)
    assert (closed["from"], closed["to"]) == (gap["from"], gap["to"])
    assert closed["channels"] == 4
    assert closed["messages"] == len(filled(got))
    assert (closed["failed"], closed["failed_count"]) == ([], 0)


def test_in_socket_mode_it_is_the_same(
    start_socket: StartSocketPump, broker: Broker, workspace: Workspace
) -> None:
    """What comes from an envelope and what comes from the history are called alike."""
    all_events(broker)
    pump = start_socket(events=FILL)
    live = workspace.say("general", "live")
    came_live = broker.take_until("all", lambda got: bool(got) and got[-1].key == "message")[-1]
    missed: list[str] = []
    away(pump, workspace, lambda: missed.append(workspace.say("general", "missed")))
    came_late = filled(until_closed(broker), GENERAL)[-1]
    assert came_late.json["text"] == "missed"
    for came, text, ts in ((came_live, "live", live), (came_late, "missed", missed[0])):
        wanted = id_of_the_live_event(workspace, GENERAL, text, ts)
        assert came.properties.message_id == wanted


def test_a_filled_message_looks_like_the_live_event(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """Body and properties, but for the header that says so."""
    away(pump, workspace, lambda: workspace.say("general", "missed"))
    (came,) = filled(until_closed(broker))
    ts = came.json["ts"]
    author = rtm.Author("U0ALICE", workspace.team)
    assert came.json == rtm.message_event({"channel": GENERAL, "text": "missed"}, ts, author)
    assert (came.key, came.properties.type, came.properties.app_id) == (
        "message",
        "message",
        "rtmpump",
    )
    headers = came.headers
    assert (headers["channel"], headers["user"], headers["team"], headers["bot"]) == (
        GENERAL,
        "U0ALICE",
        workspace.team,
        workspace.bot,
    )
    assert headers["backfill"] is True


def test_a_cut_is_filled_while_live_events_go_on(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """A new connection is not waited for by the history, nor the other way round."""
    refusing: deque[ApiFault] = deque(["internal_error"] * 1000)
    workspace.faults.api_errors["rtm.connect"] = refusing
    slow: deque[ApiFault] = deque([HttpAnswer(429, {"Retry-After": "1"})] * 1000)
    workspace.faults.api_errors[HISTORY] = slow
    workspace.cut()
    assert workspace.wait(lambda: not workspace.live)
    workspace.say("random", "missed")
    refusing.clear()
    assert workspace.wait_live(30)
    pump.wait_log("backfill.began")
    workspace.say("general", "live")
    live = broker.take_until("all", lambda got: bool(got) and got[-1].key == "message")[-1]
    assert (live.json["text"], "backfill" in live.headers) == ("live", False)
    slow.clear()
    missed = filled(until_closed(broker), RANDOM)
    assert texts(missed) == ["missed"]


def test_replies_come_among_the_messages_of_their_channel(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """In order of time, also those to a parent from before the gap; the parent is not repeated."""
    old = workspace.say("general", "old parent")
    quiet = workspace.say("general", "quiet parent")
    workspace.say("general", "quiet reply", thread_ts=quiet)
    # Long before the gap, so that the margin around it does not reach so far.
    history = workspace.archive.said[GENERAL]
    for message in history:
        for key in ("ts", "thread_ts", "latest_reply"):
            if key in message:
                message[key] = f"{float(message[key]) - 3600:.6f}"
    old = next(iter(history))["ts"]

    def say() -> None:
        workspace.say("general", "1")
        workspace.say("general", "2 in the old thread", thread_ts=old)
        new = workspace.say("general", "3 new parent")
        workspace.say("general", "4 in the new thread", thread_ts=new)
        workspace.say("general", "5 in the old thread", thread_ts=old)
        workspace.say("general", "6")

    away(pump, workspace, say)
    got = until_closed(broker)
    came = texts(filled(got, GENERAL))
    assert [one[0] for one in came] == ["1", "2", "3", "4", "5", "6"]
    (reply, *_) = [one for one in filled(got) if one.json["text"].startswith("2")]
    assert reply.json["thread_ts"] == old


def test_a_broadcast_reply_comes_once(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """It stands in the channel and in the thread."""

    def say() -> None:
        parent = workspace.say("general", "parent")
        ts = workspace._hub.next_ts()
        reply = {"channel": GENERAL, "text": "shown", "thread_ts": parent}
        author = rtm.Author("U0ALICE", workspace.team)
        event = rtm.message_event(reply, ts, author) | {"subtype": "thread_broadcast"}
        workspace._hub.keep(event)

    away(pump, workspace, say)
    got = filled(until_closed(broker))
    assert texts(got) == ["parent", "shown"]
    assert got[1].key == "message.thread_broadcast"


def test_small_pages_and_429s_lose_nothing(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """As a newer app has it: few messages a page, and "come again later"."""
    workspace.archive.page_max = 5
    limited = HttpAnswer(429, {"Retry-After": "1"})
    faults = workspace.faults.api_errors

    def say() -> None:
        for n in range(23):
            workspace.say("general", str(n))
        faults[HISTORY] = deque([limited])
        faults["users.conversations"] = deque([limited, "internal_error"])

    away(pump, workspace, say)
    got = until_closed(broker)
    assert texts(once(filled(got))) == [str(n) for n in range(23)]
    assert pump.logged("backfill.waits", reason="ratelimited", level="info")
    calls = [call for call in workspace.calls if call.method == HISTORY]
    assert calls[1].time - calls[0].time >= 1.0
    assert {call.args["limit"] for call in calls} == {"200"}


def test_what_may_not_be_read_is_told_in_one_line_and_counted(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """By reason; the other conversations are filled."""
    workspace.channels["U0BOB"] = "D0BOB"
    workspace.channels["gone"] = "C0GONE"

    def say() -> None:
        workspace.archive.scopes_missing.add("im")
        workspace.faults.api_errors["users.conversations"] = deque()
        workspace.say("general", "missed")
        # In the list, but not in the channel any more when its turn comes.
        workspace.faults.api_errors[HISTORY] = deque(["not_in_channel"])

    away(pump, workspace, say)
    got = until_closed(broker)
    assert not texts(filled(got, GENERAL))
    (closed,) = closing(got)
    failed = {one["conversations"]: one["reason"] for one in closed["failed"]}
    assert failed == {GENERAL: "not_in_channel", "im": "missing_scope"}
    assert (closed["channels"], closed["failed_count"]) == (3, 2)
    pump.wait_log("backfill.done")
    (line,) = pump.logged("backfill.refused", reason="missing_scope")
    assert (line["count"], line["conversations"]) == (1, "im")
    assert "im:read" in line["detail"]
    assert "scope" in line["fix"]


def test_a_scope_that_only_the_history_needs_is_asked_for_once(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """What one conversation of a kind is refused for want of a scope, all are."""
    workspace.channels.update({f"c{n}": f"C0MORE{n}" for n in range(20)})

    def say() -> None:
        workspace.say("secret", "missed")
        workspace.faults.api_errors[HISTORY] = deque(["missing_scope"])

    away(pump, workspace, say)
    got = until_closed(broker)
    assert texts(filled(got)) == ["missed"]
    (closed,) = closing(got)
    assert closed["failed"] == [{"conversations": "public_channel", "reason": "missing_scope"}]
    asked = [call.args["channel"] for call in workspace.calls if call.method == HISTORY]
    assert asked == [GENERAL, SECRET, ALICE]


def test_a_pump_that_is_killed_in_the_middle_goes_on(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """`kill -9` while it reads the history, twice: all comes, in order, and the gap is closed."""
    faults = workspace.faults.api_errors

    def say() -> None:
        for n in range(300):
            workspace.say("general", str(n))
            workspace.say("random", str(n))
        # Two pages of the first channel come, and of the second none.
        faults[HISTORY] = deque([Hang(0.01), Hang(0.01), Hang(600)])

    def read() -> list[str]:
        return [one.args["channel"] for one in list(workspace.calls) if one.method == HISTORY]

    away(pump, workspace, say)
    wait_until(lambda: len(read()) >= 3)
    # The gap is told by then.
    pump.wait_log("slack.connected")
    pump.kill()
    faults[HISTORY] = deque([Hang(600)])
    pump.start()
    wait_until(lambda: len(read()) >= 4)
    # The first channel is not read again for the first gap.
    assert read()[:4] == [GENERAL, GENERAL, RANDOM, RANDOM]
    pump.wait_log("slack.connected")
    pump.kill()
    pump.start()
    # The gaps of three starts; the first two are those that were under way.
    got = until_closed(broker, count=3)
    for channel in (GENERAL, RANDOM):
        assert texts(once(filled(got, channel))) == [str(n) for n in range(300)]
    gaps = [(one.json["from"], one.json["to"]) for one in got if one.key == "rtmpump.gap"]
    closed = [(one["from"], one["to"]) for one in closing(got)]
    assert set(closed) == set(gaps)


def test_a_new_gap_while_one_is_filled_is_filled_too(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """One after the other; each is closed."""

    def say() -> None:
        workspace.say("general", "first")
        workspace.faults.api_errors[HISTORY] = deque([Hang(2.0)])

    away(pump, workspace, say)
    pump.wait_log("backfill.began")
    refusing: deque[ApiFault] = deque(["internal_error"] * 1000)
    workspace.faults.api_errors["rtm.connect"] = refusing
    workspace.cut()
    assert workspace.wait(lambda: not workspace.live)
    workspace.say("random", "second")
    refusing.clear()
    got = until_closed(broker, count=2)
    assert sorted(texts(once(filled(got)))) == ["first", "second"]
    assert len(closing(got)) == 2


def test_a_stop_does_not_wait_for_the_history(
    pump: PumpProcess, broker: Broker, workspace: Workspace
) -> None:
    """A Slack that limits it for an hour: SIGTERM ends the pump, and the gap is kept."""

    def say() -> None:
        workspace.say("general", "missed")
        workspace.faults.api_errors[HISTORY] = deque([HttpAnswer(429, {"Retry-After": "3600"})])

    away(pump, workspace, say)
    pump.wait_log("backfill.waits", reason="ratelimited")
    pump.terminate()
    assert pump.wait() == 0
    pump.start()
    assert texts(once(filled(until_closed(broker, count=2)))) == ["missed"]


def test_nothing_is_fetched_unless_the_config_says_so(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Off by default: no call, no file, no event but the gap."""
    all_events(broker)
    pump = start_pump()
    away(pump, workspace, lambda: workspace.say("general", "missed"))
    workspace.wait_live()
    workspace.say("general", "end")
    got = broker.take_until("all", lambda got: bool(got) and b"end" in got[-1].body)
    assert not filled(got)
    assert not [call for call in workspace.calls if call.method == "users.conversations"]
    assert not list(pump.folder.glob("*-gaps"))


def test_ignored_kinds_are_not_fetched(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """`events.ignore` holds for the history too; so does what Slack hides."""
    all_events(broker)
    pump = start_pump(events=FILL | {"ignore": ["message.channel_join"]})

    def say() -> None:
        for extra in (
            {"subtype": "channel_join"},
            {"subtype": "tombstone", "hidden": True},
            {"subtype": "bot_message"},
        ):
            ts = workspace._hub.next_ts()
            workspace.archive.keep({"channel": GENERAL, "type": "message", "ts": ts, **extra})

    away(pump, workspace, say)
    assert [one.key for one in filled(until_closed(broker))] == ["message.bot_message"]
