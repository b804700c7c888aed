"""Socket Mode as a program sees it, spoken to by Slack's own library; RabbitMQ is real."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import closing

import pytest
import websocket

from tests.gateway.conftest import Publish, StartGateway
from tests.support.broker import Broker
from tests.support.gateway import COUNTS_SOON, OTHER, PINGS_SOON, TOKEN, soon
from tests.support.socket_client import SocketProgram
from tests.support.waiting import wait_until


def test_each_event_once_in_order_and_acknowledged(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """Twenty events to the one connection of a name; the pump's own go to nobody."""
    gateway = start_gateway()
    with SocketProgram(gateway) as program:
        wait_until(lambda: broker.exists(queue="rtm.gateway.bot"))
        gateway.wait_log("gateway.queue_bound")
        publish("rtmpump.connected")
        publish("hello")
        for number in range(20):
            publish("message", n=number, text="é")
        first = program.wait_for(20)[0]
        assert program.numbers == list(range(20))
        assert (first.type, first.retry_attempt, first.accepts_response_payload) == (
            "events_api",
            0,
            False,
        )
        assert first.payload["type"] == "event_callback"
        assert first.payload["team_id"] == first.payload["context_team_id"] == "T1"
        assert first.payload["event"]["text"] == "é"
        assert first.payload["authorizations"][0]["user_id"] == "U1"
        wait_until(lambda: program.acknowledged == 20)
    wait_until(lambda: broker.count("rtm.gateway.bot") == 0)
    gateway.terminate()
    assert gateway.wait() == 0
    assert broker.count("rtm.gateway.bot") == 0


