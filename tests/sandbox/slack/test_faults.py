"""Facts about each way in which the simulated workspace can go wrong."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque

import pytest
import websocket
from slack_sdk.errors import SlackApiError

from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.faults import Answer, Hang, HttpAnswer, Raw, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import RtmClient, connect, web_client


def how_it_ends(connection: socket.socket) -> str:
    """Read raw bytes to the end."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        return "reset"
    return "closed"


def test_api_errors_are_taken_one_a_call(workspace: Workspace) -> None:
    """A queue for a method, or for any, is used up in order; then all is well again."""
    workspace.faults.api_errors["rtm.connect"] += ["migration_in_progress", "fatal_error"]
    workspace.faults.api_errors["*"].append({"ok": True, "odd": 1})
    client = web_client(workspace)
    for code in ("migration_in_progress", "fatal_error"):
        with pytest.raises(SlackApiError, match=code):
            client.api_call("rtm.connect")
    assert client.api_call("rtm.connect").data == {"ok": True, "odd": 1}
    assert "url" in client.api_call("rtm.connect").data


def test_an_api_call_can_be_rate_limited(workspace: Workspace) -> None:
    """HTTP 429 with Retry-After, as Slack does it."""
    body = json.dumps({"ok": False, "error": "ratelimited"})
    limited = HttpAnswer(429, {"Retry-After": "7", "Content-Type": "application/json"}, body)
    workspace.faults.api_errors["auth.test"].append(limited)
    with pytest.raises(SlackApiError) as caught:
        web_client(workspace).auth_test()
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["Retry-After"] == "7"


def test_an_api_call_can_meet_html(workspace: Workspace) -> None:
    """A proxy's error page instead of JSON."""
    workspace.faults.api_errors["auth.test"].append(HttpAnswer(503, body="<html>down</html>"))
    with pytest.raises(SlackApiError, match="down"):
        web_client(workspace).auth_test()


def test_an_api_call_can_hang(workspace: Workspace) -> None:
    """No answer within the client's time; a short hang is answered rightly in the end."""
    workspace.faults.api_errors["auth.test"] += [Hang(60), Hang(0.05)]
    client = web_client(workspace)
    client.timeout = 1
    with pytest.raises(TimeoutError):
        client.auth_test()
    client.timeout = 10
    assert client.auth_test()["ok"] is True


def test_an_api_call_can_be_reset(workspace: Workspace) -> None:
    """RST without an answer."""
    workspace.faults.api_errors["auth.test"].append(Reset())
    with pytest.raises(ConnectionResetError):
        web_client(workspace).auth_test()
    assert [call.method for call in workspace.calls] == ["auth.test"]


def test_the_url_can_be_another(workspace: Workspace) -> None:
    """The answer of rtm.connect has the URL of the faults."""
    workspace.faults.connect_url = "ws://127.0.0.1:1/nothing"
    assert web_client(workspace).api_call("rtm.connect")["url"] == "ws://127.0.0.1:1/nothing"


def test_an_upgrade_can_be_refused_or_reset(workspace: Workspace) -> None:
    """An HTTP error, any bytes, or an RST in place of 101."""
    workspace.faults.handshakes += [HttpAnswer(503), Raw(b"HTTP/1.1 418 x\r\n\r\n"), Reset()]
    for code in ("503", "418"):
        with pytest.raises(websocket.WebSocketBadStatusException, match=code):
            RtmClient(workspace)
    with pytest.raises(ConnectionResetError):
        RtmClient(workspace)
    connect(workspace).close()


def test_hello_can_stay_away(workspace: Workspace) -> None:
    """The connection is open and answers pings, but is never live."""
    workspace.faults.hello = deque(["never"])
    with RtmClient(workspace) as client:
        assert client.hear_nothing()
        assert workspace.emit({"type": "x"}) == 0
        assert (workspace.connections, workspace.live) == (1, 0)
    connect(workspace).close()


def test_an_error_can_come_instead_of_hello(workspace: Workspace) -> None:
    """With the code, text and further members that are asked for; then the close."""
    workspace.faults.hello = "error"
    workspace.faults.hello_error = {"code": 1, "msg": "old", "source": "gateway"}
    with RtmClient(workspace) as client:
        assert client.get() == {"type": "error", "error": workspace.faults.hello_error}
        assert client.end() == "close 1000"


def test_goodbye_is_followed_by_a_close(workspace: Workspace) -> None:
    """Only for the connections that got it: a newer one stays."""
    with connect(workspace) as old:
        workspace.goodbye(close_after=0.2)
        assert old.get() == {"type": "goodbye"}
        with connect(workspace) as new:
            assert old.end() == "close 1000"
            assert workspace.wait(lambda: workspace.live == 1)
            assert new.hear_nothing()


