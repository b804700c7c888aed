"""What happens to programs when RabbitMQ or time goes, and how the gateway is reached."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from socket import create_connection

import pytest
import trustme
import websocket

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.gateway.conftest import Publish, StartGateway
from tests.support.broker import Broker
from tests.support.broker_node import close_connections
from tests.support.cli import environment, rtmpump
from tests.support.gateway import TOKEN
from tests.support.socket_client import SocketProgram
from tests.support.socket_mode import StartSocketPump
from tests.support.waiting import wait_until


def test_a_websocket_lives_through_the_end_of_the_connection_to_rabbitmq(
    start_gateway: StartGateway,
    node: RabbitNode,
    broker_url: str,
    broker: Broker,
    publish: Publish,
) -> None:
    """What was acknowledged in the gap does not come again; a bot of RTM would miss events."""
    gateway = start_gateway()
    url = gateway.call("apps.connections.open")["url"]
    with closing(websocket.create_connection(url, timeout=30)) as socket:
        socket.recv()
        gateway.wait_log("gateway.queue_bound")
        publish("message", n=1)
        first = json.loads(socket.recv())
        close_connections(node, broker_url.rpartition("/")[2], product="rtmpump")
        gateway.wait_log("broker.disconnected")
        socket.send(json.dumps({"envelope_id": first["envelope_id"]}))
        gateway.wait_log("broker.connected", 2)
        publish("message", n=2)
        frames = [json.loads(socket.recv())]
        if frames[0]["payload"]["event"]["n"] == 1:
            # RabbitMQ was back before the acknowledgement came.
            frames.append(json.loads(socket.recv()))
        assert frames[-1]["payload"]["event"]["n"] == 2
        socket.send(json.dumps({"envelope_id": frames[-1]["envelope_id"]}))
    gateway.terminate()
    assert gateway.wait() == 0


def test_a_modal_that_comes_too_late_is_not_sent(
    start_socket: StartSocketPump,
    start_gateway: StartGateway,
    workspace_that_retries: Workspace,
    publish: Publish,
) -> None:
    """Slack would refuse its trigger; one that is new goes to Slack."""
    start_socket(outbound={"api_methods": ["views.open"]})
    gateway = start_gateway(clients={"bot": {"token": TOKEN, "api_methods": ["views.open"]}})
    with SocketProgram(gateway) as program:
        gateway.wait_log("gateway.queue_bound")
        # The new one came from a clock ahead, so its three seconds last for a minute.
        for trigger, age in (("old", 10), ("new", -60)):
            at = {"headers": {"received_at": round((time.time() - age) * 1000)}}
            publish("slash_command", trigger, properties=at, command="/x", trigger_id=trigger)
        assert [one.type for one in program.wait_for(2)] == ["slash_commands"] * 2
        late = gateway.call("views.open", trigger_id="old", view="{}")
        assert late["error"] == "expired_trigger_id"
        soon = gateway.call("views.open", trigger_id="new", view="{}")
        assert soon["error"] == "invalid_arguments", "an empty view is none"


def test_tls_and_the_url_that_programs_reach(start_gateway: StartGateway, tmp_path: Path) -> None:
    """With a certificate all is TLS; behind a proxy the WebSocket has the proxy's name."""
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    pair.cert_chain_pems[0].write_to_path(str(cert))
    pair.private_key_pem.write_to_path(str(key))
    gateway = start_gateway(gateway={"tls_cert": str(cert), "tls_key": str(key)})
    context = ssl.create_default_context()
    authority.configure_trust(context)
    call = f"GET /api/apps.connections.open?token={TOKEN} HTTP/1.0\r\nHost: here:1\r\n\r\n"
    plain = create_connection(("127.0.0.1", gateway.port), timeout=30)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as socket:
        socket.sendall(call.encode())
        answer = b"".join(iter(lambda: socket.recv(4096), b"")).decode()
    assert '"url": "wss://here:1/link/?ticket=' in answer
    behind = start_gateway(gateway={"public_url": "https://gw.example/slack"})
    url = behind.call("apps.connections.open")["url"]
    assert url.startswith("wss://gw.example/slack/link/?ticket=")


