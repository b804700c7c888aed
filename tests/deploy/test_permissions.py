"""Facts about the users of deploy/rabbitmq, on a real node, with a real pump as rtm-pump."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest
import websocket
from pika.adapters.blocking_connection import BlockingChannel

from rtmpump.config import Config, Ha
from rtmpump.links.rabbitmq.topology import definitions
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.broker import Broker
from tests.support.broker_node import (
    add_user,
    add_vhost,
    delete_user,
    delete_vhost,
    set_permissions,
)
from tests.support.cli import config_file, rtmpump
from tests.support.gateway import COUNTS_SOON, GatewayProcess
from tests.support.paths import ROOT
from tests.support.programs import LONG_ANSWERS
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

RABBITMQ = ROOT / "deploy" / "rabbitmq"
USERS = ("rtm-pump", "rtm-consumer", "rtm-app", "rtm-producer", "rtm-gateway", "rtm-operator")
PASSWORD = "opens-nothing"
ACCESS_REFUSED = 403
MESSAGE = {"type": "message", "channel": "C0GENERAL", "user": "U1", "text": "x", "ts": "1.000001"}

Urls = dict[str, str]


@pytest.fixture(scope="module")
def urls(node: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    """A vhost's URL for each user, once permissions.sh has run for it; "guest" may do all."""
    vhost = f"test-{secrets.token_hex(4)}"
    urls = {"guest": add_vhost(node, vhost)}
    for user in USERS:
        add_user(node, user, PASSWORD)
        urls[user] = f"amqp://{user}:{PASSWORD}@127.0.0.1:{node.port}/{vhost}"
    calls, complaints = permissions(node, vhost, tmp_path_factory.mktemp("ctl"))
    assert complaints == ""
    for call in calls:
        node.ctl(*call)
    yield urls
    delete_vhost(node, vhost)
    for user in USERS:
        delete_user(node, user)


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    """One workspace for all of these tests."""
    with Workspace(token=f"xoxb-{secrets.token_hex(16)}") as workspace:
        yield workspace


@pytest.fixture(scope="module")
def pump(
    urls: Urls, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PumpProcess]:
    """A pump that is rtm-pump, and whose links are all up: so it could declare and consume."""
    folder = tmp_path_factory.mktemp("pump")
    with PumpProcess(folder, workspace, urls["rtm-pump"]) as pump:
        pump.wait_ready()
        yield pump


def permissions(node: RabbitNode, vhost: str, folder: Path) -> tuple[list[list[str]], str]:
    """What permissions.sh asks of rabbitmqctl, word for word, and what it complains of."""
    told, program, users = folder / "told", folder / "rabbitmqctl", folder / "users"
    users.write_text(node.ctl("list_users"))
    program.write_text(
        f"#!/bin/sh\n[ \"$*\" = '--silent list_users' ] && exec cat '{users}'\n"
        f"printf '%s\\n' \"$@\" >> '{told}'\necho >> '{told}'\n"
    )
    program.chmod(0o700)
    done = subprocess.run(
        [RABBITMQ / "permissions.sh", vhost],
        env=os.environ | {"RABBITMQCTL": str(program)},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=100,
    )
    calls = told.read_text() if told.exists() else ""
    return [call.splitlines() for call in calls.strip().split("\n\n") if call], done.stderr


def test_users_that_do_not_exist_are_left_out(node: RabbitNode, tmp_path: Path, urls: Urls) -> None:
    """A pump with one producer needs no others, and each one that is missing is named."""
    (again := tmp_path / "again").mkdir()
    delete_user(node, "rtm-operator")
    try:
        calls, complaints = permissions(node, "/", tmp_path)
    finally:
        add_user(node, "rtm-operator", PASSWORD)
        for call in permissions(node, urls["guest"].rpartition("/")[2], again)[0]:
            node.ctl(*call)
    assert [call[3] for call in calls] == [user for user in USERS if user != "rtm-operator"]
    assert complaints == (
        "there is no user rtm-operator, so it got nothing; "
        "to have it: rabbitmqctl add_user rtm-operator\n"
    )


