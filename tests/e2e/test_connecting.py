"""Facts about how a real pump finds and keeps its connection to Slack, whatever it meets there.

That the token is never printed is looked at by PumpProcess, at log level debug, in every test.
"""

from __future__ import annotations

import resource
import secrets
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.faults import ApiFault, HandshakeFault, Hang, HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.links.slack.test_handshake import Proxy
from tests.support.broker import Broker
from tests.support.broker_node import close_connections
from tests.support.programs import PLAIN
from tests.support.pump import PumpProcess
from tests.support.tls import make_pair

INFO = {"level": "info"}


def lives(workspace: Workspace, broker: Broker, connections: int = 2) -> bool:
    """Whether a new connection is there, and events come through it."""

    def is_live() -> bool:
        # The one before may still count as live when the new one is opened.
        return any(peer.number >= connections for peer in workspace._hub.live_peers())

    assert workspace.wait(is_live, 100)
    queue = broker.queue(("rtm.events", "probe"))
    workspace.emit({"type": "probe"})
    return broker.get(queue).key == "probe"


def connects(workspace: Workspace) -> list[float]:
    """When rtm.connect was called."""
    return [call.time for call in workspace.calls if call.method == "rtm.connect"]


def pings(workspace: Workspace) -> list[dict[str, Any]]:
    """The RTM pings that Slack got."""
    return [frame for frame in workspace.frames if frame.get("type") == "ping"]


def one_error(pump: PumpProcess) -> dict[str, Any]:
    """The one error in the log; all that it wrote are lines of JSON."""
    lines = pump.log_lines()
    assert len(lines) == len(pump.log_text().splitlines())
    (line,) = [line for line in lines if line["level"] == "error"]
    return line


def test_a_wrong_token_ends_with_78_and_one_line(
    start_pump: StartPump, workspace: Workspace
) -> None:
    """Slack is asked once, and the line says what to do."""
    token = f"xoxb-wrong-{secrets.token_hex(8)}"
    pump = start_pump(ready=False, slack={"token": token}, log=INFO)
    assert pump.wait() == 78
    error = one_error(pump)
    assert (error["event"], error["code"]) == ("token.refused", "invalid_auth")
    assert error["fix"]
    assert len(connects(workspace)) == 1


@pytest.mark.parametrize("code", ["account_inactive", "not_allowed_token_type", "missing_scope"])
def test_a_token_that_can_never_work_ends_with_78(
    start_pump: StartPump, workspace: Workspace, code: str
) -> None:
    """Whatever Slack's word for it."""
    workspace.faults.api_errors["rtm.connect"] = deque([code])
    pump = start_pump(ready=False, log=INFO)
    assert pump.wait() == 78
    assert one_error(pump)["code"] == code