def test_workers_share_and_names_fan_out(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """Two connections of one name get each event once between them; another name gets all."""
    gateway = start_gateway(
        clients={"bot": {"token": TOKEN}, "few": {"token": OTHER, "events": ["message.x"]}}
    )
    with (
        SocketProgram(gateway) as one,
        SocketProgram(gateway) as two,
        SocketProgram(gateway, OTHER) as other,
    ):
        gateway.wait_log("gateway.queue_bound", client="bot")
        gateway.wait_log("gateway.queue_bound", client="few")
        for number in range(30):
            publish("message", n=number)
        publish("message.x", n=99)
        wait_until(lambda: len(one.numbers) + len(two.numbers) == 31)
        wait_until(lambda: other.numbers == [99])
        assert sorted(one.numbers + two.numbers) == [*range(30), 99]


def test_who_has_read_hello_gets_all_from_then_on(
    start_gateway: StartGateway, publish: Publish
) -> None:
    """The queue of a new name is bound before `hello`, as Slack begins to send with it."""
    tokens = {f"bot{number}": f"{TOKEN}{number}" for number in range(8)}
    gateway = start_gateway(clients={name: {"token": token} for name, token in tokens.items()})
    for number, token in enumerate(tokens.values()):
        opened = gateway.call("apps.connections.open", token)
        with closing(websocket.create_connection(opened["url"], timeout=30)) as program:
            assert json.loads(program.recv())["type"] == "hello"
            publish("message", n=number)
            assert json.loads(program.recv())["payload"]["event"]["n"] == number


def test_what_a_connection_held_goes_to_another(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """Unacknowledged envelopes of a connection that ends come to the next one, in their order."""
    gateway = start_gateway()
    with SocketProgram(gateway) as silent:
        silent.acknowledges = False
        gateway.wait_log("gateway.queue_bound")
        for number in range(20):
            publish("message", n=number)
        silent.wait_for(20)
    with SocketProgram(gateway) as next:
        next.wait_for(20)
        assert next.numbers == list(range(20))
        assert {one.retry_attempt for one in next.requests} == {0}


def test_kill_of_the_gateway_loses_nothing(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """`kill -9` under events, and a start: the library comes back by itself, and gets all."""
    gateway = start_gateway()
    with SocketProgram(gateway) as program:
        gateway.wait_log("gateway.queue_bound")
        for number in range(100):
            publish("message", n=number)
            if number == 50:
                program.wait_for(20)
                gateway.kill()
        gateway.start()
        wait_until(lambda: set(program.numbers) == set(range(100)))
    # What was in flight may come twice; the rest does not.
    assert sum(count - 1 for count in Counter(program.numbers).values()) <= 100


def test_a_planned_stop_loses_and_repeats_nothing(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """Programs hear `disconnect` first, and what they acknowledge then still counts."""
    gateway = start_gateway()
    with closing(raw(gateway.call("apps.connections.open")["url"])) as socket:
        assert json.loads(socket.recv())["num_connections"] == 1
        gateway.wait_log("gateway.queue_bound")
        publish("message", n=1)
        envelope = json.loads(socket.recv())
        gateway.terminate()
        warned = [json.loads(socket.recv()) for _ in range(2)]
        assert [one["reason"] for one in warned] == ["warning", "refresh_requested"]
        publish("message", n=2)
        socket.send(json.dumps({"envelope_id": envelope["envelope_id"]}))
        assert gateway.wait() == 0
    gateway.start()
    gateway.wait_connected()
    with SocketProgram(gateway) as program:
        program.wait_for(1)
        assert program.numbers == [2]


def raw(url: str) -> websocket.WebSocket:
    """A WebSocket without a library's manners."""
    return websocket.create_connection(url, timeout=30)


def acknowledged(socket: websocket.WebSocket, count: int) -> list[int]:
    """Acknowledges so many envelopes; returns their numbers."""
    numbers: list[int] = []
    while len(numbers) < count:
        frame = json.loads(socket.recv())
        if "envelope_id" in frame:
            numbers.append(frame["payload"]["event"]["n"])
            socket.send(json.dumps({"envelope_id": frame["envelope_id"]}))
    return numbers


def test_an_envelope_is_sent_again_as_slack_does_and_then_settled(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """Three times, each with its number and reason; then RabbitMQ hears that it is done."""
    gateway = start_gateway(program=soon(0.1, 0.1, 0.1, 0.1))
    with SocketProgram(gateway) as silent:
        silent.acknowledges = False
        gateway.wait_log("gateway.queue_bound")
        publish("message", n=1)
        told = silent.wait_for(4)
        gateway.wait_log("gateway.unanswered")
        assert [(one.retry_attempt, one.retry_reason or "") for one in told] == [
            (0, ""),
            (1, "timeout"),
            (2, "timeout"),
            (3, "timeout"),
        ]
        assert len({one.envelope_id for one in told}) == 1
        assert 'result="unanswered"} 1.0' in gateway.get("/metrics")[1]
    gateway.terminate()
    assert gateway.wait() == 0
    assert broker.count("rtm.gateway.bot") == 0


def test_a_connection_holds_at_most_a_hundred_and_a_deaf_one_is_cut(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """A program that reads nothing keeps a hundred; then it is cut, and others get all."""
    gateway = start_gateway(program=soon(60.0, read=10.0))
    with closing(raw(gateway.call("apps.connections.open")["url"])):
        gateway.wait_log("gateway.queue_bound")
        for number in range(120):
            publish("message", f"id-{number}", n=number, text="x" * 100_000)
        gateway.wait_log("gateway.full")
        gateway.wait_log("gateway.refused", reason="reads_nothing")
        with closing(raw(gateway.call("apps.connections.open")["url"])) as reader:
            assert sorted(acknowledged(reader, 120)) == list(range(120))


def test_a_program_that_hangs_keeps_no_connection(
    start_gateway: StartGateway, publish: Publish
) -> None:
    """It answers no ping, so its connection is over; what it never took does not keep it open."""
    gateway = start_gateway(program=PINGS_SOON)

    def files() -> int:
        return len(os.listdir(f"/proc/{gateway.pid}/fd"))

    before = files()
    with closing(raw(gateway.call("apps.connections.open")["url"])):
        gateway.wait_log("gateway.queue_bound")
        assert files() > before
        for number in range(120):
            publish("message", f"id-{number}", n=number, text="x" * 100_000)
        wait_until(lambda: files() == before)
        with closing(raw(gateway.call("apps.connections.open")["url"])) as reader:
            assert sorted(acknowledged(reader, 120)) == list(range(120))


def test_a_frame_that_is_no_acknowledgement_changes_nothing(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """No JSON, no object, a stranger's envelope: the connection lives. 10 MiB end it."""
    gateway = start_gateway()
    with closing(raw(gateway.call("apps.connections.open")["url"])) as socket:
        socket.recv()
        gateway.wait_log("gateway.queue_bound")
        for odd in ("{", "[1]", '{"envelope_id": 5}', '{"envelope_id": "x"}', "[" * 100_000):
            socket.send(odd)
        socket.send_binary(b"\x00")
        publish("message", n=1)
        assert json.loads(socket.recv())["payload"]["event"]["n"] == 1
        assert ends_with(socket, "x" * (10 << 20))
    with SocketProgram(gateway) as program:
        program.wait_for(1)


def ends_with(socket: websocket.WebSocket, text: str) -> bool:
    """Whether the connection is ended by this frame."""
    try:
        socket.send(text)
        while socket.recv():
            continue
    except (websocket.WebSocketException, ConnectionError):
        pass
    return True


def test_tickets_are_good_once_and_tokens_are_known(start_gateway: StartGateway) -> None:
    """A ticket used, a ticket of nobody, a wrong token, none: each is refused in Slack's words."""
    gateway = start_gateway()
    url = gateway.call("apps.connections.open")["url"]
    raw(url).close()
    for used in (url, url.replace("ticket=", "ticket=x")):
        with pytest.raises(websocket.WebSocketBadStatusException):
            raw(used)
    assert gateway.call("apps.connections.open", token="x" * 30)["error"] == "invalid_auth"
    status, text = gateway.get("/api/apps.connections.open")
    assert (status, json.loads(text)["error"]) == (200, "not_authed")


def test_only_ten_connections(start_gateway: StartGateway) -> None:
    """The eleventh hears why it is ended; when one goes there is room again."""
    gateway = start_gateway()
    sockets = [raw(gateway.call("apps.connections.open")["url"]) for _ in range(10)]
    for socket in sockets:
        assert json.loads(socket.recv())["type"] == "hello"
    more = raw(gateway.call("apps.connections.open")["url"])
    assert json.loads(more.recv()) == {
        "type": "disconnect",
        "reason": "too_many_websockets",
        "debug_info": {"host": "rtmpump"},
    }
    for socket in sockets:
        socket.close()


def test_a_queue_that_goes_is_made_anew_and_patterns_come_in_line(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """While it runs, and by a start with other patterns; a queue that nobody has is named."""
    gateway = start_gateway(clients={"bot": {"token": TOKEN, "events": ["message", "old"]}})
    with SocketProgram(gateway) as program:
        gateway.wait_log("gateway.queue_bound")
        publish("message", n=1)
        # RabbitMQ ends the whole connection (541) where a consumer meets a queue that is going.
        program.wait_for(1)
        broker.channel.queue_delete("rtm.gateway.bot")
        gateway.wait_log("gateway.no_events")
        wait_until(lambda: broker.exists(queue="rtm.gateway.bot"))

        def comes() -> bool:
            broker.queue(("rtm.events", "message"), name="so-that-it-is-routed")
            publish("message", n=2)
            return 2 in program.numbers

        wait_until(comes)
    gateway.signal(signal.SIGINT)
    assert gateway.wait() == 0
    broker.channel.queue_purge("rtm.gateway.bot")
    second = start_gateway(clients={"bot": {"token": TOKEN, "events": ["message", "new"]}})
    changed = second.wait_log("gateway.bindings_changed")
    assert (changed["added"], changed["removed"]) == (["new"], ["old"])
    for key in ("old", "new", "message"):
        broker.channel.basic_publish("rtm.events", key, b"{}")
    wait_until(lambda: broker.count("rtm.gateway.bot") == 2)
    third = start_gateway(clients={"else": {"token": TOKEN}})
    assert third.wait_log("gateway.queue_left")["queue"] == "rtm.gateway.bot"


def test_a_full_queue_drops_the_oldest_and_counts(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """A queue that the file names is there from the start; what it can't keep is told."""
    table = {"token": TOKEN, "queue": "own", "max_messages": 5}
    gateway = start_gateway(clients={"bot": table}, program=COUNTS_SOON)
    gateway.wait_log("gateway.queue_bound", queue="own")
    wait_until(lambda: broker.exists(queue="rtm.gateway.dropped"))
    assert 'gateway_dropped_total{client="other"} 0.0' in gateway.get("/metrics")[1]
    for number in range(8):
        publish("message", n=number)
    assert gateway.wait_log("gateway.dropped")["clients"] == {"bot": 1}
    wait_until(lambda: 'gateway_dropped_total{client="bot"} 3.0' in gateway.get("/metrics")[1])
    with SocketProgram(gateway) as program:
        program.wait_for(5)
        assert program.numbers == [3, 4, 5, 6, 7]


def test_the_limit_of_a_queue_that_was_made_otherwise_is_not_known(
    start_gateway: StartGateway, broker: Broker
) -> None:
    """So it is not measured: an alert that compares with it would never fire."""
    broker.channel.queue_declare("old", durable=True, arguments={"x-max-length": 5})
    clients = {"bot": {"token": TOKEN, "queue": "old"}, "new": {"token": OTHER, "queue": "new"}}
    gateway = start_gateway(clients=clients)
    gateway.wait_log("gateway.queue_differs", queue="old")
    gateway.wait_log("gateway.queue_bound", queue="new")
    most = 'gateway_queue_max_messages{client="%s"}'
    wait_until(lambda: most % "new" in gateway.get("/metrics")[1])
    page = gateway.get("/metrics")[1]
    assert 'gateway_queue_messages{client="bot"} 0.0' in page
    assert most % "bot" not in page