@contextmanager
def channel_of(url: str) -> Iterator[BlockingChannel]:
    """A channel in confirm mode."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def refused(url: str, attempt: Callable[[BlockingChannel], object]) -> bool:
    """Whether the broker refuses it for want of permission (403); another refusal is an error."""
    try:
        with channel_of(url) as channel:
            attempt(channel)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code != ACCESS_REFUSED:
            raise
        return True
    return False


def bound(channel: BlockingChannel, source: str, key: str = "#") -> str:
    """A queue of the server's naming, bound to an exchange."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, source, key)
    return str(queue)


def consumer_queue(channel: BlockingChannel, source: str, key: str = "#") -> str:
    """A durable queue called consumer.…, bound to an exchange."""
    name = f"consumer.{secrets.token_hex(4)}"
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(name, source, key)
    return name


def next_of(channel: BlockingChannel, queue: str) -> bytes:
    """The next message of a queue."""
    got: list[bytes] = []

    def poll() -> bool:
        _, _, body = channel.basic_get(queue, auto_ack=True)
        got.extend([] if body is None else [body])
        return bool(got)

    wait_until(poll, what=f"for {queue}")
    return got[0]


def ask(channel: BlockingChannel, reply_to: str, command: dict[str, Any]) -> Any:
    """Sends a command and returns its result, which comes to `reply_to`."""
    got: list[bytes] = []
    channel.basic_consume(reply_to, lambda _c, _m, _p, body: got.append(body), auto_ack=True)
    properties = pika.BasicProperties(reply_to=reply_to, correlation_id="1", delivery_mode=2)
    channel.basic_publish("", "rtm.outbound", json.dumps(command), properties, mandatory=True)

    def answered() -> bool:
        channel.connection.process_data_events(0.05)
        return bool(got)

    wait_until(answered, what="for the result")
    return json.loads(got[0])


def test_the_definitions_are_those_of_the_program() -> None:
    """deploy/rabbitmq/definitions.json is `rtmpump topology --json` for the defaults."""
    assert shipped_definitions() == definitions(Config())


def shipped_definitions() -> dict[str, Any]:
    """deploy/rabbitmq/definitions.json."""
    loaded: dict[str, Any] = json.loads((RABBITMQ / "definitions.json").read_text())
    return loaded


@pytest.mark.parametrize("ha", [False, True])
def test_with_the_definitions_the_pump_needs_no_configure(
    urls: Urls, node: RabbitNode, workspace: Workspace, tmp_path: Path, ha: bool
) -> None:
    """Imported into a vhost, they are all that a pump with broker.declare = "passive" asks for."""
    vhost = f"test-{secrets.token_hex(4)}"
    add_vhost(node, vhost)
    imported = definitions(Config(ha=Ha(enabled=ha))) if ha else shipped_definitions()
    for entry in (entry for part in imported.values() for entry in part):
        entry["vhost"] = vhost
    (tmp_path / "definitions.json").write_text(json.dumps(imported))
    node.ctl("import_definitions", str(tmp_path / "definitions.json"))
    call = next(call for call in permissions(node, vhost, tmp_path)[0] if "rtm-pump" in call)
    write, read = call[-2:]
    set_permissions(node, vhost, "rtm-pump", "^$", write, read)
    url = urls["rtm-pump"].rpartition("/")[0] + f"/{vhost}"
    broker, elects = {"declare": "passive"}, {"enabled": ha}
    with PumpProcess(tmp_path, workspace, url, broker=broker, ha=elects) as pump:
        pump.wait_ready()
        assert refused(url, lambda channel: channel.exchange_delete("rtm.message"))
    delete_vhost(node, vhost)


