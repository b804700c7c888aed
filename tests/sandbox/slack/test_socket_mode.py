"""The simulated workspace speaks Socket Mode as Slack documents it, and slack_sdk is content."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import websocket
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.builtin import SocketModeClient as BuiltinClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.socket_mode.websocket_client import SocketModeClient as WebsocketClient

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.waiting import wait_until

MESSAGE = {"type": "message", "channel": "C0GENERAL", "text": "hé", "ts": "1.000001"}


def open_socket(workspace: Workspace) -> websocket.WebSocket:
    """Open a raw connection of Socket Mode."""
    client = WebClient(base_url=workspace.api_url, retry_handlers=[])
    url = client.apps_connections_open(app_token=workspace.app_token)["url"]
    return websocket.create_connection(url, timeout=100)


def got(socket: websocket.WebSocket) -> Any:
    """Return the next frame."""
    return json.loads(socket.recv())


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """Run a workspace that retries soon."""
    with Workspace() as workspace:
        workspace.faults.ack_seconds = 0.05
        workspace.faults.retry_after = (0.0, 0.05, 0.05)
        yield workspace


class Listener:
    """What a SocketModeClient handed on; acknowledges as slack_sdk teaches."""

    def __init__(self) -> None:
        self.got: list[SocketModeRequest] = []
        self.arrived = threading.Condition()

    def __call__(self, client: Any, request: SocketModeRequest) -> None:
        """Take one request."""
        client.send_socket_mode_response(
            SocketModeResponse(envelope_id=request.envelope_id, payload={"text": "yes"})
        )
        with self.arrived:
            self.got.append(request)
            self.arrived.notify_all()

    def wait(self, count: int) -> None:
        """Wait until so many came."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.got) >= count, 20)


@contextmanager
def connected(kind: Callable[..., Any], workspace: Workspace) -> Iterator[Listener]:
    """Return a connected client of slack_sdk."""
    client = kind(
        app_token=workspace.app_token,
        web_client=WebClient(token=workspace.token, base_url=workspace.api_url),
    )
    listener = Listener()
    client.socket_mode_request_listeners.append(listener)
    client.connect()
    try:
        assert workspace.wait(lambda: workspace.sockets, 100)
        yield listener
    finally:
        client.close()


@pytest.mark.parametrize("kind", [BuiltinClient, WebsocketClient])
def test_slack_sdk_is_content(kind: Callable[..., Any], workspace: Workspace) -> None:
    """slack_sdk's own clients connect, get each kind of envelope, and their answers arrive."""
    workspace.faults.ack_seconds = 200.0
    with connected(kind, workspace) as listener:
        workspace.emit(MESSAGE)
        slash = workspace.slash("/pump", "now")
        workspace.interact({"type": "block_actions", "user": {"id": "U0ALICE"}, "actions": []})
        listener.wait(3)
        assert workspace.wait(lambda: not workspace.unacknowledged(), 100)
    by_type = {request.type: request for request in listener.got}
    event = by_type["events_api"].payload
    assert event["type"] == "event_callback"
    assert event["event"] == MESSAGE
    assert {"event_id", "event_time", "team_id", "api_app_id", "authorizations"} <= event.keys()
    assert by_type["events_api"].retry_attempt == 0
    assert by_type["slash_commands"].payload["command"] == "/pump"
    assert by_type["slash_commands"].accepts_response_payload
    assert by_type["interactive"].payload["type"] == "block_actions"
    assert slash.answer == {"text": "yes"}


@pytest.mark.parametrize("kind", [BuiltinClient, WebsocketClient])
def test_slack_sdk_follows_a_disconnect(kind: Callable[..., Any], workspace: Workspace) -> None:
    """A client of slack_sdk that is asked to refresh connects anew and gets what follows."""
    # Sent again within the time of the test, should the client change connections once more.
    workspace.faults.ack_seconds = 2.0
    with connected(kind, workspace) as listener:
        (first,) = workspace.sockets
        workspace.disconnect("refresh_requested", close_after=0.5)
        assert workspace.wait(lambda: workspace.sockets and first not in workspace.sockets, 100)
        workspace.emit(MESSAGE)
        listener.wait(1)


def test_the_event_keeps_its_bytes(workspace: Workspace) -> None:
    """An event stands in its envelope byte by byte."""
    odd = b'{ "type":"message" ,"text":"\\u00e9" }'
    with_socket = open_socket(workspace)
    got(with_socket)
    assert workspace.wait_live()
    assert workspace.emit(odd) == 1
    received = with_socket.recv()
    assert isinstance(received, str)
    assert b'"event":' + odd in received.encode()
    with_socket.close()


def test_each_event_goes_to_one_connection(workspace: Workspace) -> None:
    """Of several connections one gets an event, and hello says how many there are."""
    workspace.faults.ack_seconds = 200.0
    first, second = open_socket(workspace), open_socket(workspace)
    hellos = [got(first)["num_connections"], got(second)["num_connections"]]
    assert sorted(hellos) == [1, 2]
    assert workspace.wait_live(count=2)
    for _ in range(4):
        workspace.emit(MESSAGE)
    assert {e.deliveries[0].connection for e in workspace.envelopes} == {1, 2}
    assert all(len(e.deliveries) == 1 for e in workspace.envelopes)
    first.close()
    second.close()


