"""Facts about the simulated workspace when all is well, as websocket-client sees it."""

from __future__ import annotations

import gc
import json
import os
import ssl
import threading
from collections.abc import Iterator

import pytest
import websocket

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import RtmClient, connect, web_client
from tests.support.tls import make_pair


def test_hello_is_the_first_frame(workspace: Workspace) -> None:
    """Nothing comes before hello, and the connection is live from then on."""
    with connect(workspace) as client:
        assert (workspace.live, workspace.connections) == (1, 1)
        assert client.hear_nothing()


def test_a_ping_is_answered_with_what_it_held(workspace: Workspace) -> None:
    """The pong has the id as reply_to and the other scalars, not objects."""
    with connect(workspace) as client:
        client.send({"id": 7, "type": "ping", "time": 12.5, "who": "me", "bag": {}})
        assert client.get() == {"type": "pong", "reply_to": 7, "time": 12.5, "who": "me"}


def test_a_websocket_ping_is_answered(workspace: Workspace) -> None:
    """RFC 6455 §5.5.3: the pong carries the same payload."""
    with connect(workspace) as client:
        client.socket.ping(b"abc")
        assert client.socket.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"abc")


def test_the_workspace_can_ping(workspace: Workspace) -> None:
    """The client's pong is on record."""
    with connect(workspace) as client:
        workspace.ping(b"there?")
        assert client.hear_nothing()
        assert workspace.wait(lambda: workspace.pongs == [b"there?"])


def test_a_message_is_answered_and_recorded(workspace: Workspace) -> None:
    """The reply has ok, reply_to, ts and text and no type; `sent` holds what was accepted."""
    with connect(workspace) as client:
        client.say("hällo", 12)
        reply = client.get()
        assert reply == {"ok": True, "reply_to": 12, "ts": reply["ts"], "text": "hällo"}
        (sent,) = workspace.sent
        assert (sent.channel, sent.text, sent.ts) == ("C0GENERAL", "hällo", reply["ts"])
        assert (sent.id, sent.connection, sent.thread_ts) == (12, 1, None)
        assert workspace.frames[0]["text"] == "hällo"


def test_every_ts_is_greater(workspace: Workspace) -> None:
    """A ts never repeats, and compares as text in the order of acceptance."""
    with connect(workspace) as client:
        for number in range(50):
            client.say("x", number)
        stamps = [client.get()["ts"] for _ in range(50)]
    assert stamps == sorted(set(stamps))


def test_others_see_a_message_and_its_sender_does_not(workspace: Workspace) -> None:
    """The event goes to the other connections; the sender gets the reply alone."""
    with connect(workspace) as sender, connect(workspace) as other:
        sender.say("hi")
        ts = sender.get()["ts"]
        event = other.get()
        assert (event["type"], event["user"], event["ts"]) == ("message", workspace.bot, ts)
        assert "reply_to" not in event
        assert sender.hear_nothing()


def test_a_thread_reply_can_be_broadcast(workspace: Workspace) -> None:
    """Others see one event: a thread_broadcast, which has the parent as its `root`."""
    with connect(workspace) as sender, connect(workspace) as other:
        parent = workspace.say("general", "parent")
        sender.say("hi", thread_ts=parent, reply_broadcast=True)
        assert other.get()["text"] == "parent"
        event = other.get()
        assert (event["subtype"], event["thread_ts"]) == ("thread_broadcast", parent)
        root = event["root"]
        assert (root["text"], root["ts"], root["reply_count"]) == ("parent", parent, 1)
        assert root["reply_users"] == [workspace.bot]
        assert other.hear_nothing()
        assert workspace.sent[0].reply_broadcast is True


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "message", "channel": "C0GENERAL"}, 2),
        ({"type": "message", "channel": "C0GENERAL", "text": ""}, 2),
        ({"type": "message", "channel": "C0NOBODY", "text": "x"}, 4),
        ({"type": "message", "channel": "general", "text": "x"}, 4),
        ({"type": "message", "channel": ["C0GENERAL"], "text": "x"}, 4),
        ({"type": "message", "text": "x"}, 4),
        ({"type": "message", "channel": "C0GENERAL", "text": "x" * 4001}, 4),
        ({"type": "no_such_type"}, 4),
        ({"type": "presence_query", "ids": ["U1"] * 501}, 4),
        ({"type": "presence_sub", "ids": "U1"}, 4),
    ],
)
def test_a_bad_frame_is_refused_and_the_connection_goes_on(
    workspace: Workspace, frame: dict[str, object], code: int
) -> None:
    """The reply says ok false with Slack's code; nothing is accepted."""
    with connect(workspace) as client:
        client.send({"id": 3} | frame)
        reply = client.get()
        assert (reply["ok"], reply["reply_to"], reply["error"]["code"]) == (False, 3, code)
        assert workspace.sent == []
        assert client.hear_nothing()