def test_two_pumps_may_elect_one(urls: Urls, workspace: Workspace, tmp_path: Path) -> None:
    """As rtm-pump; nobody else may look into the lock queue, or delete it."""
    with PumpProcess(tmp_path, workspace, urls["rtm-pump"], ha={"enabled": True}) as active:
        active.wait_log("lock.taken")
        for user in USERS[1:]:
            assert refused(urls[user], lambda channel: channel.basic_get("rtmpump.lock")), user
            assert refused(urls[user], lambda channel: channel.queue_delete("rtmpump.lock")), user
        assert not active.logged("broker_lock.disconnected")


@pytest.mark.parametrize("ha", [False, True])
def test_definitions_without_the_lock_are_of_no_use_to_two(ha: bool) -> None:
    """The lock is among the definitions exactly where there is an election."""
    queues = [entry["name"] for entry in definitions(Config(ha=Ha(enabled=ha)))["queues"]]
    assert ("rtmpump.lock" in queues) == ha


def test_the_page_and_the_script_know_the_same_users() -> None:
    """And none of them may do anything with any name."""
    page, script = (RABBITMQ / f"permissions.{end}" for end in ("md", "sh"))
    for user in USERS:
        assert f"| `{user}` |" in page.read_text()
        assert f"\nallow {user} " in script.read_text()
    assert "'.*'" not in script.read_text()


def test_the_pump_pumps_both_ways(pump: PumpProcess, urls: Urls, workspace: Workspace) -> None:
    """As rtm-pump it declares all, also the exchange of a new type, publishes, and answers."""
    with Broker(urls["guest"]) as guest:
        queue = guest.queue(("rtm.events", "never_documented"), ("rtm.message", "message"))
        workspace.emit(MESSAGE)
        assert guest.get(queue).json == MESSAGE
        workspace.emit({"type": "never_documented"})
        assert guest.get(queue).key == "never_documented"
        guest.wait_for_exchange("rtm.never_documented")
        assert guest.ask({"channel": "nowhere", "text": "x"})["error"]["code"]
        assert guest.dead().headers["rtmpump-error-code"] == "channel_not_found"
    assert not pump.logged("broker_events.disconnected")
    assert not pump.logged("broker_commands.disconnected")


def test_what_nobody_takes_gets_to_unrouted(
    pump: PumpProcess, urls: Urls, workspace: Workspace
) -> None:
    """The pump may publish to that exchange too."""
    lonely = {"type": "nobody_wants_this"}
    workspace.emit(lonely)
    with Broker(urls["guest"]) as guest:
        guest.take_until("rtm.unrouted", lambda got: any(m.json == lonely for m in got))
    assert pump.running


@pytest.mark.usefixtures("pump")
def test_the_pump_can_do_no_more(urls: Urls) -> None:
    """It can't read what others read, nor the dead letters, nor touch other names."""
    url = urls["rtm-pump"]
    with channel_of(urls["guest"]) as guest:
        theirs = consumer_queue(guest, "rtm.events")
    assert refused(url, lambda channel: channel.basic_get(theirs))
    assert refused(url, lambda channel: channel.basic_get("rtm.outbound.dead"))
    assert refused(url, lambda channel: channel.queue_delete(theirs))
    assert refused(url, lambda channel: channel.queue_declare("other", durable=True))


@pytest.mark.usefixtures("pump")
@pytest.mark.parametrize("exchange", ["rtm.events", "rtm.message"])
def test_a_consumer_gets_events(urls: Urls, workspace: Workspace, exchange: str) -> None:
    """It declares its queue, binds it to all events or to one type, and reads."""
    with channel_of(urls["rtm-consumer"]) as channel:
        queue = consumer_queue(channel, exchange, "message")
        workspace.emit(MESSAGE)
        assert json.loads(next_of(channel, queue)) == MESSAGE


