"""RTM as a bot sees it, over a pump in Socket Mode and over one of RTM."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from typing import Any

import pika
import websocket
from slack_sdk.rtm_v2 import RTMClient
from slack_sdk.web import WebClient

from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.gateway.conftest import Publish, StartGateway
from tests.support.broker import Broker
from tests.support.gateway import OTHER, TOKEN, GatewayProcess, soon
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import wait_until


def connect(gateway: GatewayProcess, token: str = TOKEN) -> websocket.WebSocket:
    """A connection that has its hello."""
    socket = websocket.create_connection(gateway.call("rtm.connect", token)["url"], timeout=30)
    hello = {"type": "hello", "fast_reconnect": False, "region": "rtmpump", "start": True}
    assert json.loads(socket.recv()) == hello
    return socket


def say(socket: websocket.WebSocket, frame: object) -> None:
    """Sends a frame: JSON, or a text as it is."""
    socket.send(frame if isinstance(frame, str) else json.dumps(frame))


def hear(socket: websocket.WebSocket) -> Any:
    """The next frame."""
    return json.loads(socket.recv())


def test_a_bot_of_rtm_on_an_app_of_today(
    start_socket: StartSocketPump,
    start_gateway: StartGateway,
    broker: Broker,
    workspace_that_retries: Workspace,
) -> None:
    """Slack's RTM client hears and answers over a pump that has no RTM."""
    workspace = workspace_that_retries
    start_socket()
    gateway = start_gateway(slack={"mode": "socket"})
    bot: Any = RTMClient(
        token=f"xoxb-{TOKEN}", web_client=WebClient(f"xoxb-{TOKEN}", base_url=gateway.api_url)
    )
    heard: list[dict[str, Any]] = []

    def answer(client: RTMClient, event: dict[str, Any]) -> None:
        heard.append(event)
        client.send(json.dumps({"type": "typing", "channel": event["channel"]}))
        client.web_client.chat_postMessage(channel=event["channel"], text="by the Web API")

    greeted: list[dict[str, Any]] = []
    bot.on("message")(answer)
    bot.on("hello")(lambda _client, event: greeted.append(event))
    bot.connect()
    try:
        # Its queue is bound by then; it calls itself connected before.
        wait_until(lambda: greeted)
        with closing(connect(gateway)) as other:
            event = {"type": "message", "channel": "C0GENERAL", "user": "U0ALICE", "text": "hi"}
            workspace.emit(event | {"ts": "17.000001", "channel_type": "channel"})
            wait_until(lambda: heard)
            assert heard[0]["text"] == "hi"
            first = hear(other)
            assert first == event | {"ts": "17.000001"}
            wait_until(lambda: workspace.sent)
            assert workspace.sent[0].text == "by the Web API"
            say(other, {"id": 7, "type": "message", "channel": "C0GENERAL", "text": "by a frame"})
            reply = hear(other)
            assert (reply["ok"], reply["reply_to"], reply["text"]) == (True, 7, "by a frame")
            assert reply["ts"] == workspace.sent[-1].ts
    finally:
        bot.close()
    assert broker.count("rtm.outbound.dead") == 0


def test_frames_and_what_is_wrong_with_them(
    start_pump: StartPump, start_gateway: StartGateway, workspace: Workspace
) -> None:
    """Pings are answered; what is no message is refused in RTM's words, and the bot stays."""
    start_pump()
    gateway = start_gateway(
        clients={"bot": {"token": TOKEN}, "mute": {"token": OTHER, "send": False}}
    )
    with closing(connect(gateway)) as socket, closing(connect(gateway, OTHER)) as mute:
        say(socket, {"id": 1, "type": "ping", "time": 5, "list": [1]})
        assert hear(socket) == {"type": "pong", "reply_to": 1, "time": 5}
        for odd in ("{", "[1]", "[" * 10_000):
            say(socket, odd)
            assert hear(socket)["type"] == "error"
        for text, code, msg in (
            (None, 2, "message text is missing"),
            (5, 2, "message text is missing"),
            ("x" * 4001, 4, "message text is too long"),
        ):
            say(socket, {"id": 2, "type": "message", "channel": "C0GENERAL", "text": text})
            refused = {"ok": False, "reply_to": 2, "error": {"code": code, "msg": msg}}
            assert hear(socket) == refused
        say(socket, {"id": 3, "type": "nonsense"})
        assert hear(socket)["reply_to"] == 3
        say(mute, {"id": 4, "type": "message", "channel": "C0GENERAL", "text": "x"})
        assert "send = false" in hear(mute)["error"]["msg"]
        say(socket, {"id": 5, "type": "message", "channel": "nowhere", "text": "x"})
        assert hear(socket)["ok"] is False
        say(socket, {"type": "typing", "channel": "C0GENERAL"})
        wait_until(lambda: any(frame.get("type") == "typing" for frame in workspace.frames))
        workspace.emit({"type": "user_typing", "channel": "C1", "user": "U2"})
        assert hear(socket) == hear(mute) == {"type": "user_typing", "channel": "C1", "user": "U2"}
        gateway.terminate()
        assert hear(socket) == {"type": "goodbye"}
    assert gateway.wait() == 0


def test_events_that_come_while_a_bot_connects(
    start_pump: StartPump, start_gateway: StartGateway, broker_url: str, publish: Publish
) -> None:
    """None comes before `hello`, and none that RTM does not show stays unacknowledged."""
    start_pump()
    gateway = start_gateway()

    def flood(over: threading.Event) -> None:
        with closing(pika.BlockingConnection(pika.URLParameters(broker_url))) as connection:
            channel = connection.channel()
            while not over.is_set():
                for key in ["slash_command"] * 9 + ["reaction_added"]:
                    channel.basic_publish("rtm.events", key, b"{}")
                connection.process_data_events(0.001)

    for number in range(5):
        over = threading.Event()
        flooding = threading.Thread(target=flood, args=(over,))
        flooding.start()
        try:
            bot = connect(gateway)
        finally:
            over.set()
            flooding.join()
        with closing(bot):
            publish("message", channel="C1", user="U2", text=f"the last of {number}")
            while hear(bot).get("text") != f"the last of {number}":
                continue


def test_a_bot_that_reads_nothing_is_cut(
    start_pump: StartPump, start_gateway: StartGateway, publish: Publish
) -> None:
    """It keeps neither the events nor the connection."""
    start_pump()
    gateway = start_gateway(program=soon(60.0, read=3.0))
    with closing(connect(gateway)):
        for number in range(120):
            publish("message", f"id-{number}", channel="C1", user="U2", text="x" * 100_000)
        gateway.wait_log("gateway.refused", reason="reads_nothing")
        wait_until(lambda: 'face="rtm"} 0.0' in gateway.get("/metrics")[1])