def test_goodbye_can_be_without_a_close(workspace: Workspace) -> None:
    """With None the connection simply goes on."""
    with connect(workspace) as client:
        workspace.goodbye(close_after=None)
        assert client.get() == {"type": "goodbye"}
        assert client.hear_nothing()


def test_a_close_has_code_and_reason(workspace: Workspace) -> None:
    """The client sees both; the connection is not live from that moment."""
    with connect(workspace) as client:
        workspace.close(1011, "oops")
        assert workspace.live == 0
        opcode, payload = client.socket.recv_data(control_frame=True)
        assert (opcode, payload) == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xf3oops")


def test_a_close_without_an_answer_ends_soon(workspace: Workspace) -> None:
    """A client that ignores the close frame is cut off."""
    with connect(workspace) as client:
        workspace.close(1000)
        client.raw.settimeout(10)
        received = b""
        while chunk := client.raw.recv(100):
            received += chunk
        assert received == b"\x88\x02\x03\xe8"


def test_a_cut_is_a_fin_and_a_reset_an_rst(workspace: Workspace) -> None:
    """Neither has a closing handshake."""
    with connect(workspace) as client:
        workspace.cut()
        assert client.end() == "closed"
    with connect(workspace) as client:
        workspace.reset()
        assert client.end() == "reset"


def test_a_reset_works_while_the_peer_does_not_read(workspace: Workspace) -> None:
    """A blocked emit is interrupted, and the client gets its RST."""
    with connect(workspace) as client:
        done = threading.Event()

        def flood() -> None:
            workspace.emit_many(iter(lambda: b"x" * 9999, b""))
            done.set()

        # The client reads nothing, so the flood can't go further than the buffers of both sockets.
        threading.Thread(target=flood).start()
        assert not done.wait(0.2)
        workspace.reset()
        assert workspace.wait(lambda: workspace.live == 0)
        assert how_it_ends(client.raw) == "reset"
        workspace.stop()
        assert done.wait(100)


def test_silence_keeps_the_connection_and_says_nothing(workspace: Workspace) -> None:
    """No pong, no reply, no event, no close; a new connection is served as ever."""
    with connect(workspace) as dead:
        workspace.silence()
        dead.send({"id": 1, "type": "ping"})
        dead.say("lost")
        with connect(workspace) as client:
            assert workspace.live == 1
            assert workspace.emit({"type": "x"}) == 1
            assert client.get() == {"type": "x"}
        dead.socket.settimeout(0.1)
        with pytest.raises(websocket.WebSocketTimeoutException):
            dead.get()
        assert workspace.sent == []


def test_a_message_can_stay_unanswered(workspace: Workspace) -> None:
    """It is accepted; the next one is answered."""
    workspace.faults.reply_policy = deque([faults.NEVER])
    with connect(workspace) as client:
        client.say("one", 1)
        client.say("two", 2)
        assert client.get()["reply_to"] == 2
        assert [sent.text for sent in workspace.sent] == ["one", "two"]


def test_a_reply_can_be_late_and_overtaken(workspace: Workspace) -> None:
    """Replies come in any order."""
    # Longer than anything holds up the second message.
    workspace.faults.reply_policy = deque([faults.late(10.0)])
    with connect(workspace) as client:
        client.say("one", 1)
        client.say("two", 2)
        assert [client.get()["reply_to"] for _ in range(2)] == [2, 1]


def test_a_reply_can_come_twice(workspace: Workspace) -> None:
    """Both are equal, and the message was accepted once."""
    workspace.faults.reply_policy = faults.TWICE
    with connect(workspace) as client:
        client.say("one")
        assert client.get() == client.get()
        assert len(workspace.sent) == 1


@pytest.mark.parametrize(
    ("answer", "types"),
    [
        (faults.ECHO_BEFORE, ["message", None]),
        (faults.ECHO_AFTER, [None, "message"]),
        (faults.ECHO_ONLY, ["message"]),
    ],
)
def test_an_echo_can_come(workspace: Workspace, answer: Answer, types: list[str | None]) -> None:
    """The echo is the message event with reply_to, and has the reply's ts."""
    workspace.faults.reply_policy = answer
    with connect(workspace) as client:
        client.say("one", 5)
        frames = [client.get() for _ in types]
        assert [frame.get("type") for frame in frames] == types
        assert {(frame["reply_to"], frame["ts"]) for frame in frames} == {(5, workspace.sent[0].ts)}
        assert client.hear_nothing()


def test_a_message_can_be_refused(workspace: Workspace) -> None:
    """A function can choose by the frame; what it refuses is not accepted."""
    workspace.faults.reply_policy = lambda frame: (
        faults.error(-1, "slow down") if frame["text"] == "bad" else faults.NORMAL
    )
    with connect(workspace) as client:
        client.say("bad", 1)
        assert client.get()["error"] == {"code": -1, "msg": "slow down"}
        client.say("good", 2)
        assert client.get()["ok"] is True
        assert [sent.text for sent in workspace.sent] == ["good"]