@pytest.mark.usefixtures("pump")
@pytest.mark.parametrize(
    ("exchange", "key"),
    [("", "rtm.outbound"), ("rtm.events", "message"), ("rtm.message", "message")],
)
def test_a_consumer_publishes_nothing(urls: Urls, exchange: str, key: str) -> None:
    """No command, and no event that Slack never sent."""
    url = urls["rtm-consumer"]
    assert refused(url, lambda channel: channel.basic_publish(exchange, key, b"{}"))


@pytest.mark.usefixtures("pump")
def test_a_consumer_has_no_way_round(urls: Urls) -> None:
    """Neither by dead-lettering into the commands nor by binding their queue to an exchange."""
    url = urls["rtm-consumer"]
    smuggler = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "rtm.outbound"}
    assert refused(url, lambda channel: channel.queue_declare("consumer.x", arguments=smuggler))
    assert refused(url, lambda channel: channel.queue_bind("rtm.outbound", "rtm.message", "#"))
    for queue in ("rtm.outbound", "rtm.outbound.dead", "rtm.unrouted"):
        assert refused(url, partial(BlockingChannel.basic_get, queue=queue))
        assert refused(url, partial(BlockingChannel.queue_purge, queue=queue))
    assert refused(url, lambda channel: channel.exchange_delete("rtm.message"))


@pytest.mark.usefixtures("pump")
def test_an_app_answers_what_slack_asks(urls: Urls, tmp_path: Path) -> None:
    """The pump may have a queue for answers, and the app publish to it; a consumer may not."""
    slack = {"mode": "socket", "app_token": "xapp-app", "answered": ["slash_command"]}
    with (
        Workspace(token="xoxb-app", app_token="xapp-app") as workspace,
        PumpProcess(
            tmp_path, workspace, urls["rtm-pump"], slack=slack, program=LONG_ANSWERS
        ) as pump,
        channel_of(urls["rtm-app"]) as channel,
    ):
        pump.wait_log("answers.on")
        wait_until(lambda: bool(workspace.sockets))
        queue = consumer_queue(channel, "rtm.events", "slash_command")
        asked = workspace.slash("/deploy")
        wait_until(lambda: channel.queue_declare(queue, passive=True).method.message_count > 0)
        _, properties, _ = channel.basic_get(queue, auto_ack=True)
        assert properties is not None
        reply_to = properties.reply_to or ""
        given = pika.BasicProperties(correlation_id=properties.correlation_id)
        refusal = refused(
            urls["rtm-consumer"],
            lambda channel: channel.basic_publish("", reply_to, b"{}", given),
        )
        channel.basic_publish("", reply_to, b'{"text": "done"}', given)
        wait_until(lambda: asked.acknowledged)
    assert refusal
    assert asked.answer == {"text": "done"}


def test_a_producer_gets_its_answer_directly(urls: Urls, workspace: Workspace) -> None:
    """Through amq.rabbitmq.reply-to, which needs no queue."""
    with channel_of(urls["rtm-producer"]) as channel:
        answer = ask(channel, "amq.rabbitmq.reply-to", {"channel": "general", "text": "direct"})
    assert answer["ok"] is True
    assert "direct" in [sent.text for sent in workspace.sent]


@pytest.mark.usefixtures("pump")
def test_a_producer_gets_its_answer_in_a_queue(urls: Urls) -> None:
    """Through an exclusive queue that the server names."""
    with channel_of(urls["rtm-producer"]) as channel:
        queue = str(channel.queue_declare("", exclusive=True).method.queue)
        assert ask(channel, queue, {"channel": "general", "text": "queued"})["ok"] is True