@pytest.mark.parametrize("text", ["no json", "[1]", '"text"', "", "[" * 15_000])
def test_what_is_no_object_gets_an_error_event(workspace: Workspace, text: str) -> None:
    """An error without reply_to; the connection goes on."""
    with connect(workspace) as client:
        client.socket.send(text)
        assert client.get()["type"] == "error"
        assert client.hear_nothing()


def test_a_frame_over_16_kib_disconnects(workspace: Workspace) -> None:
    """16,384 bytes pass, one more ends the connection."""
    with connect(workspace) as client:
        client.socket.send(" " * (16_384 - 22) + '{"id":1,"type":"ping"}')
        assert client.get()["reply_to"] == 1
        client.socket.send("x" * 16_385)
        assert client.end() == "close 1009"
        assert workspace.wait(lambda: workspace.live == 0)


def test_an_unmasked_frame_disconnects(workspace: Workspace) -> None:
    """RFC 6455 §5.1: a server must not take one."""
    with connect(workspace) as client:
        client.raw.sendall(b"\x81\x02{}")
        assert client.end() == "close 1002"


def test_typing_is_unanswered_and_seen_by_others(workspace: Workspace) -> None:
    """Others get user_typing, the sender nothing."""
    with connect(workspace) as sender, connect(workspace) as other:
        sender.send({"id": 1, "type": "typing", "channel": "C0GENERAL"})
        assert other.get() == {
            "type": "user_typing", "channel": "C0GENERAL", "user": workspace.bot,
        }  # fmt: skip
        assert sender.hear_nothing()


def test_presence_is_told_to_who_asked(workspace: Workspace) -> None:
    """presence_sub and presence_query answer each user; later changes go to subscribers."""
    with connect(workspace) as client, connect(workspace) as other:
        client.send({"type": "presence_sub", "ids": ["U1", "U2"]})
        first = [client.get() for _ in range(2)]
        assert [(event["user"], event["presence"]) for event in first] == [
            ("U1", "active"), ("U2", "active"),
        ]  # fmt: skip
        workspace.set_presence("U1", "away")
        workspace.set_presence("U3", "away")
        assert client.get() == {"type": "presence_change", "user": "U1", "presence": "away"}
        client.send({"type": "presence_query", "ids": ["U3"]})
        assert client.get()["user"] == "U3"
        assert other.hear_nothing()


def test_presence_comes_in_batches_where_wanted(workspace: Workspace) -> None:
    """batch_presence_aware at rtm.connect: one event with `users` for each kind of presence."""
    with connect(workspace, batch=True) as client:
        workspace.set_presence("U2", "away")
        client.send({"type": "presence_query", "ids": ["U1", "U2", "U3"]})
        assert [client.get(), client.get()] == [
            {"type": "presence_change", "users": ["U1", "U3"], "presence": "active"},
            {"type": "presence_change", "users": ["U2"], "presence": "away"},
        ]


def test_an_emitted_event_reaches_every_connection_as_it_is(workspace: Workspace) -> None:
    """Bytes, text and dictionaries arrive unchanged; binary is a binary frame."""
    with connect(workspace) as one, connect(workspace) as two:
        assert workspace.emit({"type": "x", "ü": 1}) == 2
        assert one.get() == two.get() == {"type": "x", "ü": 1}
        workspace.emit("not json")
        assert one.socket.recv() == "not json"
        workspace.emit(b"\x00\xff", binary=True)
        assert one.socket.recv_data() == (websocket.ABNF.OPCODE_BINARY, b"\x00\xff")


