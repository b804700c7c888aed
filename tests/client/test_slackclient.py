"""Facts about bots that were written for slackclient 1: they run with one import changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pika
import pytest

from rtmpump.client import Event
from rtmpump.client.rtm_shapes import RtmShapes, reply
from rtmpump.client.slackclient import (
    SlackClient,
    SlackConnectionError,
    SlackNotConnected,
)
from rtmpump.links.rabbitmq.subscription import Arrival
from rtmpump.sandbox.slack.workspace import Workspace
from tests.client.conftest import Publish
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.line import Line
from tests.support.paths import PYTHONPATH
from tests.support.sandbox_clients import last_message
from tests.support.waiting import wait_until

FAST: dict[str, Any] = {"rate": 1000.0, "burst": 1000, "api_rate": 100.0}
LISTS = ["auth.test", "conversations.list", "reactions.add"]
# The page's loop, in other words: it reads once a second, and answers what is said.
BOT = """
import os
import time

from rtmpump.client.slackclient import SlackClient

slack_token = os.environ["SLACK_API_TOKEN"]
sc = SlackClient(slack_token)

if sc.rtm_connect(with_team_state=False, auto_reconnect=True):
    while sc.server.connected is True:
        for event in sc.rtm_read():
            print(event, flush=True)
            if event.get("text") == "hello":
                sc.rtm_send_message(event["channel"], "test", event["ts"], True)
        time.sleep(0.05)
else:
    print("Connection Failed")
"""

MakeBot = Callable[..., SlackClient]
Frame = dict[str, Any]


@pytest.fixture
def bot(broker_url: str) -> Iterator[MakeBot]:
    """Makes bots of this test's vhost, which end with the test."""
    with ExitStack() as stack:

        def make(url: str = "", **options: Any) -> SlackClient:
            made = SlackClient(url or broker_url, **options)
            stack.callback(made.close)
            return made

        yield make


def read_until(sc: SlackClient, true: Callable[[Frame], object]) -> Frame:
    """Read until such a frame comes."""
    frames: list[Frame] = []

    def is_there() -> bool:
        frames.extend(sc.rtm_read())
        return any(map(true, frames))

    wait_until(is_there)
    return next(filter(true, frames))