def test_the_connection_can_break_before_the_reply(workspace: Workspace) -> None:
    """The message is accepted, others see it, and its sender can't know."""
    workspace.faults.reply_policy = deque([faults.CUT_BEFORE_REPLY])
    with connect(workspace) as sender, connect(workspace) as other:
        sender.say("one")
        assert sender.end() == "reset"
        assert other.get()["text"] == "one"
        assert len(workspace.sent) == 1


def test_the_connection_can_break_before_the_message_is_accepted(workspace: Workspace) -> None:
    """Nothing was accepted, and its sender can't know that either."""
    workspace.faults.reply_policy = deque([faults.CUT_BEFORE_ACCEPT])
    with connect(workspace) as client:
        client.say("one")
        assert client.end() == "reset"
        assert workspace.sent == []


@pytest.mark.parametrize(("how", "type_"), [("reply", None), ("echo", "message")])
def test_the_last_reply_can_come_on_the_next_connection(
    workspace: Workspace, how: str, type_: str | None
) -> None:
    """Right after hello, with the id that the previous connection used."""
    workspace.faults.repeat_last_reply = how
    workspace.faults.reply_policy = deque([faults.CUT_BEFORE_REPLY])
    with connect(workspace) as client:
        client.say("one", 41)
        client.end()
    with connect(workspace) as client:
        frame = client.get()
        assert (frame.get("type"), frame["reply_to"]) == (type_, 41)
        assert frame["ts"] == workspace.sent[0].ts


def test_messages_can_be_too_many(workspace: Workspace) -> None:
    """Past the rate the reply is error -1 with Slack's text, and nothing is accepted."""
    workspace.faults.rate_limit = 0.001
    with connect(workspace) as client:
        client.say("one", 1)
        client.say("two", 2)
        assert client.get()["ok"] is True
        assert client.get()["error"] == {"code": -1, "msg": "slow down, too many messages..."}
        assert len(workspace.sent) == 1


def test_delivery_can_be_byte_by_byte(workspace: Workspace) -> None:
    """The frames are the same."""
    workspace.faults.byte_by_byte = True
    with connect(workspace) as client:
        workspace.emit({"type": "x", "text": "y" * 300})
        assert client.get()["text"] == "y" * 300


def next_frame(client: RtmClient) -> tuple[int, bytes]:
    """Whether the next WebSocket frame is the last of its message (1), and its payload."""
    # websocket-client gives this one no types.
    frame = client.socket.recv_frame()  # type: ignore[no-untyped-call]
    return frame.fin, frame.data


def test_delivery_can_be_in_fragments(workspace: Workspace) -> None:
    """One event is many WebSocket frames, and arrives as one; floods as well."""
    with connect(workspace) as client:
        workspace.faults.fragment = 7
        workspace.emit({"type": "x", "text": "ü" * 50})
        workspace.emit_many([b'{"type": "y", "n": 1}'])
        last, whole = next_frame(client)
        assert (last, len(whole)) == (0, 7)
        while not last:
            last, rest = next_frame(client)
            whole += rest
        assert json.loads(whole) == {"type": "x", "text": "ü" * 50}
        assert client.get() == {"type": "y", "n": 1}


def test_raw_bytes_can_be_anything(workspace: Workspace) -> None:
    """An impossible opcode reaches the client."""
    with connect(workspace) as client:
        workspace.raw(b"\x83\x00")
        with pytest.raises(websocket.WebSocketProtocolException):
            client.get()


def test_slack_can_be_gone_and_come_back(workspace: Workspace) -> None:
    """While it is down connections are reset and new ones refused; the port stays the same."""
    with connect(workspace) as client:
        workspace.down()
        assert client.end() == "reset"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", workspace.port), timeout=100)
    workspace.up()
    connect(workspace).close()


def test_an_interrupted_hang_does_not_hold_up_stop(workspace: Workspace) -> None:
    """stop() ends what waits: hanging calls and late replies."""
    workspace.faults.api_errors["auth.test"].append(Hang(600))
    workspace.faults.reply_policy = faults.late(600)
    with connect(workspace) as client:
        client.say("one")
        hanging = socket.create_connection(("127.0.0.1", workspace.port), timeout=100)
        hanging.sendall(b"POST /api/auth.test HTTP/1.1\r\n\r\n")
        assert workspace.wait(lambda: workspace.sent and len(workspace.calls) == 2)
        started = time.monotonic()
        workspace.stop()
        assert time.monotonic() - started < 60
        assert hanging.recv(1) == b""
        hanging.close()