def test_many_that_say_nothing_hold_up_nobody(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """Five hundred half requests, and a program that works beside them."""
    gateway = start_gateway()
    with ExitStack() as stack:
        for _ in range(500):
            one = stack.enter_context(create_connection(("127.0.0.1", gateway.port), timeout=30))
            one.sendall(b"POST /api/auth.test HTTP/1.1\r\nContent-Length: 1000000\r\n")
        with SocketProgram(gateway) as program:
            gateway.wait_log("gateway.queue_bound")
            publish("message", n=1)
            program.wait_for(1)
    assert gateway.get("/livez")[0] == 200


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "gateway: no program is configured; add a table [gateway.clients.NAME]"),
        ("[gateway.clients.a]\n", "config.toml:1: gateway.clients.a: has no token"),
        ('[gateway.clients.a]\ntoken_file = "nowhere"\n', "can't read the file: no such file"),
        (
            f'[gateway]\ntls_cert = "x"\ntls_key = "y"\n[gateway.clients.a]\ntoken = "{TOKEN}"\n',
            "gateway.tls_cert or tls_key: can't be loaded",
        ),
    ],
)
def test_a_wrong_configuration_is_78(tmp_path: Path, text: str, problem: str) -> None:
    """In one line; no token of Slack is asked for."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    done = rtmpump(tmp_path, "gateway", "-c", str(path))
    assert done.returncode == 78, done.stderr
    assert problem in done.stderr


def test_without_aiohttp_it_says_what_to_install(tmp_path: Path) -> None:
    """And it looks at no token of Slack, even where the file names one."""
    path = tmp_path / "config.toml"
    slack = '[slack]\nmode = "socket"\ntoken_file = "nowhere"\napp_token_file = "nowhere"\n'
    path.write_text(f'{slack}[gateway.clients.a]\ntoken = "{TOKEN}"\n')
    hidden = "import sys; sys.modules['aiohttp'] = None; from rtmpump import cli; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "gateway", "-c", str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 78
    assert "pip install 'rtmpump[gateway]'" in done.stderr


def test_a_message_that_is_no_json_ends_nothing(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """It is left out; what comes behind it arrives, and nobody's connection ends."""
    gateway = start_gateway()
    with SocketProgram(gateway) as program:
        gateway.wait_log("gateway.queue_bound")
        for body in (b'{"text":"\xed\xa0\x80"}', '{"text":1}'.encode("utf-16"), b"[" * 100_000):
            broker.publish(body, exchange="rtm.events", queue="message", type="message")
        publish("message", n=1)
        program.wait_for(1)
        assert program.numbers == [1]
        wait_until(lambda: program.acknowledged == 1)
    wait_until(lambda: broker.count("rtm.gateway.bot") == 0)
    assert gateway.logged("broker.disconnected") == []


def test_websockets_leave_channels_for_all_else(
    start_gateway: StartGateway, broker_url: str
) -> None:
    """Where RabbitMQ allows few, one too many is refused in Slack's words."""
    gateway = start_gateway(broker={"url": f"{broker_url}?channel_max=12"})
    with ExitStack() as stack:
        frames = []
        for _ in range(5):
            url = gateway.call("apps.connections.open")["url"]
            socket = websocket.create_connection(url, timeout=30)
            frames.append(json.loads(stack.enter_context(closing(socket)).recv()))
    assert [frame["type"] for frame in frames] == ["hello"] * 4 + ["disconnect"]
    assert frames[-1]["reason"] == "too_many_websockets"


def test_what_rabbitmq_refuses_for_long_makes_it_not_ready(
    start_gateway: StartGateway, node: RabbitNode, broker_url: str
) -> None:
    """The first refusal is named; when a right is given, all is well again."""
    vhost = broker_url.rpartition("/")[2]
    gateway = start_gateway()
    assert gateway.get("/readyz")[0] == 200
    node.ctl("set_permissions", "-p", vhost, "guest", "^rtm.gateway(.dropped)?$", ".*", ".*")
    url = gateway.call("apps.connections.open")["url"]
    with closing(websocket.create_connection(url, timeout=30)):
        wait_until(lambda: gateway.get("/readyz")[0] == 503)
        assert gateway.get("/readyz")[1].startswith("no events for bot: ")
        assert "rtm.gateway.bot" in json.loads(gateway.get("/status")[1])["problem"]
        node.ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        wait_until(lambda: gateway.get("/readyz")[0] == 200)