def test_the_loop_of_the_page_runs_without_a_token_of_slack(
    start_pump: StartPump, workspace: Workspace, broker_url: str
) -> None:
    """It says hello, gets what people say, and answers in the thread and the channel."""
    start_pump(outbound=FAST)
    env = {"PYTHONPATH": PYTHONPATH, "SLACK_API_TOKEN": "none", "RTMPUMP_BROKER_URL": broker_url}
    with subprocess.Popen(
        [sys.executable, "-c", BOT], env=os.environ | env, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "{'type': 'hello'}\n"
            ts = workspace.say("general", "hello")
            assert "'text': 'hello'" in process.stdout.readline()
            assert workspace.wait(lambda: workspace.sent)
        finally:
            process.terminate()
    frame = last_message(workspace)
    assert (frame["channel"], frame["text"], frame["thread_ts"]) == ("C0GENERAL", "test", ts)
    assert frame["reply_broadcast"] is True


def test_a_bot_sends_calls_and_knows_its_workspace(
    start_pump: StartPump, workspace: Workspace, bot: MakeBot
) -> None:
    """As far as the pump lets it; what Slack says of a message comes as a frame."""
    start_pump(outbound=FAST | {"api_methods": LISTS})
    sc = bot()
    assert sc.rtm_connect()
    assert (sc.server.username, sc.server.domain) == ("pump", "sandbox")
    assert sc.server.login_data["self"] == {"id": workspace.bot, "name": "pump"}
    assert sc.rtm_read()[0] == {"type": "hello"}

    sc.rtm_send_message("general", "test", "1482960137.003543", True)
    answer = read_until(sc, lambda frame: "ok" in frame)
    assert answer == {"ok": True, "ts": workspace.sent[-1].ts, "text": "test"}
    assert last_message(workspace)["thread_ts"] == "1482960137.003543"
    sc.server.send_to_websocket({"id": 7, "type": "message", "channel": "nowhere", "text": "x"})
    answer = read_until(sc, lambda frame: frame.get("reply_to") == 7)
    assert (answer["ok"], answer["error"]["code"]) == (False, "channel_not_found")

    general = sc.server.channels.find("#general")
    assert general is not None
    assert (general.id, general == "C0GENERAL", general == "general") == ("C0GENERAL", True, True)
    general.send_message("to the channel")
    assert workspace.wait(lambda: workspace.sent[-1].text == "to the channel")
    assert sc.server.channels.find("nowhere") is None
    user = sc.server.users.find("U0ALICE")
    assert user is not None
    assert (user.id, sc.server.users.find("alice")) == ("U0ALICE", None)

    posted = sc.api_call("chat.postMessage", channel="#general", text="posted", as_user=True)
    assert (posted["ok"], posted["message"]["ts"]) == (True, workspace.sent[-1].ts)
    thumb: dict[str, Any] = {"channel": "C0GENERAL", "timestamp": posted["ts"], "name": "thumbsup"}
    assert sc.api_call("reactions.add", **thumb) == {"ok": True}
    assert sc.api_call("reactions.add", **thumb)["error"] == "already_reacted"
    forbidden = sc.api_call("chat.delete", channel="C0GENERAL", ts=posted["ts"])
    assert (forbidden["ok"], forbidden["error"]) == (False, "not_allowed")


def test_a_bot_learns_from_events_what_it_may_not_ask(
    broker: Broker, bot: MakeBot, publish: Publish
) -> None:
    """Who it is, new channels and users; and any name is good for a channel to send to."""
    sc = bot(patience=15.0)
    broker.queue(name="rtm.outbound", x_queue_type="quorum")
    assert sc.rtm_connect(with_team_state=False)
    headers = {"headers": {"team": "T1", "bot": "U0PUMP"}}
    publish("hello", "1", properties=headers)
    publish("rtmpump.connected", "2", properties=headers)
    channel = {"id": "C9", "name": "new"}
    publish("channel_created", "3", channel=channel, properties=headers)
    publish("team_join", "4", user={"id": "U9", "name": "zoe", "profile": {"email": "z@x"}})
    read_until(sc, lambda frame: frame["type"] == "team_join")
    assert sc.server.login_data["self"]["id"] == "U0PUMP"
    found, user = sc.server.channels.find("new"), sc.server.users.find("zoe")
    assert found is not None
    assert user is not None
    assert (found.id, user.id, user.email) == ("C9", "U9", "z@x")
    other = sc.server.channels.find("#welcome-test")
    assert other is not None
    other.send_message("hi")
    while (command := broker.get("rtm.outbound").json)["type"] != "message":
        continue
    assert command == {"type": "message", "channel": "welcome-test", "text": "hi"}
    with pytest.raises(SlackConnectionError):
        sc.api_call("users.info", timeout=0.01, user="U9")


def test_a_broker_that_stays_away_is_said_late_and_one_that_never_came_at_once(
    broker_url: str, broker: Broker, bot: MakeBot
) -> None:
    """Until then nothing comes; after that `connected` is False, as the page's loop asks."""
    broker.queue(name="rtm.outbound", x_queue_type="quorum")
    port = int(broker_url.rpartition(":")[2].partition("/")[0])
    with Line(port) as line:
        sc = bot(broker_url.replace(f":{port}/", f":{line.port}/"), patience=6.0)
        with pytest.raises(SlackNotConnected):
            sc.rtm_read()
        # It takes a busy machine longer to connect than the bot waits.
        wait_until(lambda: sc.rtm_connect(with_team_state=False))
        assert sc.rtm_read() == [{"type": "hello"}]
    wait_until(lambda: sc._client.down_for() > 0)
    assert sc.rtm_read() == []
    with pytest.raises(SlackNotConnected, match=r"away for over 6 s"):
        read_until(sc, lambda _: False)
    assert sc.server.connected is False
    assert not sc.rtm_connect()


class Nowhere:
    """Takes no answers."""

    def answer(self, to: str, correlation_id: str, body: bytes) -> bool:
        """Say so."""
        return False


def arrived(key: str, body: object) -> Event:
    """Make an event of Socket Mode as it comes from RabbitMQ."""
    properties = pika.BasicProperties(headers={"bot": "U0PUMP", "event_id": "Ev1"})
    arrival: Any = (None, 1, False, key, properties, json.dumps(body).encode())
    return Event(Arrival(*arrival), Nowhere())


def test_events_of_socket_mode_have_the_shape_of_rtm() -> None:
    """One message for a mention, none of its own, and nothing that RTM never had."""
    shapes = RtmShapes()

    def shaped(key: str, **fields: Any) -> Frame | None:
        body = {"type": key.partition(".")[0], "channel": "C1", **fields}
        return shapes.frame(arrived(key, body))

    said = {"user": "U1", "text": "<@U0PUMP> hi", "ts": "1.1"}
    message = {"type": "message", "channel": "C1", **said}
    assert shaped("app_mention", **said) == message
    assert shaped("message", channel_type="channel", **said) is None
    assert shaped("message", channel_type="channel", **(said | {"ts": "1.2"})) == message | {
        "ts": "1.2"
    }
    assert shaped("message", user="U0PUMP", ts="1.3") is None
    for key in ("slash_command", "interactive.block_actions", "rtmpump.gap", "hello", "unknown"):
        assert shaped(key) is None
    assert shaped("reaction_added", user="U0PUMP") is not None
    assert shapes.frame(arrived("message", ["no", "object"])) is None


def test_rtm_answers_messages_alone() -> None:
    """Its codes are numbers where they are."""
    assert reply({"type": "typing"}, {"ok": True}) is None
    refused = {"ok": False, "error": {"code": "slack_2", "message": "text is missing"}}
    error = {"code": 2, "msg": "text is missing"}
    assert reply({"text": "x"}, refused) == {"ok": False, "error": error}