@pytest.mark.usefixtures("pump")
def test_a_producer_reads_no_events(urls: Urls) -> None:
    """It can bind to no exchange, read nobody's queue, and publish no event."""
    url = urls["rtm-producer"]
    with channel_of(urls["guest"]) as guest:
        theirs = consumer_queue(guest, "rtm.events")
    assert refused(url, lambda channel: bound(channel, "rtm.events"))
    assert refused(url, lambda channel: bound(channel, "rtm.message"))
    assert refused(url, lambda channel: channel.queue_declare("own", durable=True))
    assert refused(url, lambda channel: channel.basic_publish("rtm.events", "message", b"{}"))
    for queue in (theirs, "rtm.outbound", "rtm.outbound.dead", "rtm.unrouted"):
        assert refused(url, partial(BlockingChannel.basic_get, queue=queue))


@pytest.mark.usefixtures("pump")
def test_an_operator_watches_sends_and_reads_dead_letters(urls: Urls, workspace: Workspace) -> None:
    """What `rtmpump tail`, `send` and `dead` do; but nothing of the pump's can be changed."""
    with channel_of(urls["rtm-operator"]) as channel:
        queue = bound(channel, "rtm.events", "message")
        workspace.emit(MESSAGE)
        assert json.loads(next_of(channel, queue)) == MESSAGE
        command = {"channel": "nowhere", "text": "x"}
        assert ask(channel, "amq.rabbitmq.reply-to", command)["ok"] is False
        wait_until(lambda: json.loads(next_of(channel, "rtm.outbound.dead")) == command)
    url = urls["rtm-operator"]
    assert refused(url, lambda channel: channel.queue_delete("rtm.outbound"))
    assert refused(url, lambda channel: channel.exchange_delete("rtm.events"))


@pytest.mark.usefixtures("pump")
def test_an_operator_needs_no_more_for_the_dead_letters(urls: Urls, tmp_path: Path) -> None:
    """`rtmpump dead` lists, retries and drops as rtm-operator; as rtm-pump it is refused."""
    args = ("dead", "list", "--json", "-c", str(config_file(tmp_path, urls["rtm-operator"])))
    with Broker(urls["guest"]) as guest:
        guest.drain("rtm.outbound.dead")
        assert guest.ask({"channel": "nowhere", "text": "x"}, message_id="mine")["ok"] is False
        assert json.loads(rtmpump(tmp_path, *args).stdout)["id"] == "mine"
        assert rtmpump(tmp_path, "dead", "retry", "--all", *args[3:]).returncode == 0
        wait_until(lambda: guest.count("rtm.outbound.dead") == 1)
        assert rtmpump(tmp_path, "dead", "drop", "--all", "--yes", *args[3:]).returncode == 0
        assert guest.count("rtm.outbound.dead") == 0
        guest.publish({}, queue="rtm.outbound.dead")
        config_file(tmp_path, urls["rtm-pump"])
        done = rtmpump(tmp_path, *args)
        assert "ACCESS_REFUSED" in done.stderr
        wait_until(lambda: guest.count("rtm.outbound.dead") == 1)
        guest.drain("rtm.outbound.dead")


def test_the_gateway_can_do_its_work(
    urls: Urls, pump: PumpProcess, workspace: Workspace, tmp_path: Path
) -> None:
    """It declares, binds, delivers an event, takes its acknowledgement, and sends a message."""
    gateway = GatewayProcess(tmp_path, urls["rtm-gateway"], program=COUNTS_SOON)
    with gateway:
        gateway.wait_connected()
        url = gateway.call("apps.connections.open")["url"]
        with closing(websocket.create_connection(url, timeout=30)) as socket:
            assert json.loads(socket.recv())["type"] == "hello"
            gateway.wait_log("gateway.queue_bound")
            workspace.emit(MESSAGE)
            envelope = json.loads(socket.recv())
            assert envelope["payload"]["event"] == MESSAGE
            socket.send(json.dumps({"envelope_id": envelope["envelope_id"]}))
            assert gateway.call("chat.postMessage", channel="general", text="by it")["ok"]
        assert gateway.logged("gateway.no_events") == []
        assert gateway.logged("gateway.dropped_unknown") == []
