"""Real clients for the simulated workspace: slack_sdk for the Web API, websocket-client for RTM."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any

import pytest
import websocket
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from rtmpump.sandbox.slack.workspace import Workspace


def web_client(workspace: Workspace, tls: ssl.SSLContext | None = None) -> WebClient:
    """Return a client with the right token, which does not retry by itself."""
    return WebClient(
        token=workspace.token, base_url=workspace.api_url, ssl=tls, timeout=100, retry_handlers=[]
    )


def refusal(client: WebClient, method: str, **arguments: Any) -> str:
    """Return the error code that slack_sdk reports for a call."""
    with pytest.raises(SlackApiError) as caught:
        client.api_call(method, params=arguments)
    return str(caught.value.response["error"])


def last_message(workspace: Workspace) -> dict[str, Any]:
    """Return the last frame of RTM that is a message: a pump's ping may have come behind it."""
    return [frame for frame in workspace.frames if frame.get("type") == "message"][-1]


class RtmClient:
    """A WebSocket of a fresh URL; what it gets is decoded JSON."""

    def __init__(
        self, workspace: Workspace, tls: ssl.SSLContext | None = None, *, batch: bool = False
    ) -> None:
        args = {"batch_presence_aware": "1"} if batch else {}
        answer = web_client(workspace, tls).api_call("rtm.connect", data=args)
        self.url: str = answer["url"]
        options = {"context": tls} if tls else None
        self.socket = websocket.create_connection(self.url, timeout=100, sslopt=options)

    @property
    def raw(self) -> socket.socket:
        """The TCP socket under it."""
        assert self.socket.sock is not None
        return self.socket.sock

    def send(self, frame: object) -> None:
        """Send a JSON frame."""
        self.socket.send(json.dumps(frame))

    def get(self) -> Any:
        """Return the next frame."""
        return json.loads(self.socket.recv())

    def say(self, text: str, number: int = 1, channel: str = "C0GENERAL", **more: Any) -> None:
        """Send a message."""
        self.send({"id": number, "type": "message", "channel": channel, "text": text} | more)

    def end(self) -> str:
        """Read until the connection ends; return how: "close CODE", "closed" or "reset"."""
        try:
            while True:
                opcode, data = self.socket.recv_data(control_frame=True)
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    return f"close {int.from_bytes(data[:2], 'big')}"
        except websocket.WebSocketConnectionClosedException:
            return "closed"
        except ConnectionResetError:
            return "reset"

    def hear_nothing(self) -> bool:
        """Whether nothing but the pong arrives before the answer to a ping."""
        self.send({"id": 987654321, "type": "ping"})
        return bool(self.get() == {"type": "pong", "reply_to": 987654321})

    def close(self) -> None:
        """Close the socket at once; after a cut websocket-client has none."""
        if self.socket.sock is not None:
            self.socket.sock.close()

    def __enter__(self) -> RtmClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(workspace: Workspace, *, batch: bool = False) -> RtmClient:
    """Return a client that has seen hello and gets events."""
    client = RtmClient(workspace, batch=batch)
    assert client.get()["type"] == "hello"
    return client


class SocketApp:
    """An app with one connection of Socket Mode, which answers when its test says so."""

    def __init__(self, workspace: Workspace) -> None:
        opened = web_client(workspace).apps_connections_open(app_token=workspace.app_token)
        self.socket = websocket.create_connection(opened["url"], timeout=100)
        assert self._next()["type"] == "hello"
        assert workspace.wait_live()

    def take(self) -> Any:
        """Return the payload of the next envelope, and acknowledge it without an answer."""
        frame = self._next()
        self.socket.send(json.dumps({"envelope_id": frame["envelope_id"]}))
        return frame["payload"]

    def answer(self, payload: object) -> Any:
        """Return the payload of the next envelope, and acknowledge it with this answer."""
        frame = self._next()
        assert frame["accepts_response_payload"]
        answer = {"envelope_id": frame["envelope_id"], "payload": payload}
        self.socket.send(json.dumps(answer))
        return frame["payload"]

    def _next(self) -> Any:
        return json.loads(self.socket.recv())

    def __enter__(self) -> SocketApp:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