def test_an_event_while_nobody_is_there_is_lost(workspace: Workspace) -> None:
    """As at Slack: no replay for who comes later."""
    assert workspace.emit({"type": "x"}) == 0
    with connect(workspace) as client:
        assert client.hear_nothing()


def test_somebody_says_something(workspace: Workspace) -> None:
    """`say` makes the message event that Slack would send, by name or id of the channel."""
    with connect(workspace) as client:
        ts = workspace.say("general", "hey", user="U0BOB", thread_ts="1.000001")
        event = client.get()
        assert (event["channel"], event["user"], event["ts"]) == ("C0GENERAL", "U0BOB", ts)
        assert event["thread_ts"] == "1.000001"


def test_workspaces_do_not_mix() -> None:
    """Several at once have ports, teams and tickets of their own."""
    with Workspace(team="T1") as one, Workspace(team="T2") as two:
        assert one.port != two.port
        with connect(one) as client:
            two.emit({"type": "x"})
            assert client.hear_nothing()
        strange = RtmClient(one).url.replace(f":{one.port}/", f":{two.port}/")
        refused = websocket.create_connection(strange, timeout=100)
        assert json.loads(refused.recv())["error"]["code"] == 1


def test_a_client_can_close(workspace: Workspace) -> None:
    """The closing handshake is answered with the client's code, and the connection is gone."""
    with connect(workspace) as client:
        client.socket.send_close(4000)
        assert client.end() == "close 4000"
        assert workspace.wait(lambda: workspace.live == 0)


def test_waiting_has_an_end(workspace: Workspace) -> None:
    """A wait for what does not come is False after its time, and not before it came true."""
    assert workspace.wait_live(0.01) is False
    assert workspace.wait(lambda: True, 0) is True


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for server and client, with a certificate made for this run."""
    server, ca_file = make_pair(tmp_path_factory.mktemp("tls"), "127.0.0.1")
    return server, ssl.create_default_context(cafile=ca_file)


def test_everything_works_over_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Both https and wss; with large events while the client sends: both directions are busy."""
    server, trusting = contexts
    with Workspace(tls=server) as workspace, RtmClient(workspace, trusting) as client:
        assert workspace.api_url.startswith("https://")
        assert client.url.startswith("wss://")
        assert client.get()["type"] == "hello"
        assert workspace.wait_live()
        event = {"type": "x", "text": "y" * 100_000}
        flood = threading.Thread(target=lambda: [workspace.emit(event) for _ in range(50)])
        flood.start()
        for number in range(50):
            client.say("z", number)
        got = [client.get() for _ in range(100)]
        flood.join()
        assert got.count(event) == 50
        assert sorted(frame["reply_to"] for frame in got if "ok" in frame) == list(range(50))


def test_plain_http_on_a_tls_port_harms_nobody(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """A failed TLS handshake ends that connection alone."""
    with Workspace(tls=contexts[0]) as workspace:
        with pytest.raises((OSError, websocket.WebSocketException)):
            websocket.create_connection(f"ws://127.0.0.1:{workspace.port}/link/", timeout=100)
        assert web_client(workspace, contexts[1]).auth_test()["ok"] is True


def test_stop_leaves_no_thread_and_no_socket() -> None:
    """Live, silent, half-open and idle connections all end with the workspace."""
    gc.collect()
    # What other tests left behind may end meanwhile.
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    workspace = Workspace()
    clients = [connect(workspace)]
    workspace.silence()
    clients.append(connect(workspace))
    workspace.close(1001)
    clients.append(connect(workspace))
    flood = threading.Thread(target=workspace.emit_many, args=(_endless(),))
    flood.start()
    workspace.stop()
    flood.join(100)
    assert not flood.is_alive()
    for client in clients:
        client.close()
    del clients, client
    gc.collect()
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= files


def _endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 1000


def test_stop_can_be_called_twice() -> None:
    """The second call finds nothing to do; what comes after it has no effect."""
    workspace = Workspace()
    workspace.stop()
    workspace.stop()
    workspace.up()
    assert workspace.emit({"type": "x"}) == 0