def test_an_unacknowledged_event_comes_three_times_again(workspace: Workspace) -> None:
    """Retries have a number and a reason, keep the event's id, and end."""
    socket = open_socket(workspace)
    got(socket)
    assert workspace.wait_live()
    workspace.emit(MESSAGE)
    frames = [got(socket) for _ in range(4)]
    assert [(f["retry_attempt"], f["retry_reason"]) for f in frames] == [
        (0, ""),
        (1, "timeout"),
        (2, "timeout"),
        (3, "timeout"),
    ]
    assert len({f["payload"]["event_id"] for f in frames}) == 1
    assert workspace.wait(lambda: workspace.envelopes[0].given_up)
    socket.close()


def test_an_acknowledged_event_comes_once(workspace: Workspace) -> None:
    """An acknowledgement on any connection ends the retries."""
    workspace.faults.ack_seconds = 200.0
    socket = open_socket(workspace)
    got(socket)
    assert workspace.wait_live()
    workspace.emit(MESSAGE)
    frame = got(socket)
    socket.send(json.dumps({"envelope_id": frame["envelope_id"]}))
    (envelope,) = workspace.envelopes
    assert workspace.wait(lambda: envelope.acknowledged)
    workspace.emit(MESSAGE)
    workspace.retry_now()
    # The second one, and its retry, before which one of the first would have come.
    second = [got(socket)["payload"]["event_id"] for _ in range(2)]
    assert second == [workspace.envelopes[1].event_id] * 2
    socket.close()


def test_an_event_waits_for_a_connection(workspace: Workspace) -> None:
    """What happens while the app has no connection comes with a retry, if it comes back in time."""
    workspace.faults.retry_after = (0.0, 60.0, 300.0)
    socket = open_socket(workspace)
    got(socket)
    socket.close()
    assert workspace.wait(lambda: not workspace.sockets)
    assert workspace.emit(MESSAGE) == 0
    # The first retry, too, finds nobody.
    assert workspace.wait(lambda: len(workspace.envelopes[0].deliveries) == 2)
    socket = open_socket(workspace)
    got(socket)
    assert workspace.wait_live()

    def tried_again() -> bool:
        workspace.retry_now()
        return len(workspace.envelopes[0].deliveries) > 2

    wait_until(tried_again)
    assert got(socket)["retry_attempt"] == 2
    socket.close()


def test_too_many_connections_are_sent_away(workspace: Workspace) -> None:
    """The eleventh connection gets no hello but a disconnect."""
    workspace.faults.most_sockets = 1
    first = open_socket(workspace)
    assert got(first)["type"] == "hello"
    second = open_socket(workspace)
    assert got(second)["reason"] == "too_many_websockets"
    first.close()
    second.close()


def test_each_method_takes_its_own_token(workspace: Workspace) -> None:
    """apps.connections.open wants the app-level token in the header, all others the bot's."""
    web = WebClient(base_url=workspace.api_url, retry_handlers=[])

    def refusal(method: str, **call: Any) -> str:
        with pytest.raises(SlackApiError) as caught:
            web.api_call(method, **call)
        return str(caught.value.response["error"])

    bearer = {"Authorization": f"Bearer {workspace.app_token}"}
    assert refusal("rtm.connect", headers=bearer) == "not_allowed_token_type"
    bearer = {"Authorization": f"Bearer {workspace.token}"}
    assert refusal("apps.connections.open", headers=bearer) == "not_allowed_token_type"
    client = http.client.HTTPConnection(workspace.host, workspace.port, timeout=100)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"token={workspace.app_token}"
    client.request("POST", "/api/apps.connections.open", body, form)
    assert json.load(client.getresponse())["error"] == "missing_args"
    client.close()
    assert refusal("apps.connections.open", headers={"Authorization": "Bearer x"}) == "invalid_auth"


def test_rtm_goes_on_beside_socket_mode(workspace: Workspace) -> None:
    """An app with both gets an event on each."""
    web = WebClient(token=workspace.token, base_url=workspace.api_url)
    rtm = websocket.create_connection(web.api_call("rtm.connect")["url"], timeout=100)
    socket = open_socket(workspace)
    assert (got(rtm)["type"], got(socket)["type"]) == ("hello", "hello")
    assert workspace.wait_live(count=2)
    assert workspace.emit(MESSAGE) == 2
    assert got(rtm) == got(socket)["payload"]["event"] == MESSAGE
    rtm.close()
    socket.close()


def test_what_is_over_can_be_forgotten(workspace: Workspace) -> None:
    """With the frames that said so; what was not acknowledged stays, and is sent again."""
    socket = open_socket(workspace)
    assert workspace.wait_live()
    workspace.emit(MESSAGE)
    workspace.emit(MESSAGE)
    assert got(socket)["type"] == "hello"
    first = got(socket)
    socket.send(json.dumps({"envelope_id": first["envelope_id"]}))
    # A frame is on record an instant before it counts.
    wait_until(lambda: len(workspace.unacknowledged()) == 1)
    (over,) = workspace.forget_acknowledged()
    assert over.acknowledged
    assert workspace.frames == []
    (waiting,) = workspace.envelopes
    assert workspace.unacknowledged() == [waiting]
    # Who says it again says nothing.
    socket.send(json.dumps({"envelope_id": first["envelope_id"]}))
    wait_until(lambda: len(waiting.deliveries) > 1)
    assert workspace.forget_acknowledged() == []


def test_raw_bytes_go_to_these_connections_too(workspace: Workspace) -> None:
    """What is no frame at all."""
    socket = open_socket(workspace)
    assert workspace.wait_live()
    assert got(socket)["type"] == "hello"
    workspace.raw(b"\x81\x02no")
    assert socket.recv() == "no"