def test_a_token_that_is_revoked_later_ends_with_78(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """What was accepted before is published; the exit code is still that of the token."""
    pump = start_pump(log=INFO)
    queue = broker.queue(("rtm.events", "message"))
    workspace.say("general", "last words")
    workspace.faults.api_errors["rtm.connect"] = deque(["token_revoked"])
    workspace.cut()
    assert pump.wait() == 78
    assert one_error(pump)["code"] == "token_revoked"
    assert broker.get(queue).json["text"] == "last words"


def test_retry_after_is_obeyed(start_pump: StartPump, broker: Broker, workspace: Workspace) -> None:
    """No rtm.connect before the time is over, though our own backoff is shorter."""
    limited = HttpAnswer(429, {"Retry-After": "3"})
    workspace.faults.api_errors["rtm.connect"] = deque([limited])
    start_pump(retry={"max": 0.2})
    first, second = connects(workspace)
    assert second - first >= 3
    assert lives(workspace, broker, 1)


BAD_ANSWERS: list[tuple[str, ApiFault]] = [
    ("500", HttpAnswer(500, {}, "<html>oops</html>")),
    ("503", HttpAnswer(503)),
    ("HTML", HttpAnswer(200, {"Content-Type": "text/html"}, "<html>Slack is down</html>")),
    ("empty", HttpAnswer(200)),
    ("redirect", HttpAnswer(302, {"Location": "/elsewhere"})),
    ("list", HttpAnswer(200, {"Content-Type": "application/json"}, "[]")),
    ("no url", {"ok": True}),
    ("odd url", {"ok": True, "url": "http://127.0.0.1:1/"}),
    ("reset", Reset()),
    ("internal_error", "internal_error"),
    ("never heard", "some_new_error"),
]


def test_bad_answers_of_rtm_connect_are_retried(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """One after the other, each is told with a reason, and then all is well."""
    workspace.faults.api_errors["rtm.connect"] = deque(fault for _, fault in BAD_ANSWERS)
    pump = start_pump(retry={"initial": 0.01, "max": 0.05})
    told = [line["reason"] for line in pump.logged("slack.unreachable")]
    assert len(told) == len(BAD_ANSWERS)
    assert all(told)
    assert lives(workspace, broker, 1)


def test_a_migration_under_way_is_given_time(start_pump: StartPump, workspace: Workspace) -> None:
    """Slack moves the team: half a minute at least, whatever our backoff is."""
    workspace.faults.api_errors["rtm.connect"] = deque(["migration_in_progress"])
    told = start_pump(ready=False).wait_log("slack.unreachable")
    assert (told["reason"], told["next_try_in"] >= 30) == ("migration_in_progress", True)


def test_a_refused_upgrade_is_retried(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """With a fresh URL, for the old one is used up; one that is only slow is waited for."""
    faults: list[HandshakeFault] = [HttpAnswer(500, {}, "no"), HttpAnswer(404), Reset(), Hang(0.5)]
    workspace.faults.handshakes = deque(faults)
    pump = start_pump(retry={"max": 0.2})
    assert len(pump.logged("slack.unreachable")) == len(connects(workspace)) - 1 == 3
    assert lives(workspace, broker, 1)


def test_no_network_at_the_start(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """The pump waits for it."""
    workspace.down()
    pump = start_pump(ready=False)
    pump.wait_log("slack.unreachable", 3)
    workspace.up()
    pump.wait_ready()
    assert lives(workspace, broker, 1)


def test_the_network_goes_and_comes_back(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """One disconnect, some vain attempts, one new connection."""
    pump = start_pump()
    workspace.down()
    pump.wait_log("slack.disconnected")
    pump.wait_log("slack.unreachable", 2)
    workspace.up()
    assert lives(workspace, broker)
    assert len(pump.logged("slack.disconnected")) == 1


def test_no_hello_is_no_connection(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """After `hello_timeout` it tries again."""
    workspace.faults.hello = deque(["never"])
    # A busy machine says the next hello in that time.
    pump = start_pump(slack={"hello_timeout": 2})
    assert pump.logged("slack.unreachable")[0]["reason"] == "no_hello"
    assert lives(workspace, broker)


def test_an_error_instead_of_hello(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """It is told with Slack's words, and tried again."""
    workspace.faults.hello = deque(["error"])
    workspace.faults.hello_error = {"code": 9, "msg": "no room here"}
    pump = start_pump()
    told = pump.logged("slack.unreachable")[0]
    assert told["reason"] == "error"
    assert "no room here" in told["detail"]
    assert lives(workspace, broker)


@pytest.mark.parametrize("how", ["said", "used up"])
def test_an_expired_url_is_replaced_at_once(
    start_pump: StartPump, broker: Broker, workspace: Workspace, how: str
) -> None:
    """With no backoff: a fresh URL is all that it needs."""
    if how == "said":
        workspace.faults.hello = deque(["error"])
    else:
        workspace.faults.url_ttl = deque([0.0])
    pump = start_pump(retry={"initial": 200, "max": 600})
    told = pump.logged("slack.unreachable")
    assert [(line["reason"], line["next_try_in"]) for line in told] == [("expired_url", 0)]
    assert lives(workspace, broker)


ENDS: list[tuple[str, tuple[object, ...]]] = [
    ("goodbye", ()),
    ("close", (1000,)),
    ("close", (1011, "internal error")),
    ("cut", ()),
    ("reset", ()),
    ("raw", (b"\xff\x05hello",)),
]


@pytest.mark.parametrize(("how", "arguments"), ENDS, ids=lambda value: str(value))
def test_every_end_is_followed_by_a_new_connection_at_once(
    start_pump: StartPump, broker: Broker, workspace: Workspace, how: str, arguments: Any
) -> None:
    """The first new try waits for nothing, and one is enough."""
    pump = start_pump(retry={"initial": 200, "max": 600})
    assert workspace.wait_live()
    getattr(workspace, how)(*arguments)
    assert lives(workspace, broker)
    told = pump.logged("slack.disconnected")
    assert [line["next_try_in"] for line in told] == [0]
    assert told[0]["reason"]
    assert len(connects(workspace)) == 2


def test_a_peer_that_died_in_silence_is_found(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """Though its TCP connection stays: the ping is not answered in time."""
    # A busy machine answers the pings of the next connection in that time.
    pump = start_pump(slack={"ping_interval": 0.5, "ping_timeout": 3})
    workspace.silence()
    assert lives(workspace, broker)
    told = pump.logged("slack.disconnected")[0]
    # How long that took says less: the machine may be slow.
    assert (told["reason"], "within 3 s after a ping" in told["detail"]) == ("silent", True)


def test_a_frame_that_would_never_end_ends_the_connection_at_once(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """A header that tells of more bytes than any frame has; no ping is waited for."""
    pump = start_pump(slack={"ping_interval": 600, "ping_timeout": 600})
    workspace.raw(b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00 only this")
    assert lives(workspace, broker)
    assert pump.logged("slack.disconnected")[0]["reason"] == "too_large"


def test_a_quiet_peer_that_answers_pings_is_alive(
    start_pump: StartPump, workspace: Workspace
) -> None:
    """Many pings later it is still the first connection."""
    start_pump(slack={"ping_interval": 0.1, "ping_timeout": 5})
    assert workspace.wait(lambda: len(pings(workspace)) >= 10, 100)
    ids = [ping["id"] for ping in pings(workspace)]
    assert ids == sorted(set(ids))
    assert workspace.connections == 1


def test_websocket_pings_are_answered(start_pump: StartPump, workspace: Workspace) -> None:
    """With their payload."""
    start_pump()
    workspace.ping(b"are you there")
    assert workspace.wait(lambda: workspace.pongs == [b"are you there"])


def test_a_pump_without_free_file_descriptors_goes_on_when_there_are_some(
    start_pump: StartPump, broker: Broker, broker_url: str, node: RabbitNode, workspace: Workspace
) -> None:
    """No link can be made then, Slack's nor RabbitMQ's; each says why, and the daemon lives."""
    pump = start_pump(log=INFO, retry={"max": 0.2})
    limit = resource.prlimit(pump.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pump.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    close_connections(node, broker_url.rpartition("/")[2], product="rtmpump")
    workspace.cut()
    for link in ("slack", "broker_events", "broker_commands"):
        line = pump.wait_log(f"{link}.unreachable", reason="scarce")
        assert "LimitNOFILE" in line["detail"]
    assert pump.running
    resource.prlimit(pump.pid, resource.RLIMIT_NOFILE, limit)
    assert lives(workspace, broker)
    assert broker.ask({"channel": "general", "text": "x"})["ok"]


@pytest.mark.parametrize("most", [0.05, 3600])
def test_rtm_connect_has_a_budget(start_pump: StartPump, workspace: Workspace, most: float) -> None:
    """Whatever happens, it is called a few times at once and then seldom, whatever retry.max is."""
    workspace.faults.hello = "error"
    policy = {"initial": 0.01, "max": most, "jitter": "none"}
    pump = start_pump(ready=False, program=PLAIN, retry=policy)
    pump.wait_log("slack.unreachable", 4)
    assert not workspace.wait(lambda: len(connects(workspace)) > 4, timeout=2)


def test_through_a_proxy_with_an_authority_of_ones_own(
    broker_url: str, broker: Broker, tmp_path: Path
) -> None:
    """Both rtm.connect and the WebSocket, https and wss."""
    pair = make_pair(tmp_path, "127.0.0.1")
    with Workspace(tls=pair.server, token=f"xoxb-{secrets.token_hex(16)}") as workspace:
        with Proxy() as proxy:
            slack = {"proxy": f"http://127.0.0.1:{proxy.port}", "ca_file": pair.ca_file}
            with PumpProcess(tmp_path, workspace, broker_url, slack=slack) as pump:
                pump.wait_ready()
                assert lives(workspace, broker, 1)
                assert broker.ask({"channel": "general", "text": "x"})["ok"]
        assert len(proxy.asked) >= 2
        assert {line.split()[0] for line in proxy.asked} == {"CONNECT"}


def test_a_certificate_nobody_trusts_is_told(broker_url: str, tmp_path: Path) -> None:
    """The reason is tls; the token was not sent."""
    pair = make_pair(tmp_path, "127.0.0.1")
    with (
        Workspace(tls=pair.server, token=f"xoxb-{secrets.token_hex(16)}") as workspace,
        PumpProcess(tmp_path, workspace, broker_url) as pump,
    ):
        assert pump.wait_log("slack.unreachable")["reason"] == "tls"
        assert workspace.calls == []


def test_the_token_can_come_from_the_environment_or_a_file(
    broker_url: str, workspace: Workspace, tmp_path: Path
) -> None:
    """And is not in the command line of the process."""
    file = tmp_path / "token"
    file.write_text(f"{workspace.token}\n")
    sources: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"SLACK_API_TOKEN": workspace.token}, {}),
        ({}, {"token_file": str(file)}),
    ]
    for env, slack in sources:
        given = {"token": "", "api_url": workspace.api_url} | slack
        with PumpProcess(tmp_path, None, broker_url, env=env, slack=given) as pump:
            pump.wait_ready()
            assert workspace.token not in Path(f"/proc/{pump.pid}/cmdline").read_text()
            pump.terminate()
            assert pump.wait() == 0
            assert workspace.token not in pump.output()
